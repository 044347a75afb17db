"""Opening a file with PyAV for reading, in the one way that is safe; and what its versions do differently."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

# For `av.open`: tags in another encoding than UTF-8, which old cameras write, are no reason to refuse a file. PyAV 19
# keeps their bytes and has no such words any more.
TAGS: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


def open_local(path: Path) -> InputContainer:
    """The container behind a path.

    A name is never taken for a URL ("file:"), and a playlist cannot reach the network (the whitelist).

    Raises: FFmpegError, OSError, ValueError: FFmpeg cannot open it.
    """
    options = {"protocol_whitelist": "file,crypto,data"}
    container: InputContainer = av.open(f"file:{path}", options=options, timeout=None, **TAGS)
    return container


def exact(rational: Any) -> Fraction | None:
    """A time base or rate of PyAV; None where it is not set: a fraction or None in 18, its own kind and 0/1 in 19."""
    return Fraction(rational.numerator, rational.denominator) if rational else None
