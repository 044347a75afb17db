"""What goes to people's shells, on every system."""

from __future__ import annotations

import io
import re
import shlex
import sys
from pathlib import Path
from typing import TextIO


def show_all(stream: TextIO) -> None:
    """Have characters that a stream cannot write come out as escapes: Windows' pipes have but some hundred."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        stream.reconfigure(errors="backslashreplace")


def quoted(word: str | Path) -> str:
    """A word as it is typed in a shell, quoted where it has to be; Windows' know no single quotes."""
    text = str(word)
    if sys.platform == "win32":
        return text if re.fullmatch(r"[\w.:/\\-]+", text) else f'"{text}"'
    return shlex.quote(text)


def install(extra: str) -> str:
    """The command that brings what an extra of this package names."""
    return f"pip install {quoted(f'tfpose-rt[{extra}]')}"


def system_libraries(error: BaseException) -> str:
    """What brings the shared library of the system that OpenCV's import has missed; "" for any other error.

    Containers and servers without a desktop lack them, and the import names only the first.
    """
    if not isinstance(error, ImportError) or not re.match(r"lib(GL|xcb|glib|gthread|SM|ICE)\b.*\.so", str(error)):
        return ""
    return (
        "apt install libgl1 libglib2.0-0 libsm6 libxcb1 (dnf install mesa-libGL glib2 libSM libxcb); "
        "or, for no windows, pip uninstall -y opencv-python && pip install opencv-python-headless"
    )


def make_folder(path: Path) -> str:
    """The command that makes a folder, and those it lies in."""
    return f"mkdir {quoted(path)}" if sys.platform == "win32" else f"mkdir -p {quoted(path)}"
