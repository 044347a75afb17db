"""What a launch of the deformable attention kernel needs, worked out once per set of shapes: checks, instance, grid.

Nothing here touches a device, so the same plans drive the GPU and the CPU build of the kernel that the tests run.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor

PARAMS_BYTES = 248
POINTERS = struct.Struct(
    "<11Q"
)  # value offsets logits ref out grad_out grad_value grad_offsets grad_logits grad_ref amax
STATICS = struct.Struct("<8q6i18i")
MAX_LEVELS, MAX_POINTS = 6, 32
CHANNELS = (8, 16, 24, 32, 48, 64)  # of a head; 16, 24 and 32 are tuned, the others only correct
HEADS = (4, 8, 16)
TYPES = {torch.float32: "float", torch.float16: "f16", torch.bfloat16: "bf16"}
VARIANTS = ("auto", "A", "B")
SKIP, FLOAT, FIXED = 0, 1, 2  # what backward does about value's gradient
SINGLE_THREADS = 128  # of forward B: four groups a block


@dataclass(frozen=True, slots=True)
class Problem:
    """The sizes of one call, already checked."""

    batch: int
    tokens: int
    heads: int
    channels: int
    queries: int
    levels: int
    points: int
    ref_dim: int
    shapes: tuple[int, ...]
    value_type: torch.dtype
    query_type: torch.dtype

    @property
    def vector(self) -> int:
        """Channels in the 16 bytes that one lane owns."""
        return 16 // self.value_type.itemsize

    @property
    def lanes(self) -> int:
        """Lanes that serve one (crop, query, head): a power of two."""
        return 1 << (-(-self.channels // self.vector) - 1).bit_length()

    @property
    def tiles(self) -> int:
        """Warps that one (crop, head) takes."""
        return -(-self.queries // (32 // self.lanes))

    @property
    def forward_threads(self) -> int:
        """Most threads of a block of forward A: its launch bound in the kernel's source."""
        return 640 if self.levels * self.points > 12 else 768 if self._many else 1024

    @property
    def backward_threads(self) -> int:
        """Most threads of a block of backward, likewise."""
        return 384 if self._many else 512

    @property
    def _many(self) -> bool:
        return -(-self.levels * self.points // self.lanes) > 4  # points that one lane owns

    @property
    def template(self) -> str:
        """The template arguments every kernel shares."""
        tiny = "true" if min(self.shapes) == 1 else "false"
        types = f"{TYPES[self.value_type]}, {TYPES[self.query_type]}"
        return f"{types}, {self.channels}, {self.heads}, {self.levels}, {self.points}, {self.ref_dim}, {tiny}"


@dataclass(frozen=True, slots=True, eq=False)  # compared and hashed by identity: a key on the way to every launch
class Plan:
    """One launch: which instance, how many blocks of how many threads, and the parameter struct but its pointers."""

    expression: str
    grid: int
    threads: int
    statics: bytes
    problem: Problem


def fail(argument: str, got: object, expected: object, kind: type[Exception] = ValueError) -> NoReturn:
    """Raise the one sentence every check ends in."""
    raise kind(f"ms_deform_attn: {argument} is {got}, expected {expected}")


def misfit(heads: int, channels: int, levels: int, points: int) -> str | None:
    """Which size of a model the kernel does not have, in words, or None.

    Args:
        heads: of the attention.
        channels: of all heads.
        levels: feature maps.
        points: sampling points of a head and level.
    """
    if heads not in HEADS:
        return f"the kernel has {_either(HEADS)} heads, the model {heads}"
    if channels // heads not in CHANNELS:
        return f"the kernel has {_either(CHANNELS)} channels a head, the model {channels // heads}"
    if levels > MAX_LEVELS or levels * points > MAX_POINTS:
        most = f"{MAX_LEVELS} levels and {MAX_POINTS} points a head"
        return f"the kernel has at most {most}, the model {levels} and {levels * points}"
    return None


def _either(numbers: Sequence[int]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} or {numbers[-1]}"


def check(value: Tensor, offsets: Tensor, logits: Tensor, ref: Tensor, shapes: Sequence[int]) -> Problem:
    """Check a call against what the kernel takes.

    The tensors are those of `deform_attn.reference`.

    Returns: the sizes.
    Raises: TypeError: a dtype; ValueError: a shape, stride, size or device. Both name argument, got and expected.
    """
    problem = _check_shapes(value, offsets, logits, ref, shapes)
    _check_types(value, offsets, logits, ref)
    _check_strides(value, offsets, logits, ref, problem)
    _check_sizes(problem)
    return problem


def _check_shapes(value: Tensor, offsets: Tensor, logits: Tensor, ref: Tensor, shapes: Sequence[int]) -> Problem:
    for name, tensor, rank in (("value", value, 4), ("offsets", offsets, 6), ("logits", logits, 4), ("ref", ref, 4)):
        if tensor.dim() != rank:
            fail(name, f"of rank {tensor.dim()}", f"rank {rank}")
    b, s, m, d = value.shape
    _, q, _, levels, points, _ = offsets.shape
    if len(shapes) != 2 * levels or not all(side >= 1 for side in shapes):
        fail("shapes", list(shapes), f"height and width, at least 1, of {levels} levels")
    if levels > MAX_LEVELS or levels < 1 or points < 1 or levels * points > MAX_POINTS:
        fail("offsets", tuple(offsets.shape), f"1 to {MAX_LEVELS} levels and at most {MAX_POINTS} points in all")
    if d not in CHANNELS or m not in HEADS:
        fail("value", tuple(value.shape), f"{HEADS} heads of {CHANNELS} channels")
    pixels = sum(h * w for h, w in zip(shapes[0::2], shapes[1::2], strict=True))
    if s != pixels:
        fail("value", f"of {s} tokens", f"{pixels}, the sum of height times width")
    if tuple(offsets.shape) != (b, q, m, levels, points, 2):
        fail("offsets", tuple(offsets.shape), (b, q, m, levels, points, 2))
    if tuple(logits.shape) != (b, q, m, levels * points):
        fail("logits", tuple(logits.shape), (b, q, m, levels * points))
    if ref.shape[0] not in (1, b) or ref.shape[1] != q or ref.shape[2] not in (1, levels) or ref.shape[3] not in (2, 4):
        fail("ref", tuple(ref.shape), f"({b} or 1, {q}, {levels} or 1, 2 or 4)")
    return Problem(b, s, m, d, q, levels, points, ref.shape[3], tuple(shapes), value.dtype, offsets.dtype)


def _check_types(value: Tensor, offsets: Tensor, logits: Tensor, ref: Tensor) -> None:
    if value.dtype not in TYPES:
        fail("value", value.dtype, "float32, float16 or bfloat16", TypeError)
    if offsets.dtype not in (value.dtype, torch.float32):
        fail("offsets", offsets.dtype, f"{value.dtype} or torch.float32", TypeError)
    if logits.dtype != offsets.dtype:
        fail("logits", logits.dtype, f"{offsets.dtype}, as offsets", TypeError)
    if ref.dtype != torch.float32:
        fail("ref", ref.dtype, "torch.float32 always", TypeError)
    for name, tensor in (("offsets", offsets), ("logits", logits), ("ref", ref)):
        if tensor.device != value.device:
            fail(name, f"on {tensor.device}", f"{value.device}, as value")


def _dense(tensor: Tensor, first: int) -> bool:
    expected = 1
    for size, stride in zip(reversed(tensor.shape[first:]), reversed(tensor.stride()[first:]), strict=True):
        if size > 1 and stride != expected:
            return False
        expected *= size
    return True


def _check_strides(value: Tensor, offsets: Tensor, logits: Tensor, ref: Tensor, p: Problem) -> None:
    if not _dense(value, 1):
        fail("value", f"strided {value.stride()}", "dense after the batch; call value.contiguous()")
    for name, tensor in (("offsets", offsets), ("logits", logits)):
        if not _dense(tensor, 2):
            fail(name, f"strided {tensor.stride()}", f"dense after the query; call {name}.contiguous()")
    if ref.stride(3) != 1:
        fail("ref", f"strided {ref.stride()}", "dense in its last dimension; call ref.contiguous()")
    if p.batch > 1 and value.stride(0) * value.itemsize % 16:
        fail("value", f"of batch stride {value.stride(0)}", "a multiple of 16 bytes; call value.contiguous()")
    for name, tensor, unit in (("offsets", offsets, 2), ("ref", ref, 2)):
        for axis, stride in enumerate(tensor.stride()[:3]):
            if tensor.shape[axis] > 1 and stride % unit:
                fail(name, f"strided {tensor.stride()}", f"multiples of one (x, y) pair; call {name}.contiguous()")


def _check_sizes(p: Problem) -> None:
    limit = 2**31
    if p.tokens * p.heads * p.channels * p.value_type.itemsize >= limit:
        fail("value", f"{p.tokens} tokens a crop", f"less than {limit} bytes a crop")
    if p.queries * p.heads * p.levels * p.points * 2 >= limit:
        fail("offsets", f"{p.queries} queries a crop", f"less than {limit} numbers a crop")
    if p.batch * p.heads * p.queries >= limit:
        fail("value", f"of batch {p.batch}", f"batch times heads times queries less than {limit}; split the batch")


def check_pointers(value: int, offsets: int, logits: int, ref: int, p: Problem) -> None:
    """Check what changes from call to call: base addresses. Raises ValueError."""
    if value & 15:
        fail("value", "not 16-byte aligned", "an aligned base; call value.clone()")
    if offsets & (2 * p.query_type.itemsize - 1) or logits & (p.query_type.itemsize - 1):
        fail("offsets", "not aligned to one (x, y) pair", "an aligned base; call offsets.clone()")
    if ref & 7:
        fail("ref", "not 8-byte aligned", "an aligned base; call ref.clone()")


def fixed_bits(queries: int) -> int:
    """Binary digits of the fixed-point gradient: a sum of `queries` numbers of 2**bits stays inside int64."""
    return 62 - max(queries - 1, 0).bit_length()


def statics(p: Problem, tensors: Sequence[Tensor], units: int) -> bytes:
    """Pack strides, counts and level sizes as the kernels' Params has them after its pointers."""
    value, offsets, logits, ref = tensors
    heights, widths = p.shapes[0::2], p.shapes[1::2]
    starts = [0]
    for h, w in zip(heights, widths, strict=True):
        starts.append(starts[-1] + h * w)
    pad = (0,) * (MAX_LEVELS - p.levels)
    strides = (
        value.stride(0) * value.itemsize,
        *(offsets.stride(axis) * offsets.itemsize for axis in (0, 1)),
        *(logits.stride(axis) * logits.itemsize for axis in (0, 1)),
        *((0 if ref.shape[axis] == 1 else ref.stride(axis)) * ref.itemsize for axis in (0, 1, 2)),
    )
    counts = (p.queries, p.tokens, p.tiles, units, fixed_bits(p.queries), 0)
    return STATICS.pack(*strides, *counts, *widths, *pad, *heights, *pad, *starts[:-1], *pad)


def _persistent(p: Problem, most_threads: int, sm_count: int) -> tuple[int, int, int]:
    """Units, blocks and threads of a kernel whose blocks each walk one contiguous run."""
    units = p.batch * p.heads * p.tiles
    grid = min(sm_count, units)
    return units, grid, min(most_threads, 32 * -(-units // grid))


def forward_plan(p: Problem, tensors: Sequence[Tensor], sm_count: int, variant: str = "auto") -> Plan:
    """Choose and size a forward launch.

    Args:
        p: what `check` returned; not empty.
        tensors: value, offsets, logits, ref, for their strides.
        sm_count: multiprocessors of the device.
        variant: A (a warp takes several queries), B (a warp takes one), or auto: B only for small decoders.
    """
    if variant not in VARIANTS:
        fail("variant", repr(variant), " or ".join(VARIANTS))
    units, grid, threads = _persistent(p, p.forward_threads, sm_count)
    if variant == "B" or (variant == "auto" and p.queries < 64 and units < 8 * sm_count):
        groups, warps = p.batch * p.heads * p.queries, SINGLE_THREADS // 32
        blocks = -(-groups // warps)
        return Plan(f"forward_b<{p.template}>", blocks, SINGLE_THREADS, statics(p, tensors, groups), p)
    return Plan(f"forward_a<{p.template}>", grid, threads, statics(p, tensors, units), p)


def backward_plan(p: Problem, tensors: Sequence[Tensor], sm_count: int, value_grad: int, ref_grad: bool) -> Plan:
    """Size a backward launch; `value_grad` is SKIP, FLOAT or FIXED."""
    units, grid, threads = _persistent(p, p.backward_threads, sm_count)
    expression = f"backward<{p.template}, {'true' if ref_grad else 'false'}, {value_grad}>"
    return Plan(expression, grid, threads, statics(p, tensors, units), p)
