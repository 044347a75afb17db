"""Left and right, kept over time. A model that sees one frame mistakes a dark front for a back; limbs do not jump so.

For each person a small hidden Markov model holds the chance that arms, or legs, of the present frame are named the
wrong way round. From frame to frame it asks which naming lets the joints move less; in every frame it asks whether
shoulders and hips lie the same way, and trusts the model a little, so that what the model says most of the time wins.
Where left and right lie on top of each other the model may have changed its mind unseen, and after a cut nothing of the
frame before holds: what was known is let go. Deterministic, by `pts`, causal: it sees no frame ahead.
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
GROUPS = np.stack(JOINTS)  # (2, J)
TWINS = OTHER[GROUPS]
PAIRS = np.array([[INDEX[f"{s}_{n}"] for s in ("left", "right")] for n in ("shoulder", "hip")])
STATES = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])  # arms, legs: 1 = this frame's names are the wrong way round
GAP = 0.5  # s without a sighting after which nothing is known of the sides
WRONG = 0.2  # how often a frame's names are taken to be wrong; only matters beside RATE
RATE = 6.0  # frames a second that count as independent: the model errs in runs
TWIST = 4.0  # log-odds, at most, that shoulders and hips of one frame lie the same way
LOOSE = 0.5  # of the OKS tolerance: how far a still joint wanders from frame to frame
SPEED = 2.0  # sides of the box a second: how fast a joint moves beside the others of its limbs
STEADY = 2.0  # log-odds, before any joint is asked, that the model names as in the frame before
CAP = 9.0  # squared deviations: a joint found elsewhere says no more than this
KNOWN = 0.1  # joints scored less say nothing
DOUBT = 0.004  # chance of any change, whatever the joints say
APART = 0.25  # log-odds between the two namings from which left and right are far enough apart to be followed
LEAP, LEAPS = 0.1, 3.0  # sides of the box, and times the usual: who moves more from one frame to the next is another
USUAL, SETTLE = 0.03, 0.3  # sides of the box a frame, what is usual at first; s in which it is learnt
PRIOR = np.array([1 - WRONG, WRONG])  # chance of each naming of a group of which nothing is known


@dataclass(frozen=True, slots=True)
class _Sight:
    """One person as the model named it: time, xy (K, 2) px, scores (K,), errors (K,) px, side of the box in px."""

    t: float
    xy: Array
    scores: Array
    errors: Array
    side: float


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a person: the last sight, log-chance of each of `STATES`, how much the joints usually move."""

    sight: _Sight
    chance: Array
    usual: float  # sides of the box a frame, beside each other


@dataclass(slots=True)
class SideKeeper:
    """Exchanges left and right of the arms or legs where the frames before say so."""

    _people: dict[int, _Known] = field(default_factory=dict)
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
        people = {i: known for i, known in self._people.items() if 0 < poses.pts - known.sight.t <= GAP}
        swapped = np.zeros((len(poses), len(LIMBS)), bool)
        for row, number in enumerate(poses.ids.tolist()):
            people[number] = now = _step(people.get(number), _sight(poses, row))
            swapped[row] = np.exp(now.chance) @ STATES > 0.5
        self._people = people
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


def _sight(poses: Poses, row: int) -> _Sight:
    xy, corners = poses.xy[row].astype(np.float64), poses.boxes[row].astype(np.float64)
    scores = np.ones(len(xy)) if poses.scores is None else poses.scores[row].astype(np.float64)
    errors = np.zeros(len(xy)) if poses.errors is None else poses.errors[row].astype(np.float64)
    side = float(np.sqrt((corners[2:] - corners[:2]).clip(1.0).prod()))
    return _Sight(poses.pts, xy, scores, errors, side)


