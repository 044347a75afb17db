"""Deformable attention on a CPU as weighted sums of table rows: several times faster than sampling level by level.

`value` is read as a table of B * S * M rows of D channels. Each sampling point becomes one upper left row and four
weights, the footprint moved inside the map as in the CUDA kernel, and `torch.embedding_bag` sums the rows. Backward
takes the dot products with a sampled matrix product and scatters value's gradient by sorting the points by row once.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class _Constants:
    """What depends on the level sizes alone; columns are (head, level, point) or, twice as long, (x, y) of those."""

    size: Tensor  # (L, 1, 2) width, height
    last: Tensor  # (2C,) the last cell that a footprint can start at: size - 2
    far: Tensor | None  # (2C,) 0 where a level is one pixel wide or high, and so has no far side; None if none is
    width: Tensor  # (C,)
    row: Tensor  # (C,) int64: the table row of a level's first token, within a crop
    right: Tensor  # (C,) int64: rows to the next token; 0 where there is none
    down: Tensor  # (C,) int64: rows to the token below


@lru_cache(maxsize=64)
def _constants(shapes: tuple[int, ...], heads: int, points: int, dtype: torch.dtype) -> _Constants:
    with torch.inference_mode(False), torch.no_grad():  # kept for calls of every mode
        h, w = torch.tensor(shapes[0::2]), torch.tensor(shapes[1::2])
        start = torch.cumsum(h * w, 0) - h * w

        def columns(per_level: Tensor) -> Tensor:  # (L, ...) -> (M * L * P * ...)
            return per_level[None, :, None].expand(heads, -1, points, *per_level.shape[1:]).reshape(-1)

        wh = torch.stack([w, h], -1)
        head = torch.arange(heads).repeat_interleave(len(w) * points)
        far = None if min(shapes) > 1 else columns((wh > 1).to(dtype))
        return _Constants(
            size=wh.to(dtype)[:, None, :],
            last=columns((wh - 2).to(dtype)),
            far=far,
            width=columns(w.to(dtype)),
            row=columns(start) * heads + head,
            right=columns((w > 1).long()) * heads,
            down=columns(w * (h > 1)) * heads,
        )


@dataclass(frozen=True, slots=True)
class _Points:
    """Every sampling point: N = B * Q * M groups of K points."""

    rows: Tensor  # (4, N, K) int64: upper left, upper right, lower left, lower right
    weights: Tensor  # (4, N, K) bilinear, with the softmax in them
    softmax: Tensor  # (N, K)
    u: Tensor  # (N, K, 2) from the footprint's first cell
    near: Tensor  # (N, K, 2) weight of the first column, of the first row
    far: Tensor  # (N, K, 2) of the second
    scale: Tensor | None  # (B*Q, 1, 2K) pixels an offset counts for; None: 1


def _base(ref: Tensor, c: _Constants, b: int, q: int, levels: int, points: int) -> tuple[Tensor, Tensor | None]:
    """Pixel coordinates of zero offsets and, for boxes, pixels per offset; each (B * Q, 1, 2K)."""
    ref = ref.to(c.size.dtype)[:, :, :, None, :]  # (B|1, Q, L|1, 1, 2|4)
    shape = (b, q, levels, points, 2)
    start = (ref[..., :2] * c.size - 0.5).expand(shape).reshape(b * q, 1, -1)
    if ref.shape[-1] == 2:
        return start, None
    return start, (ref[..., 2:] * c.size * (0.5 / points)).expand(shape).reshape(b * q, 1, -1)


def _points(
    offsets: Tensor, logits: Tensor, ref: Tensor, shapes: tuple[int, ...], tokens: int, dtype: torch.dtype
) -> _Points:
    b, q, m, levels, points, _ = offsets.shape
    k, rows = levels * points, b * q
    c = _constants(shapes, m, points, dtype)
    base, scale = _base(ref, c, b, q, levels, points)
    moved = offsets.reshape(rows, m, 2 * k).to(dtype)
    at = (base + moved if scale is None else torch.addcmul(base, moved, scale)).view(rows, -1)
    at.nan_to_num_(nan=-4.0, posinf=torch.inf, neginf=-torch.inf)  # a NaN point lies outside; slower: fmax and fmin
    cell = torch.minimum(at.floor(), c.last).clamp_min_(0)
    u = at.sub_(cell)
    near = u.abs().neg_().add_(1).clamp_min_(0)
    far = (u - 1).abs_().neg_().add_(1).clamp_min_(0)
    if c.far is not None:
        far.mul_(c.far)
    pairs = (rows * m, k, 2)
    # Along the columns of the transpose: torch's softmax over a short last axis takes ten times as long.
    softmax = logits.reshape(rows * m, k).to(dtype).t().softmax(0).t().contiguous()
    near, far, u = near.view(pairs), far.view(pairs), u.view(pairs)
    weights = at.new_empty((4, rows * m, k))
    top, bottom = softmax * near[..., 1], softmax * far[..., 1]
    torch.mul(top, near[..., 0], out=weights[0]), torch.mul(top, far[..., 0], out=weights[1])
    torch.mul(bottom, near[..., 0], out=weights[2]), torch.mul(bottom, far[..., 0], out=weights[3])
    cell = cell.view(rows, -1, 2)
    table = torch.empty((4, rows, m * k), dtype=torch.int64)
    token = torch.addcmul(cell[..., 0], cell[..., 1], c.width).to(torch.int64)  # whole numbers under 2**24: exact
    crop = torch.arange(0, b * tokens * m, tokens * m).repeat_interleave(q)[:, None] if b > 1 else 0
    torch.add(token.mul_(m).add_(c.row), crop, out=table[0])
    torch.add(table[0], c.right, out=table[1])
    torch.add(table[0], c.down, out=table[2])
    torch.add(table[2], c.right, out=table[3])
    return _Points(table.view(4, rows * m, k), weights, softmax, u, near, far, scale)


def _bag(table: Tensor, rows: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of table rows: bag i takes entries starts[i] up to the next start."""
    return torch.embedding_bag(table, rows, starts, False, 0, False, weights)[0]


