"""Where the networks run, how exactly, and on how many threads: what was asked for, or the best there is."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tfpose_rt.config import PRECISIONS
from tfpose_rt.errors import DeviceError, UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn

DRIVERS = {"linux": ["libcuda.so.1"], "win32": ["nvcuda.dll", "amdhip64_6.dll", "amdhip64_7.dll"]}


def choose_device(asked: str) -> tuple[str, str]:
    """The device for "auto", "cpu", "cuda", "cuda:N" or "mps", as torch names it, and why.

    Torch is imported only where there may be a GPU: that alone takes seconds.
    Raises: DeviceError: it was asked for and cannot be used; an explicit device never falls back.
    """
    if asked == "cpu":
        return "cpu", "asked for"
    if asked == "auto" and "torch" not in sys.modules and not _may_have_gpu():
        return "cpu", "auto: no CUDA device"
    import torch

    if asked == "auto":
        if torch.cuda.is_available():
            return "cuda", f"auto: {torch.cuda.get_device_name()}"
        unseen = driver_gpus() > 0
        return "cpu", "auto: torch does not see the GPU; tfpose-rt doctor" if unseen else "auto: no CUDA device"
    kind = kind_of(asked)
    if kind not in ("cpu", "cuda", "mps"):
        raise UsageError(f"--device {asked}", why="no such device", fix="auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        number = asked.partition(":")[2] or "0"
        if not number.isdecimal() or int(number) >= count:
            why = f"torch {torch.__version__} sees {count} CUDA devices"
            raise DeviceError(f"--device {asked} cannot be used", why=why, fix="--device cpu, or tfpose-rt doctor")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("--device mps cannot be used", why="torch finds no Apple GPU", fix="--device cpu")
    try:
        return str(torch.device(asked)), "asked for"
    except RuntimeError as error:
        raise UsageError(f"--device {asked}", why="no such device", fix="auto, cpu, cuda, cuda:N or mps") from error


def choose_precision(asked: str, device: str) -> str:
    """The precision on a device; auto is fp32 on the CPU and fp16 on a GPU."""
    if asked == "auto":
        return "fp16" if device == "cuda" else "fp32"
    if asked not in PRECISIONS:
        raise UsageError(f"--precision {asked}", why="no such precision", fix=f"auto, {', '.join(PRECISIONS)}")
    if asked == "fp16" and device == "cpu":
        raise DeviceError(
            "--precision fp16 on the CPU", why="it is slower than fp32 there", fix="--precision fp32 or bf16"
        )
    return asked


def _may_have_gpu() -> bool:
    """Whether torch could find a GPU: it cannot without the library of NVIDIA's or AMD's driver."""
    for library in DRIVERS.get(sys.platform, ()):
        with suppress(OSError):
            return bool(ctypes.CDLL(library))
    return Path("/dev/kfd").exists()  # AMD's on Linux, where the library comes with torch


def driver_gpus() -> int:
    """How many GPUs NVIDIA's driver shows this process, whether or not torch can use them."""
    count = ctypes.c_int()
    with suppress(OSError, AttributeError):  # no driver, or none of NVIDIA's
        driver = ctypes.CDLL(DRIVERS.get(sys.platform, [""])[0])
        if driver.cuInit(0) == driver.cuDeviceGetCount(ctypes.byref(count)) == 0:
            return count.value
    return 0


def blindness() -> tuple[str, str]:
    """Why torch does not see a GPU that the driver shows, and the remedy."""
    import torch

    if torch.version.cuda is None:
        return "it is built without CUDA", "pip install --force-reinstall torch torchvision, from the ordinary index"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0], f"a driver for CUDA {torch.version.cuda}, or a torch for the driver's CUDA"
    return "it does not say why", "nvidia-smi"


def kind_of(device: str) -> str:
    """The kind of a device: cpu, cuda or mps."""
    return device.partition(":")[0]


def dtype_of(precision: str) -> torch.dtype:
    """What torch computes in: int8 and fp32 in float32."""
    import torch

    return {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision, torch.float32)


def settle(
    network: nn.Module, device: str | torch.device, memory: torch.memory_format, precision: str = "fp32"
) -> None:
    """Lay out the weights of a network's convolutions and move it to its device, in place.

    `Module.to(memory_format=...)` would reorder every buffer of four dimensions too, the reference points among them,
    which the fused kernel takes as they lie.

    Args:
        network: in float32.
        device: as torch names it.
        memory: how pictures lie there.
        precision: of convolutions and linear layers, as autocast would have them. It keeps no copy of weights that do
            not learn: left in float32, all of them would be converted at every call.
    """
    from torch import nn

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.to(dtype=dtype_of(precision), memory_format=memory)  # type: ignore[call-overload]
        elif isinstance(module, nn.Linear):
            module.to(dtype_of(precision))
    network.to(device)


def usual_threads() -> int:
    """How many threads torch uses; where it is not imported, as many as it would."""
    if "torch" in sys.modules:
        import torch

        return torch.get_num_threads()
    told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if told.isdecimal() and int(told):
        return int(told)
    import psutil

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(psutil.cpu_count(logical=False) or allowed, allowed)


def set_threads(count: int) -> None:
    """Threads of OpenCV in this process, and of torch where it is imported."""
    import cv2

    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(count)
    cv2.setNumThreads(count)
