"""How pictures lie in a device's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def layout(device: str | torch.device) -> torch.memory_format:
    """Channels last, which is faster, but not on Apple's GPUs.

    There a convolution takes some of the channels of such a map for others (pytorch/pytorch#180984), and every YOLO
    network parts its maps so.
    """
    import torch

    return torch.contiguous_format if torch.device(device).type == "mps" else torch.channels_last
