"""What a configuration costs, counted on the real modules."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from tfpose_rt.config import ModelConfig
from tfpose_rt.model.tfpose import TFPose


class Cost(NamedTuple):
    """Of one crop at inference: 10^6 parameters, 10^9 multiply-adds (the sampling of the attention left out)."""

    parameters: float
    gmac: float


def cost(config: ModelConfig) -> Cost:
    """Parameters and multiply-adds of one crop through a model of this shape."""
    # frozen, and not under no_grad, which the counter's hooks refuse
    model = TFPose(config).eval().requires_grad_(False)
    w, h = config.size
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, h, w))
    return Cost(sum(p.numel() for p in model.parameters()) / 1e6, counter.get_total_flops() / 2e9)
