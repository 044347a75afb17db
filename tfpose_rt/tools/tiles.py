"""Many small pictures on one large one, and the file they go to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from tfpose_rt.caption import WHITE, Colour, fitted, put_text
from tfpose_rt.errors import OutputError, UsageError
from tfpose_rt.records import Image

PAPER: Colour = (40, 40, 40)
GAP = 6  # px between two tiles
TEXT = 17  # px from line to line


def lettered(picture: Image, lines: Sequence[str | tuple[str, Colour]]) -> Image:
    """The picture with a strip of text lines under it, each white or in its own colour, shrunk where too wide.

    Args:
        picture: (H, W, 3) uint8 BGR; not changed.
        lines: from top to bottom.
    Returns: (H + strip, W, 3), a new image.
    """
    wide = picture.shape[1]
    strip = np.full((round(TEXT * 1.35 * len(lines)) + 6, wide, 3), PAPER, np.uint8)
    for i, line in enumerate(lines):
        text, colour = (line, WHITE) if isinstance(line, str) else line
        put_text(strip, text, (5, 3 + TEXT * 1.35 * (i + 0.5)), fitted(text, TEXT, wide - 10), colour, rim=False)
    return np.concatenate((picture, strip))


def mosaic(rows: Sequence[Sequence[Image]]) -> Image:
    """Rows of pictures in straight columns; a column is as wide as its widest, a row as high as its highest.

    Args:
        rows: at least one picture in all; (H, W, 3) uint8 BGR each, of any sizes; rows may differ in length.
    Returns: (H, W, 3) uint8 BGR.
    """
    columns = max(len(row) for row in rows)
    wide = [max(row[c].shape[1] for row in rows if c < len(row)) for c in range(columns)]
    high = [max((cell.shape[0] for cell in row), default=0) for row in rows]
    sheet = np.full((sum(high) + GAP * (len(high) + 1), sum(wide) + GAP * (columns + 1), 3), PAPER, np.uint8)
    y = GAP
    for row, tall in zip(rows, high, strict=True):
        x = GAP
        for cell, width in zip(row, wide[: len(row)], strict=True):
            sheet[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
            x += width + GAP
        y += tall + GAP
    return sheet


def short_names(paths: Sequence[Path]) -> list[str]:
    """What to call each path: its last part, or as many parts as tell it from the others; a number at last.

    ("runs/a/best", "runs/b/best", "x") -> ["a/best", "b/best", "x"].
    """
    whole = [path.absolute().parts for path in paths]
    length = [1] * len(paths)
    names = [parts[-1] for parts in whole]
    for _ in range(max(map(len, whole), default=0)):
        count = Counter(names)
        length = [n + (count[name] > 1) for n, name in zip(length, names, strict=True)]
        names = ["/".join(parts[-n:]) for n, parts in zip(length, whole, strict=True)]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: i + 1].count(name)})" for i, name in enumerate(names)
    ]


def check_picture(path: Path) -> None:
    """Raises: UsageError: no picture has that suffix; asked before any work that would be lost with it."""
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise UsageError(f"{path} is to be a picture", why="its suffix says otherwise", fix=f"{path.stem}.png")


def write_picture(path: Path, picture: Image) -> None:
    """Write a picture; the suffix picks the format.

    Raises: OutputError: it cannot be written.
    """
    try:
        path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())
    except (OSError, cv2.error) as error:
        raise OutputError(f"cannot write {path}", why=str(error), fix="another -o") from error
