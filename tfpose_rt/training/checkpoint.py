"""Where training starts from, and the average of where it has been."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from tfpose_rt.errors import WeightsError
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.model.weights import read


def start_from(model: TFPose, path: Path) -> tuple[int, int]:
    """Load what fits by name and shape: a whole TFPose, or a trunk alone; (tensors loaded, tensors of the model)."""
    tensors, _ = read(path)
    state = model.state_dict()
    fitting = {
        name: value.float()
        for key, value in tensors.items()
        for name in (key, f"trunk.{key}")
        if name in state and state[name].shape == value.shape
    }
    if not fitting:
        raise WeightsError(
            f"nothing in {path.name} fits",
            why="no tensor has a name and shape of this model",
            fix="--init with weights of the same trunk",
        )
    model.load_state_dict(fitting, strict=False)
    return len(fitting), len(state)


class Average:
    """Exponential moving average of a model's parameters and buffers, with a short memory at first."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {k: v.detach().clone().float() for k, v in model.state_dict().items() if v.is_floating_point()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Fold in the model after optimiser step `step` (from 1)."""
        keep = min(self.decay, (1 + step) / (10 + step))
        now = model.state_dict()
        names = list(self.state)
        torch._foreach_lerp_([self.state[k] for k in names], [now[k].float() for k in names], 1 - keep)
