"""The pixels of varied crops by torch, a batch at once.

Every step has the same meaning as in `host_crops`; what differs are OpenCV's roundings. `on` holds arrays of the batch
by name, those of `augment.Variations` and others, as tensors on the device.
"""

from __future__ import annotations

import cv2
import torch
from torch import Tensor

from tfpose_rt.training.augment import Whole


def warp(rows: Tensor, on: dict[str, Tensor], size: tuple[int, int]) -> Tensor:
    """Bilinear crops between pixel centres, as cv2.warpAffine cuts them.

    Args:
        rows: (N, 3) uint8.
        on: source (n, 2, 3) crop px to picture px, fill (n, 3), border (n,), first (n,) row where the picture begins,
            stride (n,) rows from line to line, sides (n, 2) w, h px, mirrored (n,).
        size: (W, H).
    Returns: (n, H, W, 3) float, whole numbers 0 to 255.
    """
    ys, xs = _grid(size, rows.device)
    source, border = on["source"][..., None, None], on["border"].view(-1, 1, 1)
    last = on["sides"][..., None, None] - 1  # (n, 2, 1, 1)
    first, stride, mirrored = (on[name].view(-1, 1, 1) for name in ("first", "stride", "mirrored"))
    taps: list[list[tuple[Tensor, Tensor, Tensor]]] = []  # by axis: pixels, whether the fill stands for them, weights
    for axis in (0, 1):
        place = source[:, axis, 0] * xs + source[:, axis, 1] * ys + source[:, axis, 2]  # (n, H, W)
        below = place.floor()
        part, index = place - below, below.long()
        taps.append([
            (*_border(index, last[:, axis], border), 1 - part), (*_border(index + 1, last[:, axis], border), part)
        ])  # fmt: skip
    image = torch.zeros((), device=rows.device)
    for y, beyond_y, weight_y in taps[1]:
        line = first + stride * y
        for x, beyond_x, weight_x in taps[0]:
            value = rows[line + torch.where(mirrored > 0, last[:, 0] - x, x)].float()
            value = torch.where((beyond_x | beyond_y)[..., None], on["fill"][:, None, None], value)
            image = image + value * (weight_x * weight_y)[..., None]
    return (image + 0.5).floor_()


def warp_blocks(rows: Tensor, on: dict[str, Tensor], most: Whole, largest: int, size: tuple[int, int]) -> Tensor:
    """Average blocks of factor x factor px, then `warp` the smaller pictures that they make.

    Args:
        rows: (N, 3) uint8.
        on: as of `warp`, and low (n, 2) x, y where the blocks begin, factor (n,), blocks (n, 2) across and down.
        most: (2,) the most blocks across and down.
        largest: the largest factor.
        size: (W, H).
    """
    x, y = (torch.arange(int(side), device=rows.device) for side in most)
    total = torch.zeros((len(on["low"]), len(y), len(x), 3), device=rows.device)
    factor, last = on["factor"].view(-1, 1), on["sides"] - 1
    for dy in range(largest):
        for dx in range(largest):
            at_x = torch.minimum(on["low"][:, :1] + factor * x + dx, last[:, :1])  # (n, w); the last column repeats
            at_y = torch.minimum(on["low"][:, 1:] + factor * y + dy, last[:, 1:])
            at_x = torch.where(on["mirrored"].view(-1, 1) > 0, last[:, :1] - at_x, at_x)
            index = (on["first"].view(-1, 1) + on["stride"].view(-1, 1) * at_y)[:, :, None] + at_x[:, None]
            counts = (max(dy, dx) < on["factor"]).view(-1, 1, 1)
            total += rows[torch.where(counts, index, 0)] * counts[..., None].float()
    small = (total / (on["factor"] ** 2).view(-1, 1, 1, 1)).round_().byte()
    first = torch.arange(len(small), device=rows.device) * (len(y) * len(x))
    place = {"first": first, "stride": torch.full_like(first, len(x)), "sides": on["blocks"]}
    return warp(small.view(-1, 3), {**on, **place, "mirrored": torch.zeros_like(on["mirrored"])}, size)


