"""What `bench kernel` times: the fused kernel, three ways of doing without it, and floors under it.

Every variant is a function of a `Workload` that returns a closure without arguments, so that timing sees calls only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tfpose_rt.ops import cpu_gather
from tfpose_rt.ops.launch import Kernel
from tfpose_rt.ops.plan import Plan, Problem, check, statics

Call = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Workload:
    """Inputs of one timed call; grad is of the result. All on one device."""

    value: Tensor
    offsets: Tensor
    logits: Tensor
    ref: Tensor
    shapes: tuple[int, ...]
    grad: Tensor
    kernel: Kernel

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the operator takes, in order."""
        return self.value, self.offsets, self.logits, self.ref

    @property
    def problem(self) -> Problem:
        """The sizes, checked."""
        return check(*self.tensors, self.shapes)


def eager(value: Tensor, offsets: Tensor, logits: Tensor, ref: Tensor, shapes: Sequence[int]) -> Tensor:
    """The usual torch code: softmax, normalised locations, grid_sample a level, weighted sum, all in value's dtype."""
    b, _, m, d = value.shape
    _, q, _, levels, points, _ = offsets.shape
    sizes = [(shapes[2 * level], shapes[2 * level + 1]) for level in range(levels)]
    weights = logits.softmax(-1).transpose(1, 2).reshape(b * m, 1, q, levels * points)
    start, found = 0, []
    for level, (h, w) in enumerate(sizes):
        centre = ref[:, :, None, min(level, ref.shape[2] - 1), None]
        location = torch.stack([centre[..., 0] + offsets[:, :, :, level, :, 0] / w,
                                centre[..., 1] + offsets[:, :, :, level, :, 1] / h], -1)  # fmt: skip
        grid = (2 * location - 1).transpose(1, 2).flatten(0, 1).to(value.dtype)
        image = value[:, start : start + h * w].permute(0, 2, 3, 1).reshape(b * m, d, h, w)
        if not image.is_cuda:  # torch reads past the end of a strided picture of half type on a CPU, and may crash
            image = image.contiguous()
        found.append(F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False))
        start += h * w
    out = (torch.cat(found, -1) * weights).sum(-1)
    return out.view(b, m * d, q).transpose(1, 2)


def prepared(x: Workload) -> tuple[Tensor, Tensor]:
    """Footprints worked out beforehand, for the floors: tokens (B, Q, M, K) int32 and weights (B, Q, M, K, 4) fp32."""
    offsets, logits, ref = (t.detach().cpu().float() for t in (x.offsets, x.logits, x.ref))
    b, s, m, _ = x.value.shape
    q, k = offsets.shape[1], logits.shape[-1]
    points = cpu_gather._points(offsets, logits, ref, x.shapes, s, torch.float32)
    rows = points.rows[0].view(b, q, m, k) // m - torch.arange(b)[:, None, None, None] * s
    weights = points.weights.view(4, b, q, m, k).movedim(0, -1).contiguous()
    return rows.to(torch.int32).to(x.value.device), weights.to(x.value.device)


