"""Which implementation of deformable attention runs on a device, and why: chosen aloud, never by a silent fallback."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tfpose_rt.errors import DeviceError, UsageError

KERNELS = ("auto", "fused", "torch")
FUSED, TORCH = "cuda fused", "torch"


@dataclass(frozen=True, slots=True)
class KernelChoice:
    """What runs; `reason` is one line for the summary, the recording's header and `doctor`."""

    name: str  # FUSED or TORCH
    reason: str


_wanted = "auto"
_chosen: dict[torch.device, bool] = {}


def kernel_choice(kernel: str, device: torch.device) -> KernelChoice:
    """Choose the implementation for a device; imports CuPy only where the device is a GPU.

    Args:
        kernel: auto (fused where it can run), fused (or an error), or torch (knowingly the slow path on a GPU).
        device: where the model runs.
    Raises: DeviceError: fused was asked for and cannot run, with cause and remedy; UsageError: no such kernel.
    """
    if kernel not in KERNELS:
        raise UsageError(f"unknown kernel {kernel!r}", why=f"there are {', '.join(KERNELS)}", fix="--kernel auto")
    if kernel == "torch":
        return KernelChoice(TORCH, "chosen by --kernel torch")
    if device.type != "cuda":
        obstacle, fix = f"the model runs on {device.type}; the fused kernel needs a CUDA GPU", "--kernel auto"
    else:
        from tfpose_rt.ops.cupy_kernel import find_obstacle

        found = find_obstacle(device)
        if found is None:
            return KernelChoice(FUSED, "asked for" if kernel == "fused" else "CuPy and the GPU fit")
        obstacle, fix = found
    if kernel == "fused":
        raise DeviceError("the fused kernel cannot run", why=obstacle, fix=fix)
    return KernelChoice(TORCH, obstacle if device.type != "cuda" else f"{obstacle}; try: {fix}")


def select_kernel(kernel: str, device: torch.device) -> KernelChoice:
    """Make `kernel_choice` and let every later call of `ms_deform_attn` in this process follow it."""
    global _wanted
    made = kernel_choice(kernel, device)
    _wanted = kernel
    _chosen.clear()
    return made


def fused_selected(device: torch.device) -> bool:
    """Whether calls on this CUDA device run the fused kernel, by the last `select_kernel` or else by auto."""
    chosen = _chosen.get(device)
    if chosen is None:
        chosen = _chosen[device] = kernel_choice(_wanted, device).name == FUSED
    return chosen