def _grid(size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """(H, 1) and (W,): y and x of the crop's pixels."""
    return torch.arange(size[1], device=device)[:, None], torch.arange(size[0], device=device)


def _border(index: Tensor, last: Tensor, mode: Tensor) -> tuple[Tensor, Tensor]:
    """The pixel that stands for one beyond the edge, and whether the fill does."""
    clamped = torch.minimum(index.clamp(min=0), last)
    reflected = last - (index.remainder((2 * last).clamp(min=1)) - last).abs()
    constant = (mode == cv2.BORDER_CONSTANT) & (index != clamped)
    return torch.where(mode == cv2.BORDER_REFLECT_101, reflected, clamped), constant


def light(image: Tensor, on: dict[str, Tensor]) -> Tensor:
    """(n, H, W, 3): gamma, gain, tint, grey; rounded down as the host's table is."""
    gamma, gain = (on[name].view(-1, 1, 1, 1) for name in ("gamma", "gain"))
    lit = (((image / 255) ** gamma - 0.5) * gain + 0.5 + on["offset"][:, None, None]) * 255
    image = torch.where(on["coloured"].view(-1, 1, 1, 1) > 0, lit.clamp_(0, 255).floor_(), image)
    b, g, r = image.unbind(-1)
    grey = (0.114 * b + 0.587 * g + 0.299 * r).round_()[..., None]
    return torch.where(on["grey"].view(-1, 1, 1, 1) > 0, grey, image)


def degrade(image: Tensor, on: dict[str, Tensor], most: int) -> Tensor:
    """Blur or coarsen (n, H, W, 3): both mix lines with lines and columns with columns."""
    n, h, w, _ = image.shape
    over_y = _mixing(h, on["blur"], on["radius"], on["coarse"][:, 1], most)
    over_x = _mixing(w, on["blur"], on["radius"], on["coarse"][:, 0], most)
    mixed = (over_y @ image.reshape(n, h, w * 3)).view(n, h, w, 3).transpose(1, 2).reshape(n, w, h * 3)
    return (over_x @ mixed).view(n, w, h, 3).transpose(1, 2).round().clamp(0, 255)


def _mixing(length: int, blur: Tensor, radius: Tensor, coarse: Tensor, most: int) -> Tensor:
    """(n, length, length): what each pixel of a line gets from each."""
    to = torch.arange(length, device=blur.device, dtype=torch.float32)
    start = to[:, None]
    sigma, radius, small = blur.view(-1, 1, 1), radius.view(-1, 1, 1), coarse.view(-1, 1, 1).float()
    left = torch.where(to > 0, -to - start, torch.inf)
    right = torch.where(to < length - 1, 2 * (length - 1) - to - start, torch.inf)
    ways = (to - start, left, right)  # directly, and mirrored at either end (BORDER_REFLECT_101)
    bells = torch.stack([torch.exp(-((d / sigma.clamp(min=1e-6)) ** 2) / 2) * (d.abs() <= radius) for d in ways]).sum(0)
    bells = bells / bells.sum(-1, keepdim=True).clamp(min=1e-9)
    # the small line: every pixel the mean of what it covers; then bilinear between the centres of the small pixels
    cell, one = length / small.clamp(min=1), torch.arange(most, device=blur.device, dtype=torch.float32)
    edge = one[:, None] * cell
    mean = (torch.minimum(to + 1, edge + cell) - torch.maximum(to, edge)).clamp(min=0) / cell  # (n, most, length)
    centre = ((start + 0.5) / cell - 0.5).clamp(min=0)
    back = (1 - (torch.minimum(centre, small - 1) - one).abs()).clamp(min=0)  # (n, length, most)
    return torch.where(sigma > 0, bells, back @ mean)


def hide(image: Tensor, on: dict[str, Tensor]) -> Tensor:
    """Cover the rectangles of (n, H, W, 3), one after the other."""
    n, h, w, _ = image.shape
    ys, xs = _grid((w, h), image.device)
    person = torch.arange(n, device=image.device).view(-1, 1, 1) * (h * w)
    for number in range(2):
        y, x, high, wide, source_y, source_x = (v.view(-1, 1, 1) for v in on["patches"][:, number].unbind(-1))
        covered = (ys >= y) & (ys < y + high) & (xs >= x) & (xs < x + wide)
        flat = on["flat"][:, number].view(-1, 1, 1) > 0
        moved = (ys - y + source_y) * w + xs - x + source_x
        copied = image.reshape(-1, 3)[person + torch.where(covered & ~flat, moved, ys * w + xs)]
        image = torch.where((covered & flat)[..., None], on["paint"][:, number, None, None], copied)
    return image