def bench_plan(x: Workload, name: str) -> Plan:
    """Plan one of the benchmark's own kernels."""
    p = x.problem
    sms = x.kernel.launcher.sm_count(x.value.device)
    if name.startswith("floor"):
        units = p.batch * p.heads * p.tiles
        grid = min(sms, units)
        most = p.backward_threads if name == "floor_reds" else p.forward_threads
        threads = min(most, 32 * -(-units // grid))
        return Plan(f"{name}<{p.template}>", grid, threads, statics(p, x.tensors, units), p)
    lanes = 1 << (p.channels - 1).bit_length()
    blocks = -(-p.batch * p.queries * p.heads * lanes // 256)
    return Plan(f"{name}<{p.template}>", blocks, 256, statics(p, x.tensors, p.batch * p.queries), p)


def _launch(x: Workload, plan: Plan, value: Tensor, offsets: Tensor, logits: Tensor, **more: Tensor) -> None:
    order = ("out", "grad_out", "grad_value", "grad_offsets", "grad_logits")
    rest = (more[name].data_ptr() if name in more else 0 for name in order)
    pointers = (value.data_ptr(), offsets.data_ptr(), logits.data_ptr(), 0, *rest, 0, 0)
    x.kernel.launcher.launch(plan, pointers, value.device)


def fused(x: Workload) -> Call:
    """Ours, forward."""
    return lambda: x.kernel.forward(*x.tensors, x.shapes)


def fused_both(x: Workload) -> Call:
    """Ours, forward and backward; the result is the four gradients."""

    def run() -> tuple[Tensor, ...]:
        x.kernel.forward(*x.tensors, x.shapes)
        return x.kernel.backward(x.grad, *x.tensors, x.shapes, (True, True, True, False), False)

    return run


def plain(x: Workload) -> Call:
    """(a) eager torch."""
    return lambda: eager(*x.tensors, x.shapes)


@cache
def _compiled() -> Callable[..., Tensor]:
    """One for all sets of inputs: what is compiled of a function belongs to whoever had it compiled."""
    return torch.compile(eager, mode="max-autotune-no-cudagraphs", dynamic=False)


def compiled(x: Workload) -> Call:
    """(b) the same, compiled."""
    run = _compiled()
    return lambda: run(*x.tensors, x.shapes)


def _sides(x: Workload) -> Tensor:
    """(L, 1, 2) width and height; made before a call is recorded in a graph, which no copy from the host may enter."""
    return torch.tensor(x.shapes, device=x.offsets.device).view(-1, 2).flip(-1)[:, None]


def _locations(x: Workload, offsets: Tensor, logits: Tensor, wh: Tensor) -> tuple[Tensor, Tensor]:
    location = x.ref[:, :, None, :, None] + offsets.float() / wh
    return location.contiguous(), logits.float().softmax(-1).contiguous()


def unfused(x: Workload) -> Call:
    """(c) torch softmax and locations in fp32, then one thread a channel."""
    plan, wh = bench_plan(x, "unfused_forward"), _sides(x)

    def run() -> Tensor:
        location, weights = _locations(x, x.offsets, x.logits, wh)
        out = torch.empty_like(x.grad)
        _launch(x, plan, x.value, location, weights, out=out)
        return out

    return run


def unfused_both(x: Workload) -> Call:
    """(c) with its backward: scalar reds into fp32, the query side through torch's own gradients."""
    forward, back, wh = bench_plan(x, "unfused_forward"), bench_plan(x, "unfused_backward"), _sides(x)

    def run() -> tuple[Tensor, ...]:
        offsets, logits = x.offsets.detach().requires_grad_(), x.logits.detach().requires_grad_()
        location, weights = _locations(x, offsets, logits, wh)
        out = torch.empty_like(x.grad)
        _launch(x, forward, x.value, location, weights, out=out)
        total = torch.zeros(x.value.shape, dtype=torch.float32, device=x.value.device)
        moved, shares = torch.empty_like(location), torch.empty_like(weights)
        grads = {"grad_out": x.grad, "grad_value": total, "grad_offsets": moved, "grad_logits": shares}
        _launch(x, back, x.value, location, weights, **grads)
        both = torch.autograd.grad((location, weights), (offsets, logits), (moved, shares))
        return total.to(x.value.dtype), *both

    return run


def plain_both(x: Workload) -> Call:
    """(a) forward and backward."""

    def run() -> tuple[Tensor, ...]:
        leaves = [t.detach().requires_grad_() for t in x.tensors[:3]]
        value, offsets, logits = leaves
        return torch.autograd.grad(eager(value, offsets, logits, x.ref, x.shapes), leaves, x.grad)

    return run


def floor(x: Workload, name: str) -> Call:
    """F1 (floor_gather) or F2 (floor_blend)."""
    plan, (tokens, weights) = bench_plan(x, name), prepared(x)

    def run() -> Tensor:
        out = torch.empty_like(x.grad)
        _launch(x, plan, x.value, tokens, weights, out=out)
        return out

    return run


def floor_reds(x: Workload) -> Call:
    """Backward's vector reds alone; the result is value's gradient in fp32."""
    plan, (tokens, weights) = bench_plan(x, "floor_reds"), prepared(x)

    def run() -> Tensor:
        total = torch.zeros(x.value.shape, dtype=torch.float32, device=x.value.device)
        _launch(x, plan, x.value, tokens, weights, grad_out=x.grad, grad_value=total)
        return total

    return run


def copy(x: Workload) -> Call:
    """F3 warm, F4 cold: a device copy of as many bytes as the operator must move at least."""
    moved = sum(t.numel() * t.itemsize for t in (x.value, x.offsets, x.logits, x.grad)) // 2
    source = torch.empty(moved, dtype=torch.uint8, device=x.value.device).random_()
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def xor_of_corners(x: Workload) -> Tensor:
    """What floor_gather must give, by torch: (B, Q, M * D) of value's dtype."""
    tokens, _ = prepared(x)
    b, q, m, k = tokens.shape
    bits = x.value.view(torch.int16 if x.value.itemsize == 2 else torch.int32)
    crops, heads = torch.arange(b, device=bits.device)[:, None, None], torch.arange(m, device=bits.device)
    total = torch.zeros_like(x.grad).view(bits.dtype).view(b, q, m, -1)
    points = x.offsets.shape[4]
    for point in range(k):
        w = x.shapes[2 * (point // points) + 1]
        for step in (0, 1, w, w + 1):
            total ^= bits[crops, tokens[..., point].long() + step, heads]
    return total.view(b, q, -1).view(x.value.dtype)
