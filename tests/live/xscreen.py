"""A virtual X screen: start it, press keys on it, look at it."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


class Screen:
    """A running Xvfb."""

    def __init__(self, folder: Path, display: str, process: subprocess.Popen[bytes]) -> None:
        self.folder, self.display, self.process = folder, display, process
        self.environment = {**os.environ, "DISPLAY": display}

    def do(self, *command: str) -> str:
        """Run xdotool."""
        done = subprocess.run(
            ["xdotool", *command], env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout.strip()

    def window(self, name: str, seconds: float = 60) -> str:
        """Number of the window whose title holds `name`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = self.do("search", "--name", name).split()
            if found:
                return found[-1]
            time.sleep(0.1)
        raise AssertionError(f"no window {name}")

    def ask_to_close(self, window: str) -> None:
        """What a window manager does when the X button is clicked: send WM_DELETE_WINDOW."""
        x = ctypes.CDLL(ctypes.util.find_library("X11") or "libX11.so.6")
        x.XOpenDisplay.restype = ctypes.c_void_p
        x.XInternAtom.restype = ctypes.c_ulong
        display = ctypes.c_void_p(x.XOpenDisplay(self.display.encode()))

        class Message(ctypes.Structure):
            _fields_ = (
                ("type", ctypes.c_int), ("serial", ctypes.c_ulong), ("send_event", ctypes.c_int),
                ("display", ctypes.c_void_p), ("window", ctypes.c_ulong), ("message_type", ctypes.c_ulong),
                ("format", ctypes.c_int), ("data", ctypes.c_long * 5), ("pad", ctypes.c_long * 24),
            )  # fmt: skip

        atoms = [x.XInternAtom(display, name, 0) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW")]
        message = Message(33, 0, 1, display, int(window), atoms[0], 32, (ctypes.c_long * 5)(atoms[1], 0, 0, 0, 0))
        x.XSendEvent(display, ctypes.c_ulong(int(window)), 0, ctypes.c_long(0), ctypes.byref(message))
        x.XFlush(display)
        x.XCloseDisplay(display)

    def picture(self) -> Any:
        """(H, W, 3) uint8 BGR: what is on the screen, from Xvfb's own dump (XWD format, 32 bits a pixel)."""
        data = (self.folder / "Xvfb_screen0").read_bytes()
        head = np.frombuffer(data[:100], ">u4")
        size, width, height, line, colours = (int(head[i]) for i in (0, 4, 5, 12, 19))
        start = size + 12 * colours
        pixels = np.frombuffer(data[start : start + line * height], np.uint8).reshape(height, line // 4, 4)
        return pixels[:, :width, :3].copy()


@contextmanager
def screen(folder: Path, size: str = "1024x768") -> Iterator[Screen]:
    """A virtual screen of that size."""
    read, write = os.pipe()
    process = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", f"{size}x24", "-fbdir", str(folder), "-nolisten", "tcp"],
        pass_fds=(write,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write)
    try:
        with os.fdopen(read) as pipe:
            number = pipe.readline().strip()
        assert number, "Xvfb did not start"
        yield Screen(folder, f":{number}", process)
    finally:
        process.terminate()
        process.wait(60)


def missing() -> str:
    """Why there can be no virtual screen here; "" when there can."""
    absent = [tool for tool in ("Xvfb", "xdotool") if shutil.which(tool) is None]
    return f"needs {' and '.join(absent)} (apt-get install xvfb xdotool)" if absent else ""
