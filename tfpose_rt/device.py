"""Where the networks run, how exactly, and on how many threads: what was asked for, or the best there is."""

from __future__ import annotations

from typing import Any

from tfpose_rt.config import PRECISIONS
from tfpose_rt.errors import DeviceError, UsageError


def choose_device(asked: str) -> tuple[Any, str]:
    """The torch device for "auto", "cpu", "cuda", "cuda:N" or "mps", and why.

    Raises: DeviceError: it was asked for and cannot be used; an explicit device never falls back.
    """
    import torch

    if asked == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda"), f"auto: {torch.cuda.get_device_name()}"
        return torch.device("cpu"), "auto: no CUDA device"
    kind = asked.split(":")[0]
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
        return torch.device(asked), "asked for"
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


def set_threads(count: int) -> None:
    """Threads of torch and OpenCV in this process."""
    import cv2
    import torch

    torch.set_num_threads(count)
    cv2.setNumThreads(count)
