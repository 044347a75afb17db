"""Where training starts from, and the average of where it has been."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tfpose_rt.config import ModelConfig
from tfpose_rt.errors import WeightsError
from tfpose_rt.model.backbone import parts_of
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.model.weights import read

PROJECTION = re.compile(r"project\.\d+\.0\.weight")
START = "start.linear.weight"  # (K * 4, tokens * 16): the one tensor whose shape hangs on the crop's size


def start_from(model: TFPose, path: Path) -> set[str]:
    """Load what fits by name and shape: a whole TFPose, or a trunk alone; the names of the model's tensors it filled.

    A TFPose for crops of another size keeps its start pose: the map from the coarsest level is resampled. One on the
    first of two joined trunks starts the whole where it stood: what the second adds to the levels begins at nothing.
    """
    tensors, metadata = read(path)
    state = model.state_dict()
    parts = parts_of(model.trunk)
    if metadata.get("config", {}).get("witness") != model.config.witness:  # another one is weighed by other numbers
        tensors = {key: value for key, value in tensors.items() if not key.startswith("fusion.")}
    if START in tensors and START in state and tensors[START].shape != state[START].shape:
        origin = ModelConfig.from_dict(metadata["config"])
        tensors[START] = resample_start(tensors[START].float(), origin.shapes[-2:], model.config.shapes[-2:])
    for key in [key for key in tensors if parts and PROJECTION.fullmatch(key) and key in state]:
        tensors[key] = widened(tensors[key].float(), state[key].shape[1])
    fitting = {
        name: value.float()
        for key, value in tensors.items()
        for name in (key, f"trunk.{key}")
        if name in state and state[name].shape == value.shape
    }
    bare = {key.removeprefix("trunk."): value.float() for key, value in tensors.items()}
    for place in (*(f"trunk.parts.{part}." for part in parts), "witness."):
        # whole or not at all: networks of one family share names, and the shapes of some tensors
        own = {name: bare.get(name.removeprefix(place)) for name in state if name.startswith(place)}
        if all(value is not None and value.shape == state[name].shape for name, value in own.items()):
            fitting |= {name: value for name, value in own.items() if value is not None}
    if not fitting:
        raise WeightsError(
            f"nothing in {path.name} fits",
            why="no tensor has a name and shape of this model",
            fix="--init with weights of the same trunk",
        )
    model.load_state_dict(fitting, strict=False)
    return set(fitting)


def widened(weight: Tensor, inputs: int) -> Tensor:
    """A convolution's weight (C, c, 1, 1) for `inputs` channels in: those beyond the first c count for nothing."""
    return F.pad(weight, (0, 0, 0, 0, 0, max(inputs - weight.shape[1], 0)))


def resample_start(weight: Tensor, origin: Sequence[int], grid: Sequence[int]) -> Tensor:
    """A linear map from tokens to the start pose, for another grid: the same answer to a smooth picture.

    Args:
        weight: (K * 4, h * w * F), tokens row by row, F features each.
        origin: (h, w) it was made for.
        grid: (h, w) wanted.
    """
    rows, features = len(weight), weight.shape[1] // (origin[0] * origin[1])
    maps = weight.view(rows, *origin, features).permute(0, 3, 1, 2)
    maps = F.interpolate(maps, size=tuple(grid), mode="bilinear", align_corners=False)
    share = (origin[0] * origin[1]) / (grid[0] * grid[1])  # more tokens, each with less say
    return (maps * share).permute(0, 2, 3, 1).reshape(rows, -1)


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
