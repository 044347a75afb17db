"""Multi-scale deformable attention (Zhu et al., ICLR 2021): one function, one readable truth, fast paths beside it.

`reference` says what is computed. `ms_deform_attn` is what the model calls: on a CPU it gathers table rows
(`cpu_gather`), on a GPU it runs the fused kernel (`cupy_kernel`) or, where that was not chosen, the reference. When
traced or compiled it is the operator `tfpose_rt::ms_deform_attn`, one node with a fake and a gradient of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tfpose_rt.ops import choice, cpu_gather

FAR = -3.0  # a grid coordinate outside every map, for points that sample nothing


def reference(value: Tensor, offsets: Tensor, logits: Tensor, ref: Tensor, shapes: Sequence[int]) -> Tensor:
    """Softmax, sampling, weighted sum in plain torch; runs everywhere, is differentiable and can be exported.

    Args:
        value: (B, S, M, D), S = sum of H * W over the levels, rows of each level in raster order.
        offsets: (B, Q, M, L, P, 2), x then y, in pixels of each level (boxes: in box sizes / 2P).
        logits: (B, Q, M, L * P), softmax is taken over the last axis.
        ref: (B or 1, Q, L or 1, 2 or 4) float32 in [0, 1]: x, y or cx, cy, w, h.
        shapes: H0, W0, H1, W1, ...
    Returns: (B, Q, M * D) of value's dtype; coordinates, weights and sums are float32 (float64 for float64 values).
        A point that lies outside its map by a pixel or more, or is NaN, adds 0 and keeps its share of the softmax.
    """
    b, _, m, d = value.shape
    _, q, _, levels, points, _ = offsets.shape
    dtype = torch.float64 if value.dtype == torch.float64 else torch.float32
    table, offsets, ref = value.to(dtype), offsets.to(dtype), ref.to(dtype)
    weights = logits.to(dtype).softmax(-1).transpose(1, 2).reshape(b * m, 1, q, levels * points)
    sampled, start = [], 0
    for level, (h, w) in enumerate(zip(shapes[0::2], shapes[1::2], strict=True)):
        centre = ref[:, :, None, min(level, ref.shape[2] - 1), None, :]  # (B|1, Q, 1, 1, 2|4)
        grid = []  # x, then y; no tensor is made of w and h, so that this exports
        for axis, side in enumerate((w, h)):
            moved = offsets[:, :, :, level, :, axis]  # (B, Q, M, P)
            if ref.shape[-1] == 4:
                moved = moved * (centre[..., 2 + axis] * (0.5 * side / points))
            pixel = moved + (centre[..., axis] * side - 0.5)
            inside = (pixel > -1) & (pixel < side)  # false for NaN, which grid_sample would take for -1
            grid.append(torch.where(inside, (2 * pixel + 1) / side - 1, FAR))
        levelled = table[:, start : start + h * w].permute(0, 2, 3, 1).reshape(b * m, d, h, w)
        at = torch.stack(grid, -1).transpose(1, 2).flatten(0, 1)  # (B*M, Q, P, 2)
        sampled.append(F.grid_sample(levelled, at, mode="bilinear", padding_mode="zeros", align_corners=False))
        start += h * w
    out = (torch.cat(sampled, -1) * weights).sum(-1)  # (B*M, D, Q)
    return out.view(b, m * d, q).transpose(1, 2).to(value.dtype)


def ms_deform_attn(
    value: Tensor, offsets: Tensor, logits: Tensor, ref: Tensor, shapes: Sequence[int], variant: str = "auto"
) -> Tensor:
    """Deformable attention by the fastest path this call can take.

    Under autocast, value takes the autocast dtype; offsets, logits and ref stay as they come.

    Args:
        value: (B, S, M, D), as in `reference`.
        offsets: (B, Q, M, L, P, 2), pixels of each level.
        logits: (B, Q, M, L * P).
        ref: (B or 1, Q, L or 1, 2 or 4), float32 always.
        shapes: H0, W0, H1, W1, ...
        variant: of the CUDA kernel: auto, A (a warp serves several queries) or B (one); pins the last bit.
    Returns: (B, Q, M * D) of value's dtype.
    Raises: ValueError, TypeError: the CUDA kernel cannot take these tensors (see `plan.check`); DeviceError: it was
        asked for and cannot run here.
    """
    device = value.device.type
    if torch.compiler.is_compiling():
        if device == "cpu" or (device == "cuda" and choice.fused_selected(value.device)):
            return OPERATOR(value, offsets, logits, ref, shapes, variant)
        return reference(value, offsets, logits, ref, shapes)
    exporting = torch._C._get_tracing_state() is not None  # torch.jit.trace, and the ONNX export built on it
    if device not in ("cpu", "cuda") or exporting or (device == "cuda" and not choice.fused_selected(value.device)):
        return reference(value, offsets, logits, ref, shapes)
    if torch.is_autocast_enabled(device):
        value = value.to(torch.get_autocast_dtype(device))
    learns = torch.is_grad_enabled() and any(t.requires_grad for t in (value, offsets, logits, ref))
    if device == "cpu":
        run: Callable[..., Tensor] = cpu_gather.Gather.apply if learns else cpu_gather.forward
        return run(value, offsets, logits, ref, shapes)
    if learns:
        return OPERATOR(value, offsets, logits, ref, shapes, variant)
    return _cuda_forward(value, offsets, logits, ref, shapes, variant)  # without the dispatcher: half the host cost


# ---- the operator: define and impl rather than custom_op, for a fifth of its call overhead
LIBRARY = torch.library.Library("tfpose_rt", "DEF")
TAGS = (torch.Tag.pt2_compliant_tag,)
LIBRARY.define(
    "ms_deform_attn(Tensor value, Tensor offsets, Tensor logits, Tensor ref, int[] shapes, str variant='auto') "
    "-> Tensor",
    tags=TAGS,
)
LIBRARY.define(
    "ms_deform_attn_backward(Tensor grad, Tensor value, Tensor offsets, Tensor logits, Tensor ref, int[] shapes, "
    "bool[4] needs) -> (Tensor, Tensor, Tensor, Tensor)",
    tags=TAGS,
)
Grads = tuple[Tensor, Tensor, Tensor, Tensor]


def _cuda_forward(
    value: Tensor, offsets: Tensor, logits: Tensor, ref: Tensor, shapes: Sequence[int], variant: str = "auto"
) -> Tensor:
    from tfpose_rt.ops.cupy_kernel import kernel

    return kernel().forward(value, offsets, logits, ref, shapes, variant)


def _cuda_backward(
    grad: Tensor,
    value: Tensor,
    offsets: Tensor,
    logits: Tensor,
    ref: Tensor,
    shapes: Sequence[int],
    needs: Sequence[bool],
) -> Grads:
    from tfpose_rt.ops.cupy_kernel import kernel

    fixed = torch.are_deterministic_algorithms_enabled()
    return kernel().backward(grad, value, offsets, logits, ref, shapes, needs, fixed)


def _cpu_forward(
    value: Tensor, offsets: Tensor, logits: Tensor, ref: Tensor, shapes: Sequence[int], variant: str = "auto"
) -> Tensor:
    return cpu_gather.forward(value, offsets, logits, ref, shapes)


def _fake_forward(
    value: Tensor, offsets: Tensor, logits: Tensor, ref: Tensor, shapes: Sequence[int], variant: str = "auto"
) -> Tensor:
    return value.new_empty((value.shape[0], offsets.shape[1], value.shape[2] * value.shape[3]))


def _fake_backward(
    grad: Tensor,
    value: Tensor,
    offsets: Tensor,
    logits: Tensor,
    ref: Tensor,
    shapes: Sequence[int],
    needs: Sequence[bool],
) -> Grads:
    return (
        value.new_empty(value.shape if needs[0] else (0,)),
        offsets.new_empty(offsets.shape),
        logits.new_empty(logits.shape),
        ref.new_empty(ref.shape if needs[3] else (0,)),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.shapes = inputs[4]


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    needs = ctx.needs_input_grad[:4]
    grads = torch.ops.tfpose_rt.ms_deform_attn_backward(grad, *ctx.saved_tensors, ctx.shapes, needs)
    return (*(g if need else None for g, need in zip(grads, needs, strict=True)), None, None)


def _no_second_derivative(ctx: Any, *grads: Tensor | None) -> None:
    raise RuntimeError("ms_deform_attn has no second derivative: call backward without create_graph")


def _autocast(device: str, key: torch._C.DispatchKey) -> Callable[..., Tensor]:
    # torch's own helper would cast every floating tensor, ref included, and half-precision coordinates are wrong ones.
    def cast(
        value: Tensor, offsets: Tensor, logits: Tensor, ref: Tensor, shapes: Sequence[int], variant: str = "auto"
    ) -> Tensor:
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(key)):
            value = value.to(torch.get_autocast_dtype(device))
            return OPERATOR(value, offsets, logits, ref, shapes, variant)

    return cast


LIBRARY.impl("ms_deform_attn", _cpu_forward, "CPU")
LIBRARY.impl("ms_deform_attn", _cuda_forward, "CUDA")
LIBRARY.impl("ms_deform_attn", _autocast("cpu", torch._C.DispatchKey.AutocastCPU), "AutocastCPU")
LIBRARY.impl("ms_deform_attn", _autocast("cuda", torch._C.DispatchKey.AutocastCUDA), "AutocastCUDA")
LIBRARY.impl("ms_deform_attn_backward", cpu_gather.backward, "CPU")
LIBRARY.impl("ms_deform_attn_backward", _cuda_backward, "CUDA")
torch.library.register_fake("tfpose_rt::ms_deform_attn", _fake_forward, lib=LIBRARY)
torch.library.register_fake("tfpose_rt::ms_deform_attn_backward", _fake_backward, lib=LIBRARY)
torch.library.register_autograd("tfpose_rt::ms_deform_attn", _backward, setup_context=_save, lib=LIBRARY)
torch.library.register_autograd("tfpose_rt::ms_deform_attn_backward", _no_second_derivative, lib=LIBRARY)
OPERATOR = torch.ops.tfpose_rt.ms_deform_attn.default


def _decomposed(
    value: Tensor, offsets: Tensor, logits: Tensor, ref: Tensor, shapes: Sequence[int], variant: str = "auto"
) -> Tensor:
    return reference(value, offsets, logits, ref, shapes)


# For `ExportedProgram.run_decompositions`: the operator as grid_sample, for runtimes that do not know it.
DECOMPOSITIONS = {OPERATOR: _decomposed}
