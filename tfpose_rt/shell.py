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


def make_folder(path: Path) -> str:
    """The command that makes a folder, and those it lies in."""
    return f"mkdir {quoted(path)}" if sys.platform == "win32" else f"mkdir -p {quoted(path)}"
