"""Weights from the net: the only place where this program opens a connection nobody typed in as a source."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from tfpose_rt.assets import Entry, store_dir
from tfpose_rt.errors import OutputError, UsageError, WeightsError, line_of
from tfpose_rt.files import write_whole


def fetch(url: str, expected: str, *, progress: Callable[[int], None] = lambda _: None) -> bytes:
    """Download one file.

    Args:
        url: https (or http) address.
        expected: SHA-256, hex; anything else is thrown away.
        progress: told the number of bytes of each piece.
    Raises: WeightsError: unreachable, or not the file expected.
    """
    import http.client
    import urllib.error
    import urllib.request

    if not url.startswith(("https://", "http://")):
        raise UsageError(f"cannot fetch {url}", why="only http and https addresses", fix="tfpose-rt weights add FILE")
    pieces: list[bytes] = []
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            while piece := answer.read(1 << 18):
                pieces.append(piece)
                progress(len(piece))
    except (OSError, ValueError, http.client.HTTPException) as error:  # the last: no HTTP, or cut off
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is the answer, too
        raise WeightsError(f"cannot fetch {url}", why=line_of(error), fix="tfpose-rt weights add FILE") from error
    if hashlib.sha256(content := b"".join(pieces)).hexdigest() != expected.lower():
        raise WeightsError(
            f"fetched {url}", why="its SHA-256 is not the one expected; nothing was kept", fix="ask its maker"
        )
    return content


def download(entry: Entry, *, progress: Callable[[int], None] = lambda _: None) -> Path:
    """Fetch the file of an entry into the store; its smaller files, if any, are copied from beside its manifest.

    Raises: WeightsError: as `fetch`, or the entry has no address. OutputError: the store cannot be written.
    """
    if not entry.url:
        why, fix = "it ships, or was added by hand", f"tfpose-rt weights path {entry.name}"
        raise WeightsError(f"{entry.name} has no address", why=why, fix=fix)
    content = fetch(entry.url, entry.sha256, progress=progress)
    folder = store_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / entry.file, content)
        for name in filter(None, (entry.architecture, entry.bounds)):
            write_whole(folder / name, (entry.folder / name).read_bytes())
    except OSError as error:
        raise OutputError(f"cannot write {folder}", why=str(error.strerror or error), fix="--store FOLDER") from error
    return folder / entry.file
