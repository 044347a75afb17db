"""What is asked of the kernel on one case, on any launcher: the GPU's or the CPU build's."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor

from tfpose_rt.ops.launch import Kernel
from tfpose_rt.ops.plan import check
from tfpose_rt.tools import kernel_oracles
from tfpose_rt.tools.kernel_cases import Case, Inputs, make

NORM = {torch.float32: 1e-6, torch.float16: 5e-4, torch.bfloat16: 4e-3}  # |out - oracle| / |oracle|
# Of the largest entry. In float32: 16 for the sums, and 16 for the coordinate, whose rounding on a 32-pixel map is 32
# times that of a value near 1 and meets a difference between neighbours; 20.3 was the most seen, among 1,008 queries.
ULPS = {torch.float32: 32, torch.float16: 2, torch.bfloat16: 2}
KINK = 1e-4  # px from a whole coordinate, where float32 and float64 may stand on different sides
VARIANTS = ("A", "B")


class Sampled(Protocol):
    """Whatever says where it samples: a case's inputs, or a benchmark's."""

    @property
    def offsets(self) -> Tensor:
        """As the operator takes them."""

    @property
    def ref(self) -> Tensor:
        """As the operator takes it."""

    @property
    def shapes(self) -> tuple[int, ...]:
        """H0, W0, H1, W1, ..."""


def norm_allowed(dtype: torch.dtype, side: int) -> float:
    """|out - oracle| / |oracle| for maps of up to `side` px: a float32 coordinate is rounded by as much as it is large.

    Seen with noise as value: 0.9e-6 at 32 px, 1.6e-6 at 64, 3.4e-6 at 96, and as much of eager torch in float32.
    """
    return NORM[dtype] + (4e-8 * side if dtype == torch.float32 else 0.0)


def compare(what: str, got: Tensor, oracle: Tensor, dtype: torch.dtype, side: int = 0) -> list[str]:
    """What is wrong with a result, in sentences; dtype and the largest side of a map set the tolerance.

    NaN must be where the oracle's is.
    """
    if got.shape != oracle.shape:
        return [f"{what}: shape {tuple(got.shape)}, expected {tuple(oracle.shape)}"]
    got, oracle = got.detach().double().cpu(), oracle.detach().double().cpu()
    if not torch.equal(got.isnan(), oracle.isnan()):
        return [f"{what}: NaN at {int((got.isnan() != oracle.isnan()).sum())} wrong places"]
    got, oracle = got.nan_to_num(), oracle.nan_to_num()
    size = float(oracle.norm())
    error, worst = float((got - oracle).norm()), float((got - oracle).abs().max()) if got.numel() else 0.0
    found = []
    allowed = norm_allowed(dtype, side)
    if not error <= allowed * size + 1e-30:
        found.append(f"{what}: error {error / max(size, 1e-30):.2e} of the norm, allowed {allowed:.1e}")
    largest = float(oracle.abs().max()) if oracle.numel() else 0.0
    allowed = ULPS[dtype] * torch.finfo(dtype).eps * largest
    if not worst <= allowed + 1e-30:
        found.append(f"{what}: largest error {worst:.2e}, allowed {allowed:.2e}")
    return found


def instances(cases: Iterable[Case]) -> set[str]:
    """Every kernel instance that the checks of these cases launch, so that they can be compiled in one go."""
    found = set()
    for case in cases:
        if case.batch and case.queries:
            x = make(case)
            shape = check(*x.tensors, x.shapes).template
            passes = ("true, 1", "true, 2", "false, 0") if case.logits != "none" else ()
            found |= {f"forward_a<{shape}>", f"forward_b<{shape}>", *(f"backward<{shape}, {rest}>" for rest in passes)}
    return found


def check_forward(kernel: Kernel, case: Case, device: str = "cpu") -> list[str]:
    """Both forward kernels against both oracles, poisoned output, twice the same bits, crops alone as in the batch."""
    x = make(case, device)
    oracle = kernel_oracles.loops(*x.tensors, x.shapes)
    found = []
    finite = bool(x.offsets.isfinite().all()) and case.logits != "none"
    if finite and oracle.numel():
        gap = float((oracle - kernel_oracles.sampled(*x.tensors, x.shapes)).abs().max())
        if gap > 1e-12 * max(1.0, float(oracle.abs().max())):
            found.append(f"the oracles differ by {gap:.1e}")
    for variant in VARIANTS:
        out = torch.full_like(x.grad, math.nan)
        if not out.numel():
            out = kernel.forward(*x.tensors, x.shapes, variant)
            found += compare(f"forward {variant}", out, oracle, case.dtype)
            continue
        kernel.forward(*x.tensors, x.shapes, variant, out)
        again = kernel.forward(*x.tensors, x.shapes, variant)
        if not torch.equal(out.view(torch.uint8), again.view(torch.uint8)):
            found.append(f"forward {variant}: two runs differ in bits")
        found += compare(f"forward {variant}", out, oracle, case.dtype, max(case.shapes))
        for crop in {0, case.batch - 1} if case.batch > 1 else ():
            alone = kernel.forward(*_crop(x, crop), x.shapes, variant)
            if not torch.equal(alone[0].view(torch.uint8), out[crop].view(torch.uint8)):
                found.append(f"forward {variant}: crop {crop} depends on its neighbours")
    return found


def _crop(x: Inputs, crop: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    ref = x.ref if x.ref.shape[0] == 1 else x.ref[crop : crop + 1]
    return x.value[crop : crop + 1], x.offsets[crop : crop + 1], x.logits[crop : crop + 1], ref


def check_backward(kernel: Kernel, case: Case, device: str = "cpu") -> list[str]:
    """Gradients against the oracle's, in both summation modes, and without the ones that nobody asked for."""
    if case.logits == "none":  # where a NaN spreads in a gradient is nobody's contract
        return []
    x = make(case, device)
    leaves = [t.detach().double().requires_grad_() for t in x.tensors]
    value, offsets, logits, ref = leaves
    result = kernel_oracles.loops(value, offsets, logits, ref, x.shapes)
    oracle = torch.autograd.grad(result, leaves, x.grad.double())
    query, side = case.query_dtype or case.dtype, max(case.shapes)
    found = []
    for fixed in (False, True):
        grads = kernel.backward(x.grad, *x.tensors, x.shapes, (True, True, True, True), fixed)
        label = "deterministic " if fixed else ""
        found += compare(f"{label}grad_value", grads[0], oracle[0], case.dtype, side)
        got, expected = away_from_kinks(x, grads[1], oracle[1], case.where == "whole")
        found += compare(f"{label}grad_offsets", got, expected, query, side)
        found += compare(f"{label}grad_logits", grads[2], oracle[2], query, side)
        if case.where == "spread":
            found += compare(f"{label}grad_ref", grads[3], oracle[3], torch.float32, side)
    bare = kernel.backward(x.grad, *x.tensors, x.shapes, (False, True, True, False), False)
    if bare[0].numel() or bare[3].numel():
        found.append("backward: a gradient that nobody asked for")
    # Another instance, whose sums of products the compiler may fuse otherwise: near, not equal.
    return found + compare("backward: offsets' gradient without value's", bare[1], grads[1], query, side)


