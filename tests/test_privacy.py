"""Nothing leaves the machine: every look-up, connection and started program is counted in a child process.

Without pytest in that child: ultralytics mutes itself under pytest, so a count taken here would be 0 for nothing.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfpose_rt import compiled
from tfpose_rt.io.video import VideoSink
from tfpose_rt.records import Result, StreamInfo

WATCH = """
import json, socket, sys
NET = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.sendto",
       "socket.sendmsg", "socket.bind", "urllib.Request", "http.client.connect"}
PROGRAMS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"}
FINDING = {"ldconfig", "gcc", "cc", "ld", "objdump"}  # ctypes asks them where a library lies, for torch
network, programs, seen = [], [], []
def watch(event, args):
    if event in NET and not (event == "socket.connect" and isinstance(args[1], (str, bytes))):  # not AF_UNIX
        network.append(f"{event} {args[1:] if event == 'socket.connect' else args[:2]}")
        raise OSError("the network is cut in this test")
    if event == "socket.__new__" and args[1] in (socket.AF_INET, socket.AF_INET6):
        network.append(f"socket {args[1:]}")
    python = event == "_posixsubprocess.fork_exec" and b"python" in args[0][0].rsplit(b"/", 1)[-1]
    if event == "os.fork" or python:  # openvino's reports come from a process of their own, which Python 3.14 spawns
        programs.append(event)
        raise OSError("no other process in this test")
    if event in PROGRAMS and str(args[0]).rsplit("/", 1)[-1] not in FINDING:
        programs.append(str(args[:2]))
sys.addaudithook(watch)
code = 0
try:
    BODY
except SystemExit as end:
    code = end.code or 0
print("\\n" + json.dumps({"network": network, "programs": programs, "code": code, "seen": seen,
                        "pytest": "pytest" in sys.modules, "ultralytics": "ultralytics" in sys.modules,
                        "openvino": "openvino" in sys.modules}))
"""


def watched(body: str, folder: Path, **environment: str) -> dict[str, Any]:
    (folder / "child.py").write_text(WATCH.replace("BODY", body.replace("\n", "\n    ")))
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("YOLO_", "ULTRALYTICS_", "PYTEST_", "GITHUB_"))}
    kept |= {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(
        [sys.executable, "child.py"], cwd=folder, env=kept | environment,
        capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    told: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    assert not told["pytest"]
    return told


OPENVINO = importlib.util.find_spec("openvino") is not None
needs_openvino = pytest.mark.skipif(not OPENVINO, reason="openvino is not installed")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What happens at the import of ultralytics as it is."""
    body = (
        "import cv2, torch\n"
        "cv2.setNumThreads(2)\n"
        "import ultralytics\n"
        "seen += [cv2.getNumThreads(), torch.save.__name__]"
    )
    folder = tmp_path_factory.mktemp("plain")
    return watched(body, folder, YOLO_CONFIG_DIR=str(folder))


def test_the_watch_sees_what_plain_ultralytics_does(plain: dict[str, Any]) -> None:
    assert any("one.one.one.one" in event for event in plain["network"])


def test_plain_ultralytics_changes_the_process(plain: dict[str, Any]) -> None:
    """Else test_threads proves nothing: it sets OpenCV to one thread and wraps torch.save."""
    assert plain["seen"] == [1, "torch_save"]


@dataclass(frozen=True)
class Session:
    """What a process did that ran the program twice and then converted a network, and where."""

    told: dict[str, Any]
    here: Path
    home: Path


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    here, home = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("home")
    sink = VideoSink(here / "clip.mp4", StreamInfo(kind="synthetic", name="clip", size=(160, 120), fps=25.0))
    noise = np.random.default_rng(0)
    for i in range(6):
        sink.write(Result(frame=i, pts=i / 25, image=noise.integers(0, 255, (120, 160, 3), dtype=np.uint8)))
    sink.close({})
    # With torch, which takes ultralytics along, and with OpenVINO, which does without where it has converted before.
    runs = [
        ["video", "clip.mp4", "-o", "out.jsonl", "--save-video", "out.mp4", "--engine", "torch"],
        ["webcam", "synthetic:160x120@25", "--display", "none", "--max-frames", "3", "--engine", "auto"],
    ]
    body = f"""
import time, tfpose_rt
from pathlib import Path
from tfpose_rt import compiled, engine
from tfpose_rt.cli import main
compiled.cache_dir = lambda: Path({str(compiled.cache_dir())!r})  # the user's own, for all that the home is another
for words in {runs!r}:
    sys.argv = ["tfpose-rt", *words]
    try: main()
    except SystemExit as end: code = code or end.code or 0
import torch
from tfpose_rt import yolo
assert yolo.open_switches() == [], yolo.open_switches()
if {OPENVINO}:
    compiled.cache_dir = lambda: Path({str(home / "cache")!r})
    fast = compiled.compile_network(lambda: torch.nn.Conv2d(3, 4, 3), "a" * 64, size=(32, 24))
    assert not engine.reports()
    assert sys.modules.get("openvino_telemetry", "absent") == "absent"
    time.sleep(0.5)  # reports are sent from threads
"""
    homes = {"HOME": home, "XDG_DATA_HOME": home / "data", "XDG_CONFIG_HOME": home / "config"}
    told = watched(body, here, CI="", **{name: str(path) for name, path in homes.items()})
    return Session(told, here, home)


def test_a_video_and_a_webcam_session_are_silent(session: Session) -> None:
    assert session.told["code"] == 0
    assert session.told["ultralytics"]
    assert session.told["openvino"] == OPENVINO
    assert session.told["network"] == []
    assert session.told["programs"] == []
    # Of a live session nothing is kept unasked, and no weights, runs or settings are left here.
    assert sorted(p.name for p in session.here.iterdir()) == ["child.py", "clip.mp4", "out.jsonl", "out.mp4"]


@needs_openvino
def test_the_watch_sees_what_plain_openvino_does(tmp_path: Path) -> None:
    body = "import time, openvino\nfor _ in range(50):\n    if programs: break\n    time.sleep(0.1)"
    told = watched(body, tmp_path, HOME=str(tmp_path), CI="")
    assert {"os.fork", "_posixsubprocess.fork_exec"} & set(told["programs"])
    assert (tmp_path / "intel").is_dir()  # an id of this user, kept for later


@needs_openvino
def test_a_conversion_is_silent_and_keeps_no_id(session: Session) -> None:
    assert session.told["openvino"]
    assert session.told["network"] == []
    assert session.told["programs"] == []
    assert (session.home / "cache").is_dir()
    assert not (session.home / "intel").exists()


def test_settings_hold_no_machine_id_and_leave_the_users_own_alone(session: Session) -> None:
    (file,) = session.home.rglob("settings.json")
    told = json.loads(file.read_text())
    assert told["sync"] is False
    assert told["uuid"] == ""
    assert not any(told[key] for key in ("clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb"))
    assert not (session.home / "config" / "Ultralytics").exists()
    assert not (session.home / ".config" / "Ultralytics").exists()
