"""Which implementation of deformable attention runs on a device, and why: chosen aloud, never by a silent fallback."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tfpose_rt.config import ModelConfig
from tfpose_rt.errors import DeviceError, UsageError
from tfpose_rt.ops.plan import misfit

KERNELS = ("auto", "fused", "torch")
FUSED, TORCH = "cuda fused", "torch"
AUTO = "--kernel auto"  # the remedy where only plain torch can run


@dataclass(frozen=True, slots=True)
class KernelChoice:
    """What runs; `reason` is one line for the summary, the recording's header and `doctor`."""

    name: str  # FUSED or TORCH
    reason: str


_chosen: dict[torch.device, bool] = {}  # whether calls on a device run the fused kernel


def kernel_choice(kernel: str, device: torch.device, model: ModelConfig | None = None) -> KernelChoice:
    """Choose the implementation for a device; imports CuPy only where the device is a GPU.

    Args:
        kernel: auto (fused where it can run), fused (or an error), or torch (knowingly the slow path on a GPU).
        device: where the model runs.
        model: what runs there; without it, sizes that the fused kernel does not have show at the first call.
    Raises: DeviceError: fused was asked for and cannot run, with cause and remedy; UsageError: no such kernel.
    """
    if kernel not in KERNELS:
        raise UsageError(f"unknown kernel {kernel!r}", why=f"there are {', '.join(KERNELS)}", fix=AUTO)
    if kernel == "torch":
        return KernelChoice(TORCH, "chosen by --kernel torch")
    found = _obstacle(device, model)
    if found is None:
        return KernelChoice(FUSED, "asked for" if kernel == "fused" else "CuPy and the GPU fit")
    obstacle, fix = found
    if kernel == "fused":
        raise DeviceError("the fused kernel cannot run", why=obstacle, fix=fix)
    return KernelChoice(TORCH, obstacle if fix == AUTO else f"{obstacle}; try: {fix}")


def _obstacle(device: torch.device, model: ModelConfig | None) -> tuple[str, str] | None:
    """What keeps the fused kernel from the model, and what to do about it; AUTO: nothing."""
    if device.type != "cuda":
        return f"the model runs on {device.type}; the fused kernel needs a CUDA GPU", AUTO
    from tfpose_rt.ops.cupy_kernel import find_obstacle

    unfit = model and misfit(model.heads, model.channels, len(model.strides), model.points)
    return (unfit, AUTO) if unfit else find_obstacle(device)


def select_kernel(kernel: str, device: torch.device, model: ModelConfig | None = None) -> KernelChoice:
    """Make `kernel_choice` and let every later call of `ms_deform_attn` on this device follow it, and on no other."""
    made = kernel_choice(kernel, device, model)
    _chosen[_numbered(device)] = made.name == FUSED
    return made


def fused_selected(device: torch.device) -> bool:
    """Whether calls on this numbered CUDA device run the fused kernel: as last selected for it, or else by auto."""
    chosen = _chosen.get(device)
    return select_kernel("auto", device).name == FUSED if chosen is None else chosen


# Dynamo takes the answer for a constant of the graph and does not trace into CuPy: what
# torch.compiler.assume_constant_result sets, without its import of Dynamo. A graph keeps the choice it was traced with.
fused_selected._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _numbered(device: torch.device) -> torch.device:
    """The device as tensors on it name it: `cuda` is the current one."""
    if device == torch.device("cuda") and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return device
