"""Why a person's keypoints are probably wrong: a first guess from labels and answers alone, without the picture.

A guess is a place to look at, no verdict. Joints are COCO's 17.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tfpose_rt import skeleton
from tfpose_rt.training.data import Sample

Array = npt.NDArray[Any]

# In the order in which the first that applies is a person's main guess.
GUESSES = ("other person", "left/right swapped", "few joints", "inverted", "small", "jitter", "crowded", "lost")
CONDITIONS = ("few joints", "inverted", "small", "crowded")  # true of a person whatever the answer
SIZES = ("small", "medium", "large")  # by area, as COCO's AP: under 32 x 32, under 96 x 96 square px, and above

FEW = 3  # labelled joints, on so few that OKS says little
LOW = 64  # px, height of a box on which joints lie a few pixels apart
GAIN, MADE_GOOD = 0.15, 0.5  # OKS that exchanging left and right must add, and reach, to be called a swap
FITS = 0.3  # OKS from which an answer is said to fit another person
COVERED = 0.5  # share of a box that lies under another person's box, from which it is crowded
NEAR = 0.8  # share of labelled joints within twice the tolerance that makes an error jitter
PARTS = (("eye", "ear"), ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))  # what is exchanged together


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One labelled person, how well the answer fits, and the guesses why not.

    Args:
        number: place among the samples.
        oks: mean over the labelled joints, 0..1, as COCO counts.
        joints: how many are labelled.
        missed: share of them beyond the OKS tolerance, 0..1.
        height: of the box, px.
        size: "small", "medium" or "large", by area.
        swapped: OKS with left and right of the answer exchanged in face, arms or legs, wherever that helps.
        other: OKS of the answer with the labelled person of the same picture whom it fits best; 0 without others.
        rival: that person's place among the samples; -1 without others.
        tilt: degrees from upright of the line from labelled hips to labelled head; NaN where either is unlabelled.
        guesses: all that apply, the main one first; never empty.
    """

    number: int
    oks: float
    joints: int
    missed: float
    height: float
    size: str
    swapped: float
    other: float
    rival: int
    tilt: float
    guesses: tuple[str, ...]


def diagnose(xy: Array, samples: Sequence[Sample], *, together: bool = True) -> list[Case]:
    """Judge every answer.

    Args:
        xy: (N, 17, 2) px of each person's picture, the answers.
        samples: the N people, in the same order.
        together: whether people who share a picture's name share its pixels; not so in a training pack of crops.
    Returns: one case a person, in the same order.
    """
    truth = np.stack([s.xy for s in samples])
    labelled = np.stack([s.weight for s in samples]) > 0
    area = np.array([s.area for s in samples])
    height = np.array([s.box[3] - s.box[1] for s in samples])
    near = skeleton.oks(xy, truth, area)  # (N, 17)
    own = _mean(near, labelled)
    swapped = exchange(near, skeleton.oks(xy[:, skeleton.FLIP], truth, area), labelled)
    other, rival = others(xy, truth, labelled, area, [s.image for s in samples], together)
    tilts = tilt(truth, labelled)
    joints = labelled.sum(1)
    hidden = covered(np.stack([s.box for s in samples]), [s.image for s in samples], together)
    close = _mean(near >= 0.5**4, labelled)  # twice the distance is four times the exponent
    marks = {
        "other person": (other > own) & (other >= FITS),
        "left/right swapped": (swapped - own >= GAIN) & (swapped >= MADE_GOOD) & (joints > FEW),
        "few joints": joints <= FEW,
        "inverted": tilts > 90,  # NaN is not
        "small": height < LOW,
        "jitter": close >= NEAR,
        "crowded": hidden >= COVERED,
    }
    sizes = np.digitize(area, (32**2, 96**2))
    return [
        Case(
            number=i, oks=float(own[i]), joints=int(joints[i]), missed=1 - float(_mean(near > 0.5, labelled)[i]),
            height=float(height[i]), size=SIZES[sizes[i]], swapped=float(swapped[i]), other=float(other[i]),
            rival=int(rival[i]), tilt=float(tilts[i]),
            guesses=tuple(word for word in GUESSES[:-1] if marks[word][i]) or GUESSES[-1:],
        )
        for i in range(len(samples))
    ]  # fmt: skip


def _mean(values: Array, labelled: Array) -> Array:
    """Mean over the labelled joints of the last axis, 0 where there are none."""
    return np.asarray((values * labelled).sum(-1) / np.maximum(labelled.sum(-1), 1))


