"""Fitted on people held out: scores and errors that mean what they say, and how far a witness is believed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from scipy.special import expit, logit

from tfpose_rt import skeleton
from tfpose_rt.crop import apply, crop_matrix, fit_box, invert
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.model.weights import load_model, save_model
from tfpose_rt.training.data import Sample
from tfpose_rt.training.evaluate import reliability
from tfpose_rt.training.validate import answer, distances, right_mask

WITNESSED = 512  # people that the three numbers about maps are fitted on, at most
PRIOR = 4.0  # weight of "no change", in joints: keeps rare joints from following their noise


def fit_joint(logits: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset that make sigmoid(slope * logit + offset) the chance of being right.

    Args:
        logits: (N,) raw scores as logits.
        right: (N,) whether the joint lay within the OKS tolerance.
    Returns: slope > 0 and offset; (1, 0) without data.
    """
    if not len(logits):
        return 1.0, 0.0

    def cost(parameters: npt.NDArray[np.float64]) -> float:
        slope, offset = np.exp(parameters[0]), parameters[1]
        z = slope * logits + offset
        nll = np.logaddexp(0, z) - right * z
        return float(nll.sum() + PRIOR * (parameters[0] ** 2 + parameters[1] ** 2))

    best = minimize(cost, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-4}).x
    return float(np.exp(best[0])), float(best[1])


def fit_error(stated: npt.NDArray[np.float64], distance: npt.NDArray[np.float64]) -> float:
    """The factor on stated errors (N,) px below which half of the true distances (N,) px lie.

    `PRIOR` joints whose factor is 1 keep rare joints from following their noise.
    """
    ratio = distance / np.maximum(stated, 1e-6)
    return float(np.median(np.concatenate((ratio, np.full(round(PRIOR), 1.0)))))


def fit_maps(model: TFPose, samples: Sequence[Sample]) -> float:
    """Fit how the model's fusion weighs maps, in place, for the highest mean OKS; that OKS, 0 to 1.

    Args:
        model: with a fusion; its present power, blur and doubt are where the search starts.
        samples: labelled people the model was not trained on.
    """
    fusion = model.fusion
    assert fusion is not None
    chosen = samples[:: -(-len(samples) // WITNESSED)]
    given: list[tuple[Any, ...]] = []
    hook = fusion.register_forward_pre_hook(lambda _, seen: given.append(seen))
    said = answer(model, chosen)
    hook.remove()
    matrices = crop_matrix(fit_box(said.boxes, model.config.size, model.config.enlarge), model.config.size)
    to_picture = invert(matrices)
    truth, area = np.stack([s.xy for s in chosen]), np.array([s.area for s in chosen])
    weight = np.stack([s.weight for s in chosen]) > 0
    terms = (fusion.power, fusion.blur, fusion.doubt)

    @torch.no_grad()
    def cost(logs: npt.NDArray[np.float64]) -> float:
        for term, value in zip(terms, np.exp(logs), strict=True):
            term.fill_(value)
        xy = np.concatenate([fusion(*each).float().cpu().numpy() for each in given])
        oks = skeleton.oks(apply(to_picture, xy * model.config.size - 0.5), truth, area)
        return -float((oks * weight).sum() / weight.sum())

    start = np.log([float(term) for term in terms])
    best = minimize(cost, start, method="Nelder-Mead", options={"xatol": 0.02, "fatol": 1e-5, "maxfev": 80})
    return -cost(best.x)


def fit(model: TFPose, samples: Sequence[Sample]) -> tuple[float, float]:
    """Fit the model's calibration and error scale in place, and what it makes of maps before that.

    Args:
        model: its present calibration is replaced.
        samples: labelled people the model was not trained on. Only labels trusted wholly count, if there are any: what
            another model labelled is easier than what people see, and would make the fit boast.
    Returns: the calibration error before and after.
    """
    if model.fusion is not None:
        fit_maps(model, samples)
    with torch.no_grad():
        model.calibration.copy_(torch.tensor([[1.0, 0.0]]).repeat(model.config.keypoints, 1))
        model.error_scale.fill_(1)
    said = answer(model, samples)
    weight = np.stack([s.weight for s in samples])
    labelled = (weight > 0) & (weight >= min(1.0, float(weight.max())))
    right = right_mask(said.xy, samples)
    raw = logit(said.scores.astype(np.float64).clip(1e-6, 1 - 1e-6))
    maps = np.array([fit_joint(raw[labelled[:, k], k], right[labelled[:, k], k]) for k in range(raw.shape[1])])
    far = distances(said, samples)
    scales = [fit_error(said.errors[labelled[:, k], k], far[labelled[:, k], k]) for k in range(raw.shape[1])]
    with torch.no_grad():
        model.calibration.copy_(torch.tensor(maps, dtype=torch.float32))
        model.error_scale.copy_(torch.tensor(scales, dtype=torch.float32))
    honest = expit(raw * maps[:, 0] + maps[:, 1])
    before = reliability(said.scores[labelled], right[labelled]).error
    return before, reliability(honest[labelled], right[labelled]).error


def calibrate_file(path: Path, samples: Sequence[Sample], on: str) -> tuple[float, float]:
    """Fit the calibration and the error scale of a weights file in place; the calibration error before and after.

    Args:
        path: weights, rewritten whole or not at all.
        samples: held-out people.
        on: what they are called in the file's metadata.
    """
    model, metadata = load_model(path)
    errors = fit(model, samples)
    extra = {k: v for k, v in metadata.items() if k not in ("config", "format")}
    fitted = {"calibrated": on, "calibration_error": round(errors[1], 4), "errors_fitted": on}
    save_model(path, model, {**extra, **fitted})
    return errors
