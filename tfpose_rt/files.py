"""Small files on every system: texts that people wrote, and files that are whole or not there."""

from __future__ import annotations

import codecs
import os
import tomllib
from pathlib import Path
from typing import Any

from tfpose_rt.errors import UsageError

UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path) -> str:
    """A text that somebody wrote: UTF-8, with the mark in front that some editors put there, or without.

    UTF-16 where its mark says so, as what the > of Windows' PowerShell writes.

    Raises: OSError, UnicodeDecodeError.
    """
    data = path.read_bytes()
    return data.decode("utf-16" if data.startswith(UTF16) else "utf-8-sig")


def read_toml(file: Path) -> dict[str, Any]:
    """What the TOML file of a --config says.

    Raises: UsageError: there is no such file, or it is not TOML.
    """
    try:
        return tomllib.loads(read_text(file))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        why = (error.strerror or "").lower() if isinstance(error, OSError) else f"not TOML: {error}"
        fix = "the path of a TOML file" if isinstance(error, OSError) else "lines such as det_size = 640"
        raise UsageError(f"cannot read --config {file}", why=why, fix=fix) from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a neighbour first, then an atomic rename. Raises: OSError."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
