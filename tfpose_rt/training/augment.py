"""From a labelled person to a training crop: geometry first, one matrix for picture and points, then light.

Each step takes a numpy Generator, so a sample is a function of (seed, epoch, index) alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from tfpose_rt import skeleton
from tfpose_rt.config import AugmentConfig
from tfpose_rt.crop import apply, crop_matrix, fit_box, warp
from tfpose_rt.training.data import Sample

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Crop:
    """What the loss needs of one training crop.

    Args:
        image: (H, W, 3) uint8 RGB.
        xy: (K, 2) in units of the crop: pixel (x + 0.5) / W.
        weight: (K,) trust in the coordinate; 0 = no coordinate loss.
        known: (K,) 1 where it is known whether the joint is in the crop, 0 where nothing is known.
        area: square px of the crop.
    """

    image: Image
    xy: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]
    known: npt.NDArray[np.float32]
    area: float


def plain_crop(sample: Sample, size: tuple[int, int]) -> Crop:
    """The crop that evaluation sees: no variation."""
    matrix = crop_matrix(fit_box(sample.box, size), size)
    image = warp(sample.read(), matrix, size)
    return _pack(image, matrix, sample, sample.xy, sample.weight, (sample.weight > 0).astype(np.float32), size)


def random_crop(sample: Sample, size: tuple[int, int], recipe: AugmentConfig, rng: Generator) -> Crop:
    """One variation of the person."""
    image, xy, weight, box = sample.read(), sample.xy, sample.weight.copy(), sample.box
    known = (weight > 0).astype(np.float32)
    if rng.random() < recipe.half_body:
        box = half_body(box, xy, weight, rng)
    if rng.random() < recipe.cut:
        image, box, gone = cut_off(image, box, xy, weight, rng)
        weight[gone] = 0  # known to be absent: no coordinate loss, but the score must say so
    box = jitter_box(box, recipe, rng)
    flipped = rng.random() < recipe.flip
    if flipped:
        image, box, xy, weight, known = mirror(image, box, xy, weight, known)
    degrees = 0.0
    if rng.random() < recipe.tumble:
        degrees = rng.uniform(-180, 180)
    elif rng.random() < recipe.rotate:
        degrees = rng.uniform(-recipe.degrees, recipe.degrees)
    matrix = crop_matrix(fit_box(box, size), size, degrees)
    fill, border = random_fill(rng)
    image = warp(image, matrix, size, fill=fill, border=border)
    image = vary_light(image, recipe, rng)
    if rng.random() < recipe.erase:
        erase(image, rng)
    return _pack(image, matrix, sample, xy, weight, known, size)


def _pack(
    image: Image,
    matrix: npt.NDArray[np.float64],
    sample: Sample,
    xy: npt.NDArray[np.float32],
    weight: npt.NDArray[np.float32],
    known: npt.NDArray[np.float32],
    size: tuple[int, int],
) -> Crop:
    points = apply(matrix, xy)
    inside = ((points >= -0.5) & (points <= np.array(size) - 0.5)).all(-1)
    scale = abs(np.linalg.det(matrix[:, :2]))
    normalised = ((points + 0.5) / size).astype(np.float32)
    rgb = np.ascontiguousarray(image[..., ::-1])
    return Crop(rgb, normalised, weight * inside, known, float(sample.area * scale))


def half_body(
    box: npt.NDArray[np.float32], xy: npt.NDArray[np.float32], weight: npt.NDArray[np.float32], rng: Generator
) -> npt.NDArray[np.float32]:
    """A box around the upper or the lower body alone; unchanged where fewer than four of its joints are known."""
    names = skeleton.NAMES if len(xy) == len(skeleton.NAMES) else skeleton.MPII_NAMES
    lower = rng.random() >= 0.65
    part = [k for k, name in enumerate(names) if name.endswith(("hip", "knee", "ankle")) == lower and weight[k] > 0]
    if len(part) < 4 or (weight > 0).sum() < 8:
        return box
    low, high = xy[part].min(0), xy[part].max(0)
    margin = (high - low).max() * 0.15 + 2
    return np.concatenate((low - margin, high + margin)).astype(np.float32)


def cut_off(
    image: Image,
    box: npt.NDArray[np.float32],
    xy: npt.NDArray[np.float32],
    weight: npt.NDArray[np.float32],
    rng: Generator,
) -> tuple[Image, npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """End the picture somewhere across the person: (shorter picture, shorter box, (K,) joints now outside it)."""
    height, width = image.shape[:2]
    nothing = np.zeros(len(xy), bool)
    if rng.random() < 0.75:  # below, as a desk or the picture's lower edge does
        line = int(box[1] + (box[3] - box[1]) * rng.uniform(0.14, 0.85))
        if not 24 < line < height:
            return image, box, nothing
        image, gone = image[:line], xy[:, 1] > line - 0.5
        box = np.array([box[0], box[1], box[2], line], np.float32)
    else:
        line = int(box[0] + (box[2] - box[0]) * rng.uniform(0.5, 0.85))
        if not 24 < line < width:
            return image, box, nothing
        image, gone = image[:, :line], xy[:, 0] > line - 0.5
        box = np.array([box[0], box[1], line, box[3]], np.float32)
    return image, box, gone & (weight > 0)


def jitter_box(box: npt.NDArray[np.float32], recipe: AugmentConfig, rng: Generator) -> npt.NDArray[np.float32]:
    """Move and scale the box as a detector's errors and a zoom would."""
    sides = box[2:] - box[:2]
    centre = (box[:2] + box[2:]) / 2 + rng.normal(0, recipe.shift, 2) * sides
    zoom = np.clip(rng.normal(0.98, 0.17), *recipe.zoom)
    half = sides * zoom * rng.normal(1, 0.04, 2).clip(0.85, 1.15) / 2
    return np.concatenate((centre - half, centre + half)).astype(np.float32)