def _step(known: _Known | None, now: _Sight) -> _Known:
    """What is known of a person after one more frame."""
    chance, frames, usual = np.full(len(STATES), -np.log(len(STATES))), 1.0, USUAL
    if known is not None:
        dt, usual = now.t - known.sight.t, known.usual
        stays, clear, moved = _compare(known.sight, now)
        if moved <= max(LEAP, LEAPS * usual):  # else a cut: another picture, or another person
            usual += (1 - float(np.exp(-dt / SETTLE))) * (moved - usual)
            chance, frames = _carried(known.chance, stays, clear), min(dt * RATE, 1.0)
    # the model is mostly right, the surer the more
    chance = chance + STATES @ (now.scores[GROUPS].mean(1) ** 2 * frames * np.log(WRONG / (1 - WRONG)))
    chance = chance - _straight(now) * (STATES[:, 0] != STATES[:, 1])
    return _Known(now, chance - np.logaddexp.reduce(chance), usual)


def _carried(chance: Array, stays: Array, clear: Array) -> Array:
    """The log-chances of the frame before carried to the present one, from what `_compare` says of each group."""
    same = STATES[:, None] == STATES[None]  # (4, 4, 2)
    after = np.exp(chance) @ np.where(same, stays, 1 - stays).prod(-1)
    both = (after / after.sum()).reshape(2, 2)  # arms, legs
    arms, legs = np.exp(-clear / APART)
    both = (1 - arms) * both + arms * PRIOR[:, None] * both.sum(0, keepdims=True)
    both = (1 - legs) * both + legs * PRIOR * both.sum(1, keepdims=True)
    return np.asarray(np.log(both.ravel()))


def _compare(before: _Sight, now: _Sight) -> tuple[Array, Array, float]:
    """What two frames say of each other, whichever way the joints are named in them.

    Returns: (2,) the chance that arms, that legs, are named as in the frame before, from how far the joints moved
        either way; (2,) the log-odds between the two namings if nothing had moved but along: 0 where left and right
        coincide, as they do where limbs cross, or where the model does not know the places well enough to tell; and how
        far the joints moved beside each other in the better naming, the mean in sides of the box.
    """
    weight = np.minimum(before.scores, now.scores)
    weight = np.where(np.isnan(now.xy - before.xy).any(-1) | (weight < KNOWN), 0.0, weight)
    weight = np.minimum(weight, weight[OTHER])[GROUPS]  # (2, J): a joint says nothing where its twin is unknown
    total = weight.sum(1)
    old, new, turned = (np.nan_to_num(xy) for xy in (before.xy[GROUPS], now.xy[GROUPS], now.xy[TWINS]))  # (2, J, 2)
    # what all of them moved is the person's way, or the camera's: the same, whichever way they are named
    along = ((new - old) * weight[..., None]).sum(1)
    shift = (along / np.maximum(total, 1e-9)[:, None])[:, None]
    variance = (2 * SIGMAS[GROUPS] * LOOSE * now.side) ** 2 + (SPEED * now.side * (now.t - before.t)) ** 2
    same, other = (np.minimum(((xy - old - shift) ** 2).sum(-1) / variance, CAP) for xy in (new, turned))
    odds = STEADY + ((other - same) * weight).sum(1) / 2
    errors = before.errors**2 + now.errors**2
    apart = np.hypot(*(new - turned).T).T * np.hypot(*(before.xy[GROUPS] - before.xy[TWINS]).T).T
    clear = apart / (variance + np.fmax(errors, errors[OTHER])[GROUPS])
    clear = np.where(total > 0, (np.nan_to_num(clear) * weight).sum(1) / 2, np.inf)
    moved = 0.0
    if total.sum() >= 1:
        shift = along.sum(0) / total.sum()
        ways = [(np.hypot(*(xy - old - shift).T).T * weight).sum(1) for xy in (new, turned)]
        moved = float(np.minimum(*ways).sum() / total.sum() / now.side)
    return np.clip(1 / (1 + np.exp(-odds)), DOUBT, 1 - DOUBT), clear, moved


def _straight(now: _Sight) -> float:
    """Log-odds that shoulders and hips are named alike, or both the other way round: nobody is twisted by half a turn.

    0 where either pair is seen from its side.
    """
    shoulders, hips = (now.xy[left] - now.xy[right] for left, right in PAIRS)
    reach = np.prod([2 * SIGMAS[left] * LOOSE * now.side for left, _ in PAIRS])
    odds = float(shoulders @ hips / reach) * float(now.scores[PAIRS].min())
    return min(max(odds, -TWIST), TWIST) if np.isfinite(odds) else 0.0
