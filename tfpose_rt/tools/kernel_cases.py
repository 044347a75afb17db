"""The inputs a kernel of deformable attention has to get right: sizes, dtypes, layouts and every boundary."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

SMALL = (8, 6, 4, 3, 2, 2, 3, 5)  # four levels; the second side is odd, S is odd for three and four levels
POWERS = (8, 8, 4, 4, 2, 2)  # reference * size is exact
REAL = (32, 24, 16, 12, 8, 6)  # a 256 x 192 crop at strides 8, 16 and 32
F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One set of inputs; the name says it all and seeds the numbers."""

    dtype: torch.dtype = F32
    query_dtype: torch.dtype | None = None  # None: dtype
    batch: int = 3
    queries: int = 17
    heads: int = 4
    channels: int = 24
    points: int = 4
    shapes: tuple[int, ...] = SMALL[:6]
    ref_dim: int = 2
    ref_batch: bool = False  # one reference a crop, not one for all
    ref_levels: bool = False  # one a level
    where: str = "spread"  # spread, edges, whole: what the coordinates are
    logits: str = "plain"  # plain, equal, huge, masked, none: what the softmax meets
    strided: bool = False  # offsets and logits are slices of one projection, value of a longer batch

    @property
    def name(self) -> str:
        """Every field that differs from the default."""
        parts = [f"{self.dtype}".removeprefix("torch."), "x".join(map(str, self.shapes))]
        for field in ("query_dtype", "batch", "queries", "heads", "channels", "points", "ref_dim", "where", "logits"):
            value = getattr(self, field)
            if value != getattr(Case(), field):
                parts.append(f"{field}={value}".replace("torch.", ""))
        parts += [field for field in ("ref_batch", "ref_levels", "strided") if getattr(self, field)]
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Inputs:
    """Tensors of one call, and the gradient that comes back."""

    value: Tensor
    offsets: Tensor
    logits: Tensor
    ref: Tensor
    shapes: tuple[int, ...]
    grad: Tensor

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What can have a gradient, in order."""
        return self.value, self.offsets, self.logits, self.ref


def make(case: Case, device: torch.device | str = "cpu") -> Inputs:
    """Draw the inputs of a case; the same numbers every time."""
    draw = torch.Generator().manual_seed(sum(map(ord, case.name)))
    levels, b, q, m, p = len(case.shapes) // 2, case.batch, case.queries, case.heads, case.points
    query = case.query_dtype or case.dtype
    tokens = sum(h * w for h, w in zip(case.shapes[0::2], case.shapes[1::2], strict=True))
    value = torch.randn((b, tokens, m, case.channels), generator=draw).to(case.dtype)
    ref = torch.rand((b if case.ref_batch else 1, q, levels if case.ref_levels else 1, case.ref_dim), generator=draw)
    offsets = torch.randn((b, q, m, levels, p, 2), generator=draw) * 2
    if case.where == "edges":
        ref[..., :2] = 0
        offsets = _edges(case, offsets.shape)
    elif case.where == "whole":  # whole pixel coordinates, some outside
        ref[..., :2] = 0
        offsets = torch.randint(-1, 9, offsets.shape, generator=draw) + 0.5
        offsets[offsets == -0.5] = 0.5  # exactly -1: ours has no slope there, autograd a one-sided one
    logits = _logits(case.logits, torch.randn((b, q, m, levels * p), generator=draw), query)
    grad = torch.randn((b, q, m * case.channels), generator=draw).to(case.dtype)
    value, offsets, logits = value.to(device), offsets.to(query).to(device), logits.to(query).to(device)
    if case.strided:
        value, offsets, logits = _slices(value, offsets, logits)
    return Inputs(value, offsets, logits, ref.to(device), case.shapes, grad.to(device))


def _edges(case: Case, shape: torch.Size) -> Tensor:
    """All pairs of the coordinates at which something changes, for each level's own size."""
    b, q, m, levels, p, _ = shape
    offsets = torch.empty(shape)
    far = (1e4, -1e4, math.inf, -math.inf, math.nan)
    for level in range(levels):
        sides = (case.shapes[2 * level + 1], case.shapes[2 * level])
        marks = [
            (-1 - 2**-9, -1.0, -0.5, 0.0, 0.5, side - 1.0, side - 0.5, side - 2**-7, float(side), *far)
            for side in sides
        ]
        pairs = torch.tensor(list(itertools.product(*marks)))
        count = b * q * m * p
        repeated = pairs.repeat(-(-count // len(pairs)), 1)[:count]
        offsets[:, :, :, level] = repeated.view(b, q, m, p, 2) + 0.5
    return offsets


def _logits(kind: str, plain: Tensor, query: torch.dtype) -> Tensor:
    if kind == "equal":
        return torch.full_like(plain, 3.0)
    if kind == "huge":
        return plain.sign() * (6e4 if query == F16 else 1e30)
    if kind == "masked":  # all but the first entry of every other row
        masked = plain.clone()
        masked[:, ::2, :, 1:] = -math.inf
        return masked
    if kind == "none":  # a row of nothing but -inf is NaN, as torch's softmax says
        masked = plain.clone()
        masked[:, 0] = -math.inf
        return masked
    return plain


def _slices(value: Tensor, offsets: Tensor, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    b, q = offsets.shape[:2]
    width, more = offsets[0, 0].numel(), logits[0, 0].numel()
    both = torch.cat([offsets.reshape(b, q, -1), logits.reshape(b, q, -1), logits.new_zeros((b, q, 8))], -1)
    longer = torch.cat([value, torch.full_like(value[:, :16], math.nan)], 1)
    return (
        longer[:, : value.shape[1]],
        torch.unflatten(both[..., :width], -1, offsets.shape[2:]),
        torch.unflatten(both[..., width : width + more], -1, logits.shape[2:]),
    )


def representative() -> Iterator[Case]:
    """A set that meets every kernel, dtype, layout and boundary once or twice."""
    base = Case()
    for dtype in (F32, F16, BF16):
        yield replace(base, dtype=dtype, where="edges", heads=8, shapes=SMALL[:4])
        yield replace(base, dtype=dtype, channels=32, strided=True, ref_batch=True, shapes=SMALL)
        yield replace(base, dtype=dtype, channels=16, ref_dim=4, ref_levels=True, queries=65)
    yield replace(base, dtype=F16, query_dtype=F32, ref_dim=4, ref_batch=True, ref_levels=True, strided=True)
    yield replace(base, dtype=BF16, query_dtype=F32, logits="masked")
    for shapes in ((1, 1), (1, 7, 4, 4), (7, 1, 4, 4), (2, 2), (1, 1, 2, 2, 1, 3)):
        yield replace(base, shapes=shapes, where="edges", dtype=F16)
        yield replace(base, shapes=shapes, ref_dim=4, channels=32)
    for logits in ("equal", "huge", "masked", "none"):
        yield replace(base, dtype=F16, logits=logits, channels=32)
    yield replace(base, shapes=POWERS, where="whole")
    for queries in (0, 1, 63, 64):
        yield replace(base, queries=queries, dtype=F16)
    yield replace(base, batch=0)
    yield replace(base, batch=5, queries=1, heads=16, channels=8)
    yield replace(base, channels=48, points=3, shapes=SMALL[:4])
    yield replace(base, channels=64, dtype=F16, points=8, shapes=SMALL[:4])
    yield replace(base, channels=64, points=2, shapes=SMALL, batch=1)
    yield replace(base, batch=1, queries=130, heads=8, channels=24, shapes=REAL, dtype=F16)


def exhaustive() -> Iterator[Case]:
    """Every combination of the sizes that matter; some minutes on a CPU."""
    for dtype, channels, levels, queries in itertools.product(
        (F32, F16, BF16), (16, 24, 32), (1, 2, 3, 4), (1, 17, 63, 64, 65)
    ):
        flip = queries % 2 == 0
        yield Case(
            dtype=dtype,
            channels=channels,
            shapes=SMALL[: 2 * levels],
            queries=queries,
            ref_dim=4 if (levels + channels // 8) % 2 else 2,
            ref_batch=flip,
            ref_levels=levels % 2 == 0,
            strided=not flip,
            query_dtype=F32 if levels == 3 else None,
        )
    for dtype, channels, shapes in itertools.product(
        (F32, F16, BF16), (16, 24, 32), ((1, 1), (1, 9), (9, 1), (2, 2), SMALL[:2], SMALL)
    ):
        yield Case(dtype=dtype, channels=channels, shapes=shapes, where="edges", heads=8)
    for dtype, logits in itertools.product((F32, F16, BF16), ("equal", "huge", "masked", "none")):
        yield Case(dtype=dtype, logits=logits, channels=32, shapes=SMALL)
    for dtype, channels in itertools.product((F32, F16, BF16), (16, 24, 32)):
        yield Case(dtype=dtype, channels=channels, batch=32, heads=8)
        yield Case(dtype=dtype, channels=channels, batch=1, queries=1008, heads=8, shapes=REAL)
        yield Case(dtype=dtype, channels=channels, shapes=POWERS, where="whole")
