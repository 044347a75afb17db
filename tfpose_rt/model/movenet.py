"""MoveNet (Google, 2021; Apache-2.0 weights): where it sees the joints of people, as maps.

A MobileNetV2 with a feature pyramid up to stride 4, and of its heads those that say where joints are: a map of each
joint, the offset from a cell of the map to the joint, and, at each place, the way from there to every joint of the
person around it. Its makers' graph has no batch norms left, so every convolution has a bias but the depthwise ones of
the pyramid and the heads. Strided convolutions are padded below and to the right only, as TensorFlow does it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tfpose_rt.model.fusion import JointMaps

JOINTS = 17
HIDDEN = 96  # channels of a head
MAP_STRIDE = 4  # of the joints' maps
# MobileNetV2's stages at width 1: channels, blocks, stride of the first block
STAGES = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
STEM, LAST = 32, 1280  # channels before them, at width 1, and behind them, at any
TAPS = ((9, 64), (5, 32), (2, 24))  # blocks whose maps join the pyramid at strides 16, 8, 4; its channels there
TOP = 64  # the pyramid's channels at stride 32
WIDTHS = {"lightning": 1.0, "thunder": 1.75}  # of the networks that there are
STEM_WEIGHTS = (
    "StatefulPartitionedCall/center_net_mobile_net_v2fpn_feature_extractor/model_1/model/Conv1/Conv2D_weights"
)


def conv(c_in: int, c_out: int, k: int, stride: int = 1, *, groups: int = 1, bias: bool = True) -> nn.Conv2d:
    """A convolution that keeps the sides where the stride is 1; a strided one wants `roomy` input."""
    return nn.Conv2d(c_in, c_out, k, stride, 0 if stride == 2 else k // 2, groups=groups, bias=bias)


def roomy(x: Tensor) -> Tensor:
    """A row of zeros below and a column to the right: how TensorFlow pads even sides for a 3 x 3 of stride 2."""
    return F.pad(x, (0, 1, 0, 1))


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow; the identity beside it where the shape stays."""

    def __init__(self, c_in: int, c_out: int, stride: int, widen: int) -> None:
        super().__init__()
        c = c_in * widen
        self.expand = conv(c_in, c, 1) if widen > 1 else None
        self.depthwise = conv(c, c, 3, stride, groups=c)
        self.project = conv(c, c_out, 1)
        self.residual, self.strided = stride == 1 and c_in == c_out, stride == 2

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, H, W) -> (B, c_out, H / stride, W / stride)."""
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(roomy(y) if self.strided else y)))
        return x + y if self.residual else y


class Separable(nn.Module):
    """Each channel filtered, then mixed, then ReLU."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.depthwise = conv(c_in, c_in, 3, groups=c_in, bias=False)
        self.pointwise = conv(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, H, W) -> (B, c_out, H, W)."""
        return F.relu(self.pointwise(self.depthwise(x)))


class MoveNet(nn.Module):
    """Backbone, pyramid, and the heads for the joints' maps and for their offsets.

    Args:
        width: of the backbone; Lightning's is 1, Thunder's 1.75.
        offsets: whether there is a head for them.
    """

    def __init__(self, width: float, offsets: bool = True) -> None:
        super().__init__()
        self.stem = conv(3, scaled(STEM, width), 3, 2)
        self.blocks = nn.ModuleList()
        before = scaled(STEM, width)
        tapped: list[int] = []
        for number, (base, count, stride) in enumerate(STAGES):
            for i in range(count):
                channels = scaled(base, width)
                block = InvertedResidual(before, channels, stride if i == 0 else 1, 1 if number == 0 else 6)
                if len(self.blocks) in dict(TAPS):
                    tapped.insert(0, channels)
                self.blocks.append(block)
                before = channels
        self.last = conv(before, LAST, 1)
        self.top = conv(LAST, TOP, 1)
        widths = [c for _, c in TAPS]
        self.lateral = nn.ModuleList(conv(c, out, 1) for c, out in zip(tapped, widths, strict=True))
        self.smooth = nn.ModuleList(Separable(c, out) for c, out in zip(widths, [*widths[1:], widths[-1]], strict=True))
        self.joints = head(JOINTS)
        # asked in use alone, so nothing could train it
        self.offsets = head(2 * JOINTS).requires_grad_(False) if offsets else None

    def pyramid(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Images (B, 3, H, W) RGB in [0, 1] -> maps at strides 8, 16, 32, and the heads' input (B, 24, H/4, W/4)."""
        x = F.relu6(self.stem(roomy(x * 2 - 1)))
        taps = {}
        for number, block in enumerate(self.blocks):
            x = block(x)
            taps[number] = x
        levels = [self.top(F.relu6(self.last(x)))]
        for (number, _), lateral, smooth in zip(TAPS, self.lateral, self.smooth, strict=True):
            coarser = F.interpolate(levels[0], scale_factor=2.0, mode="bilinear", align_corners=False)
            levels.insert(0, smooth(coarser + lateral(taps[number])))
        return levels[1:], levels[0]

    def maps(self, logits: Tensor, finest: Tensor) -> JointMaps:
        """The joints' logits and the heads' input (B, 24, h, w) -> their maps."""
        assert self.offsets is not None, "a MoveNet without a head for offsets"
        offsets = self.offsets(finest).unflatten(1, (JOINTS, 2))
        return JointMaps(F.logsigmoid(logits.float()), offsets.float())


