"""Strokes on a picture, drawn in place: lines, dots, rings and dashes, anti-aliased and placed to 1/16 px."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from tfpose_rt.caption import DARK, Colour
from tfpose_rt.records import Image

SHIFT = 4  # fractional bits of a coordinate given to OpenCV


def at(point: npt.NDArray[np.floating] | tuple[float, float]) -> tuple[int, int]:
    """A point in OpenCV's fixed-point form."""
    return round(float(point[0]) * (1 << SHIFT)), round(float(point[1]) * (1 << SHIFT))


def line(canvas: Image, a: Any, b: Any, colour: Colour, width: int) -> None:
    """A line of `width` px from point a to point b."""
    cv2.line(canvas, at(a), at(b), colour, width, cv2.LINE_AA, SHIFT)


def dot(canvas: Image, place: Any, colour: Colour, radius: float) -> None:
    """A filled circle of `radius` px."""
    cv2.circle(canvas, at(place), round(radius * (1 << SHIFT)), colour, -1, cv2.LINE_AA, SHIFT)


def ring(canvas: Image, place: Any, colour: Colour, radius: float) -> None:
    """A circle of `radius` px, at least 2.2, with a dark rim around it, and the picture within."""
    radius, thick = max(radius, 2.2), max(1, round(radius / 3))
    for tone, reach, stroke in ((DARK, radius + thick / 2 + 0.5, 1 + thick // 2), (colour, radius, thick)):
        cv2.circle(canvas, at(place), round(reach * (1 << SHIFT)), tone, stroke, cv2.LINE_AA, SHIFT)


def dashes(canvas: Image, a: Any, b: Any, colour: Colour, width: int, gap: float) -> None:
    """A dashed line of `width` px from a to b, less `gap` px at both ends; rimmed where it is wide enough."""
    way = np.asarray(b, np.float64) - a
    long = float(np.hypot(*way))
    dash = 4.0 * width + 2
    for tone, stroke in ((DARK, width + 2), (colour, width)) if width > 1 else ((colour, 1),):
        for begin in np.arange(gap, long - gap, 1.7 * dash).tolist():
            end = min(begin + dash, long - gap)
            line(canvas, a + way * (begin / long), a + way * (end / long), tone, stroke)