def _compute_type(value: Tensor) -> torch.dtype:
    return torch.float64 if value.dtype == torch.float64 else torch.float32


def forward(value: Tensor, offsets: Tensor, logits: Tensor, ref: Tensor, shapes: Sequence[int]) -> Tensor:
    """The function of `deform_attn.reference`, without a gradient: (B, Q, M * D) of value's dtype, CPU only."""
    b, s, m, d = value.shape
    q = offsets.shape[1]
    if not b or not q:
        return value.new_empty((b, q, m * d))
    dtype = _compute_type(value)
    p = _points(offsets, logits, ref, tuple(shapes), s, dtype)
    table = value.reshape(b * s * m, d).to(dtype)
    n, k = p.softmax.shape
    starts = torch.arange(0, 4 * n * k, k)
    sums = _bag(table, p.rows.view(-1), starts, p.weights.view(-1))  # (4 N, D)
    return sums.view(4, n, d).sum(0).to(value.dtype).view(b, q, m * d)


@cache
def _hush_sparse_warning() -> None:
    """Let torch say once, unheard, that CSR tensors are in beta: only an index structure is used of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor(torch.tensor([0, 1]), torch.tensor([0]), torch.tensor([0.0]), (1, 1))


def _dots(g: Tensor, table: Tensor, rows: Tensor) -> Tensor:
    """(4, N, K): the product of each group's gradient (N, D) with the table row of each of its corners."""
    _hush_sparse_warning()
    _, n, k = rows.shape
    starts, zeros, columns = torch.arange(0, n * k + 1, k), g.new_zeros(n * k), table.t()
    out = g.new_empty(rows.shape)
    for corner in range(4):
        pattern = torch.sparse_csr_tensor(starts, rows[corner].view(-1), zeros, (n, len(table)), check_invariants=False)
        out[corner] = torch.sparse.sampled_addmm(pattern, g, columns, beta=0.0).values().view(n, k)
    return out


def _scatter(g: Tensor, p: _Points, value_shape: torch.Size, shapes: tuple[int, ...]) -> Tensor:
    """Value's gradient: sums per first row of the footprints, then one shifted addition for each other corner."""
    b, s, m, d = value_shape
    n, k = p.softmax.shape
    if n * k < b * s * m:  # a decoder's few queries: sorting would cost more than it saves
        spread = (p.weights[..., None] * g[None, :, None, :]).view(-1, d)
        return g.new_zeros((b * s * m, d)).index_add_(0, p.rows.view(-1), spread).view(b, s, m, d)
    rows, order = p.rows[0].reshape(-1).sort()
    starts = torch.searchsorted(rows, torch.arange(b * s * m))
    group = torch.div(order, k, rounding_mode="floor")
    weights = p.weights.view(4, n * k).index_select(1, order)
    part = [_bag(g, group, starts, weights[corner]).view(b, s, m, d) for corner in range(4)]
    total = part[0]
    first = 0
    for h, w in zip(shapes[0::2], shapes[1::2], strict=True):
        last = first + h * w
        for corner, step in ((1, 1 if w > 1 else 0), (2, w if h > 1 else 0), (3, w + 1 if min(h, w) > 1 else 0)):
            if step:  # otherwise the corner does not exist and weighs nothing
                total[:, first + step : last] += part[corner][:, first : last - step]
        first = last
    return total


