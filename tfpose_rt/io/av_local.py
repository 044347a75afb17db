"""Opening a file with PyAV for reading, in the one way that is safe."""

from __future__ import annotations

from pathlib import Path

import av
from av.container import InputContainer


def open_local(path: Path) -> InputContainer:
    """The container behind a path.

    A name is never taken for a URL ("file:"), a playlist cannot reach the network (the whitelist), and tags in another
    encoding than UTF-8, which old cameras write, are no reason to refuse a file.

    Raises: FFmpegError, OSError, ValueError: FFmpeg cannot open it.
    """
    return av.open(
        f"file:{path}", options={"protocol_whitelist": "file,crypto,data"}, metadata_errors="replace", timeout=None
    )
