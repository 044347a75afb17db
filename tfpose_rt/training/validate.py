"""Run a model over labelled people, as they are cropped in use, and count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tfpose_rt import skeleton
from tfpose_rt.config import ModelConfig
from tfpose_rt.crop import apply, crop_matrix, fit_box, invert, scale_of, warp
from tfpose_rt.layout import layout
from tfpose_rt.model.mirror import join_mirrored
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.training.data import Sample
from tfpose_rt.training.evaluate import crop_ap, reliability


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model said of N people.

    Args:
        xy: (N, K, 2) px of each picture.
        scores: (N, K) in [0, 1].
        errors: (N, K) px of each picture; half of the joints are meant to lie within.
        boxes: (N, 4) px, what the crops were cut around.
    """

    xy: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    errors: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.float32]

    def people(self) -> npt.NDArray[np.float64]:
        """(N,) the score of each person."""
        return skeleton.person_score(self.scores, self.errors, self.boxes)

    def part(self, rows: npt.NDArray[np.int64]) -> Answers:
        """Those rows alone."""
        return Answers(self.xy[rows], self.scores[rows], self.errors[rows], self.boxes[rows])


def cut(
    samples: Sequence[Sample], boxes: npt.NDArray[np.float32], config: ModelConfig, device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, npt.NDArray[np.float64]]:
    """Crops as they are in use, around boxes (N, 4): (N, 3, H, W) RGB in [0, 1] and (N, 2, 3), picture to crop.

    They go to the device as bytes, and become numbers there.
    """
    matrices = crop_matrix(fit_box(boxes, config.size, config.enlarge), config.size)
    crops = np.stack([warp(s.read(), m, config.size)[..., ::-1] for s, m in zip(samples, matrices, strict=True)])
    images = torch.from_numpy(crops).to(device).permute(0, 3, 1, 2).float().div_(255)
    return images.contiguous(memory_format=layout(device)), matrices


@torch.no_grad()
def answer(
    model: TFPose,
    samples: Sequence[Sample],
    *,
    boxes: npt.NDArray[np.float32] | None = None,
    flip: bool = False,
    batch: int = 32,
) -> Answers:
    """Keypoints of every sample, cropped around its box (or around `boxes`, (N, 4)).

    Args:
        model: in eval mode, on its device.
        samples: N people.
        boxes: (N, 4) px, instead of the samples' own.
        batch: crops per forward pass.
        flip: join with the mirrored crop's answer (`model.mirror`).
    """
    device = next(model.parameters()).device
    whole = np.stack([s.box for s in samples]) if boxes is None else boxes
    xy, scores, errors = [], [], []
    for first in range(0, len(samples), batch):
        images, matrices = cut(samples[first : first + batch], whole[first : first + batch], model.config, device)
        points, score, error = (t.float().cpu().numpy() for t in forward(model, images, flip))
        xy.append(apply(invert(matrices), points * model.config.size - 0.5))
        scores.append(score)
        errors.append(error / scale_of(matrices)[:, None])
    stacked = (np.concatenate(parts).astype(np.float32) for parts in (xy, scores, errors, [whole]))
    return Answers(*stacked)


def forward(model: TFPose, images: torch.Tensor, flip: bool) -> tuple[torch.Tensor, ...]:
    """The model's keypoints, scores and errors, with the flip test where asked for."""
    answer: tuple[torch.Tensor, ...] = model(images)
    return join_mirrored(answer, model(images.flip(3)), skeleton.FLIPS[model.config.keypoints]) if flip else answer


def distances(said: Answers, samples: Sequence[Sample]) -> npt.NDArray[np.float64]:
    """(N, K) px from each answer to the joint's label, meaningless where there is none."""
    return np.asarray(np.linalg.norm(said.xy - np.stack([s.xy for s in samples]), axis=-1))


def right_mask(xy: Any, samples: Sequence[Sample]) -> npt.NDArray[np.bool_]:
    """(N, K) whether each answer lies within the OKS tolerance of a labelled joint."""
    truth = np.stack([s.xy for s in samples])
    area = np.array([s.area for s in samples])
    labelled = np.stack([s.weight for s in samples]) > 0
    return (skeleton.oks(xy, truth, area) > 0.5) & labelled


def crop_figures(
    said: Answers, samples: Sequence[Sample]
) -> tuple[dict[str, float], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """AP as if every person were a picture, and mean OKS, 0..100; masks (N, K) of right and of labelled joints."""
    truth, weight = np.stack([s.xy for s in samples]), np.stack([s.weight for s in samples])
    area = np.array([s.area for s in samples])
    labelled = weight > 0
    ap = crop_ap(said.xy, said.people(), truth, weight, area)
    oks = (skeleton.oks(said.xy, truth, area) * labelled).sum(1) / np.maximum(labelled.sum(1), 1)
    figures = {"AP": ap["AP"], "AP50": ap["AP50"], "AP75": ap["AP75"], "OKS": 100 * float(oks.mean())}
    return figures, right_mask(said.xy, samples), labelled


def validate(model: TFPose, samples: Sequence[Sample]) -> dict[str, float]:
    """`crop_figures`, the share of joints within tolerance, and the calibration error: a line of the log."""
    said = answer(model, samples)
    figures, right, labelled = crop_figures(said, samples)
    return {
        "AP": figures["AP"],
        "AP50": figures["AP50"],
        "AP75": figures["AP75"],
        "oks": figures["OKS"],
        "right": 100 * float(right.sum() / labelled.sum()),
        "calibration": reliability(said.scores[labelled], right[labelled]).error,
    }
