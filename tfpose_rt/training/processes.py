"""Several processes at one training run, as torchrun starts them: joined, of one mind, each with its own device."""

from __future__ import annotations

import inspect
import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from tfpose_rt.errors import DeviceError
from tfpose_rt.training.objective import Objective
from tfpose_rt.training.settings import TrainConfig
from tfpose_rt.training.state import Progress

WAIT = timedelta(hours=2)  # that processes wait for the one that validates, or asks a teacher


def ranks() -> tuple[int, int]:
    """This process's number, and how many there are, as torchrun says; 0 and 1 without it."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def join(device: torch.device | None, rank: int, world: int) -> torch.device:
    """The device of this process, which joins the others where there are any.

    Raises: DeviceError: on mps, or where there are fewer GPUs than processes.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda" and world > 1:
        number, seen = int(os.environ.get("LOCAL_RANK", rank)), torch.cuda.device_count()
        if number >= seen:
            raise DeviceError(f"process {number} has no GPU", why=f"torch sees {seen}", fix=f"--nproc-per-node {seen}")
        device = torch.device("cuda", number)
        torch.cuda.set_device(device)
    if device.type == "mps":
        raise DeviceError("training on mps", why="the backward of grid sampling is missing there", fix="--device cpu")
    if world > 1 and not dist.is_initialized():
        gpu = device.type == "cuda"
        # Without its GPU's name NCCL guesses it at the first barrier; a long validation is no reason to give up.
        dist.init_process_group("nccl" if gpu else "gloo", timeout=WAIT, device_id=device if gpu else None)
    return device


def side_by_side(objective: Objective) -> nn.Module:
    """The objective with its gradients joined to the other processes'; buffers stay each process's own."""
    kind: Any = nn.parallel.DistributedDataParallel
    newer = "forward_sync_buffers" in inspect.signature(kind).parameters  # where the older name makes it warn
    joined: nn.Module = kind(objective, **{"forward_sync_buffers" if newer else "broadcast_buffers": False})
    return joined


def agree(
    config: TrainConfig, progress: Progress, total: int, late: bool, world: int, device: torch.device
) -> tuple[float, bool]:
    """How much of the run is over, and whether to validate now.

    Both hang on this process's clock, so the first process decides for all: with clocks of their own they would see
    different learning rates, and one would wait for the others at a validation they do not know of.
    """
    done = progress.step / total
    if config.minutes:
        done = max(done, progress.seconds / (config.minutes * 60))
    if world == 1:
        return done, late
    shared = torch.tensor([done, float(late)], dtype=torch.float64, device=device)
    dist.broadcast(shared, 0)
    return float(shared[0]), bool(shared[1])
