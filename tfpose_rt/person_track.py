"""One person who is followed: what was seen last, how it moved, and where it is expected next. numpy only.

A track never changes: each sight makes a new one, so that a tracker can be tried out and thrown away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfpose_rt import likeness
from tfpose_rt.likeness import Array, Bools
from tfpose_rt.records import Poses

REST = 0.25  # s, time constant of the velocity estimate: two strides of jitter, not one
SHRINK = 5.0  # s, time constant with which a person's size is forgotten while only a part shows
HORIZON = 1.0  # s, nobody is trusted to walk straight on for longer
SEEN_THR = 0.2  # score from which a joint takes part in a carried box
ROUNDED = 0.02  # px that a box differs by after it went through a file


@dataclass(frozen=True, slots=True)
class Track:
    """One person: what was seen last, when, and how it moved."""

    id: int
    xy: Array  # (K, 2) px
    weight: Array  # (K,) trust in each joint
    box: Array  # (4,) px
    score: float
    t: float  # s, time of xy
    born: float  # s
    found: float  # s, when the detector saw the person last
    side: float  # px, longer side of the box when all of it was seen
    velocity: Array  # (2,) px/s
    joints: Bools  # (K,) the joints that span the carried box
    margins: Array  # (4,) from the span of those joints to the detector's box, in units of the span
    met: tuple[Track, Track] | None = None  # this person and the one who hid it, as both were last seen

    def move(self, pts: float) -> Array:
        """(2,) px the person is expected to have moved by time `pts`."""
        return self.velocity * float(np.clip(pts - self.t, 0.0, HORIZON))


def observe(track: Track | None, number: int, poses: Poses, row: int, xy: Array, weight: Array) -> Track:
    """The track after one more sight: pose and box replaced, velocity nudged towards the measured one.

    Args:
        track: so far; None begins one.
        number: its id.
        poses: of the frame.
        row: of this person among them.
        xy: (K, 2) px, from `likeness.places`.
        weight: (K,) from `likeness.weights`.
    """
    box = poses.boxes[row].astype(np.float64)
    velocity, born, found, side, met = np.zeros(2), poses.pts, poses.pts, float((box[2:] - box[:2]).max()), None
    if track is not None:
        met, born, dt = track.met, track.born, max(poses.pts - track.t, 1e-3)
        if not weight.all():  # a joint without a place is taken to be where it was expected
            xy = np.where(weight[:, None] > 0, xy, track.xy + track.move(poses.pts))
        trust = weight * track.weight
        measured = ((xy - track.xy) * trust[:, None]).sum(0) / max(trust.sum(), 1e-9) / dt
        gain = 1.0 if track.born == track.t else 1 - np.exp(-dt / REST)
        velocity = track.velocity + gain * (measured - track.velocity)
        side = max(side, track.side * float(np.exp(-dt / SHRINK)))
    if track is None or not _is_carried(track, poses, row):
        joints = weight >= SEEN_THR if (weight >= SEEN_THR).sum() >= 3 else np.ones(len(xy), np.bool_)
        margins = likeness.margins(xy[joints], box)
    else:
        joints, margins, found = track.joints, track.margins, track.found
    score = float(poses.box_scores[row])
    return Track(number, xy, weight, box, score, poses.pts, born, found, side, velocity, joints, margins, met)


def carried(track: Track) -> Array:
    """The box that lies around the joints now as the detector's box lay around them when it last ran."""
    span, unit = likeness.span(track.xy[track.joints])
    return span + track.margins * unit


def _is_carried(track: Track, poses: Poses, row: int) -> bool:
    """Whether the box of a row is where this person was expected, not what the detector found.

    Tables do not tell it, but no detector comes upon the place to a rounding.
    """
    edge = np.tile(poses.size, 2) - 0.5
    expected = (carried(track) + np.tile(track.move(poses.pts), 2)).clip(-0.5, edge if min(poses.size) else None)
    told = bool(poses.box_from) and poses.box_from[row] == "tracker"
    return told or bool((np.abs(poses.boxes[row] - expected) <= ROUNDED).all())
