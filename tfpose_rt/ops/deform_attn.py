"""Multi-scale deformable attention (Zhu et al., ICLR 2021): one function, one readable truth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def reference(value: Tensor, offsets: Tensor, logits: Tensor, ref: Tensor, shapes: Sequence[int]) -> Tensor:
    """Softmax, sampling, weighted sum in plain torch; runs everywhere and is differentiable.

    Args:
        value: (B, S, M, D), S = sum of H * W over the levels, rows of each level in raster order.
        offsets: (B, Q, M, L, P, 2), x then y, in pixels of each level.
        logits: (B, Q, M, L * P), softmax is taken over the last axis.
        ref: (B or 1, Q, L or 1, 2 or 4) float32 in [0, 1]: x, y or cx, cy, w, h.
        shapes: H0, W0, H1, W1, ...
    Returns: (B, Q, M * D) of value's dtype.
    """
    b, _, m, d = value.shape
    _, q, _, levels, points, _ = offsets.shape
    sizes = list(zip(shapes[0::2], shapes[1::2], strict=True))
    wh = torch.tensor([[w, h] for h, w in sizes], dtype=torch.float32, device=value.device)  # (L, 2)
    ref = ref[:, :, None, :, None, :]  # (B|1, Q, 1, L|1, 1, 2|4)
    offsets = offsets.float()
    if ref.shape[-1] == 4:
        location = ref[..., :2] + offsets / points * ref[..., 2:] * 0.5
    else:
        location = ref + offsets / wh[:, None, :]  # (B, Q, M, L, P, 2)
    grid = (2 * location - 1).transpose(1, 2).flatten(0, 1).to(value.dtype)  # (B*M, Q, L, P, 2)
    weights = logits.float().softmax(-1).to(value.dtype).transpose(1, 2).reshape(b * m, 1, q, levels * points)
    starts = [0]
    for h, w in sizes:
        starts.append(starts[-1] + h * w)
    sampled = [
        F.grid_sample(
            value[:, start : start + h * w].permute(0, 2, 3, 1).reshape(b * m, d, h, w),
            grid[:, :, level],
            mode="bilinear",
            padding_mode="zeros",
            align_corners=False,
        )  # (B*M, D, Q, P)
        for level, ((h, w), start) in enumerate(zip(sizes, starts, strict=False))
    ]
    out = (torch.cat(sampled, -1) * weights).sum(-1)  # (B*M, D, Q)
    return out.view(b, m * d, q).transpose(1, 2)


ms_deform_attn = reference
