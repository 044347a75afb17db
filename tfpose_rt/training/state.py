"""All that resuming needs, in one safetensors file: weights, moments, average, counters."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from tfpose_rt.model.weights import read, write
from tfpose_rt.training.checkpoint import Average


@dataclass(slots=True)
class Progress:
    """What a run reports while it goes on."""

    step: int = 0
    epoch: int = 0
    done: float = 0.0  # share of the whole run, 0..1
    seconds: float = 0.0  # of work, pauses left out
    seen: int = 0  # crops
    lr: float = 0.0
    losses: dict[str, float] = dataclasses.field(default_factory=dict)
    metrics: dict[str, float] | None = None  # after a validation
    best: float = -1.0


def save_state(
    path: Path, objective: nn.Module, optimizer: torch.optim.Optimizer, average: Average, progress: Progress
) -> None:
    """All that resuming needs: weights, moments, average, counters."""
    tensors = {f"now.{k}": v for k, v in objective.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state.items()}
    moments = optimizer.state_dict()["state"]
    tensors |= {f"moment.{i}.{k}": torch.as_tensor(v) for i, entry in moments.items() for k, v in entry.items()}
    write(path, tensors, {"progress": dataclasses.asdict(progress)})


def restore(
    path: Path, objective: nn.Module, optimizer: torch.optim.Optimizer, average: Average, progress: Progress
) -> None:
    """The inverse of `save_state`, into objects of the same configuration."""
    tensors, metadata = read(path)
    for name, value in objective.state_dict().items():
        if name.endswith("error_scale"):  # states from before errors were fitted lack it
            tensors.setdefault(f"now.{name}", value)
            tensors.setdefault(f"average.{name.removeprefix('model.')}", value)
    objective.load_state_dict({k.removeprefix("now."): v for k, v in tensors.items() if k.startswith("now.")})
    for k, v in average.state.items():
        v.copy_(tensors[f"average.{k}"])
    state = optimizer.state_dict()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for key, value in tensors.items():
        if key.startswith("moment."):
            _, index, name = key.split(".", 2)
            # The fused step walks memory, so moments must lie as their parameter does (channels last). All are copies:
            # what the optimiser keeps would keep the file open, too, that the next state is to replace.
            own = torch.empty_like(parameters[int(index)] if value.ndim else value).copy_(value)
            state["state"].setdefault(int(index), {})[name] = own
    optimizer.load_state_dict(state)
    for name, value in metadata["progress"].items():
        setattr(progress, name, value)
