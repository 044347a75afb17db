"""The live window: OpenCV's, on the main thread. It shows pictures and says which keys were pressed; nothing more."""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import suppress

import cv2
import numpy as np

from tfpose_rt.caption import WHITE, Colour, fitted, put_text, shade, text_width
from tfpose_rt.records import Image

# What the keys do; the word is what `poll` returns. The help sheet is made from this table.
KEYS: dict[str, tuple[str, str]] = {
    "q": ("quit", "finish: close all files"),
    " ": ("freeze", "freeze picture and model"),
    "r": ("record", "start / stop recording"),
    "s": ("snapshot", "snapshot: two pictures and the poses"),
    "m": ("metrics", "figures: short, full, off"),
    "h": ("help", "this sheet"),
    "b": ("boxes", "boxes"),
    "i": ("ids", "ids"),
    "k": ("skeleton", "skeletons"),
    "p": ("points", "points"),
    "n": ("names", "joint names"),
    "t": ("trails", "trails of one second"),
    "x": ("mirror", "mirror the display (files stay as they are)"),
    "g": ("background", "background: picture, black, blurred people"),
    "f": ("fullscreen", "full screen"),
    "+": ("more", "drawing threshold up"),
    "-": ("less", "drawing threshold down"),
    "0": ("forget", "forget ids: everybody gets a new one"),
}
ALIASES = {"\x1b": "q", "?": "h", "=": "+", "_": "-", "\uffab": "+", "\uffad": "-"}  # Esc; keypad + and - under GTK
READABLE = 360  # px of the shorter side that words need
SHOWN = {" ": "Space", "q": "q, Esc", "h": "h, ?"}


def has_screen() -> bool:
    """Whether a window can be opened; Qt ends the process where it cannot, so this is asked first."""
    gui = cv2.getBuildInformation().partition("GUI:")[2].partition("\n")[0]
    if "NONE" in gui or not hasattr(cv2, "imshow"):  # opencv-python-headless
        return False
    if not sys.platform.startswith("linux"):
        return True
    return _answers(os.environ.get("DISPLAY", ""))


def _answers(display: str) -> bool:
    """Whether an X server listens at `display` (host:number.screen)."""
    host, colon, number = display.rpartition(":")
    number = number.split(".")[0]
    if not colon or not number.isdecimal():
        return False
    with suppress(OSError):
        if host in ("", "unix"):
            for address in (f"\0/tmp/.X11-unix/X{number}", f"/tmp/.X11-unix/X{number}"):
                with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                    probe.settimeout(1)
                    probe.connect(address)
                    return True
        with socket.create_connection((host or "localhost", 6000 + int(number)), 1):
            return True
    return False