def mirror(
    image: Image, box: npt.NDArray[np.float32], xy: npt.NDArray[np.float32], *per_joint: npt.NDArray[np.float32]
) -> tuple[Image, npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Mirror picture and labels; the person's left becomes the right. x' = W - 1 - x exactly."""
    last = image.shape[1] - 1
    flip = list(skeleton.FLIPS[len(xy)])
    box = np.array([last - box[2], box[1], last - box[0], box[3]], np.float32)
    xy = np.stack((last - xy[:, 0], xy[:, 1]), -1)[flip]
    weight, known = (values[flip] for values in per_joint)
    return np.ascontiguousarray(image[:, ::-1]), box, xy, weight, known


def random_fill(rng: Generator) -> tuple[tuple[int, int, int], int]:
    """Colour and border mode beyond the picture: mostly what inference uses, sometimes anything, so none is learned."""
    draw = rng.random()
    if draw < 0.5:
        return (114, 114, 114), cv2.BORDER_CONSTANT
    if draw < 0.75:
        b, g, r = (int(v) for v in rng.integers(0, 256, 3))
        return (b, g, r), cv2.BORDER_CONSTANT
    return (0, 0, 0), cv2.BORDER_REPLICATE if draw < 0.9 else cv2.BORDER_REFLECT_101


def vary_light(image: Image, recipe: AugmentConfig, rng: Generator) -> Image:
    """Gain, contrast, gamma and tint through one table a channel; sometimes grey, blurred or coarse."""
    if rng.random() < recipe.colour:
        ramp = np.arange(256, dtype=np.float32) / 255
        gamma, gain = np.exp(rng.normal(0, 0.25)), np.exp(rng.normal(0, 0.15))
        table = np.stack([(ramp**gamma - 0.5) * gain + 0.5 + rng.normal(0, 0.05) for _ in range(3)], -1)
        image = cv2.LUT(image, (table * 255).clip(0, 255).astype(np.uint8)[None])  # type: ignore[assignment]
        if rng.random() < 0.1:
            image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)  # type: ignore[assignment]
    if rng.random() < recipe.degrade:
        h, w = image.shape[:2]
        if rng.random() < 0.5:
            image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 2.0))  # type: ignore[assignment]
        else:
            small = cv2.resize(image, None, fx=(f := rng.uniform(0.25, 0.6)), fy=f, interpolation=cv2.INTER_AREA)
            image = cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    return image


def erase(image: Image, rng: Generator) -> None:
    """Hide one or two rectangles, in place: flat colour, or another part of the same picture."""
    h, w = image.shape[:2]
    for _ in range(int(rng.integers(1, 3))):
        eh, ew = (int(side * rng.uniform(0.08, 0.35)) for side in (h, w))
        y, x = int(rng.integers(0, h - eh)), int(rng.integers(0, w - ew))
        if rng.random() < 0.5:
            image[y : y + eh, x : x + ew] = rng.integers(0, 256, 3)
        else:
            sy, sx = int(rng.integers(0, h - eh)), int(rng.integers(0, w - ew))
            image[y : y + eh, x : x + ew] = image[sy : sy + eh, sx : sx + ew].copy()
