"""Two float64 answers for deformable attention, written apart from each other and from every kernel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def loops(value: Tensor, offsets: Tensor, logits: Tensor, ref: Tensor, shapes: Sequence[int]) -> Tensor:
    """Corner by corner with index arithmetic; differentiable, right-hand derivative at whole coordinates.

    Arguments as in `ops.deform_attn.reference`, of any floating dtype. A point outside by a pixel or more, or NaN,
    adds 0.

    Returns: (B, Q, M * D) float64.
    """
    value, offsets, logits, ref = (t.double() for t in (value, offsets, logits, ref))
    b, _, m, d = value.shape
    _, q, _, levels, points, _ = offsets.shape
    weights = logits.softmax(-1).view(b, q, m, levels, points)
    crops = torch.arange(b, device=value.device)[:, None, None]
    heads = torch.arange(m, device=value.device)
    out = value.new_zeros((b, q, m, d))
    start = 0
    for level in range(levels):
        h, w = shapes[2 * level], shapes[2 * level + 1]
        centre = ref[:, :, None, min(level, ref.shape[2] - 1)]  # (B|1, Q, 1, 2|4)
        for point in range(points):
            off = offsets[:, :, :, level, point]  # (B, Q, M, 2)
            if ref.shape[-1] == 4:
                off = off / points * centre[..., 2:] * 0.5 * off.new_tensor([w, h])
            x = off[..., 0] + centre[..., 0] * w - 0.5
            y = off[..., 1] + centre[..., 1] * h - 0.5
            inside = (x > -1) & (y > -1) & (x < w) & (y < h)
            x, y = torch.where(inside, x, 0), torch.where(inside, y, 0)
            x0, y0 = x.detach().floor(), y.detach().floor()
            for right in (0, 1):
                for lower in (0, 1):
                    xi, yi = (x0 + right).long(), (y0 + lower).long()
                    exists = inside & (xi >= 0) & (yi >= 0) & (xi < w) & (yi < h)
                    weight = (x - x0 if right else x0 + 1 - x) * (y - y0 if lower else y0 + 1 - y)
                    row = start + yi.clamp(0, h - 1) * w + xi.clamp(0, w - 1)
                    share = torch.where(exists, weight, 0) * weights[:, :, :, level, point]
                    out = out + share[..., None] * value[crops, row, heads]
        start += h * w
    return out.view(b, q, m * d)


def sampled(value: Tensor, offsets: Tensor, logits: Tensor, ref: Tensor, shapes: Sequence[int]) -> Tensor:
    """Through grid_sample in the papers' normalised form; not for NaN coordinates, which torch takes for -1.

    Returns: (B, Q, M * D) float64.
    """
    value, offsets, logits, ref = (t.double() for t in (value, offsets, logits, ref))
    b, _, m, d = value.shape
    _, q, _, levels, points, _ = offsets.shape
    sizes = [(shapes[2 * level], shapes[2 * level + 1]) for level in range(levels)]
    wh = value.new_tensor([[w, h] for h, w in sizes])[:, None]  # (L, 1, 2)
    centre = ref[:, :, None, :, None]
    if ref.shape[-1] == 4:
        location = centre[..., :2] + offsets / points * centre[..., 2:] * 0.5
    else:
        location = centre + offsets / wh
    start = 0
    out = value.new_zeros((b * m, d, q))
    weights = logits.softmax(-1).view(b, q, m, levels, points)
    for level, (h, w) in enumerate(sizes):
        image = value[:, start : start + h * w].permute(0, 2, 3, 1).reshape(b * m, d, h, w)
        start += h * w
        grid = (2 * location[:, :, :, level] - 1).transpose(1, 2).reshape(b * m, q, points, 2)
        found = F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        share = weights[:, :, :, level].transpose(1, 2).reshape(b * m, 1, q, points)
        out = out + (found * share).sum(-1)
    return out.view(b, m * d, q).transpose(1, 2)
