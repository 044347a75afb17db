"""The trunks of YOLO11 and YOLO26 (Jocher et al.; AGPL-3.0 weights) as plain torch: image in, three levels out.

Written for feature extraction alone: batch norms are folded into the convolutions once, when a checkpoint is
converted, and never come back, so every convolution here has a bias. Module names follow the checkpoints', so that a
converted state dict loads by name. Widths are those of the `n` and `s` scales (depth 0.5).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv(nn.Module):
    """Convolution with folded batch norm, then SiLU (or nothing)."""

    def __init__(
        self, c_in: int, c_out: int, k: int = 1, stride: int = 1, *, groups: int = 1, act: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, k, stride, k // 2, groups=groups)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, H, W) -> (B, c_out, H / stride, W / stride)."""
        y = self.conv(x)
        return F.silu(y, inplace=True) if self.act else y


class Bottleneck(nn.Module):
    """Two 3x3 convolutions beside the identity."""

    def __init__(self, c: int, squeeze: float) -> None:
        super().__init__()
        self.cv1 = Conv(c, int(c * squeeze), 3)
        self.cv2 = Conv(int(c * squeeze), c, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c, H, W) -> the same shape."""
        return x + self.cv2(self.cv1(x))


class PartialStage(nn.Module):
    """Cross-stage partial block: half of the channels pass two bottlenecks, half go around them."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.cv1 = Conv(c, c // 2)
        self.cv2 = Conv(c, c // 2)
        self.cv3 = Conv(c, c)
        self.m = nn.Sequential(Bottleneck(c // 2, 1.0), Bottleneck(c // 2, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c, H, W) -> the same shape."""
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class SpatialAttention(nn.Module):
    """Self-attention over the cells of a small map, with a depthwise convolution as its position term."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.heads = max(c // 64, 1)
        self.head = c // self.heads
        self.key = self.head // 2
        self.qkv = Conv(c, c + 2 * self.key * self.heads, act=False)
        self.proj = Conv(c, c, act=False)
        self.pe = Conv(c, c, 3, groups=c, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c, H, W) -> the same shape."""
        b, c, h, w = x.shape
        split = [self.key, self.key, self.head]
        q, k, v = self.qkv(x).view(b, self.heads, sum(split), h * w).split(split, 2)  # (B, heads, ., H*W)
        attended = F.scaled_dot_product_attention(q.transpose(2, 3), k.transpose(2, 3), v.transpose(2, 3))
        mixed = attended.transpose(2, 3).reshape(b, c, h, w)
        return self.proj(mixed + self.pe(v.reshape(b, c, h, w)))


class AttentionBlock(nn.Module):
    """Attention and a two-layer network, both residual."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.attn = SpatialAttention(c)
        self.ffn = nn.Sequential(Conv(c, 2 * c), Conv(2 * c, c, act=False))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c, H, W) -> the same shape."""
        x = x + self.attn(x)
        return x + self.ffn(x)


class Stage(nn.Module):
    """Split, transform one half, and join all intermediate results (C3k2 in the checkpoints' configuration files).

    Args:
        kind: "plain" (one bottleneck), "csp" (one PartialStage) or "attn" (a bottleneck and an AttentionBlock).
    """

    def __init__(self, c_in: int, c_out: int, kind: str, expand: float = 0.5) -> None:
        super().__init__()
        c = int(c_out * expand)
        self.cv1 = Conv(c_in, 2 * c)
        self.cv2 = Conv(3 * c, c_out)
        inner: nn.Module
        if kind == "csp":
            inner = PartialStage(c)
        elif kind == "attn":
            inner = nn.Sequential(Bottleneck(c, 0.5), AttentionBlock(c))
        else:
            inner = Bottleneck(c, 0.5)
        self.m = nn.ModuleList([inner])

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, H, W) -> (B, c_out, H, W)."""
        parts = list(self.cv1(x).chunk(2, 1))
        parts.append(self.m[0](parts[-1]))
        return self.cv2(torch.cat(parts, 1))


class PyramidPool(nn.Module):
    """Three 5x5 max-pools in a row, joined: a cheap large receptive field."""

    def __init__(self, c: int, *, act: bool, residual: bool) -> None:
        super().__init__()
        self.cv1 = Conv(c, c // 2, act=act)
        self.cv2 = Conv(2 * c, c)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c, H, W) -> the same shape."""
        y = [self.cv1(x)]
        for _ in range(3):
            y.append(F.max_pool2d(y[-1], 5, 1, 2))
        out = self.cv2(torch.cat(y, 1))
        return out + x if self.residual else out


class SplitAttention(nn.Module):
    """Half of the channels pass an AttentionBlock."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.cv1 = Conv(c, c)
        self.cv2 = Conv(c, c)
        self.m = nn.Sequential(AttentionBlock(c // 2))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c, H, W) -> the same shape."""
        a, b = self.cv1(x).chunk(2, 1)
        return self.cv2(torch.cat((a, self.m(b)), 1))


class YoloTrunk(nn.Module):
    """Backbone and neck, up to the three inputs of the detection head.

    Args:
        width: 1 for the `n` scale, 2 for `s`.
        generation: 11 or 26.
        pose: channels of the keypoint branch to append to each level (51 for YOLO11n-pose), 0 for none. The branch is
            the first two convolutions of the pose head: what it computes of a person is what a pose regressor wants.

    forward: (B, 3, H, W) RGB in [0, 1] -> levels at strides 8, 16, 32, each (B, channels[l], H/s, W/s).
    """

    strides = (8, 16, 32)

    def __init__(self, width: int, generation: int, pose: int = 0) -> None:
        super().__init__()
        c1, c2, c3, c4, c5 = (c * width for c in (16, 32, 64, 128, 256))
        new = generation == 26
        neck = "csp" if new else "plain"
        join = nn.Identity()  # a place in the checkpoint's numbering without weights
        self.model = nn.ModuleList(
            [
                Conv(3, c1, 3, 2),
                Conv(c1, c2, 3, 2),
                Stage(c2, c3, "plain", 0.25),
                Conv(c3, c3, 3, 2),
                Stage(c3, c4, "plain", 0.25),
                Conv(c4, c4, 3, 2),
                Stage(c4, c4, "csp"),
                Conv(c4, c5, 3, 2),
                Stage(c5, c5, "csp"),
                PyramidPool(c5, act=not new, residual=new),
                SplitAttention(c5),
                join,
                join,
                Stage(c5 + c4, c4, neck),
                join,
                join,
                Stage(2 * c4, c3, neck),
                Conv(c3, c3, 3, 2),
                join,
                Stage(c3 + c4, c4, neck),
                Conv(c4, c4, 3, 2),
                join,
                Stage(c4 + c5, c5, "attn" if new else "csp"),
            ]
        )
        levels = (c3, c4, c5)
        self.pose = nn.ModuleList(nn.Sequential(Conv(c, pose, 3), Conv(pose, pose, 3)) for c in levels if pose)
        self.channels = tuple(c + pose for c in levels)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) RGB in [0, 1] -> levels at strides 8, 16, 32."""
        m = self.model
        p3 = m[4](m[3](m[2](m[1](m[0](x)))))
        p4 = m[6](m[5](p3))
        p5 = m[10](m[9](m[8](m[7](p4))))
        n4 = m[13](torch.cat((F.interpolate(p5, scale_factor=2.0), p4), 1))
        n3 = m[16](torch.cat((F.interpolate(n4, scale_factor=2.0), p3), 1))
        n4 = m[19](torch.cat((m[17](n3), n4), 1))
        n5 = m[22](torch.cat((m[20](n4), p5), 1))
        levels = [n3, n4, n5]
        if self.pose:
            levels = [torch.cat((f, branch(f)), 1) for f, branch in zip(levels, self.pose, strict=True)]
        return levels


def fold(conv: Tensor, norm: dict[str, Tensor], eps: float) -> tuple[Tensor, Tensor]:
    """Fold a batch norm into the convolution before it.

    Args:
        conv: (C_out, C_in / groups, k, k) weight, without bias.
        norm: weight, bias, running_mean, running_var, each (C_out,).
        eps: the norm's epsilon.
    Returns: weight of conv's shape and bias (C_out,).
    """
    scale = norm["weight"] / (norm["running_var"] + eps).sqrt()
    return conv * scale.view(-1, 1, 1, 1), norm["bias"] - norm["running_mean"] * scale


def from_checkpoint(state: dict[str, Tensor], eps: float = 1e-3) -> dict[str, Tensor]:
    """A YOLO checkpoint's state dict (`model.N...conv.weight`, `...bn...`) -> the state dict of a YoloTrunk.

    The detection head's own layers are dropped, except the first two convolutions of a pose branch (`cv4`).
    """
    trunk: dict[str, Tensor] = {}
    for key, weight in state.items():
        if not key.endswith(".conv.weight"):
            continue
        stem = key.removesuffix(".conv.weight")
        parts = stem.split(".")
        if int(parts[1]) < 23:
            name = stem
        elif parts[2] == "cv4":
            name = "pose." + ".".join(parts[3:])
        else:
            continue
        norm = {k: state[f"{stem}.bn.{k}"].float() for k in ("weight", "bias", "running_mean", "running_var")}
        trunk[f"{name}.conv.weight"], trunk[f"{name}.conv.bias"] = fold(weight.float(), norm, eps)
    return trunk
