"""Ids for people: matching on boxes and keypoints, constant velocity in between. numpy and scipy only, no model.

A track is the last pose of one person and how fast it moved. On each frame every track is carried forward to the
frame's time, compared with every pose found (box IoU and keypoint OKS), and the best total pairing is taken: first the
sure detections, then, among the tracks left over, the weak ones (as ByteTrack does). What matches nothing is a new id.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from tfpose_rt.records import Detections, Poses, frozen
from tfpose_rt.skeleton import oks

Array = npt.NDArray[np.float64]

SURE = 0.5  # detector score from which a detection is matched in the first round
GATE, WEAK_GATE = 0.1, 0.3  # least similarity (mean of IoU and OKS) of a pair, in the first and the second round
SAME_PERSON = 0.85  # OKS from which two poses of one frame are one person found twice
NESTED = 0.85  # share of the smaller box inside the larger one from which it may hold a part of the same person
SAME_NESTED = 0.6  # OKS from which it does: the part's missing joints are guesses, so less than SAME_PERSON is asked
BODY_SHARE = 0.53  # person area / box area, COCO's usual stand-in for the mask
REST = 0.25  # s, time constant of the velocity estimate: two strides of jitter, not one
HORIZON = 1.0  # s, nobody is trusted to walk straight on for longer
SEEN_THR = 0.2  # score from which a joint takes part in a carried box
MIN_INSIDE = 0.2  # share of a carried box that has to lie in the picture


@dataclass(frozen=True, slots=True)
class _Track:
    """One person: what was seen last, when, and how it moved."""

    id: int
    xy: Array  # (K, 2) px
    weight: Array  # (K,) trust in each joint
    box: Array  # (4,) px
    score: float
    t: float  # s, time of xy
    born: float  # s
    velocity: Array  # (2,) px/s
    joints: npt.NDArray[np.bool_]  # (K,) the joints that span the carried box
    margins: Array  # (4,) from the span of those joints to the detector's box, in units of the span

    def move(self, pts: float) -> Array:
        """(2,) px the person is expected to have moved by time `pts`."""
        return self.velocity * float(np.clip(pts - self.t, 0.0, HORIZON))


class Tracker:
    """Gives each person of a stream one integer id, never used again for another.

    Deterministic: the same poses in the same order give the same ids, so a recording replayed through a new tracker
    ends in the same state.

    Args:
        buffer_s: s an unseen person's id is kept for.
    """

    def __init__(self, buffer_s: float = 1.0) -> None:
        self.buffer_s = buffer_s
        self.ids_given = 0  # also the next id
        self._tracks: list[_Track] = []
        self._time = -np.inf  # pts of the last update
        self._step = 0.8  # s between updates, lately
        self._size = (0, 0)

    def reset(self) -> None:
        """Forget everybody; numbering goes on."""
        self._tracks = []

    def update(self, poses: Poses) -> Poses:
        """Give ids to the poses of one frame.

        Args:
            poses: N people of one frame, px of the frame; `pts` later than that of the frame before.
        Returns: new Poses with `ids` and `new` filled, in the order given; at most N people: one who was found twice
            is kept once, with the better score.
        """
        poses = _take(poses, distinct(poses))
        self._rescale(poses.size)
        self._expire(poses.pts)
        ids = np.full(len(poses), -1, np.int64)
        weak = poses.box_scores < SURE
        for turn, gate in ((~weak, GATE), (weak, WEAK_GATE)):
            rows = np.flatnonzero(turn)
            free = [t for t in self._tracks if t.id not in ids]
            for track, row in self._match(free, poses, rows, gate):
                ids[row] = track.id
        new = ids < 0
        ids[new] = self.ids_given + np.arange(new.sum())
        self.ids_given += int(new.sum())
        known = {t.id: t for t in self._tracks}
        seen = {int(i): _observe(known.get(int(i)), int(i), poses, row) for row, i in enumerate(ids)}
        self._tracks = sorted((known | seen).values(), key=lambda t: t.id)
        return dataclasses.replace(poses, ids=frozen(ids, np.int64), new=frozen(new, np.bool_))

    def predicted(self, pts: float, *, lost: bool = False) -> Detections:
        """Boxes for a frame on which the detector does not run, carried by the keypoints of the frame before.

        Args:
            pts: s, time of the coming frame.
            lost: also people who are not seen at the moment but still remembered (for privacy masks).
        Returns: boxes (N, 4) px, clipped to the picture, and the detector's last scores; a person who has all but left
            the picture is not among them. Changes nothing in the tracker.
        """
        tracks = [t for t in self._tracks if lost or t.t == self._time]
        boxes = np.array([_carried(t) + np.tile(t.move(pts), 2) for t in tracks]).reshape(-1, 4)
        scores = np.array([t.score for t in tracks], np.float64)
        area = (boxes[:, 2:] - boxes[:, :2]).clip(1e-6).prod(1)
        w, h = self._size
        clipped = boxes.clip(-0.5, np.array([w, h, w, h]) - 0.5)  # pixel centres: the picture ends at W - 0.5
        extent = clipped[:, 2:] - clipped[:, :2]
        keep = (extent.clip(0).prod(1) >= MIN_INSIDE * area) & (extent.min(1, initial=np.inf) >= 2)
        return Detections(frozen(clipped[keep]), frozen(scores[keep]))

    def _match(
        self, tracks: list[_Track], poses: Poses, rows: npt.NDArray[np.int64], gate: float
    ) -> list[tuple[_Track, int]]:
        """The pairing of tracks and rows of `poses` with the best total similarity; pairs under `gate` are left out."""
        if not tracks or not len(rows):
            return []
        moves = np.array([t.move(poses.pts) for t in tracks])  # (T, 2)
        age = np.array([poses.pts - t.t for t in tracks])
        blind = np.array([t.born == t.t for t in tracks])  # seen once: no velocity yet
        boxes = np.array([t.box for t in tracks]) + np.tile(moves, 2)
        overlap = iou(boxes, poses.boxes[rows].astype(np.float64))
        # A prediction is a Gaussian too: its spread adds to that of the joints, more for the blind and the long unseen.
        spread = 1 + 8 * np.minimum(age, HORIZON) + 2 * blind
        alike = pairwise_oks(
            np.array([t.xy for t in tracks]) + moves[:, None],
            poses.xy[rows].astype(np.float64),
            np.array([t.weight for t in tracks]),
            _weights(poses)[rows],
            (_areas(boxes) * spread)[:, None],
        )
        similarity = (overlap + alike) / 2
        worth = np.where(similarity >= gate, similarity - 0.05 * (age / max(self.buffer_s, 1e-6))[:, None], -1.0)
        chosen = zip(*linear_sum_assignment(worth, maximize=True), strict=True)
        return [(tracks[a], int(rows[b])) for a, b in chosen if similarity[a, b] >= gate]

    def _expire(self, pts: float) -> None:
        """Drop who was unseen for longer than the buffer.

        Nobody was looked for between two frames: where frames are slower than the buffer (a model that takes a second),
        those of the frame before are kept, as long as this step is no longer than such steps have been.
        """
        step = pts - self._time
        usual = max(self.buffer_s, 2.5 * self._step)
        self._tracks = [t for t in self._tracks if pts - t.t <= self.buffer_s or (t.t == self._time and step <= usual)]
        if np.isfinite(step):
            self._step += 0.3 * (min(step, usual) - self._step)
        self._time = pts

    def _rescale(self, size: tuple[int, int]) -> None:
        """Carry the tracks over to another picture size (a camera that came back with other settings)."""
        if self._size != size and min(*self._size, *size) > 0:
            ratio = np.array(size) / self._size
            self._tracks = [
                dataclasses.replace(t, xy=t.xy * ratio, box=t.box * np.tile(ratio, 2), velocity=t.velocity * ratio)
                for t in self._tracks
            ]
        self._size = size


def distinct(poses: Poses) -> npt.NDArray[np.int64]:
    """Rows of `poses` that are different people, ascending.

    Of two that are alike the better one stays; so it does where a second box holds only a part (the upper half, say)
    of the same person. A child before an adult has joints of its own, and stays.
    """
    worth = poses.box_scores.astype(np.float64) + (0 if poses.scores is None else poses.scores.mean(1, dtype=float))
    weights, areas, xy = _weights(poses), _areas(poses.boxes), poses.xy.astype(np.float64)
    alike = pairwise_oks(xy, xy, weights, weights, np.minimum(areas[:, None], areas))
    part = pairwise_oks(xy, xy, weights, weights, np.maximum(areas[:, None], areas))
    same = (alike >= SAME_PERSON) | ((inside(poses.boxes.astype(np.float64)) >= NESTED) & (part >= SAME_NESTED))
    kept: list[int] = []
    for row in np.argsort(-worth, kind="stable"):
        if not same[row, kept].any():
            kept.append(int(row))
    return np.array(sorted(kept), np.int64)


def iou(a: Array, b: Array) -> Array:
    """Intersection over union of boxes a (A, 4) and b (B, 4), x0, y0, x1, y1 -> (A, B)."""
    corner0 = np.maximum(a[:, None, :2], b[:, :2])
    corner1 = np.minimum(a[:, None, 2:], b[:, 2:])
    both = (corner1 - corner0).clip(0).prod(2)
    each = (a[:, 2:] - a[:, :2]).clip(0).prod(1)[:, None] + (b[:, 2:] - b[:, :2]).clip(0).prod(1)
    return np.asarray(both / np.maximum(each - both, 1e-9))


def inside(boxes: Array) -> Array:
    """Share of the smaller box of each pair that lies in the larger one: boxes (N, 4) -> (N, N)."""
    corner0 = np.maximum(boxes[:, None, :2], boxes[:, :2])
    corner1 = np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    area = (boxes[:, 2:] - boxes[:, :2]).clip(1e-6).prod(1)
    return np.asarray((corner1 - corner0).clip(0).prod(2) / np.minimum(area[:, None], area))


def pairwise_oks(a: Array, b: Array, weight_a: Array, weight_b: Array, area: Array) -> Array:
    """Object keypoint similarity of every pair of poses, each joint counted as far as both poses trust it.

    Args:
        a: (A, K, 2) px.
        b: (B, K, 2) px.
        weight_a: (A, K) trust in the joints of a, > 0.
        weight_b: (B, K) trust in the joints of b, > 0.
        area: (A, B) or (A, 1) person areas, px^2.
    Returns: (A, B) in [0, 1].
    """
    weight = np.sqrt(weight_a[:, None] * weight_b)  # (A, B, K)
    joints = oks(a[:, None], b, np.broadcast_to(area, weight.shape[:2]))
    return np.asarray((joints * weight).sum(2) / np.maximum(weight.sum(2), 1e-9))


def _observe(track: _Track | None, number: int, poses: Poses, row: int) -> _Track:
    """The track after seeing row `row`: pose and box replaced, velocity nudged towards the measured one."""
    xy, box = poses.xy[row].astype(np.float64), poses.boxes[row].astype(np.float64)
    weight = _weights(poses)[row]
    velocity, born = np.zeros(2), poses.pts
    if track is not None:
        born, dt = track.born, max(poses.pts - track.t, 1e-3)
        trust = weight * track.weight
        measured = ((xy - track.xy) * trust[:, None]).sum(0) / trust.sum() / dt
        first = track.born == track.t
        gain = 1.0 if first else 1 - np.exp(-dt / REST)
        velocity = track.velocity + gain * (measured - track.velocity)
    if track is None or not poses.box_from or poses.box_from[row] != "tracker":
        joints = weight >= SEEN_THR if (weight >= SEEN_THR).sum() >= 3 else np.ones(len(xy), np.bool_)
        margins = _margins(xy[joints], box)
    else:
        joints, margins = track.joints, track.margins
    score = float(poses.box_scores[row])
    return _Track(number, xy, weight, box, score, poses.pts, born, velocity, joints, margins)


def _span(points: Array) -> tuple[Array, Array]:
    """(4,) bounding box of points (J, 2), and (4,) its width, height, width, height, at least a pixel."""
    span = np.concatenate([points.min(0), points.max(0)])
    return span, np.tile((span[2:] - span[:2]).clip(1.0), 2)


def _margins(points: Array, box: Array) -> Array:
    span, unit = _span(points)
    return (box - span) / unit


def _carried(track: _Track) -> Array:
    """The box that lies around the joints now as the detector's box lay around them when it last ran."""
    span, unit = _span(track.xy[track.joints])
    return span + track.margins * unit


def _weights(poses: Poses) -> Array:
    """(N, K) trust in each joint, never quite 0, so that people with no sure joint can still be compared."""
    if poses.scores is None:
        return np.ones(poses.xy.shape[:2])
    return np.nan_to_num(poses.scores.astype(np.float64)).clip(0, 1) + 0.02


def _areas(boxes: npt.NDArray[np.floating]) -> Array:
    """(N,) person areas of boxes (N, 4), px^2; at least one pixel."""
    return np.asarray(BODY_SHARE * (boxes[:, 2:] - boxes[:, :2]).clip(1.0).prod(1), np.float64)


def _take(poses: Poses, rows: npt.NDArray[np.int64]) -> Poses:
    """The given rows of `poses`."""
    if len(rows) == len(poses):
        return poses
    return dataclasses.replace(
        poses,
        xy=frozen(poses.xy[rows]),
        scores=None if poses.scores is None else frozen(poses.scores[rows]),
        boxes=frozen(poses.boxes[rows]),
        box_scores=frozen(poses.box_scores[rows]),
        box_from=tuple(poses.box_from[r] for r in rows) if poses.box_from else (),
    )
