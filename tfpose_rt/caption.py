"""Words on a picture: text with a dark rim that is read on any background, and a panel for figures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from tfpose_rt.records import Image

Colour = tuple[int, int, int]  # BGR
Mask = npt.NDArray[np.uint8]

FONT = cv2.FONT_HERSHEY_SIMPLEX
UNICODE_FONT = int(cv2.__version__.split(".")[0]) >= 5
DARK: Colour = (24, 24, 24)
WHITE: Colour = (255, 255, 255)


def banner(
    image: Image, lines: Sequence[str | tuple[str, Colour]], *, corner: Literal["left", "right"] = "left"
) -> Image:
    """Lines of figures on a dark translucent panel in an upper corner.

    Args:
        image: (H, W, 3) uint8 BGR; not changed.
        lines: texts, each with its own colour or white; a text wider than the picture is shrunk to fit.
        corner: upper left or upper right.
    Returns: (H, W, 3) uint8 BGR, a new image.
    """
    canvas = image.copy()
    rows = [(line, WHITE) if isinstance(line, str) else line for line in lines]
    if not rows or min(canvas.shape[:2]) < 16:
        return canvas
    h, w = canvas.shape[:2]
    size = float(np.clip(min(h, w) / 36, 11, 40)) * min(1.0, (h - 8) / (min(h, w) / 36 * (len(rows) * 1.5 + 0.6)))
    size = min(fitted(text, size, w - 8 - 1.2 * size) for text, _ in rows)
    pad, step = size * 0.6, size * 1.5
    wide = max(text_width(text, size) for text, _ in rows) + 2 * pad
    x = 4 if corner == "left" else round(w - 4 - wide)
    box = (x, 4, round(x + wide), round(4 + len(rows) * step + pad))
    shade(canvas, box, 0.6)
    for i, (text, colour) in enumerate(rows):
        put_text(canvas, text, (x + pad, 4 + pad / 2 + (i + 0.5) * step), size, colour)
    return canvas


def put_text(
    canvas: Image,
    text: str,
    at: tuple[float, float],
    size: float,
    colour: Colour,
    *,
    bold: bool = False,
    rim: bool = True,
) -> None:
    """Write on `canvas` itself: text with a dark rim, `at` the middle of its left edge, `size` px from line to line."""
    fill, around, left, middle = _stamp(_writable(text), round(size, 1), bold, rim)
    h, w = canvas.shape[:2]
    x, y = round(at[0]) - left, round(at[1]) - middle
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + fill.shape[1], w), min(y + fill.shape[0], h)
    if x0 >= x1 or y0 >= y1:
        return
    part = canvas[y0:y1, x0:x1]
    cut = np.s_[y0 - y : y1 - y, x0 - x : x1 - x]
    if around is not None:
        part[:] = _mix(part, DARK, around[cut])
    part[:] = _mix(part, colour, fill[cut])


@lru_cache(maxsize=512)
def _stamp(text: str, size: float, bold: bool, rim: bool) -> tuple[Mask, Mask | None, int, int]:
    """Coverage (h, w) 0..255 of the letters and of their rim, and where in it the middle of the left edge lies.

    OpenCV 5 sets type with a real font engine, several times slower than blending a mask: what repeats is kept. The
    rim is the letters grown, not a wider stroke, which OpenCV 5 would turn into another weight and letter spacing.
    """
    factor, stroke = _font(size, bold)
    (wide, tall), base = cv2.getTextSize(text, FONT, factor, stroke)
    r = max(1, round(size / 16))
    pad = r + stroke + 2
    fill: Mask = np.zeros((tall + base + 2 * pad, wide + 2 * pad), np.uint8)
    cv2.putText(fill, text, (pad, pad + tall), FONT, factor, 255, stroke, cv2.LINE_AA)
    around = cv2.dilate(fill, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1))) if rim else None
    return fill, around, pad, pad + tall // 2  # type: ignore[return-value]


def _mix(part: Image, colour: Colour, mask: Mask) -> Image:
    """The picture with the colour laid over it as far as the mask covers it."""
    share = mask[..., None].astype(np.uint16)
    return np.asarray((part * (255 - share) + np.array(colour, np.uint16) * share + 127) // 255, np.uint8)


def _writable(text: str) -> str:
    """The text without control characters, and in the letters the font has: OpenCV 4's knows ASCII alone."""
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if UNICODE_FONT else text.replace("·", "|").encode("ascii", "replace").decode()


def _font(size: float, bold: bool = False) -> tuple[float, int]:
    """OpenCV's font factor and stroke for text of `size` px."""
    return size / 30, max(1, round(size / 14)) + (bold and UNICODE_FONT)  # a second px blots OpenCV 4's thin letters


def text_width(text: str, size: float, bold: bool = False) -> float:
    """The width in px of `text` as `put_text` writes it."""
    return float(cv2.getTextSize(_writable(text), FONT, *_font(size, bold))[0][0])


def fitted(text: str, size: float, width: float, *, bold: bool = False) -> float:
    """The size, at most `size` px, at which `text` is at most `width` px wide, or 1 px; widths do not scale evenly."""
    while size > 4 and text_width(text, size, bold) > width:
        size = max(1.0, size * min(0.97, width / text_width(text, size, bold)))
    return size


def shade(canvas: Image, box: tuple[int, int, int, int], share: float) -> None:
    """Darken a rectangle of `canvas` itself by `share`."""
    x0, y0, x1, y1 = box
    part = canvas[max(y0, 0) : y1, max(x0, 0) : x1]
    part[:] = cv2.convertScaleAbs(part, alpha=1 - share)
