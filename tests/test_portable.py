"""What differs on Windows and macOS, shown on any system: clocks, signals, code pages, shells, and what was typed."""

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from fakes import BlockEstimator
from torch import nn

from tfpose_rt import clock, shell
from tfpose_rt.config import SourceOptions
from tfpose_rt.errors import InputError
from tfpose_rt.files import read_toml
from tfpose_rt.interrupts import exit_code
from tfpose_rt.io.capture import Grab, Ready
from tfpose_rt.io.files import check_readable
from tfpose_rt.io.live import LiveSource
from tfpose_rt.io.sources import expand
from tfpose_rt.io.urls import parse_url
from tfpose_rt.live.guard import read_token
from tfpose_rt.live.metrics import Metrics
from tfpose_rt.mailbox import TURN, Mailbox
from tfpose_rt.pipeline import Stream
from tfpose_rt.tools.export_formats import run_torchscript, write_torchscript
from tfpose_rt.training.checkpoint import Average
from tfpose_rt.training.state import Progress, restore, save_state


def python(*lines, **environment):
    """What a new Python says and how it ends."""
    return subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, timeout=120, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


# ---- the clock


def test_windows_stamps_pictures_by_its_finer_clock(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    module = importlib.util.module_from_spec(importlib.util.find_spec("tfpose_rt.clock"))
    module.__spec__.loader.exec_module(module)
    assert module.now is time.perf_counter
    assert clock.now is time.monotonic


def test_all_times_of_a_live_source_are_of_one_clock(monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: time.monotonic() + 5000)  # Windows' two clocks do not begin together

    class Camera:
        fps, codec, live, finite, duration, detail, errors = 30.0, None, True, False, None, {}, 0

        def __iter__(self):
            for _ in range(50):
                yield Grab(clock.now(), Ready(np.zeros((48, 64, 3), np.uint8)))
                time.sleep(0.01)

        def close(self):
            pass

    source = LiveSource("camera", "camera 0", [Camera], SourceOptions(reconnect=0, stall=1.0))
    assert 0 <= source.info.detail["opened_in_s"] < 5
    results = []
    with Stream(source, BlockEstimator()) as stream:
        metrics = Metrics(stream)
        for result in stream:
            results.append(result)
            if result.poses is not None:
                assert 0 <= result.latency_ms < 4000
                assert 0 <= metrics.shown(result) < 4000
    gap = results[-1].gap  # the camera has gone
    assert gap is not None
    assert 0 <= gap.t_start <= gap.t_end < 10


# ---- signals


def test_waiting_hears_of_ctrl_c_where_a_wait_cannot_be_interrupted(monkeypatch):
    box, waits = Mailbox(), []
    real = box._change.wait
    monkeypatch.setattr(box._change, "wait", lambda timeout=None: waits.append(timeout) or real(timeout))
    threading.Timer(2.5 * TURN, box.put, ["news"]).start()
    assert box.get().item == "news"
    assert len(waits) >= 3
    assert all(wait is not None and wait <= TURN for wait in waits)
    waits.clear()
    began = time.monotonic()
    assert box.get(1.5 * TURN) is None
    assert 1.4 * TURN < time.monotonic() - began < 1.5 * TURN + 1
    assert len(waits) >= 2


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="another signal has to stand for Ctrl-Break")
def test_ctrl_break_completes_the_files_as_sigterm_does():
    done = python(
        "import os, signal",
        "signal.SIGBREAK = signal.SIGUSR1",
        "from tfpose_rt.cli.watch import interruptible",
        "from tfpose_rt.interrupts import SIGNALS, deferred, exit_code",
        "from tfpose_rt.tools.batch import SEVERITY",
        "assert signal.SIGBREAK in SIGNALS",
        "with interruptible() as told:",
        "    try:",
        "        with deferred() as heed:",
        "            os.kill(os.getpid(), signal.SIGBREAK)",
        "            print('held back', flush=True)",
        "            heed()",
        "    except KeyboardInterrupt as error:",
        "        print(error.args[0], told.code, told.code in SEVERITY)",
    )
    assert done.stdout.decode().splitlines() == ["held back", "143 143 True"], done.stderr.decode()
    assert [exit_code(number) for number in (signal.SIGINT, signal.SIGTERM)] == [130, 143]


# ---- code pages


