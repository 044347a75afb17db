"""The kernel's forward and backward as functions of tensors; where they run is the launcher's business."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from tfpose_rt.ops import plan as plans
from tfpose_rt.ops.cpu_gather import empty_grads
from tfpose_rt.ops.plan import FIXED, FLOAT, SKIP, Plan

MOST_PLANS = 4096  # a plan is some hundred bytes; past this many shapes the table starts afresh
Needs = Sequence[bool]  # of value, offsets, logits, ref


class Launcher(Protocol):
    """Starts one kernel: CuPy on a GPU (`cupy_kernel.CupyLauncher`), the host build in tests."""

    def sm_count(self, device: torch.device) -> int:
        """Multiprocessors of the device: the number of blocks that run at once."""

    def launch(self, plan: Plan, pointers: tuple[int, ...], device: torch.device) -> None:
        """Run the plan's instance with these 11 addresses, on the current stream of the device."""


class Kernel:
    """Plans, allocates and launches; one for each launcher."""

    def __init__(self, launcher: Launcher) -> None:
        self.launcher = launcher
        self._plans: dict[Any, Plan] = {}

    def forward(
        self,
        value: Tensor,
        offsets: Tensor,
        logits: Tensor,
        ref: Tensor,
        shapes: Sequence[int],
        variant: str = "auto",
        out: Tensor | None = None,
    ) -> Tensor:
        """Run the forward pass: (B, Q, M * D) of value's dtype; arguments as in `deform_attn.reference`.

        Raises: ValueError, TypeError: see `plan.check`; nothing is launched then.
        """
        b, _, m, d = value.shape if value.dim() == 4 else (0, 0, 0, 0)
        key = _key(value, offsets, logits, ref, shapes, variant)
        plan = self._plans.get(key)
        if plan is None:
            problem = plans.check(value, offsets, logits, ref, shapes)
            if not problem.batch or not problem.queries:
                return value.new_empty((b, problem.queries, m * d))
            tensors = (value, offsets, logits, ref)
            plan = self._keep(key, plans.forward_plan(problem, tensors, self.launcher.sm_count(value.device), variant))
        if out is None:
            out = torch.empty((b, offsets.shape[1], m * d), dtype=value.dtype, device=value.device)
        inputs = (value.data_ptr(), offsets.data_ptr(), logits.data_ptr(), ref.data_ptr())
        plans.check_pointers(*inputs, plan.problem)
        self.launcher.launch(plan, (*inputs, out.data_ptr(), 0, 0, 0, 0, 0, 0), value.device)
        return out

    def backward(
        self,
        grad: Tensor,
        value: Tensor,
        offsets: Tensor,
        logits: Tensor,
        ref: Tensor,
        shapes: Sequence[int],
        needs: Needs,
        deterministic: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradients of value, offsets, logits and ref; an empty tensor for a value or ref that `needs` leaves out.

        grad is (B, Q, M * D) of value's dtype and is made dense and aligned here. `deterministic` sums value's gradient
        in fixed point, the same in every run; otherwise the order of atomic additions decides its last bits. Where an
        incoming gradient or a weight is not finite, all of that sum is NaN.
        """
        problem = plans.check(value, offsets, logits, ref, shapes)
        if not problem.batch or not problem.queries:
            return empty_grads(value, offsets, logits, ref, needs)
        grad = grad.to(value.dtype).contiguous()
        if grad.data_ptr() & 15:  # a dense view of a larger tensor; the kernel loads 16 bytes at a time
            grad = grad.clone()
        mode = SKIP if not needs[0] else FIXED if deterministic else FLOAT
        key = (mode, bool(needs[3]), *_key(value, offsets, logits, ref, shapes, "auto"))
        tensors = (value, offsets, logits, ref)
        plan = self._plans.get(key)
        if plan is None:
            sms = self.launcher.sm_count(value.device)
            plan = self._keep(key, plans.backward_plan(problem, tensors, sms, mode, bool(needs[3])))
        scratch = value.new_zeros(value.shape if mode else (0,), dtype=torch.int64 if mode == FIXED else torch.float32)
        amax = grad.abs().amax().float() if mode == FIXED else scratch
        grad_offsets = offsets.new_empty(offsets.shape)
        grad_logits = logits.new_empty(logits.shape)
        heads = (problem.batch, problem.queries, problem.heads, problem.levels, problem.ref_dim)
        grad_ref = ref.new_empty(heads if needs[3] else (0,))
        inputs = (value.data_ptr(), offsets.data_ptr(), logits.data_ptr(), ref.data_ptr())
        plans.check_pointers(*inputs, problem)
        outputs = tuple(t.data_ptr() for t in (scratch, grad_offsets, grad_logits, grad_ref))
        self.launcher.launch(plan, (*inputs, 0, grad.data_ptr(), *outputs, amax.data_ptr()), value.device)
        if mode == FIXED:  # NaN becomes a whole number in fixed point; weights that are NaN show in grad_logits
            amax = torch.where(grad_logits.isfinite().all(), amax, torch.nan)
        return _value_grad(scratch, amax, problem, mode), grad_offsets, grad_logits, _ref_grad(grad_ref, ref)

    def _keep(self, key: Any, plan: Plan) -> Plan:
        if len(self._plans) >= MOST_PLANS:
            self._plans.clear()
        self._plans[key] = plan
        return plan


def _key(
    value: Tensor, offsets: Tensor, logits: Tensor, ref: Tensor, shapes: Sequence[int], variant: str
) -> tuple[Any, ...]:
    return (
        value.shape, value.stride(), value.dtype, value.device,
        offsets.shape, offsets.stride(), offsets.dtype, offsets.device,
        logits.shape, logits.stride(), logits.dtype, logits.device,
        ref.shape, ref.stride(), ref.dtype, ref.device,
        tuple(shapes), variant,
    )  # fmt: skip


def _value_grad(scratch: Tensor, amax: Tensor, problem: plans.Problem, mode: int) -> Tensor:
    if mode != FIXED:
        return scratch.to(problem.value_type)
    bits = plans.fixed_bits(problem.queries)
    # The kernel's scale is capped at 1e38; a non-finite gradient must not pass for a finite one.
    scale = torch.clamp((2.0**bits) / amax.double(), max=float(torch.tensor(1e38)))
    scale = torch.where(amax.isfinite(), scale, torch.nan)
    return (scratch.double() / scale).to(problem.value_type)


def _ref_grad(parts: Tensor, ref: Tensor) -> Tensor:
    """Sum the parts (B, Q, M, L, 2|4) over heads and over what ref was broadcast along."""
    if not parts.numel():
        return parts
    total = parts.sum(2)  # (B, Q, L, 2|4)
    for axis in (0, 2):
        if ref.shape[axis] == 1:
            total = total.sum(axis, keepdim=True)
    return total
