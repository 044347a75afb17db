"""How good keypoints are: COCO's OKS AP through pycocotools, PCK, and how honest the scores are."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tfpose_rt import skeleton
from tfpose_rt.errors import TfposeError

Array = npt.NDArray[Any]

METRICS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")


def require_pycocotools() -> None:
    """Raises: TfposeError: pycocotools is missing; asked before any work that would be lost with it."""
    if importlib.util.find_spec("pycocotools") is None:
        raise TfposeError("COCO's AP needs pycocotools", why="not installed", fix='pip install "tfpose-rt[eval]"')


def coco_ap(
    truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], kind: str = "keypoints"
) -> dict[str, float]:
    """COCO AP and AR as percentages.

    Args:
        truth: a COCO ground-truth dictionary.
        results: COCO results: image_id, category_id, score, keypoints (51 numbers) or bbox.
        kind: "keypoints" (maxDets 20, the standard sigmas) or "bbox".
    Returns: AP, AP50, AP75, APm, APl, AR, ... in 0..100; all 0 without a result.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    names = METRICS if kind == "keypoints" else ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR")
    if not results:
        return dict.fromkeys(names, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its table
        coco = COCO()
        coco.dataset = dict(truth)
        coco.createIndex()
        scorer = COCOeval(coco, coco.loadRes([dict(r) for r in results]), kind)
        if kind == "keypoints":
            scorer.params.kpt_oks_sigmas = skeleton.sigmas(len(results[0]["keypoints"]) // 3)
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    return {name: float(value) * 100 for name, value in zip(names, scorer.stats, strict=False)}


def crop_ap(xy: Array, people: Array, truth: Array, weight: Array, area: Array) -> dict[str, float]:
    """COCO AP where every person is a picture of its own, as in validation on crops.

    Args:
        xy: (N, K, 2) px, the answers.
        people: (N,) their scores.
        truth: (N, K, 2) px, the labels.
        weight: (N, K), > 0 where labelled.
        area: (N,) square px.
    """
    images = [{"id": i} for i in range(len(xy))]
    annotations = [
        {
            "id": i + 1, "image_id": i, "category_id": 1, "iscrowd": 0, "area": float(area[i]),
            "bbox": [0, 0, 1, 1], "num_keypoints": int((weight[i] > 0).sum()),
            "keypoints": np.concatenate((truth[i], 2.0 * (weight[i] > 0)[:, None]), -1).ravel().tolist(),
        }
        for i in range(len(xy))
    ]  # fmt: skip
    results = [
        {
            "image_id": i, "category_id": 1, "score": float(people[i]),
            "keypoints": np.concatenate((xy[i], np.ones((len(xy[i]), 1))), -1).ravel().tolist(),
        }
        for i in range(len(xy))
    ]  # fmt: skip
    category = {"id": 1, "name": "person"}
    return coco_ap({"images": images, "annotations": annotations, "categories": [category]}, results)


def pck(xy: Array, truth: Array, known: Array, length: Array, threshold: float) -> tuple[Array, float]:
    """Percentage of correct keypoints.

    Args:
        xy: (N, K, 2) px, the answers.
        truth: (N, K, 2) px, the labels.
        known: (N, K) whether the joint is labelled.
        length: (N,) px, what distances are measured against; people of length 0 are left out.
        threshold: share of the length within which a joint counts as right (inclusive).
    Returns: (K,) percentage a joint (NaN where never labelled), and the percentage of all labelled joints.
    """
    counted = known.astype(bool) & (length > 0)[:, None]
    right = (np.linalg.norm(xy - truth, axis=-1) <= threshold * length[:, None]) & counted
    with np.errstate(invalid="ignore"):
        each = 100.0 * right.sum(0) / counted.sum(0)
    return each, 100.0 * float(right.sum()) / max(int(counted.sum()), 1)


def pckh(xy: Array, truth: Array, known: Array, head: Array) -> dict[str, float]:
    """PCKh@0.5 of the 16-joint MPII layout, by MPII's joint groups and in total.

    Args:
        xy: (N, 16, 2) px, the answers.
        truth: (N, 16, 2) px, the labels.
        known: (N, 16) whether the joint is labelled.
        head: (N,) px, 0.6 x the diagonal of each head box (MPII's head size).
    Returns: percentages; "total" is over all joints of the groups (pelvis and thorax count nowhere, as in MPII).
    """
    counted = np.zeros(len(skeleton.MPII_NAMES), bool)
    figures = {}
    for group, names in skeleton.MPII_GROUPS.items():
        joints = [skeleton.MPII_NAMES.index(name) for name in names]
        counted[joints] = True
        figures[group] = pck(xy[:, joints], truth[:, joints], known[:, joints], head, 0.5)[1]
    figures["total"] = pck(xy[:, counted], truth[:, counted], known[:, counted], head, 0.5)[1]
    return figures


@dataclass(frozen=True, slots=True)
class Reliability:
    """Of keypoints scored about so, how many were right: ten bins, and the mean gap weighted by their counts."""

    scored: Array  # (10,) mean score in the bin
    right: Array  # (10,) share within tolerance
    count: Array  # (10,)
    error: float  # expected calibration error


def reliability(scores: Array, right: Array, bins: int = 10) -> Reliability:
    """Calibration of scores in 0..1 against right / wrong, both flat arrays of equal length."""
    place = np.minimum((scores * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    safe = np.maximum(count, 1)
    scored = np.bincount(place, scores, bins) / safe
    share = np.bincount(place, right.astype(float), bins) / safe
    error = float((np.abs(scored - share) * count).sum() / max(count.sum(), 1))
    return Reliability(scored, share, count, error)