def test_a_code_page_that_lacks_a_character_ends_no_command(tmp_path):
    store = tmp_path / "踊り"
    done = python(
        "import sys",
        f"sys.argv[1:] = ['weights', 'path', 'yolo-n', '--store', {str(store)!r}]",
        "from tfpose_rt import assets",
        f"assets.resolve = lambda name: {str(store / 'yolo.safetensors')!r}",
        "from tfpose_rt.cli import main",
        "main()",
        PYTHONIOENCODING="cp1252",
    )
    assert done.returncode == 0, done.stderr
    assert b"\\u8e0a\\u308a" in done.stdout
    tool = python(
        "from tfpose_rt.tools.entry import exits",
        "@exits",
        "def main():",
        "    print('\\u8e0a', flush=True)",
        "raise SystemExit(main())",
        PYTHONIOENCODING="cp1252",
    )
    assert (tool.returncode, tool.stdout.strip()) == (0, b"\\u8e0a")


# ---- what people's editors and shells write


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])  # PowerShell's > writes the last, with a mark
def test_texts_are_read_with_the_marks_that_windows_puts_in_front(tmp_path, coding):
    clips, login, token, toml = (tmp_path / name for name in ("list.txt", "login", "token", "run.toml"))
    clips.write_text("C:\\Tänzer\\踊り.mp4\n# no\nb.mp4\n", encoding=coding)
    assert expand([f"@{clips}"]) == ["C:\\Tänzer\\踊り.mp4", "b.mp4"]
    login.write_text("anna:gehe1m\n", encoding=coding)
    login.chmod(0o600)
    assert parse_url("rtsp://cam/live", str(login)).real == "rtsp://anna:gehe1m@cam/live"
    token.write_text("t" * 32 + "\n", encoding=coding)
    token.chmod(0o600)
    assert read_token(str(token), "0.0.0.0") == "t" * 32
    toml.write_text('weights = "default"\n', encoding=coding)
    assert read_toml(toml) == {"weights": "default"}


def test_advice_can_be_typed_in_the_shell_of_each_system(tmp_path, monkeypatch):
    assert shell.install("serve") == "pip install 'tfpose-rt[serve]'"
    assert shell.make_folder(tmp_path / "a b") == f"mkdir -p '{tmp_path}/a b'"
    monkeypatch.setattr(sys, "platform", "win32")
    assert shell.install("serve") == 'pip install "tfpose-rt[serve]"'  # cmd hands single quotes on to pip
    assert shell.make_folder("C:\\runs\\new") == "mkdir C:\\runs\\new"  # cmd would make a folder called -p, too
    assert shell.make_folder("C:\\my runs") == 'mkdir "C:\\my runs"'
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"x")
    monkeypatch.setattr(type(clip), "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(InputError) as caught:
        check_readable(clip)
    assert "another program writes it" in str(caught.value)
    assert "chmod" not in str(caught.value)


# ---- files


def test_torchscript_is_written_and_read_wherever_the_user_keeps_it(tmp_path, monkeypatch):
    """torch opens paths by Windows' code page, pytorch/pytorch#75171; open files it takes as they are."""

    network, path, paths = nn.Linear(3, 2), tmp_path / "Tänzer 踊り.torchscript", []

    def watched(real):
        return lambda *a, **k: paths.extend(x for x in a if isinstance(x, str)) or real(*a, **k)

    for name in ("save", "load"):
        monkeypatch.setattr(torch.jit, name, watched(getattr(torch.jit, name)))
    monkeypatch.setattr("tfpose_rt.tools.export_formats._example", lambda made, free: torch.zeros(1, 3))
    write_torchscript(SimpleNamespace(network=network), {"name": "x"}, path, "batch")
    answer = run_torchscript(path)(np.ones((1, 3), np.float32))
    assert np.array_equal(answer, network(torch.ones(1, 3)).detach().numpy())
    assert paths == []


def test_a_run_that_goes_on_leaves_its_state_free_to_be_replaced(tmp_path):
    """Windows replaces no file of which anything is still mapped into memory."""

    def trained():
        model = nn.Linear(300, 300)
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        model(torch.ones(2, 300)).sum().backward()
        optimizer.step()
        return model, optimizer, Average(model, 0.9), Progress()

    state = tmp_path / "state.safetensors"
    save_state(state, *trained())
    again = trained()
    restore(state, *again)
    assert len(again[1].state_dict()["state"]) == 2
    assert str(state) not in {region.path for region in psutil.Process().memory_maps()}