def away_from_kinks(x: Sampled, got: Tensor, oracle: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    """Leave out offset gradients within KINK of a whole coordinate; `keep` where coordinates are exact."""
    if keep or not got.numel():
        return got, oracle
    sizes = x.offsets.new_tensor(x.shapes, dtype=torch.float64).view(-1, 2).flip(-1)  # (L, 2) width, height
    centre = x.ref.double()[:, :, None, :, None]
    pixel = x.offsets.double()
    if x.ref.shape[-1] == 4:
        pixel = pixel / x.offsets.shape[4] * centre[..., 2:] * 0.5 * sizes[:, None]
    pixel = pixel + centre[..., :2] * sizes[:, None] - 0.5
    # Either coordinate: a point leaves the map by one of them and takes the other's gradient with it.
    smooth = ((pixel - pixel.round()).abs() > KINK) | ~pixel.isfinite()
    clear = smooth.all(-1, keepdim=True).expand(got.shape)
    return got[clear], oracle[clear]


def check_determinism(kernel: Kernel, case: Case, device: str = "cpu", runs: int = 20) -> list[str]:
    """Fixed-point backward: the same bits in every run."""
    x = make(case, device)
    first = kernel.backward(x.grad, *x.tensors, x.shapes, (True, True, True, True), True)
    for run in range(1, runs):
        for name, a, b in zip(
            ("value", "offsets", "logits", "ref"),
            first,
            kernel.backward(x.grad, *x.tensors, x.shapes, (True, True, True, True), True),
            strict=True,
        ):
            if not torch.equal(a.view(torch.uint8), b.view(torch.uint8)):
                return [f"deterministic grad_{name}: run {run} differs in bits"]
    return []
