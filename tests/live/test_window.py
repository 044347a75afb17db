"""The real window on a virtual screen: every key, resizing, closing; what is seen, not what is believed to be seen."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xscreen
from loopback import MjpegServer

from tfpose_rt.live.window import KEYS, has_screen, help_sheet, notice, readable, recording_mark

needs_screen = pytest.mark.skipif(bool(xscreen.missing()), reason=xscreen.missing())


class App:
    """The program under test, its state line by line, and its screen."""

    def __init__(self, screen: xscreen.Screen, folder: Path, spec: str) -> None:
        self.screen, self.folder = screen, folder
        self._errors = folder.with_name("stderr").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("window_app.py")), str(folder), spec],
            env=screen.environment,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.lines: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.window = screen.window("tfpose-rt")
        self.until(lambda s: s.get("frames", 0) > 3)
        screen.do("windowfocus", "--sync", self.window)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.lines.put(json.loads(line))

    def until(self, fits: Callable[[dict[str, Any]], bool], seconds: float = 60) -> dict[str, Any]:
        """Wait for a state that fits."""
        end, state = time.monotonic() + seconds, {}
        while time.monotonic() < end:
            with contextlib.suppress(queue.Empty):
                state = self.lines.get(timeout=0.2)
                if fits(state):
                    return state
        raise AssertionError(f"never came; last: {state}")

    def key(self, name: str, **expected: Any) -> dict[str, Any]:
        """Press a key and wait until the state is as expected."""
        self.screen.do("key", name)
        return self.until(lambda s: all(s.get(k) == v for k, v in expected.items()))

    def end(self) -> tuple[int, dict[str, Any], str]:
        """Exit code, last line and stderr."""
        last = self.until(lambda s: "summary" in s)
        code = self.process.wait(60)
        self._errors.seek(0)
        return code, last, self._errors.read()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._errors.close()


@contextlib.contextmanager
def app(tmp_path: Path, spec: str = "synthetic:640x480@30") -> Iterator[App]:
    folder = tmp_path / "takes"
    folder.mkdir()
    with xscreen.screen(tmp_path) as screen:
        running = App(screen, folder, spec)
        try:
            yield running
        finally:
            running.close()


@needs_screen
def test_every_key_does_what_the_help_sheet_says(tmp_path: Path) -> None:
    with app(tmp_path) as live:
        pressed = set()

        def key(name: str, press: str = "", **expected: Any) -> dict[str, Any]:
            pressed.add(name)
            return live.key(press or name, **expected)

        key("b", boxes=False)
        key("i", ids=False)
        key("n", names=True)
        key("p", points=False)
        key("t", trails=True)
        key("x", mirror=True)
        key("k", skeleton=False)
        live.key("k", skeleton=True)
        key("+", "plus", kpt_thr=0.35)
        key("-", "minus", kpt_thr=0.3)
        live.key("minus", kpt_thr=0.25)
        key("m", metrics=2)
        live.key("m", metrics=0)
        key("h", help=True)
        live.key("question", help=False)
        key("g", background="black")
        time.sleep(0.5)
        seen = live.screen.picture()[:480, :640]
        assert (seen.max(2) < 30).mean() > 0.8  # the room is not to be seen
        live.key("g", background="blur-people")
        live.key("g", background="frame")
        given = live.until(lambda s: "given" in s)["given"]
        pressed.add("0")
        live.screen.do("key", "0")
        live.until(lambda s: s.get("given", 0) >= given + 2)
        key("r", recording=True)
        pressed.add("s")
        live.screen.do("key", "s")
        live.until(lambda s: s.get("message", "").startswith("saved snapshot"))
        frozen = key(" ", "space", paused=True)["frames"]
        time.sleep(1)
        assert live.until(lambda s: True)["frames"] <= frozen + 3
        live.key("space", paused=False)
        live.until(lambda s: s["frames"] > frozen + 10)
        live.key("r", recording=False)
        key("f", fullscreen=True)
        live.key("f", fullscreen=False)
        pressed.add("q")
        live.screen.do("key", "q")
        code, last, errors = live.end()
        assert pressed == set(KEYS)
        assert (code, errors) == (0, "")
        assert last["summary"]["ended"] == "user"
        names = sorted(path.suffix for path in live.folder.iterdir())
        assert names == [".json", ".jsonl", ".mkv", ".png", ".png"]


@pytest.mark.slow
@needs_screen
def test_the_picture_keeps_its_proportions_and_closing_the_window_ends_the_run(tmp_path: Path) -> None:
    with app(tmp_path) as live:
        live.screen.do("windowsize", "--sync", live.window, "900", "400")
        time.sleep(1.5)
        seen = np.ptp(live.screen.picture()[:400, :900], axis=2) > 12  # coloured: neither bars nor the bare screen
        columns = np.flatnonzero(seen.mean(0) > 0.3)
        rows = np.flatnonzero(seen.mean(1) > 0.3)
        ratio = (columns[-1] - columns[0] + 1) / (rows[-1] - rows[0] + 1)
        assert ratio == pytest.approx(640 / (480 * 15 / 16), rel=0.05)  # the uppermost strip is black and white
        live.screen.ask_to_close(live.window)
        code, last, _ = live.end()
        assert (code, last["summary"]["ended"], last["summary"]["exit_code"]) == (0, "user", 0)


@pytest.mark.slow
@needs_screen
def test_a_stalled_stream_is_told_in_the_window_and_keys_go_on_working(tmp_path: Path) -> None:
    with MjpegServer(size=(640, 480)) as server, app(tmp_path, server.url) as live:
        server.stop()
        live.until(lambda s: "reconnecting" in s.get("status", ""))
        live.key("b", boxes=False)
        time.sleep(0.3)
        lower = live.screen.picture()[440:480, :640].reshape(-1, 3).astype(int)
        assert ((lower[:, 2] > 180) & (lower[:, 0] < 150)).sum() > 50  # the red line of news
        server.start()
        live.until(lambda s: "reconnecting" not in s.get("status", "reconnecting"))
        live.screen.do("key", "Escape")
        code, last, _ = live.end()
        assert code == 0
        assert last["summary"]["gaps"] >= 1


def test_no_screen_is_noticed_without_touching_qt(monkeypatch: pytest.MonkeyPatch) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("X is Linux's")
    for display in ("", "nonsense", ":9797", "localhost:9797", "unix:9797.0"):
        monkeypatch.setenv("DISPLAY", display)
        assert not has_screen(), display


@pytest.mark.parametrize("size", [(160, 120), (320, 240), (1920, 1080), (240, 640)])
def test_what_lies_over_the_picture_fits_into_it(size: tuple[int, int]) -> None:
    grey = readable(np.full((size[1], size[0], 3), 60, np.uint8))
    assert min(grey.shape[:2]) >= 240
    for picture in (help_sheet(grey), recording_mark(grey, "take_20260101T000000Z.mkv", 75), notice(grey, "n" * 90)):
        assert picture.shape == grey.shape
        bright = picture.max(2) > 150  # letters; nothing of them may be cut off
        assert bright.any()
        assert not bright[:, [0, -1]].any()
        assert not bright[[0, -1]].any()
    assert (grey == 60).all()
