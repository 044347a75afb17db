"""How alike boxes and poses are; which poses of a frame show one person twice, and which show anybody. numpy only."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tfpose_rt.records import Poses, frozen
from tfpose_rt.skeleton import MASK_SHARE, oks

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
Precise = TypeVar("Precise", np.float32, np.float64)  # what goes in comes out

THERE = 0.55  # mean joint score from which somebody is where the detector sees nobody
SURE = 0.5  # detector score from which a box is a person whatever its joints say
FOUND = 0.3  # mean joint score from which a weaker box is one: what is less is hardly drawn
SAME_PERSON = 0.85  # OKS from which two poses of one frame are one person found twice
NESTED = 0.85  # share of the smaller box inside the larger one from which it may hold a part of the same person
SAME_NESTED = 0.6  # OKS from which it does: the part's missing joints are guesses, so less than SAME_PERSON is asked
SAME_COVER, SAME_KNOWN = 0.5, 0.4  # IoU, or OKS, from which a nested box is a part of a person known before it


def distinct(poses: Poses) -> Rows:
    """Rows of `poses` that are different people, ascending.

    Of two that are alike the better one stays; so it does where a second box holds only a part (the upper half, say)
    of the same person. A child before an adult has joints of its own, and stays.
    """
    worth = poses.box_scores.astype(np.float64) + mean_scores(poses)
    trust, areas, xy = weights(poses), person_areas(poses.boxes), places(poses)
    alike = pairwise_oks(xy, xy, trust, trust, np.minimum(areas[:, None], areas))
    part = pairwise_oks(xy, xy, trust, trust, np.maximum(areas[:, None], areas))
    boxes = poses.boxes.astype(np.float64)
    same = (alike >= SAME_PERSON) | ((inside(boxes, boxes) >= NESTED) & (part >= SAME_NESTED))
    kept: list[int] = []
    for row in np.argsort(-worth, kind="stable"):
        if not same[row, kept].any():
            kept.append(int(row))
    return np.array(sorted(kept), np.int64)


def convincing(poses: Poses) -> Bools:
    """(N,) whether each is a person on the strength of this frame alone.

    A sure box is; a weak one is if its joints were found too, which those of a ball, a bag or a dog are not.
    """
    if poses.scores is None:
        return np.ones(len(poses), np.bool_)
    return np.asarray((poses.box_scores >= SURE) | (mean_scores(poses) >= FOUND))


def repeats(poses: Poses, rows: Rows, known: Rows) -> Bools:
    """(len(rows),) which rows show a part, or the whole once more, of a person who is among `known` already.

    Asked of newcomers only, and so less strict than `distinct`: nobody turns up within the outline of another.
    """
    if not len(rows) or not len(known):
        return np.zeros(len(rows), np.bool_)
    boxes, areas, xy, trust = poses.boxes.astype(np.float64), person_areas(poses.boxes), places(poses), weights(poses)
    part = pairwise_oks(xy[rows], xy[known], trust[rows], trust[known], np.maximum(areas[rows, None], areas[known]))
    nested = inside(boxes[rows], boxes[known]) >= NESTED
    alike = (iou(boxes[rows], boxes[known]) >= SAME_COVER) | (part >= SAME_KNOWN)
    return np.asarray((nested & alike).any(1))


def joined(poses: Poses, more: Poses) -> Poses:
    """The people of two records of one frame, as the model gives them, in one."""
    fields = ("xy", "scores", "errors", "boxes", "box_scores")
    pairs = {name: (getattr(poses, name), getattr(more, name)) for name in fields}
    parts: dict[str, Any] = {
        name: frozen(np.concatenate(pair)) for name, pair in pairs.items() if all(p is not None for p in pair)
    }
    return dataclasses.replace(poses, **parts, box_from=(*poses.box_from, *more.box_from))


def added(poses: Poses, more: Poses) -> Rows:
    """Rows of `more`, found in boxes that are mere expectations, which are surely people and none of `poses` again."""
    both = joined(poses, more)
    rows, known = np.arange(len(poses), len(both)), np.arange(len(poses))
    sure = mean_scores(more) >= THERE
    if len(known) and len(rows):
        trust, areas, xy = weights(both), person_areas(both.boxes), places(both)
        smaller = np.minimum(areas[rows, None], areas[known])
        alike = pairwise_oks(xy[rows], xy[known], trust[rows], trust[known], smaller).max(1)
        sure &= (alike < SAME_NESTED) & ~repeats(both, rows, known)
    return np.flatnonzero(sure)


def iou(a: npt.NDArray[Precise], b: npt.NDArray[Precise]) -> npt.NDArray[Precise]:
    """Intersection over union of boxes a (A, 4) and b (B, 4), x0, y0, x1, y1 -> (A, B)."""
    both = overlap(a[:, None], b)
    return np.asarray(both / np.maximum(area(a)[:, None] + area(b) - both, 1e-9))


def inside(a: Array, b: Array) -> Array:
    """Share of the smaller box of each pair that lies in the larger one: boxes (A, 4), (B, 4) -> (A, B)."""
    return np.asarray(overlap(a[:, None], b) / np.minimum(area(a)[:, None], area(b)))


def overlap(a: npt.NDArray[Precise], b: npt.NDArray[Precise]) -> npt.NDArray[Precise]:
    """Area that boxes a (..., 4) and b (..., 4) have in common, pair by pair as they broadcast -> (...), px^2."""
    return np.asarray((np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])).clip(0).prod(-1))


def area(boxes: npt.NDArray[Precise]) -> npt.NDArray[Precise]:
    """Area of boxes (..., 4) -> (...), px^2; never 0."""
    return np.asarray((boxes[..., 2:] - boxes[..., :2]).clip(1e-3).prod(-1))


def pairwise_oks(
    a: npt.NDArray[np.floating], b: npt.NDArray[np.floating], weight_a: Array, weight_b: Array, area: Array
) -> Array:
    """Object keypoint similarity of every pair of poses, each joint counted as far as both poses trust it.

    Args:
        a: (A, K, 2) px.
        b: (B, K, 2) px.
        weight_a: (A, K) trust in the joints of a, >= 0.
        weight_b: (B, K) trust in the joints of b, >= 0.
        area: (A, B) or (A, 1) person areas, px^2.
    Returns: (A, B) in [0, 1].
    """
    weight = np.sqrt(weight_a[:, None] * weight_b)  # (A, B, K)
    joints = oks(a[:, None], b, np.broadcast_to(area, weight.shape[:2]))
    return np.asarray((joints * weight).sum(2) / np.maximum(weight.sum(2), 1e-9))


def mean_scores(poses: Poses) -> Array:
    """(N,) mean joint score; 0 where the model gives none."""
    return np.zeros(len(poses)) if poses.scores is None else poses.scores.mean(1, dtype=np.float64)


def places(poses: Poses) -> Array:
    """(N, K, 2) px, the joints; in the middle of the box those without a place of their own, which have no weight."""
    xy = poses.xy.astype(np.float64)
    nowhere = np.isnan(xy)
    if nowhere.any():
        middles = (poses.boxes[:, None, :2] + poses.boxes[:, None, 2:]) / 2
        xy = np.where(nowhere.any(-1, keepdims=True), middles, xy)
    return xy


def weights(poses: Poses) -> Array:
    """(N, K) trust in each joint, 0 without a place, else never quite: people with no sure joint can be compared."""
    if poses.scores is None:
        trust = np.ones(poses.xy.shape[:2])
    else:  # fmax: not a number counts as 0
        trust = np.asarray(np.fmin(np.fmax(poses.scores, 0.0), 1.0), np.float64) + 0.02
    nowhere = np.isnan(poses.xy)
    return np.where(nowhere.any(-1), 0.0, trust) if nowhere.any() else trust


def person_areas(boxes: npt.NDArray[np.floating]) -> Array:
    """(N,) person areas of boxes (N, 4), px^2; at least one pixel."""
    return np.asarray(MASK_SHARE * (boxes[:, 2:] - boxes[:, :2]).clip(1.0).prod(1), np.float64)


def span(points: Array) -> tuple[Array, Array]:
    """(4,) bounding box of points (J, 2), and (4,) its width, height, width, height, at least a pixel."""
    around = np.concatenate([points.min(0), points.max(0)])
    return around, np.maximum(around[[2, 3, 2, 3]] - around[[0, 1, 0, 1]], 1.0)


def margins(points: Array, box: Array) -> Array:
    """(4,) from the span of points (J, 2) to a box (4,), in units of the span."""
    around, unit = span(points)
    return np.asarray((box - around) / unit)
