"""Left and right, kept over time. A model that sees one frame mistakes a dark front for a back; limbs do not jump so.

For each person a small hidden Markov model holds the chance that arms, or legs, of the present frame are named the
wrong way round. From frame to frame it asks which naming lets the joints move less; in every frame it trusts the model
a little, so that what the model says most of the time wins. Deterministic, by `pts`, causal: it sees no frame ahead.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tfpose_rt.records import Poses, frozen
from tfpose_rt.skeleton import FLIP, INDEX, LIMBS, SIGMAS

Array = npt.NDArray[np.float64]
JOINTS = [np.array([INDEX[f"{s}_{n}"] for s in ("left", "right") for n in names]) for names in LIMBS.values()]
OTHER = np.array(FLIP)
STATES = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])  # arms, legs: 1 = this frame's names are the wrong way round
GAP = 0.5  # s without a sighting after which nothing is known of the sides
WRONG = 0.2  # how often a frame's names are taken to be wrong; only matters beside RATE
RATE = 6.0  # frames a second that count as independent: the model errs in runs
APART = 1.0  # how unlikely it is that arms and legs disagree, in log-odds of such a frame
LOOSE = 0.5  # of the OKS tolerance: how far a still joint wanders from frame to frame
SPEED = 2.5  # sides of the box a second: how fast a joint moves beside the others of its limbs
STEADY = 2.0  # log-odds, before any joint is asked, that the model names as in the frame before
CAP = 9.0  # squared deviations: a joint found elsewhere says no more than this
KNOWN = 0.1  # joints scored less say nothing
DOUBT = 0.004  # chance of any change, whatever the joints say


@dataclass(frozen=True, slots=True)
class _Seen:
    """One person as the model named it: time, xy (K, 2) px, scores (K,), log-chance of each of `STATES`."""

    t: float
    xy: Array
    scores: Array
    chance: Array


@dataclass(slots=True)
class SideKeeper:
    """Exchanges left and right of the arms or legs where the frames before say so."""

    _people: dict[int, _Seen] = field(default_factory=dict)
    _size: tuple[int, int] = (0, 0)

    def reset(self) -> None:
        """Forget everybody."""
        self._people = {}

    def update(self, poses: Poses) -> Poses:
        """Look at the people of one frame.

        Args:
            poses: N people with ids, as the model named their joints; `pts` later than that of the frame before.
        Returns: the same with `swapped` (N, 2), and xy, scores and errors of swapped arms or legs exchanged.
        Raises: ValueError: the poses carry no ids.
        """
        if poses.ids is None:
            raise ValueError("sides need ids: switch tracking on")
        if poses.size != self._size:  # other pixels
            self._people, self._size = {}, poses.size
        known = {i: s for i, s in self._people.items() if 0 < poses.pts - s.t <= GAP}
        swapped = np.zeros((len(poses), len(LIMBS)), bool)
        for row, number in enumerate(poses.ids.tolist()):
            known[number] = now = _step(known.get(number), poses, row)
            swapped[row] = np.exp(now.chance) @ STATES > 0.5
        self._people = known
        return exchange(dataclasses.replace(poses, swapped=frozen(swapped, np.bool_)))


def exchange(poses: Poses) -> Poses:
    """Exchange left and right of what `swapped` marks; twice is as before, so it gives the model's own names back."""
    if poses.swapped is None or not poses.swapped.any():
        return poses
    order = np.tile(np.arange(len(OTHER)), (len(poses), 1))  # (N, K) which joint each one is taken from
    for group, joints in enumerate(JOINTS):
        rows = np.flatnonzero(poses.swapped[:, group])[:, None]
        order[rows, joints] = OTHER[joints]
    people = np.arange(len(poses))[:, None]
    scores, errors = (None if part is None else frozen(part[people, order]) for part in (poses.scores, poses.errors))
    return dataclasses.replace(poses, xy=frozen(poses.xy[people, order]), scores=scores, errors=errors)


def _step(before: _Seen | None, poses: Poses, row: int) -> _Seen:
    """What is known of a person after one more frame."""
    xy = poses.xy[row].astype(np.float64)
    scores = np.ones(len(xy)) if poses.scores is None else poses.scores[row].astype(np.float64)
    corners = poses.boxes[row].astype(np.float64)
    side = float(np.sqrt((corners[2:] - corners[:2]).clip(1.0).prod()))  # px
    if before is None:
        chance, frames = np.full(len(STATES), -np.log(len(STATES))), 1.0
    else:
        dt = poses.pts - before.t
        change = np.zeros((len(STATES), len(STATES)))
        for group, joints in enumerate(JOINTS):
            stays = _stays(before, xy, scores, joints, side, dt)
            same = STATES[:, None, group] == STATES[None, :, group]
            change += np.log(np.where(same, stays, 1 - stays))
        chance, frames = np.logaddexp.reduce(before.chance[:, None] + change, axis=0), min(dt * RATE, 1.0)
    for group, joints in enumerate(JOINTS):  # the model is mostly right, the surer the more
        chance = chance + STATES[:, group] * np.log(WRONG / (1 - WRONG)) * frames * scores[joints].mean() ** 2
    chance = chance - APART * frames * (STATES[:, 0] != STATES[:, 1])
    return _Seen(poses.pts, xy, scores, chance - np.logaddexp.reduce(chance))


def _stays(before: _Seen, xy: Array, scores: Array, joints: npt.NDArray[np.int64], side: float, dt: float) -> float:
    """The chance that a group is named as in the frame before, from how far its joints moved either way."""
    weight = np.minimum(scores, before.scores)
    weight = np.minimum(weight, weight[OTHER])[joints]  # a joint says nothing where its twin is unknown
    moved = xy[joints] - before.xy[joints]
    weight = np.where((weight < KNOWN) | np.isnan(moved).any(-1), 0.0, weight)
    if not weight.any():
        return float(1 / (1 + np.exp(-STEADY)))
    # what all of them moved is the person's way, or the camera's: the same, whichever way they are named
    shift = (np.nan_to_num(moved) * weight[:, None]).sum(0) / weight.sum()
    variance = (2 * SIGMAS[joints] * LOOSE * side) ** 2 + (SPEED * side * dt) ** 2
    same, other = (
        np.minimum((np.nan_to_num(xy[taken] - before.xy[joints] - shift) ** 2).sum(-1) / variance, CAP)
        for taken in (joints, OTHER[joints])
    )
    odds = STEADY + float(((other - same) * weight).sum() / 2)
    return float(np.clip(1 / (1 + np.exp(-odds)), DOUBT, 1 - DOUBT))