def empty_grads(
    value: Tensor, offsets: Tensor, logits: Tensor, ref: Tensor, needs: Sequence[bool]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Zero gradients of a call without crops or queries."""
    return (
        value.new_zeros(value.shape if needs[0] else (0,)),
        offsets.new_zeros(offsets.shape),
        logits.new_zeros(logits.shape),
        ref.new_zeros(ref.shape if needs[3] else (0,)),
    )


def backward(
    grad: Tensor,
    value: Tensor,
    offsets: Tensor,
    logits: Tensor,
    ref: Tensor,
    shapes: Sequence[int],
    needs: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of value, offsets, logits and ref; an empty tensor for value or ref where `needs` is False.

    Args: as `forward`'s; grad: (B, Q, M * D), of the result; needs: of value, offsets, logits, ref.

    At whole coordinates the derivative is the right-hand one; points outside a map, or NaN, have none.
    """
    b, s, m, d = value.shape
    q, levels, points = offsets.shape[1], offsets.shape[3], offsets.shape[4]
    if not b or not q:
        return empty_grads(value, offsets, logits, ref, needs)
    dtype, sizes = _compute_type(value), tuple(shapes)
    p = _points(offsets, logits, ref, sizes, s, dtype)
    g = grad.reshape(-1, d).to(dtype).contiguous()
    dots = _dots(g, value.reshape(b * s * m, d).to(dtype), p.rows)
    near, far = p.near, p.far
    left = torch.addcmul(near[..., 1] * dots[0], far[..., 1], dots[2])  # the footprint's columns, then its rows
    right = torch.addcmul(near[..., 1] * dots[1], far[..., 1], dots[3])
    top = torch.addcmul(near[..., 0] * dots[0], far[..., 0], dots[1])
    bottom = torch.addcmul(near[..., 0] * dots[2], far[..., 0], dots[3])
    sampled = torch.addcmul(near[..., 0] * left, far[..., 0], right)
    grad_logits = p.softmax * (sampled - (p.softmax * sampled).sum(-1, keepdim=True))
    before, within, after = (p.u > -1) & (p.u < 0), (p.u >= 0) & (p.u < 1), (p.u >= 1) & (p.u < 2)
    slope_near, slope_far = before.to(dtype) - within.to(dtype), within.to(dtype) - after.to(dtype)
    far_side = _constants(sizes, m, points, dtype).far
    if far_side is not None:
        slope_far = (slope_far.view(b * q, -1) * far_side).view(slope_far.shape)
    moved = torch.empty_like(p.u)
    torch.add(slope_near[..., 0] * left, slope_far[..., 0] * right, out=moved[..., 0])
    torch.add(slope_near[..., 1] * top, slope_far[..., 1] * bottom, out=moved[..., 1])
    moved.mul_(p.softmax[..., None])  # of the pixel coordinates
    grad_value = _scatter(g, p, value.shape, sizes).to(value.dtype) if needs[0] else value.new_empty(0)
    grad_ref = _ref_grad(moved, offsets, ref, sizes) if needs[3] else ref.new_empty(0)
    if p.scale is not None:
        moved = moved.view(b * q, m, -1) * p.scale
    return (
        grad_value,
        moved.view(b, q, m, levels, points, 2).to(offsets.dtype),
        grad_logits.view(b, q, m, levels * points).to(logits.dtype),
        grad_ref,
    )


def _ref_grad(moved: Tensor, offsets: Tensor, ref: Tensor, shapes: tuple[int, ...]) -> Tensor:
    size = _constants(shapes, offsets.shape[2], offsets.shape[4], moved.dtype).size[:, 0]  # (L, 2)
    moved = moved.view(offsets.shape)
    total = moved.sum((2, 4)) * size  # (B, Q, L, 2)
    if ref.shape[-1] == 4:
        box = (moved * offsets).sum((2, 4)) * size * (0.5 / offsets.shape[4])
        total = torch.cat([total, box], -1)
    axes = [axis for axis in (0, 2) if ref.shape[axis] == 1]
    return (total.sum(axes, keepdim=True) if axes else total).to(ref.dtype)


class Gather(torch.autograd.Function):
    """`forward` with its gradient, for eager training; the registered operator serves everything that traces."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, offsets: Tensor, logits: Tensor, ref: Tensor, shapes: Sequence[int]) -> Tensor:
        """See the module's `forward`."""
        ctx.save_for_backward(value, offsets, logits, ref)
        ctx.shapes = tuple(shapes)
        return forward(value.detach(), offsets.detach(), logits.detach(), ref.detach(), shapes)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """See the module's `backward`."""
        needs = ctx.needs_input_grad[:4]
        value, offsets, logits, ref = ctx.saved_tensors
        grads = backward(grad, value, offsets, logits, ref, ctx.shapes, needs)
        return (*(g if need else None for g, need in zip(grads, needs, strict=True)), None)
