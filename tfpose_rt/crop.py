"""Box to crop and back, by UDP (Huang et al., "The Devil is in the Details", CVPR 2020).

Lengths are counted between pixel centres: a crop W pixels wide is W - 1 long, and (0, 0) is the centre of the first
pixel. One 2x3 matrix carries points and pictures alike, so what goes in comes back to the same place.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

ENLARGE = 1.25  # of the box on each axis, unless a model wants it closer
FILL = (114, 114, 114)  # what lies beyond the picture's edge


def fit_box(boxes: npt.ArrayLike, size: tuple[int, int], enlarge: float = ENLARGE) -> Array:
    """Enlarge boxes and grow them to the crop's shape about their centres; nobody is stretched.

    Args:
        boxes: (..., 4) x0, y0, x1, y1 px.
        size: (W, H) of the crop, px.
        enlarge: factor on both sides before growing.
    Returns: (..., 4) with width / height = (W - 1) / (H - 1); at least one pixel long.
    """
    boxes = np.asarray(boxes, np.float64)
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    sides = np.maximum((boxes[..., 2:] - boxes[..., :2]) * enlarge, 1.0)
    lengths = np.array(size, np.float64) - 1
    scale = (sides / lengths).max(-1, keepdims=True)  # source px per crop px
    half = scale * lengths / 2
    return np.concatenate((centre - half, centre + half), -1)


def crop_matrix(boxes: npt.ArrayLike, size: tuple[int, int], rotation: npt.ArrayLike = 0.0) -> Array:
    """The affine that carries a box's corners to the outermost pixel centres of the crop.

    Args:
        boxes: (..., 4) x0, y0, x1, y1 px, of the crop's shape (see `fit_box`).
        size: (W, H) of the crop, px.
        rotation: (...) degrees the picture is turned clockwise about the box's centre.
    Returns: (..., 2, 3), source px to crop px.
    Raises: ValueError: a box has no area.
    """
    boxes = np.asarray(boxes, np.float64)
    sides = boxes[..., 2:] - boxes[..., :2]
    if (sides <= 0).any():
        raise ValueError("crop_matrix needs boxes with an area")
    lengths = np.array(size, np.float64) - 1
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    angle = np.deg2rad(np.asarray(rotation, np.float64)) * np.ones(boxes.shape[:-1])
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.stack((np.stack((cos, -sin), -1), np.stack((sin, cos), -1)), -2)
    linear = (lengths / sides)[..., :, None] * turn
    shift = lengths / 2 - (linear @ centre[..., None])[..., 0]
    return np.concatenate((linear, shift[..., None]), -1)


def invert(matrices: npt.ArrayLike) -> Array:
    """The way back: (..., 2, 3) -> (..., 2, 3).

    Raises: ValueError: a matrix cannot be inverted.
    """
    matrices = np.asarray(matrices, np.float64)
    if (np.abs(np.linalg.det(matrices[..., :2])) < 1e-12).any():
        raise ValueError("the matrix cannot be inverted: its box has no area")
    linear = np.linalg.inv(matrices[..., :2])
    return np.concatenate((linear, -(linear @ matrices[..., 2:])), -1)


def scale_of(matrices: npt.ArrayLike) -> Array:
    """Crop px per source px of crops (..., 2, 3) that stretch nobody -> (...)."""
    return np.asarray(np.sqrt(np.abs(np.linalg.det(np.asarray(matrices, np.float64)[..., :2]))))


def apply(matrices: npt.ArrayLike, points: npt.ArrayLike) -> Array:
    """Carry points: matrices (..., 2, 3), points (..., K, 2) -> (..., K, 2)."""
    matrices, points = np.asarray(matrices, np.float64), np.asarray(points, np.float64)
    return np.asarray(points @ np.swapaxes(matrices[..., :2], -1, -2) + matrices[..., None, :, 2])


def warp(
    image: npt.NDArray[np.uint8],
    matrix: Array,
    size: tuple[int, int],
    *,
    fill: tuple[int, int, int] = FILL,
    border: int = cv2.BORDER_CONSTANT,
) -> npt.NDArray[np.uint8]:
    """Cut the crop out of the picture, bilinear; a picture more than twice too large is averaged down first.

    Args:
        image: (H, W, 3) uint8.
        matrix: (2, 3), picture px to crop px.
        size: (W, H) of the crop.
        fill: colour beyond the picture's edge, in the picture's channel order.
        border: OpenCV's border mode.
    Returns: (H, W, 3) uint8.
    """
    shrink = int(1 / scale_of(matrix))  # picture px per crop px, rounded down
    if shrink >= 2:
        image, matrix = _shrink(image, matrix, size, shrink)
    return cv2.warpAffine(  # type: ignore[return-value]
        image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border, borderValue=fill
    )


def _shrink(
    image: npt.NDArray[np.uint8], matrix: Array, size: tuple[int, int], factor: int
) -> tuple[npt.NDArray[np.uint8], Array]:
    """Average the part of the picture that the crop reads down by a whole factor; bilinear alone would skip pixels."""
    h, w = image.shape[:2]
    corners = apply(invert(matrix), [[0, 0], [size[0], 0], [0, size[1]], size])
    low = np.maximum(np.floor(corners.min(0)).astype(int) - 2 * factor, 0)  # whole small pixels beyond the crop's edge
    high = np.minimum(np.ceil(corners.max(0)).astype(int) + 2 * factor, (w, h))
    sides = -(-(high - low) // factor)  # rounded up
    if (high <= low).any():
        return image, matrix
    part = image[low[1] : low[1] + sides[1] * factor, low[0] : low[0] + sides[0] * factor]
    pad = sides * factor - (part.shape[1], part.shape[0])
    if pad.any():  # whole blocks only: repeat the last row or column rather than stretch
        part = cv2.copyMakeBorder(part, 0, int(pad[1]), 0, int(pad[0]), cv2.BORDER_REPLICATE)  # type: ignore[assignment]
    small = cv2.resize(part, (int(sides[0]), int(sides[1])), interpolation=cv2.INTER_AREA)
    # the centre of small pixel i is picture pixel low + factor * i + (factor - 1) / 2
    back = np.array([[factor, 0, low[0] + (factor - 1) / 2], [0, factor, low[1] + (factor - 1) / 2], [0, 0, 1]])
    return small, matrix @ back  # type: ignore[return-value]
