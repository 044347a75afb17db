"""What is varied in training crops, and where their joints come to lie; the pixels follow on the host or the device.

People come in batches, decisions as arrays over them. Every number a person needs is drawn before anything is decided,
so a crop is a function of the person and its own generator, whoever else is in the batch and whoever paints it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from tfpose_rt import skeleton
from tfpose_rt.crop import ENLARGE, FILL, apply, crop_matrix, fit_box, scale_of
from tfpose_rt.training.data import Sample
from tfpose_rt.training.settings import AugmentConfig

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.float32]
Whole = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class Dice:
    """Random numbers for B people: a row each, dealt column by column to all of them at once."""

    COLUMNS = 64  # more than `vary` asks for

    def __init__(self, generators: Sequence[Generator]) -> None:
        self.rows = np.stack([generator.random(self.COLUMNS) for generator in generators])
        self.dealt = 0

    def random(self, *shape: int) -> Floats:
        """(B, *shape), 0 to 1, 1 left out."""
        first, self.dealt = self.dealt, self.dealt + int(np.prod(shape, dtype=int))
        assert self.dealt <= self.COLUMNS
        return self.rows[:, first : self.dealt].reshape(len(self.rows), *shape)

    def uniform(self, low: npt.ArrayLike, high: npt.ArrayLike) -> Floats:
        """(B,), between numbers that may differ by person."""
        low = np.asarray(low)
        return np.asarray(low + (np.asarray(high) - low) * self.random())

    def integer(self, low: npt.ArrayLike, high: npt.ArrayLike) -> Whole:
        """(B,), `high` left out."""
        return np.floor(self.uniform(low, high)).astype(np.int64)

    def normal(self, *shape: int) -> Floats:
        """(B, *shape) of mean 0 and deviation 1, by Box and Muller."""
        radius, angle = np.sqrt(-2 * np.log1p(-self.random(*shape))), 2 * np.pi * self.random(*shape)
        return np.asarray(radius * np.cos(angle))

    def colour(self) -> npt.NDArray[np.uint8]:
        """(B, 3), every colour alike."""
        return (self.random(3) * 256).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Variations:
    """What is done to B people's pictures, and what the loss needs of their crops. Colours are the picture's: BGR.

    Args:
        sides: (B, 2) w, h px of the picture that are left; the rest is cut off.
        mirrored: (B,) whether what is left is mirrored before the matrix.
        matrix: (B, 2, 3) px of what is left, mirrored, to px of the crop.
        fill: (B, 3) colour beyond the picture's edge, for cv2.BORDER_CONSTANT.
        border: (B,) OpenCV's border mode.
        coloured: (B,) whether the next three apply.
        gamma, gain: (B,); offset: (B, 3) by channel.
        grey: (B,) whether colours are taken away.
        blur: (B,) deviation in px; 0 = sharp.
        coarse: (B, 2) w, h px the crop is reduced to and enlarged from; 0 = not.
        patches: (B, 2, 6) hidden rectangles y, x, h, w, and y, x of what is copied there, px; h = 0 = none.
        flat: (B, 2) whether the rectangle gets a colour, not a copy.
        paint: (B, 2, 3) that colour.
        xy: (B, K, 2) in units of the crop: pixel (x + 0.5) / W.
        weight: (B, K) trust in the coordinate; 0 = no coordinate loss.
        known: (B, K) 1 where it is known whether the joint is in the crop, 0 where nothing is known.
        area: (B,) square px of the crop.
    """

    sides: Whole
    mirrored: Flags
    matrix: Floats
    fill: npt.NDArray[np.uint8]
    border: Whole
    coloured: Flags
    gamma: Floats
    gain: Floats
    offset: Floats
    grey: Flags
    blur: Floats
    coarse: Whole
    patches: Whole
    flat: Flags
    paint: npt.NDArray[np.uint8]
    xy: Labels
    weight: Labels
    known: Labels
    area: Labels

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All of them by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def part(self, rows: slice) -> Variations:
        """Some of the people."""
        return Variations(**{name: array[rows] for name, array in self.arrays().items()})


def vary(
    samples: Sequence[Sample],
    sides: npt.ArrayLike,
    size: tuple[int, int],
    recipe: AugmentConfig,
    dice: Dice,
    enlarge: float = ENLARGE,
) -> Variations:
    """One variation of each person.

    Args:
        samples: B people, with as many joints each.
        sides: (B, 2) w, h px of their pictures.
        size: (W, H) px of the crop.
        recipe: how strongly.
        dice: numbers of these people.
        enlarge: of the box, around which crops vary; what the model sees in use.
    """
    sides = np.asarray(sides, np.int64)
    box = np.stack([s.box for s in samples]).astype(np.float64)
    xy, weight = (np.stack([getattr(s, name) for s in samples]).astype(np.float32) for name in ("xy", "weight"))
    known = (weight > 0).astype(np.float32)
    box = _where(dice.random() < recipe.half_body, half_body(box, xy, weight, dice), box)
    cut = dice.random() < recipe.cut
    left, shorter, gone = cut_off(box, xy, sides, dice)
    sides, box = _where(cut, left, sides), _where(cut, shorter, box)
    weight = np.where(cut[:, None] & gone, np.float32(0), weight)  # no coordinate loss, but the score must say so
    box = jitter_box(box, recipe, dice)
    mirrored = dice.random() < recipe.flip
    flipped = mirror(sides, box, xy, weight, known)
    box, xy = _where(mirrored, flipped[0], box), _where(mirrored, flipped[1], xy)
    weight, known = _where(mirrored, flipped[2], weight), _where(mirrored, flipped[3], known)
    tumbled, turned, angle = dice.random() < recipe.tumble, dice.random() < recipe.rotate, dice.uniform(-1, 1)
    degrees = angle * np.where(tumbled, 180, np.where(turned, recipe.degrees, 0))
    matrix = crop_matrix(fit_box(box, size, enlarge), size, degrees)
    points = apply(matrix, xy)
    inside = ((points >= -0.5) & (points <= np.array(size) - 0.5)).all(-1)
    area = np.array([s.area for s in samples]) * scale_of(matrix) ** 2
    fill, border = random_fill(dice)
    coloured, gamma, gain, offset, grey = random_light(recipe, dice)
    blur, coarse = random_blur(size, recipe, dice)
    patches, flat, paint = random_patches(size, recipe, dice)
    return Variations(
        sides=sides, mirrored=mirrored, matrix=matrix, fill=fill, border=border, coloured=coloured, gamma=gamma,
        gain=gain, offset=offset, grey=grey, blur=blur, coarse=coarse, patches=patches, flat=flat, paint=paint,
        xy=((points + 0.5) / size).astype(np.float32), weight=weight * inside, known=known,
        area=area.astype(np.float32),
    )  # fmt: skip


def _where(chosen: Flags, new: npt.NDArray[Any], old: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`new` for the chosen people, `old` for the others."""
    return np.where(chosen.reshape(-1, *[1] * (old.ndim - 1)), new, old)


