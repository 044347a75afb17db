"""The COCO-17 skeleton: names, edges, left/right pairs, tolerances, colours. Nothing else knows a joint's number."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

NAMES: tuple[str, ...] = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
INDEX: dict[str, int] = {name: i for i, name in enumerate(NAMES)}

EDGES: tuple[tuple[int, int], ...] = tuple(
    (INDEX[a], INDEX[b])
    for a, b in (
        ("left_ankle", "left_knee"), ("left_knee", "left_hip"),
        ("right_ankle", "right_knee"), ("right_knee", "right_hip"),
        ("left_hip", "right_hip"), ("left_shoulder", "left_hip"), ("right_shoulder", "right_hip"),
        ("left_shoulder", "right_shoulder"),
        ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
        ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist"),
        ("nose", "left_eye"), ("nose", "right_eye"), ("left_eye", "right_eye"),
        ("left_eye", "left_ear"), ("right_eye", "right_ear"),
        ("left_ear", "left_shoulder"), ("right_ear", "right_shoulder"),
    )
)  # fmt: skip

# What is told apart by left and right alone, and can be named the wrong way round as a whole.
LIMBS: dict[str, tuple[str, ...]] = {"arms": ("shoulder", "elbow", "wrist"), "legs": ("hip", "knee", "ankle")}

# The 16 joints of MPII Human Pose, for training and judging on that layout; everything else is COCO-17.
MPII_NAMES: tuple[str, ...] = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis", "thorax",
    "upper_neck", "head_top", "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow",
    "left_wrist",
)  # fmt: skip
# The joint groups of MPII's own tables; pelvis and thorax are in none of them.
MPII_GROUPS: dict[str, tuple[str, ...]] = {
    "Head": ("upper_neck", "head_top"),
    **{
        title: (f"left_{joint}", f"right_{joint}")
        for title, joint in (
            ("Sho.", "shoulder"), ("Elb.", "elbow"), ("Wri.", "wrist"),
            ("Hip", "hip"), ("Knee", "knee"), ("Ank.", "ankle"),
        )
    },
}  # fmt: skip


def flip_order(names: tuple[str, ...]) -> tuple[int, ...]:
    """For each joint, the one it becomes in a mirrored picture: left and right exchanged by name."""
    swap = {"left": "right", "right": "left"}
    other = ("_".join((swap.get(side, side), *rest)) for side, *rest in (name.split("_") for name in names))
    return tuple(names.index(name) for name in other)


FLIP: tuple[int, ...] = flip_order(NAMES)
FLIPS: dict[int, tuple[int, ...]] = {len(NAMES): FLIP, len(MPII_NAMES): flip_order(MPII_NAMES)}  # by number of joints

# Falloff per joint of the object keypoint similarity (COCO's own `kpt_oks_sigmas`).
SIGMAS: npt.NDArray[np.float64] = np.array([
    0.026, 0.025, 0.025, 0.035, 0.035,
    0.079, 0.079, 0.072, 0.072, 0.062, 0.062,
    0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
])  # fmt: skip

MASK_SHARE = 0.53  # a person's area in a box, where no mask is at hand: mean of COCO's labels

# Okabe-Ito colours, safe for colour-blind viewers: the person's left, right and middle. BGR, as OpenCV draws.
LEFT_BGR, RIGHT_BGR, MIDDLE_BGR = (0, 159, 230), (178, 114, 0), (66, 228, 240)


def side(joint: int) -> str:
    """Which side of the person joint `joint` is on: "left", "right" or "middle"."""
    prefix = NAMES[joint].split("_")[0]
    return prefix if prefix in ("left", "right") else "middle"


def sigmas(keypoints: int) -> npt.NDArray[np.float64]:
    """The OKS falloff of each joint, (K,): COCO's for 17 joints, their mean for every joint of another layout."""
    return SIGMAS if keypoints == len(SIGMAS) else np.full(keypoints, SIGMAS.mean())


def oks(a: npt.NDArray[Any], b: npt.NDArray[Any], area: npt.NDArray[Any] | float) -> npt.NDArray[np.float64]:
    """Object keypoint similarity of each joint.

    Args:
        a: (..., K, 2) points in pixels.
        b: (..., K, 2) points in pixels.
        area: (...) person area in square pixels (COCO's mask area, or 0.53 x box area).
    Returns: (..., K) in [0, 1]; their mean over labelled joints is COCO's OKS.
    """
    return _similarity(((np.asarray(a, np.float64) - b) ** 2).sum(-1), area)


def person_score(
    scores: npt.NDArray[Any], errors: npt.NDArray[Any], boxes: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """How good a person's skeleton is to be expected: the OKS its joints have if each is as far off as its error says.

    Args:
        scores: (..., K) in [0, 1]; joints that are likely not there count little.
        errors: (..., K) expected distances from the true places, px.
        boxes: (..., 4) x0, y0, x1, y1 px.
    Returns: (...) in [0, 1].
    """
    sides = np.asarray(boxes, np.float64)[..., 2:] - np.asarray(boxes, np.float64)[..., :2]
    expected = _similarity(np.asarray(errors, np.float64) ** 2, MASK_SHARE * sides.prod(-1))
    weight = np.asarray(scores, np.float64) + 1e-9
    return np.asarray((expected * weight).sum(-1) / weight.sum(-1))


def _similarity(squared: npt.NDArray[np.float64], area: npt.NDArray[Any] | float) -> npt.NDArray[np.float64]:
    """OKS of joints from their squared distances (..., K), square px."""
    falloff = sigmas(squared.shape[-1])
    variance = (2 * falloff) ** 2 * 2 * (np.asarray(area, np.float64)[..., None] + np.spacing(1))
    return np.asarray(np.exp(-squared / variance))
