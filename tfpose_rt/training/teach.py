"""A teacher's answers as labels: joints nobody labelled, a mean with what another model labelled, or doubt about it.

teach() is a pure step on the samples before training. Held-out people are neither asked about nor changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tfpose_rt import skeleton
from tfpose_rt.errors import WeightsError
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.training.data import Sample, is_validation
from tfpose_rt.training.validate import answer

SHARE = 0.5  # weight of a teacher's label at score 1, where a human's is 1
SURE = 0.6  # least calibrated score of a label
AGREE = 0.5  # OKS between any two views: the tolerance that the scores are calibrated to
FAR = 0.1  # OKS below which a label contradicts the teacher: 1.8 times the distance of that tolerance
ZOOM = 1.15  # of the third view's box
BATCH = 32  # people at a time


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the teacher thinks of N people.

    Args:
        xy: (N, K, 2) px of each picture, the mean of the views.
        scores: (N, K) calibrated, the mean of the views.
        sure: (N, K) the views agree, the score is high enough and the place lies in the picture.
    """

    xy: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    sure: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Taught:
    """What a teacher changed: joints by set, and people.

    Args:
        people: asked about.
        newcomers: of these, who had no labelled joint before and have one now.
        added: joints that were unknown.
        softened: labels of another model that the teacher contradicts.
    """

    people: int
    newcomers: int
    added: Mapping[str, int]
    softened: Mapping[str, int]

    def __str__(self) -> str:
        """One line."""

        def listed(counts: Mapping[str, int]) -> str:
            return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()) if count) or "none"

        return (
            f"asked about {self.people:,} people ({self.newcomers:,} wholly unlabelled ones labelled); "
            f"joints added: {listed(self.added)}; softened: {listed(self.softened)}"
        )


def teach(
    samples: Sequence[Sample],
    teacher: TFPose,
    *,
    share: float = SHARE,
    hold_out: bool = True,
    sources: Sequence[str] = (),
    report: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Sample], Taught]:
    """Labels for unknown joints where the teacher is sure, and less weight for other models' labels it contradicts.

    A joint of weight 0 gets the teacher's place with weight score x share. A label of a weight between 0 and 1 is
    another model's: within tolerance of a place the teacher is sure of it moves half way there, since two models err
    apart; far from it, its weight is multiplied by 1 - score, the chance left to it, since a score is the chance that
    the truth lies within tolerance of the teacher's place. Labels of weight 1 are people's and stay as they are. People
    without any label in the end are left out.

    Args:
        samples: all people, those without a labelled joint included (`load(..., unlabelled=K)`).
        teacher: calibrated, in eval mode, on its device.
        share: weight of its labels at score 1.
        hold_out: leave the people of held-out photographs alone.
        sources: the sets to ask about; all where none is named.
        report: told how many people have been asked about, and of how many.
    Raises: WeightsError: the teacher's joints are not those of the set.
    """
    joints = teacher.config.keypoints
    if any(len(s.xy) != joints for s in samples):
        other = next(len(s.xy) for s in samples if len(s.xy) != joints)
        raise WeightsError(
            f"a teacher of {joints} joints", why=f"the set's people have {other}", fix="--teacher of the same layout"
        )
    chosen = [
        i
        for i, s in enumerate(samples)
        if not (hold_out and is_validation(s.image)) and (not sources or s.source in sources)
    ]
    out = list(samples)
    added, softened = Counter[str](), Counter[str]()
    newcomers = 0
    for first in range(0, len(chosen), BATCH):
        part = chosen[first : first + BATCH]
        said = ask(teacher, [samples[i] for i in part])
        for i, xy, scores, sure in zip(part, said.xy, said.scores, said.sure, strict=True):
            before = samples[i]
            out[i], new, doubted = relabel(before, xy, scores, sure, share)
            added[before.source] += new
            softened[before.source] += doubted
            newcomers += bool(new) and not before.weight.any()
        report(first + len(part), len(chosen))
    return [s for s in out if s.weight.any()], Taught(len(chosen), newcomers, dict(added), dict(softened))


def ask(teacher: TFPose, samples: Sequence[Sample]) -> Opinion:
    """The teacher's opinion of N people by three views: as in use, mirrored, and zoomed out by `ZOOM`."""
    pictures = [s.read() for s in samples]
    boxes = np.stack([s.box for s in samples]).astype(np.float32)
    size = np.array([p.shape[1::-1] for p in pictures], np.float32)  # (N, 2)  W, H
    last = size[:, 0] - 1
    mirrored = np.stack((last - boxes[:, 2], boxes[:, 1], last - boxes[:, 0], boxes[:, 3]), -1)
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) * (ZOOM / 2)
    wider = np.concatenate((centre - half, centre + half), -1)

    seen = [_showing(s, p) for s, p in zip(samples, pictures, strict=True)]
    turned = [_showing(s, p, mirror=True) for s, p in zip(samples, pictures, strict=True)]
    said = answer(teacher, [*seen, *turned, *seen], boxes=np.concatenate((boxes, mirrored, wider)), batch=BATCH)
    joints = teacher.config.keypoints
    xy = said.xy.reshape(3, len(samples), joints, 2)
    scores = said.scores.reshape(3, len(samples), joints)
    order = list(skeleton.FLIPS[joints])
    xy[1] = np.stack((last[:, None] - xy[1, ..., 0], xy[1, ..., 1]), -1)[:, order]
    scores[1] = scores[1][:, order]

    area = np.array([s.area for s in samples])
    agreed = np.logical_and.reduce([skeleton.oks(xy[a], xy[b], area) > AGREE for a, b in ((0, 1), (0, 2), (1, 2))])
    place, score = xy.mean(0), scores.mean(0)
    inside = ((place >= -0.5) & (place <= size[:, None] - 0.5)).all(-1)
    return Opinion(place, score, agreed & inside & (score >= SURE))


def _showing(sample: Sample, picture: npt.NDArray[np.uint8], *, mirror: bool = False) -> Sample:
    """The sample with its picture in memory, so that three views decode it once."""
    return replace(sample, read=lambda: np.ascontiguousarray(picture[:, ::-1]) if mirror else picture)


def relabel(
    sample: Sample,
    xy: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    sure: npt.NDArray[np.bool_],
    share: float,
) -> tuple[Sample, int, int]:
    """One person after the teacher's opinion (xy (K, 2), scores (K,), sure (K,)), joints added, labels softened."""
    new = (sample.weight == 0) & sure
    modelled = (sample.weight > 0) & (sample.weight < 1)
    alike = skeleton.oks(xy, sample.xy, sample.area)
    doubted, shared = modelled & sure & (alike < FAR), modelled & sure & (alike > AGREE)
    weight = np.where(new, scores * np.float32(share), sample.weight)
    weight = np.where(doubted, sample.weight * (1 - scores), weight)
    place = np.where(new[:, None], xy, sample.xy)
    place = np.where(shared[:, None], (xy + sample.xy) / 2, place)
    after = replace(sample, xy=place.astype(np.float32), weight=weight.astype(np.float32))
    return after, int(new.sum()), int(doubted.sum())
