"""People put before others in training crops: somebody else of the batch, cut out along the limbs.

In a crowd a crop shows several people, and the one in its middle is asked for. Where photographs of crowds are few,
they are made: whoever has enough labelled joints is cut out by a mask of discs moved along the limbs, and laid over a
part of another person, whose joints stay where they are.
"""

from __future__ import annotations

import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional as F

from tfpose_rt import skeleton

COARSE = 4  # px of the crop to one of the mask, whose edge is soft by as much
FEWEST = 8  # labelled joints of whoever is cut out, shoulders and hips among them
MOST_HIDDEN = 0.6  # of the joints that are labelled; who would lose more is left as before
HEAD = 0.42
LIMBS = (
    ("left_shoulder", "right_hip", 0.3), ("right_shoulder", "left_hip", 0.3),
    ("left_shoulder", "right_shoulder", 0.2), ("left_hip", "right_hip", 0.25),
    ("left_shoulder", "left_hip", 0.2), ("right_shoulder", "right_hip", 0.2),
    ("left_hip", "left_knee", 0.2), ("right_hip", "right_knee", 0.2),
    ("left_knee", "left_ankle", 0.16), ("right_knee", "right_ankle", 0.16),
    ("left_shoulder", "left_elbow", 0.15), ("right_shoulder", "right_elbow", 0.15),
    ("left_elbow", "left_wrist", 0.14), ("right_elbow", "right_wrist", 0.14),
)  # fmt: skip
STARTS, ENDS = [skeleton.INDEX[start] for start, _, _ in LIMBS], [skeleton.INDEX[end] for _, end, _ in LIMBS]
RADII = [radius for _, _, radius in LIMBS]  # in units of the trunk's length, as the head's
TRUNK = [skeleton.INDEX[f"{side}_{joint}"] for joint in ("shoulder", "hip") for side in ("left", "right")]


def crowd(images: Tensor, xy: Tensor, weight: Tensor, share: float, generator: Generator) -> Tensor:
    """Lay other people of the batch over a share of them, mostly in part and beside their middle.

    Args:
        images: (B, 3, H, W) float crops.
        xy: (B, 17, 2) joints in units of the crop.
        weight: (B, 17) trust in them; 0 = not labelled or not in the crop.
        share: of the crops.
        generator: six numbers a crop are drawn, whatever the share.
    Returns: (B, 3, H, W), the same tensor where nobody is chosen.
    """
    dice = torch.from_numpy(generator.random((len(images), 6))).to(xy)
    height, width = images.shape[2:]
    places = xy * xy.new_tensor([width, height]) - 0.5  # px
    known = weight > 0
    other = torch.arange(len(images), device=xy.device).roll(-1)
    able = known[:, TRUNK].all(1) & (known.sum(1) >= FEWEST)
    chosen = torch.nonzero((dice[:, 0] < share) & able[other])[:, 0]
    if not len(chosen):
        return images
    other, dice = other[chosen], dice[chosen]
    size = 0.75 + 0.6 * dice[:, 1]  # times as large as they are in their own crop
    side = torch.where(dice[:, 2] < 0.5, -1.0, 1.0) * (0.3 + 0.5 * dice[:, 3]) * _reach(places, known)[chosen]
    middle = _middle(places[chosen], known[chosen]) + torch.stack((side, (dice[:, 4] - 0.4) * 0.4 * height), -1)
    from_ = _middle(places[other], known[other])

    grid = _grid(height // COARSE, width // COARSE, COARSE, xy)  # px of the crop at the mask's pixels
    back = (grid - middle[:, None, None]) / size[:, None, None, None] + from_[:, None, None]
    mask = _outline(back, places[other], known[other])  # (n, h, w)
    hidden = _at(mask, places[chosen]) * known[chosen]
    mask = mask * (hidden.sum(1) <= MOST_HIDDEN * known[chosen].sum(1))[:, None, None]

    full = _grid(height, width, 1, xy)
    back = (full - middle[:, None, None]) / size[:, None, None, None] + from_[:, None, None]
    unit = 2 * (back + 0.5) / xy.new_tensor([width, height]) - 1
    people = F.grid_sample(images[other], unit.to(images.dtype), align_corners=False)
    inside = ((unit.abs() <= 1).all(-1)).to(images.dtype)[:, None]
    alpha = (
        F.interpolate(mask[:, None], (height, width), mode="bilinear", align_corners=False).to(images.dtype) * inside
    )
    out = images.clone()
    out[chosen] = images[chosen] * (1 - alpha) + people * alpha
    return out


def _grid(h: int, w: int, step: int, like: Tensor) -> Tensor:
    """(h, w, 2) x, y in px of the crop: the centres of squares of step px."""
    y, x = (torch.arange(n, dtype=like.dtype, device=like.device) * step + (step - 1) / 2 for n in (h, w))
    return torch.stack((x.expand(h, w), y[:, None].expand(h, w)), -1)


def _reach(places: Tensor, known: Tensor) -> Tensor:
    """(B,) width of the labelled joints, at least a fifth of their height."""
    low = torch.where(known[..., None], places, torch.inf).amin(1)
    high = torch.where(known[..., None], places, -torch.inf).amax(1)
    span = torch.where(known.any(1)[:, None], high - low, 0)
    return torch.maximum(span[:, 0], span[:, 1] / 5)


def _middle(places: Tensor, known: Tensor) -> Tensor:
    """(B, 2) mean of the labelled joints."""
    return (places * known[..., None]).sum(1) / known.sum(1, keepdim=True).clamp(min=1)


def _outline(at: Tensor, places: Tensor, known: Tensor) -> Tensor:
    """(n, h, w) 0 to 1: whether a place `at` (n, h, w, 2) belongs to the person whose joints are given, px."""
    shoulders, hips = places[:, TRUNK[:2]].mean(1), places[:, TRUNK[2:]].mean(1)
    trunk = torch.maximum((shoulders - hips).norm(dim=-1), (places[:, TRUNK[0]] - places[:, TRUNK[1]]).norm(dim=-1))
    mask = at.new_zeros(at.shape[:3])
    for start, end, radius in zip(STARTS, ENDS, RADII, strict=True):
        a, b = places[:, start, None, None], places[:, end, None, None]
        along = b - a
        part = ((at - a) * along).sum(-1) / (along * along).sum(-1).clamp(min=1e-6)
        away = (at - a - part.clamp(0, 1)[..., None] * along).norm(dim=-1)
        seen = (known[:, start] & known[:, end])[:, None, None]
        mask = torch.maximum(mask, _soft(away, radius * trunk) * seen)
    face = known[:, :5].any(1)[:, None, None]
    away = (at - _middle(places[:, :5], known[:, :5])[:, None, None]).norm(dim=-1)
    return torch.maximum(mask, _soft(away, HEAD * trunk) * face)


def _soft(away: Tensor, radius: Tensor) -> Tensor:
    """1 within the radius (n,), 0 beyond it, over a step of the mask."""
    return (0.5 + (radius[:, None, None] - away) / COARSE).clamp(0, 1)


def _at(mask: Tensor, places: Tensor) -> Tensor:
    """(n, K) the mask (n, h, w) at places (n, K, 2) px."""
    h, w = mask.shape[1:]
    x, y = (places / COARSE).long().unbind(-1)
    inside = (x >= 0) & (x < w) & (y >= 0) & (y < h)
    rows = torch.arange(len(mask), device=mask.device)[:, None]
    return mask[rows, y.clamp(0, h - 1), x.clamp(0, w - 1)] * inside