def scaled(channels: int, width: float) -> int:
    """Channels of a MobileNetV2 of some width: eights."""
    return max(8, int(channels * width + 4) // 8 * 8)


def head(channels: int) -> nn.Sequential:
    """From the pyramid at stride 4 to what is said of each of its cells."""
    return nn.Sequential(Separable(TAPS[-1][1], HIDDEN), conv(HIDDEN, channels, 1))


def from_graph(named: Mapping[str, npt.NDArray[np.generic]]) -> dict[str, Tensor]:
    """A MoveNet's TensorFlow graph, its constants by name -> the state dict of that network, with every head.

    Raises: KeyError: a constant is missing. ValueError: one has another shape.
    """
    stem = named[STEM_WEIGHTS].shape[-1]
    width = next((w for w in WIDTHS.values() if scaled(STEM, w) == stem), None)
    if width is None:
        raise ValueError(f"{stem} channels behind the first convolution, not Lightning's or Thunder's")
    network = MoveNet(width)
    network.ways = head(2 * JOINTS)
    state, names = network.state_dict(), graph_names(network)
    out = {}
    for ours, shape in ((k, v.shape) for k, v in state.items()):
        theirs = torch.from_numpy(np.array(named[names[ours]], np.float32))
        if theirs.ndim == 4:  # (k, k, in, out), or (k, k, channels, 1) of one that filters each channel
            theirs = theirs.permute(2, 3, 0, 1) if "depthwise" in ours else theirs.permute(3, 2, 0, 1)
        if theirs.shape != shape:
            raise ValueError(f"{names[ours]} is {tuple(theirs.shape)}, not {tuple(shape)}")
        out[ours] = theirs.contiguous()
    return out


def graph_names(network: MoveNet) -> dict[str, str]:
    """Our name of every tensor of a network with every head -> the graph's."""
    call = "StatefulPartitionedCall/"
    pyramid = f"{call}center_net_mobile_net_v2fpn_feature_extractor/model_1/"
    backbone = f"{pyramid}model/"
    names = {}

    def folded(ours: str, theirs: str) -> None:  # a convolution whose batch norm is folded into it
        names[f"{ours}.weight"], names[f"{ours}.bias"] = f"{theirs}_weights", f"{theirs}_bn_offset"

    def plain(ours: str, weight: str, bias: str) -> None:
        names[f"{ours}.weight"], names[f"{ours}.bias"] = weight, f"{bias}/BiasAdd/ReadVariableOp"

    folded("stem", f"{backbone}Conv1/Conv2D")
    folded("last", f"{backbone}Conv_1/Conv2D")
    for i, block in enumerate(network.blocks):
        stem = f"{backbone}block_{i}_" if i else f"{backbone}expanded_conv_"
        for part, op in (("expand", "Conv2D"), ("depthwise", "depthwise"), ("project", "Conv2D")):
            if getattr(block, part) is not None:
                folded(f"blocks.{i}.{part}", f"{stem}{part}/{op}")
    for i, ours in enumerate(("top", "lateral.0", "lateral.1", "lateral.2")):
        theirs = f"{pyramid}conv2d{f'_{i}' if i else ''}"
        plain(ours, f"{theirs}/Conv2D/ReadVariableOp", theirs)
    for i in range(len(TAPS)):
        theirs = f"{pyramid}separable_conv2d{f'_{i}' if i else ''}/separable_conv2d"
        names[f"smooth.{i}.depthwise.weight"] = f"{theirs}/ReadVariableOp"
        folded(f"smooth.{i}.pointwise", theirs)
    for ours, head, number in (
        ("joints", "kpt_heatmap_0", 4),
        ("ways", "kpt_regress_0", 5),
        ("offsets", "kpt_offset_0", 6),
    ):
        theirs = f"{call}{head}/separable_conv2d_{number}"
        names[f"{ours}.0.depthwise.weight"] = f"{theirs}/separable_conv2d/ReadVariableOp"
        plain(f"{ours}.0.pointwise", f"{theirs}/separable_conv2d/ReadVariableOp_1", theirs)
        last = f"{call}{head}/conv2d_{number + 1}"
        plain(f"{ours}.1", f"{last}/Conv2D/ReadVariableOp", last)
    return names
