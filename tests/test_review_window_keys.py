"""Keys that mean nothing here: OpenCV gives each key's whole code, and the low byte of an arrow's is a letter."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import pytest

from tfpose_rt.live.window import Window

NUM_LOCK, SHIFT = 0x100000, 0x10000  # added under GTK while it holds


@pytest.fixture
def press(monkeypatch: pytest.MonkeyPatch):
    """What the window says after keys with these codes, as `waitKeyEx` gives them, and `waitKey` the lowest byte."""
    codes: list[int] = []
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "resizeWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0)
    monkeypatch.setattr(cv2, "waitKeyEx", lambda _: codes.pop(0) if codes else -1)
    monkeypatch.setattr(cv2, "waitKey", lambda _: codes.pop(0) & 0xFF if codes else -1)
    window = Window("keys", (640, 480))

    def said(*pressed: int) -> Sequence[str]:
        codes.extend(pressed)
        return window.poll()

    return said


# X11 (Qt, GTK): Home, the four arrows, Page Up and Down, F1, Shift; Windows: an arrow, F1; macOS: an arrow
OTHERS = [0xFF50, 0xFF51, 0xFF52, 0xFF53, 0xFF54, 0xFF55, 0xFF56, 0xFFBE, 0xFFE1, 0x250000, 0x700000, 0xF702]


@pytest.mark.parametrize("modifier", [0, NUM_LOCK])
@pytest.mark.parametrize("code", OTHERS)
def test_arrows_and_their_like_do_nothing(press, code: int, modifier: int) -> None:
    assert press(code + modifier) == []


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (ord("q"), "quit"), (27, "quit"), (ord("R") + SHIFT, "record"), (ord("s") + NUM_LOCK, "snapshot"),
        (ord("+"), "more"), (0xFFAB, "more"), (0xFFAD + NUM_LOCK, "less"),
    ],
)  # fmt: skip
def test_keys_mean_the_same_with_num_lock_and_shift(press, code: int, word: str) -> None:
    assert press(code) == [word]