class Window:
    """One resizable window that keeps the picture's proportions.

    Args:
        title: its name; must not hold secrets.
        size: W, H of the pictures, px; a larger one than MOST is opened smaller, a tiny one larger.
    """

    MOST = (1280, 800)  # px; opened at most this large

    def __init__(self, title: str, size: tuple[int, int]) -> None:
        os.environ.setdefault(
            "QT_LOGGING_RULES", "*.warning=false;*.debug=false;*.info=false"
        )  # fonts it does not find
        self._title, self._full = title, False
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        enlarged = max(1.0, -(-READABLE // min(size)))  # as `readable` does
        scale = min(enlarged, self.MOST[0] / size[0], self.MOST[1] / size[1])
        cv2.resizeWindow(title, max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        self._seen = False

    def show(self, image: Image) -> list[str]:
        """Put a picture on the screen and run the event pump once.

        Returns: what was asked for with keys since the last time (words of KEYS); `quit` when the window was closed.
        """
        cv2.imshow(self._title, image)
        return self.poll()

    def poll(self) -> list[str]:
        """Run the event pump without a new picture; as `show`."""
        words = []
        for _ in range(16):  # all keys that wait; each call pumps once
            code = cv2.waitKeyEx(1)
            if code < 0:
                break
            key = chr(code & 0xFFFF)  # above it, under GTK, Shift and Num Lock; `waitKey` would make a Q of an arrow
            key = ALIASES.get(key, key.lower())
            if key in KEYS:
                words.append(KEYS[key][0])
        visible = self._visible()
        self._seen = self._seen or visible
        if self._seen and not visible:
            words.append("quit")
        return words

    def toggle_fullscreen(self) -> None:
        """Full screen and back."""
        self._full = not self._full
        mode = cv2.WINDOW_FULLSCREEN if self._full else cv2.WINDOW_NORMAL
        cv2.setWindowProperty(self._title, cv2.WND_PROP_FULLSCREEN, mode)

    def close(self) -> None:
        """Take it off the screen; safe when it is gone already."""
        with suppress(cv2.error):
            cv2.destroyWindow(self._title)
            cv2.waitKey(1)

    def _visible(self) -> bool:
        try:
            return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:
            return False


def readable(image: Image) -> Image:
    """A small picture enlarged by a whole factor, so that words on it can be read."""
    factor = -(-READABLE // min(image.shape[:2]))
    if factor <= 1:
        return image
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def help_sheet(image: Image) -> Image:
    """The picture, darkened, with what every key does on it."""
    canvas = image.copy()
    h, w = canvas.shape[:2]
    shade(canvas, (0, 0, w, h), 0.72)
    rows = [(SHOWN.get(key, key), text) for key, (_, text) in KEYS.items()]
    size = float(np.clip(h / (1.45 * (len(rows) + 2.5)), 8, 30))
    longest = max((text for _, text in rows), key=lambda text: text_width(text, size))
    size = fitted(longest, size, w - 12 - 5 * size)
    column = text_width("Space ", size, True) + size
    wide = column + text_width(longest, size)
    x, y, step = max(4.0, (w - wide) / 2), max(size, (h - 1.45 * size * len(rows)) / 2), 1.45 * size
    for i, (key, text) in enumerate(rows):
        put_text(canvas, key, (x, y + i * step), size, (66, 228, 240), bold=True, rim=False)
        put_text(canvas, text, (x + column, y + i * step), size, WHITE, rim=False)
    return canvas


def recording_mark(image: Image, name: str, seconds: float, note: str = "") -> Image:
    """A red dot that blinks, the length of the take and its file, in the upper right corner."""
    canvas = image.copy()
    h, w = canvas.shape[:2]
    minutes, rest = divmod(int(seconds), 60)
    text = f"{minutes:02d}:{rest:02d}  {name}" + (f"  {note}" if note else "")
    size = float(np.clip(min(h, w) / 36, 11, 40))
    size = fitted(text, size, w - 8 - 3.2 * size)
    wide = text_width(text, size) + 2.7 * size
    shade(canvas, (round(w - 4 - wide), 4, w - 4, round(4 + 2.1 * size)), 0.6)
    middle = 4 + 1.05 * size
    if int(time.monotonic() * 2) % 2 == 0:  # a still picture is no recording
        cv2.circle(
            canvas, (round(w - 4 - wide + size), round(middle)), round(size * 0.45), (60, 60, 255), -1, cv2.LINE_AA
        )
    put_text(canvas, text, (w - 4 - wide + 2 * size, middle), size, WHITE)
    return canvas


def notice(image: Image, text: str, colour: Colour = WHITE) -> Image:
    """A line of news across the lower edge."""
    canvas = image.copy()
    h, w = canvas.shape[:2]
    size = float(np.clip(min(h, w) / 28, 11, 36))
    size = fitted(text, size, w - 12, bold=True)
    top = round(h - 2.2 * size)
    shade(canvas, (0, top, w, h), 0.65)
    put_text(
        canvas, text, ((w - text_width(text, size, True)) / 2, top + 1.1 * size), size, colour, bold=True, rim=False
    )
    return canvas
