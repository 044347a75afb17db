"""What training minimises: the model, the branches that exist in training only, and the sum of their terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tfpose_rt import skeleton
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.training import losses
from tfpose_rt.training.loader import Batch
from tfpose_rt.training.settings import TrainConfig

SCALES = 0.05  # weight of the scales' own term beside the paper's L1: small, they share the queries with it


class Objective(nn.Module):
    """The model, the branches that exist in training only, and their sum."""

    def __init__(self, model: TFPose, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.config = model, config
        self.flow = losses.Flow() if config.loss == "rle" else None
        self.branch = losses.HeatmapBranch(config.model) if config.heatmap else None
        falloff = torch.tensor(skeleton.sigmas(config.model.keypoints), dtype=torch.float32)
        self.register_buffer("falloff", falloff, False)
        # weight of the heatmap term: the paper's beside mean L1; beside a likelihood, both start about equal
        self.balance = 50.0 if self.branch is None or config.loss == "l1" else 4.0 / self.branch.blank_error
        self.guess: Callable[[Tensor], Any] = torch.compile(model.guesses) if config.compile else model.guesses

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """One batch -> the terms; "loss" is what is minimised."""
        amp = self.config.amp == "bf16" or (self.config.amp == "auto" and batch.images.is_cuda and _has_bf16())
        with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=amp):
            out = self.guess(batch.images)
        xy, sigma = out.xy.float(), out.sigma.float()
        target, weight = batch.xy, batch.weight
        if self.flow is not None:
            pose = losses.residual_likelihood(xy, sigma, target, weight, self.flow)
        elif self.config.loss == "laplace":
            pose = losses.laplace(xy, sigma, target, weight)
        else:
            pose = losses.mean_l1(xy, target, weight)
        inside = (batch.weight > 0).float()  # a joint known to be elsewhere counts as wrong, wherever the guess is
        right = losses.oks_right(xy.detach(), target, batch.area, self.config.model.size, self.falloff) * inside  # type: ignore[arg-type]
        first = 1 if self.config.model.start == "image" else 0  # the start pose has no score
        score = losses.score_loss(out.score.float()[first:], right[first:], batch.known)
        terms = {"pose": pose.sum(), "score": score.sum(), "l1": losses.mean_l1(xy[-1:], target, weight).sum()}
        scale = 50.0 if self.config.loss == "l1" else 1.0  # keeps the score term's share alike
        total = scale * terms["pose"] + 0.5 * terms["score"]
        if self.config.loss == "l1":  # no likelihood teaches the scales, and a joint's error is read from them
            terms["scale"] = losses.laplace(xy.detach(), sigma, target, weight).sum()
            total = total + SCALES * terms["scale"]
        if self.branch is not None:
            terms["heatmap"] = self.branch.loss(out.memory, target, weight)
            total = total + self.balance * terms["heatmap"]
        return {"loss": total, **{k: v.detach() for k, v in terms.items()}}


def _has_bf16() -> bool:
    """Whether the current GPU computes in bf16; those before sm_80 emulate it, where they do it at all."""
    return torch.cuda.is_bf16_supported(including_emulation=False)
