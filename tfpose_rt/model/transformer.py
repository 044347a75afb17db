"""TFPose's transformer (Mao et al., 2021, section 3): read it with the paper open.

Shapes: B crops, S tokens of all levels, K keypoints, C channels, M heads, L levels, P points.
Every position is normalised: pixel x of a map of width W is (x + 0.5) / W, on every level and in the crop.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tfpose_rt.ops.deform_attn import ms_deform_attn


def sine_positions(h: int, w: int, channels: int) -> Tensor:
    """2-D sine position encoding (DETR): (H * W, C), half of the channels for y, half for x."""
    half = channels // 2
    scale = 10000.0 ** (2 * (torch.arange(half) // 2) / half)
    codes = []
    for n in (h, w):
        angle = (torch.arange(n) + 0.5)[:, None] / n * 2 * math.pi / scale  # (N, C/2)
        codes.append(torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), -1).flatten(1))
    y = codes[0][:, None].expand(h, w, half)
    x = codes[1][None].expand(h, w, half)
    return torch.cat((y, x), -1).flatten(0, 1)


def pixel_centres(shapes: list[int]) -> Tensor:
    """(1, S, 1, 2): the normalised centre of every token's pixel, levels one after another."""
    grids = []
    for h, w in zip(shapes[0::2], shapes[1::2], strict=True):
        y, x = torch.meshgrid((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing="ij")
        grids.append(torch.stack((x, y), -1).view(-1, 2))
    return torch.cat(grids)[None, :, None]


class DeformableAttention(nn.Module):
    """Multi-scale deformable attention (Deformable DETR, eq. 3).

    Offsets and logits come from one fused linear layer on the query; initialised as Deformable DETR: a compass of M
    directions with radius p + 1 pixels, equal weights.
    """

    def __init__(self, channels: int, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.samples = heads * levels * points
        self.value = nn.Linear(channels, channels)
        self.sampling = nn.Linear(channels, self.samples * 3)  # (x, y) offsets of all samples, then their logits
        self.output = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.value.weight)
        nn.init.zeros_(self.value.bias)
        nn.init.xavier_uniform_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        nn.init.zeros_(self.sampling.weight)
        angle = torch.arange(heads) * 2 * math.pi / heads
        compass = torch.stack((angle.cos(), angle.sin()), -1)
        compass = compass / compass.abs().amax(-1, keepdim=True)  # (M, 2) on the unit square
        radius = torch.arange(1, points + 1).view(1, 1, points, 1)
        offsets = (compass.view(heads, 1, 1, 2) * radius).expand(heads, levels, points, 2)
        self.sampling.bias = nn.Parameter(torch.cat((offsets.reshape(-1), torch.zeros(self.samples))))

    def split(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """Query (B, Q, C) -> offsets (B, Q, M, L, P, 2) in pixels of each level, logits (B, Q, M, L * P)."""
        b, q, _ = query.shape
        offsets, logits = self.sampling(query).split((self.samples * 2, self.samples), -1)
        return (
            offsets.view(b, q, self.heads, self.levels, self.points, 2),
            logits.view(b, q, self.heads, self.levels * self.points),
        )

    def forward(self, query: Tensor, reference: Tensor, memory: Tensor, shapes: list[int]) -> Tensor:
        """Query (B, Q, C), reference (B|1, Q, 1, 2), memory (B, S, C) -> (B, Q, C)."""
        b, s, c = memory.shape
        value = self.value(memory).view(b, s, self.heads, c // self.heads)
        offsets, logits = self.split(query)
        out: Tensor = self.output(ms_deform_attn(value, offsets, logits, reference.float(), shapes))
        return out


class FeedForward(nn.Module):
    """C -> ffn * C -> C, residual, post-norm."""

    def __init__(self, channels: int, ffn: int) -> None:
        super().__init__()
        self.wide = nn.Linear(channels, channels * ffn)
        self.narrow = nn.Linear(channels * ffn, channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Rows (..., C) -> (..., C)."""
        y: Tensor = self.norm(x + self.narrow(F.relu(self.wide(x))))
        return y


class EncoderLayer(nn.Module):
    """p2p attention: every pixel attends to pixels around itself, on every level."""

    def __init__(self, channels: int, heads: int, levels: int, points: int, ffn: int) -> None:
        super().__init__()
        self.attention = DeformableAttention(channels, heads, levels, points)
        self.norm = nn.LayerNorm(channels)
        self.feed = FeedForward(channels, ffn)

    def forward(self, z: Tensor, positions: Tensor, centres: Tensor, shapes: list[int]) -> Tensor:
        """Z (B, S, C), positions (1, S, C), centres (1, S, 1, 2) -> (B, S, C)."""
        z = self.norm(z + self.attention(z + positions, centres, z, shapes))
        return self.feed(z)


class SelfAttention(nn.Module):
    """q2q attention among the K queries; plain linear layers, so that their cost can be counted."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key = nn.Linear(channels, channels * 2)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)

    def weights(self, x: Tensor) -> Tensor:
        """X (B, K, C) = content + position -> attention (B, M, K, K)."""
        b, k, c = x.shape
        query, key = self.query_key(x).view(b, k, 2, self.heads, c // self.heads).unbind(2)
        scores = query.transpose(1, 2) @ key.permute(0, 2, 3, 1)
        return (scores * (c // self.heads) ** -0.5).softmax(-1)

    def forward(self, x: Tensor, content: Tensor) -> Tensor:
        """X (B, K, C) = content + position, content (B, K, C) -> (B, K, C)."""
        b, k, c = x.shape
        value = self.value(content).view(b, k, self.heads, c // self.heads).transpose(1, 2)
        out: Tensor = self.output((self.weights(x) @ value).transpose(1, 2).reshape(b, k, c))
        return out


class DecoderLayer(nn.Module):
    """q2q among the keypoints, then p2q from the picture to each keypoint around its present place."""

    def __init__(self, channels: int, heads: int, levels: int, points: int, ffn: int, q2q: bool) -> None:
        super().__init__()
        self.self_attention = SelfAttention(channels, heads) if q2q else None
        self.self_norm = nn.LayerNorm(channels) if q2q else None
        self.attention = DeformableAttention(channels, heads, levels, points)
        self.norm = nn.LayerNorm(channels)
        self.feed = FeedForward(channels, ffn)

    def forward(self, q: Tensor, e: Tensor, y: Tensor, memory: Tensor, shapes: list[int]) -> Tensor:
        """Queries q, positions e, guess y (B, K, 2), memory (B, S, C) -> q (B, K, C)."""
        if self.self_attention is not None and self.self_norm is not None:
            q = self.self_norm(q + self.self_attention(q + e, q))  # Q'
        q = self.norm(q + self.attention(q + e, y[:, :, None], memory, shapes))  # Q''
        return self.feed(q)