def exchange(near: Array, crossed: Array, labelled: Array) -> Array:
    """(N,) OKS at its best when face, arms and legs may each be mirrored as a whole.

    Args:
        near: (N, 17) similarity of each joint as answered.
        crossed: (N, 17) the same with left and right of the answer exchanged.
        labelled: (N, 17) whether the joint counts.
    """
    best = near.copy()
    for part in PARTS:
        joints = [k for k, name in enumerate(skeleton.NAMES) if name.partition("_")[2] in part]
        better = _mean(crossed[:, joints], labelled[:, joints]) > _mean(near[:, joints], labelled[:, joints])
        best[:, joints] = np.where(better[:, None], crossed[:, joints], near[:, joints])
    return _mean(best, labelled)


def others(
    xy: Array, truth: Array, labelled: Array, area: Array, images: Sequence[str], together: bool = True
) -> tuple[Array, Array]:
    """The labelled person of the same picture, other than oneself, whom each answer fits best.

    People with at most `FEW` labelled joints are nobody's rival: a joint or two lie near anything.

    Returns: that OKS (N,), 0 where there is nobody, and the person's number (N,), -1 where there is nobody.
    """
    best, rival = np.zeros(len(xy)), np.full(len(xy), -1)
    for group in _groups(images, together):
        fit = _mean(skeleton.oks(xy[group, None], truth[group], area[group]), labelled[group])  # answer x person
        fit[:, labelled[group].sum(1) <= FEW] = -1
        np.fill_diagonal(fit, -1)
        first = fit.argmax(1)
        top = fit[np.arange(len(group)), first]
        best[group], rival[group] = np.maximum(top, 0), np.where(top < 0, -1, group[first])
    return best, rival


def covered(boxes: Array, images: Sequence[str], together: bool = True) -> Array:
    """(N,) the largest share of each box (N, 4) px that lies under the box of one other person of the same picture."""
    share = np.zeros(len(boxes))
    for group in _groups(images, together):
        a = boxes[group]
        sides = np.minimum(a[:, None, 2:], a[:, 2:]) - np.maximum(a[:, None, :2], a[:, :2])
        common = sides.clip(0).prod(-1)
        np.fill_diagonal(common, 0)
        share[group] = common.max(1) / (a[:, 2:] - a[:, :2]).prod(-1)
    return share


def _groups(images: Sequence[str], together: bool) -> list[Array]:
    """The numbers of the people of each picture that holds more than one; nobody is together in separate crops."""
    groups: dict[str, list[int]] = {}
    for i, image in enumerate(images if together else ()):
        groups.setdefault(image, []).append(i)
    return [np.array(group) for group in groups.values() if len(group) > 1]


def tilt(truth: Array, labelled: Array) -> Array:
    """(N,) degrees 0..180 between upright and the line from the hips to the head (to the shoulders without a face).

    Args:
        truth: (N, 17, 2) px.
        labelled: (N, 17); NaN comes back where no hip, or neither face nor shoulder, is labelled.
    """
    face = _middle(
        truth, labelled, [k for k, name in enumerate(skeleton.NAMES) if name == "nose" or name.endswith(PARTS[0])]
    )
    shoulders, hips = (
        _middle(truth, labelled, [skeleton.INDEX[f"{side}_{joint}"] for side in ("left", "right")])
        for joint in ("shoulder", "hip")
    )
    up = np.where(np.isnan(face), shoulders, face) - hips
    return np.asarray(np.degrees(np.arctan2(np.abs(up[:, 0]), -up[:, 1])))


def _middle(truth: Array, labelled: Array, joints: Sequence[int]) -> Array:
    """(N, 2) px, the mean of those of the joints that are labelled; NaN where none is."""
    known = labelled[:, joints, None]
    total = (truth[:, joints] * known).sum(1)
    return np.where(known.any(1), total / np.maximum(known.sum(1), 1), np.nan)


def table(cases: Iterable[Case], below: float = 0.5) -> dict[str, dict[str, int]]:
    """Main guesses of all people under an OKS, by size: {"medium": {"people", "low", guess: count, ...}, ...}.

    Sizes that nobody has are left out; `people` counts all of that size, `low` those under `below`.
    """
    cases = list(cases)
    out = {}
    for size in SIZES:
        same = [c for c in cases if c.size == size]
        low = Counter(c.guesses[0] for c in same if c.oks < below)
        if same:
            out[size] = {"people": len(same), "low": low.total(), **{word: low[word] for word in GUESSES}}
    return out


def conditions(cases: Iterable[Case], below: float = 0.5) -> dict[str, dict[str, int]]:
    """How hard each condition is: {"small": {"people", "low"}, ...}, whatever else is guessed of these people."""
    cases = list(cases)
    having = {word: [c for c in cases if word in c.guesses] for word in CONDITIONS}
    return {word: {"people": len(some), "low": sum(c.oks < below for c in some)} for word, some in having.items()}
