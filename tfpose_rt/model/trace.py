"""What the decoder's attention does for given crops: where it samples, with which weights, who listens to whom.

Recorded beside an ordinary forward pass by hooks, and computed from what each layer was given by the layer's own linear
maps; the model itself is left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tfpose_rt.model.fusion import Fusion, Meeting
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.model.transformer import DeformableAttention, SelfAttention


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer's attention on B crops; positions are normalised to the crop.

    Args:
        before: (B, K, 2) y^{d-1}, around which it samples.
        after: (B, K, 2) y^d.
        score: (B, K) in 0..1 of y^d; calibrated in the last layer, for which alone the calibration was fitted.
        places: (B, K, M, L, P, 2) sampling points of the p2q attention, x then y; they may lie outside the crop.
        weights: (B, K, M, L, P) of those points; they sum to 1 over the levels and points of a head.
        q2q: (B, M, K, K) attention of each keypoint's query (rows) to all (columns), rows sum to 1; None without q2q.
        gathered: (B, K, C) what the p2q attention made of them.
        witness: (B, K, 2) where its maps show the joints, around the last layer's own guess; None in others, or
            without a witness.
        share: (B, K) of the way from that guess to the witness that `after` went; None likewise.
    """

    before: Tensor
    after: Tensor
    score: Tensor
    places: Tensor
    weights: Tensor
    q2q: Tensor | None
    gathered: Tensor
    witness: Tensor | None
    share: Tensor | None


@torch.no_grad()
def trace(model: TFPose, images: Tensor) -> list[Layer]:
    """Run the model on crops and record every decoder layer.

    Args:
        model: in eval mode, float32.
        images: (B, 3, H, W) RGB in [0, 1].
    Returns: the N_D layers in order; the last one's `after` and `score` are what the model answers.
    """
    p2q: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    q2q: list[Tensor] = []
    meetings: list[Meeting] = []

    def sampled(module: nn.Module, given: tuple[Any, ...], out: Tensor) -> None:
        assert isinstance(module, DeformableAttention)
        query, reference, _, shapes = given
        places, weights = sampling(module, query, reference, shapes)
        p2q.append((reference[:, :, 0], places, weights, out))

    def listened(module: nn.Module, given: tuple[Any, ...], out: Tensor) -> None:
        assert isinstance(module, SelfAttention)
        q2q.append(module.weights(given[0]))

    def meet(module: nn.Module, given: tuple[Any, ...]) -> None:
        assert isinstance(module, Fusion)
        meetings.append(module.meet(*given))

    hooks = [layer.attention.register_forward_hook(sampled) for layer in model.decoder]  # type: ignore[union-attr]
    hooks += [
        layer.self_attention.register_forward_hook(listened)  # type: ignore[union-attr]
        for layer in model.decoder
        if layer.self_attention is not None
    ]
    if model.fusion is not None:
        hooks.append(model.fusion.register_forward_pre_hook(meet))
    try:
        told = model.guesses(images)
    finally:
        for hook in hooks:
            hook.remove()
    first = len(told.xy) - len(p2q)  # a start pose that is predicted comes before the layers' own
    scores = told.score[first:].sigmoid()
    scores[-1] = (told.score[-1] * model.calibration[:, 0] + model.calibration[:, 1]).sigmoid()
    met = [(None, None)] * (len(p2q) - len(meetings)) + [(meeting.place, meeting.share) for meeting in meetings]
    return [
        Layer(before, told.xy[first + d], scores[d], places, weights, q2q[d] if q2q else None, out, *met[d])
        for d, (before, places, weights, out) in enumerate(p2q)
    ]


def sampling(
    attention: DeformableAttention, query: Tensor, reference: Tensor, shapes: list[int]
) -> tuple[Tensor, Tensor]:
    """Where a deformable attention samples, and with which weights.

    Args:
        attention: the module.
        query: (B, Q, C).
        reference: (B or 1, Q, 1, 2) in [0, 1].
        shapes: H0, W0, H1, W1, ... of the levels.
    Returns: places (B, Q, M, L, P, 2), normalised, x then y; weights (B, Q, M, L, P).
    """
    offsets, logits = attention.split(query)
    sides = torch.tensor(shapes, dtype=torch.float32, device=query.device).view(-1, 2).flip(1)  # (L, 2) W, H
    places = reference[:, :, :, None, None].float() + offsets.float() / sides[:, None]
    return places, logits.float().softmax(-1).view(offsets.shape[:-1])