def half_body(box: Floats, xy: Labels, weight: Labels, dice: Dice) -> Floats:
    """Boxes (B, 4) around upper or lower bodies alone; unchanged where fewer than four of its joints are known."""
    names = skeleton.NAMES if xy.shape[1] == len(skeleton.NAMES) else skeleton.MPII_NAMES
    lower = np.array([name.endswith(("hip", "knee", "ankle")) for name in names])
    part = (lower == (dice.random() >= 0.65)[:, None]) & (weight > 0)
    low = np.where(part[..., None], xy, np.inf).min(1)
    high = np.where(part[..., None], xy, -np.inf).max(1)
    margin = (high - low).max(1, keepdims=True) * 0.15 + 2
    enough = (part.sum(1) >= 4) & ((weight > 0).sum(1) >= 8)
    return _where(enough, np.concatenate((low - margin, high + margin), 1), box)


def cut_off(box: Floats, xy: Labels, sides: Whole, dice: Dice) -> tuple[Whole, Floats, Flags]:
    """End the picture somewhere across the person, below (as a desk or the picture's lower edge does) or on the right.

    Returns: (B, 2) shorter sides, (B, 4) shorter boxes, (B, K) joints now outside the picture.
    """
    people, axis = np.arange(len(box)), np.where(dice.random() < 0.75, 1, 0)
    start, end = box[people, axis], box[people, axis + 2]
    line = (start + (end - start) * dice.uniform(np.where(axis == 1, 0.14, 0.5), 0.85)).astype(np.int64)
    fits = (line > 24) & (line < sides[people, axis])
    left, shorter = sides.copy(), box.copy()
    left[people, axis], shorter[people, axis + 2] = line, line
    gone = xy[people, :, axis] > line[:, None] - 0.5
    return _where(fits, left, sides), _where(fits, shorter, box), gone & fits[:, None]


