"""The inputs that `bench kernel` times: the models' encoders and decoders, random and of stated locality."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tfpose_rt.ops.launch import Kernel
from tfpose_rt.tools import kernel_oracles
from tfpose_rt.tools.bench_variants import Workload

SPREADS = ("1", "4", "uniform")  # px of noise around the initial directions, or anywhere on the map
LEVELS3, LEVELS4 = (32, 24, 16, 12, 8, 6), (64, 48, 32, 24, 16, 12, 8, 6)
LARGE3, LARGE4 = (48, 36, 24, 18, 12, 9), (96, 72, 48, 36, 24, 18, 12, 9)


@dataclass(frozen=True, slots=True)
class BenchCase:
    """One row's sizes; queries None: an encoder, whose queries are its tokens."""

    name: str
    shapes: tuple[int, ...]
    batch: int
    queries: int | None = None
    channels: int = 32
    heads: int = 8


def cases() -> Iterator[BenchCase]:
    """The encoder and decoder at the sizes the models have."""
    for batch in (1, 8, 32):
        yield BenchCase(f"enc 3L B={batch}", LEVELS3, batch)
        yield BenchCase(f"enc 4L B={batch}", LEVELS4, batch)
        yield BenchCase(f"dec 3L B={batch}", LEVELS3, batch, 17)
        yield BenchCase(f"dec 4L B={batch}", LEVELS4, batch, 17)
    for channels in (16, 24):
        yield BenchCase(f"enc 3L B=32 D={channels}", LEVELS3, 32, None, channels)
    yield BenchCase("enc 384x288 3L B=32", LARGE3, 32)
    yield BenchCase("enc 384x288 4L B=32", LARGE4, 32)


def workload(case: BenchCase, dtype: torch.dtype, spread: str, kernel: Kernel, device: str, seed: int) -> Workload:
    """Random inputs, never zeros: those flatter timings."""
    draw = torch.Generator(device=device).manual_seed(seed)
    levels, points = len(case.shapes) // 2, 4
    sizes = list(zip(case.shapes[0::2], case.shapes[1::2], strict=True))
    tokens = sum(h * w for h, w in sizes)
    queries = tokens if case.queries is None else case.queries
    head = (case.batch, queries, case.heads)
    angle = torch.arange(case.heads, device=device) * (2 * torch.pi / case.heads)
    ring = torch.stack([angle.cos(), angle.sin()], -1)
    ring = ring / ring.abs().amax(-1, keepdim=True)  # Deformable DETR's compass: radius p + 1
    offsets = ring[:, None, None] * torch.arange(1, points + 1, device=device)[:, None]
    offsets = offsets.expand(*head, levels, points, 2)
    if spread == "uniform":
        wh = torch.tensor(sizes, device=device).flip(-1)[:, None]
        offsets = (torch.rand((*head, levels, points, 2), generator=draw, device=device) - 0.5) * wh
    else:
        offsets = offsets + torch.randn(offsets.shape, generator=draw, device=device) * float(spread)
    if case.queries is None:
        ref = torch.cat([_centres(h, w, device) for h, w in sizes])[None, :, None]
    else:
        ref = torch.rand((case.batch, queries, 1, 2), generator=draw, device=device)
    value = torch.randn((case.batch, tokens, case.heads, case.channels), generator=draw, device=device)
    logits = torch.randn((*head, levels * points), generator=draw, device=device)
    grad = torch.randn((case.batch, queries, case.heads * case.channels), generator=draw, device=device)
    return Workload(value.to(dtype), offsets.to(dtype), logits.to(dtype), ref, case.shapes, grad.to(dtype), kernel)


def _centres(h: int, w: int, device: str) -> Tensor:
    y, x = torch.meshgrid(torch.arange(h, device=device), torch.arange(w, device=device), indexing="ij")
    return torch.stack([(x + 0.5) / w, (y + 0.5) / h], -1).view(-1, 2).float()


def oracle_of(x: Workload, crop: int, gradients: bool) -> tuple[Tensor, ...]:
    """The answer for one crop, or the gradients of value, offsets and logits: of all at once they would fill a GPU."""
    value, offsets, logits, ref = (t if len(t) == 1 else t[crop : crop + 1] for t in x.tensors)
    if not gradients:
        return (kernel_oracles.loops(value, offsets, logits, ref, x.shapes),)
    leaves = [t.detach().double().requires_grad_() for t in (value, offsets, logits)]
    result = kernel_oracles.loops(leaves[0], leaves[1], leaves[2], ref, x.shapes)
    return torch.autograd.grad(result, leaves, x.grad[crop : crop + 1].double())
