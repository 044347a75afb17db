"""A crop and its mirror image, answered as one: the flip test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Answer = Sequence[Any]  # keypoints (B, K, 2) in 0..1 of the crop, scores (B, K), errors (B, K) px of the crop
LEAST = 1e-3  # px, so that no error divides by nothing


def join_mirrored(plain: Answer, mirrored: Answer, order: Sequence[int]) -> tuple[Any, Any, Any]:
    """What a crop and its mirror image say together.

    Each answer weighs by one over its squared error (inverse variance), joint by joint: where one of them takes a front
    for a back it mostly says so, and a plain mean would put the joint in between.

    Args:
        plain: of the crop; numpy arrays or tensors.
        mirrored: of the crop mirrored left to right, the same kind.
        order: of each joint, the one it becomes in a mirrored picture (`skeleton.FLIPS`).
    Returns: the same three of the crop.
    """
    (xy, score, error), (other_xy, other_score, other_error) = plain, (part[:, list(order)] for part in mirrored)
    other_xy[..., 0] = 1 - other_xy[..., 0]
    weight, other = (error + LEAST) ** -2, (other_error + LEAST) ** -2
    share = weight / (weight + other)
    apart = share[..., None]
    return (
        apart * xy + (1 - apart) * other_xy,
        share * score + (1 - share) * other_score,
        share * error + (1 - share) * other_error,
    )
