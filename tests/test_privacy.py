"""Nothing leaves the machine: every look-up, connection and started program is counted in a child process.

Without pytest in that child: ultralytics mutes itself under pytest, so a count taken here would be 0 for nothing.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfpose_rt.io.video import VideoSink
from tfpose_rt.records import Result, StreamInfo

WATCH = """
import json, socket, sys
NET = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.sendto",
       "socket.sendmsg", "socket.bind", "urllib.Request", "http.client.connect"}
PROGRAMS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"}
FINDING = {"ldconfig", "gcc", "cc", "ld", "objdump"}  # ctypes asks them where a library lies, for torch
network, programs = [], []
def watch(event, args):
    if event in NET and not (event == "socket.connect" and isinstance(args[1], (str, bytes))):  # not AF_UNIX
        network.append(f"{event} {args[1:] if event == 'socket.connect' else args[:2]}")
        raise OSError("the network is cut in this test")
    if event == "socket.__new__" and args[1] in (socket.AF_INET, socket.AF_INET6):
        network.append(f"socket {args[1:]}")
    if event == "os.fork":  # openvino's reports come from a process of their own
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
print("\\n" + json.dumps({"network": network, "programs": programs, "code": code, "pytest": "pytest" in sys.modules,
                        "ultralytics": "ultralytics" in sys.modules, "openvino": "openvino" in sys.modules}))
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


needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    sink = VideoSink(path, StreamInfo(kind="synthetic", name="clip", size=(160, 120), fps=25.0))
    noise = np.random.default_rng(0)
    for i in range(6):
        sink.write(Result(frame=i, pts=i / 25, image=noise.integers(0, 255, (120, 160, 3), dtype=np.uint8)))
    sink.close({})
    return path


def test_the_watch_sees_what_plain_ultralytics_does(tmp_path: Path) -> None:
    told = watched("import ultralytics", tmp_path, YOLO_CONFIG_DIR=str(tmp_path))
    assert any("one.one.one.one" in event for event in told["network"])


def test_a_video_and_a_webcam_session_are_silent(tmp_path: Path, clip: Path) -> None:
    # With torch, which takes ultralytics along, and with OpenVINO, which does without where it has converted before.
    runs = [
        ["video", str(clip), "-o", "out.jsonl", "--save-video", "out.mp4", "--engine", "torch"],
        ["webcam", "synthetic:160x120@25", "--display", "none", "--max-frames", "3", "--engine", "auto"],
    ]
    body = (
        "import tfpose_rt\n"
        "from tfpose_rt.cli import main\n"
        f"for words in {runs!r}:\n"
        "    sys.argv = ['tfpose-rt', *words]\n"
        "    try: main()\n"
        "    except SystemExit as end: code = code or end.code or 0"
    )
    told = watched(body, tmp_path)
    assert told["code"] == 0
    assert told["ultralytics"]
    assert told["openvino"] == (importlib.util.find_spec("openvino") is not None)
    assert told["network"] == []
    assert told["programs"] == []
    # Of a live session nothing is kept unasked, and no weights, runs or settings are left here.
    assert sorted(p.name for p in tmp_path.iterdir()) == ["child.py", "clip.mp4", "out.jsonl", "out.mp4"]


@needs_openvino
def test_the_watch_sees_what_plain_openvino_does(tmp_path: Path) -> None:
    body = "import time, openvino\nfor _ in range(50):\n    if programs: break\n    time.sleep(0.1)"
    told = watched(body, tmp_path, HOME=str(tmp_path), CI="")
    assert "os.fork" in told["programs"]
    assert (tmp_path / "intel").is_dir()  # an id of this user, kept for later


@needs_openvino
def test_a_conversion_is_silent_and_keeps_no_id(tmp_path: Path) -> None:
    body = (
        "import time, torch\n"
        "from pathlib import Path\n"
        "from tfpose_rt import engine\n"
        "engine.cache_dir = lambda: Path('cache')\n"
        "fast = engine.compile_network(lambda: torch.nn.Conv2d(3, 4, 3), 'a' * 64, size=(32, 24))\n"
        "assert not engine.reports()\n"
        "assert sys.modules.get('openvino_telemetry', 'absent') == 'absent'\n"
        "time.sleep(0.5)"  # reports are sent from threads
    )
    told = watched(body, tmp_path, HOME=str(tmp_path), CI="")
    assert told["openvino"]
    assert told["network"] == []
    assert told["programs"] == []
    assert (tmp_path / "cache").is_dir()
    assert not (tmp_path / "intel").exists()


def test_settings_hold_no_machine_id_and_leave_the_users_own_alone(tmp_path: Path) -> None:
    body = "from tfpose_rt import yolo\nyolo.load()\nassert yolo.open_switches() == [], yolo.open_switches()"
    data, config = tmp_path / "data", tmp_path / "config"
    watched(body, tmp_path, XDG_DATA_HOME=str(data), XDG_CONFIG_HOME=str(config), HOME=str(tmp_path))
    (file,) = tmp_path.rglob("settings.json")
    told = json.loads(file.read_text())
    assert told["sync"] is False
    assert told["uuid"] == ""
    assert not any(told[key] for key in ("clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb"))
    assert not (config / "Ultralytics").exists()
    assert not (tmp_path / ".config" / "Ultralytics").exists()