def jitter_box(box: Floats, recipe: AugmentConfig, dice: Dice) -> Floats:
    """Move and scale boxes (B, 4) as a detector's errors and a zoom would."""
    sides = box[:, 2:] - box[:, :2]
    centre = (box[:, :2] + box[:, 2:]) / 2 + recipe.shift * dice.normal(2) * sides
    zoom = np.clip(0.98 + 0.17 * dice.normal(1), *recipe.zoom)
    half = sides * zoom * (1 + 0.04 * dice.normal(2)).clip(0.85, 1.15) / 2
    return np.concatenate((centre - half, centre + half), 1)


def mirror(
    sides: Whole, box: Floats, xy: Labels, weight: Labels, known: Labels
) -> tuple[Floats, Labels, Labels, Labels]:
    """Mirror the labels of pictures (B, 2) w, h; a person's left becomes the right. x' = w - 1 - x exactly."""
    last, flip = sides[:, :1] - 1, list(skeleton.FLIPS[xy.shape[1]])
    box = np.concatenate((last - box[:, 2:3], box[:, 1:2], last - box[:, :1], box[:, 3:]), 1)
    xy = np.stack((last.astype(np.float32) - xy[..., 0], xy[..., 1]), -1)
    return box, xy[:, flip], weight[:, flip], known[:, flip]


def random_fill(dice: Dice) -> tuple[npt.NDArray[np.uint8], Whole]:
    """Colour and border mode beyond the picture: mostly what inference uses, sometimes anything, so none is learned."""
    draw, colour = dice.random(), dice.colour()
    fill = np.where((draw < 0.5)[:, None], np.array(FILL, np.uint8), colour)
    repeated = np.where(draw < 0.9, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101)
    return fill, np.where(draw < 0.75, cv2.BORDER_CONSTANT, repeated)


def random_light(recipe: AugmentConfig, dice: Dice) -> tuple[Flags, Floats, Floats, Floats, Flags]:
    """Whether coloured, gamma, gain, offsets of the channels, whether grey."""
    coloured = dice.random() < recipe.colour
    gamma, gain, offset = np.exp(0.25 * dice.normal()), np.exp(0.15 * dice.normal()), 0.05 * dice.normal(3)
    return coloured, gamma, gain, offset, coloured & (dice.random() < 0.1)


def random_blur(size: tuple[int, int], recipe: AugmentConfig, dice: Dice) -> tuple[Floats, Whole]:
    """Deviation of the blur, (B, 2) px of the coarse picture; one of them or none, and then 0."""
    degraded, blurred = dice.random() < recipe.degrade, dice.random() < 0.5
    blur, factor = dice.uniform(0.6, 2.0), dice.uniform(0.25, 0.6)
    coarse = np.rint(factor[:, None] * size).astype(np.int64).clip(1)
    return blur * (degraded & blurred), coarse * (degraded & ~blurred)[:, None]


def random_patches(
    size: tuple[int, int], recipe: AugmentConfig, dice: Dice
) -> tuple[Whole, Flags, npt.NDArray[np.uint8]]:
    """One or two rectangles to hide: where, whether with a flat colour, the colour."""
    width, height = size
    count = dice.integer(1, 3) * (dice.random() < recipe.erase)
    patches, flat, paint = [], [], []
    for number in range(2):
        h, w = (np.floor(side * dice.uniform(0.08, 0.35)).astype(np.int64) for side in (height, width))
        places = [dice.integer(0, side) for side in (height - h, width - w, height - h, width - w)]
        y, x, source_y, source_x = places
        patches.append(np.stack((y, x, h * (count > number), w, source_y, source_x), 1))
        flat.append(dice.random() < 0.5)
        paint.append(dice.colour())
    return np.stack(patches, 1), np.stack(flat, 1), np.stack(paint, 1)
