"""The pixels of varied crops by OpenCV, one person after another."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from tfpose_rt.crop import warp
from tfpose_rt.training.augment import Variations

Image = npt.NDArray[np.uint8]


def crop(picture: Image, varied: Variations, person: int, size: tuple[int, int]) -> Image:
    """One person's crop.

    Args:
        picture: (h, w, 3) uint8 BGR, whole.
        varied: of a batch.
        person: number in the batch.
        size: (W, H) px.
    Returns: (H, W, 3) uint8 RGB.
    """
    width, height = varied.sides[person]
    left = picture[:height, :width]
    if varied.mirrored[person]:
        left = left[:, ::-1]
    b, g, r = (int(value) for value in varied.fill[person])
    border = int(varied.border[person])
    image = warp(np.ascontiguousarray(left), varied.matrix[person], size, fill=(b, g, r), border=border)
    image = _degrade(_light(image, varied, person), varied, person)
    _hide(image, varied, person)
    return np.ascontiguousarray(image[..., ::-1])


def _light(image: Image, varied: Variations, person: int) -> Image:
    """Gamma, gain and tint through one table a channel; sometimes grey."""
    if varied.coloured[person]:
        ramp = (np.arange(256) / 255) ** varied.gamma[person]
        table = ((ramp - 0.5) * varied.gain[person] + 0.5)[:, None] + varied.offset[person]
        image = cv2.LUT(image, (table * 255).clip(0, 255).astype(np.uint8)[None])  # type: ignore[assignment]
    if varied.grey[person]:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)  # type: ignore[assignment]
    return image


def _degrade(image: Image, varied: Variations, person: int) -> Image:
    """Blurred, or reduced and enlarged again."""
    if varied.blur[person]:
        return cv2.GaussianBlur(image, (0, 0), float(varied.blur[person]))  # type: ignore[return-value]
    if varied.coarse[person, 0]:
        # the small size in whole px, not a factor: what a factor rounds away would move the picture off its joints
        small = cv2.resize(image, varied.coarse[person].tolist(), interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    return image


def _hide(image: Image, varied: Variations, person: int) -> None:
    """Cover rectangles, in place, by a flat colour or by another part of the same picture."""
    for number, (y, x, h, w, source_y, source_x) in enumerate(varied.patches[person]):
        if varied.flat[person, number]:
            image[y : y + h, x : x + w] = varied.paint[person, number]
        else:
            image[y : y + h, x : x + w] = image[source_y : source_y + h, source_x : source_x + w].copy()
