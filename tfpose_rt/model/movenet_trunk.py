"""MoveNet Thunder's network (Google, 2021; Apache-2.0 weights) as a trunk: image in, three levels out.

A MobileNetV2 of width 1.75 with a feature pyramid up to stride 4, and of its four heads those that say where joints
are: a map of each joint, at each place the way from there to every joint of the person around it, and, where the maps
themselves are asked for, the offset from a cell of the map to the joint. Its makers' graph has no batch norms left, so
every convolution has a bias but the depthwise ones of the pyramid and the heads. Strided convolutions are padded below
and to the right only, as TensorFlow does it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tfpose_rt.model.fusion import JointMaps

JOINTS = 17
HIDDEN = 96  # channels of a head
# MobileNetV2's stages at width 1.75: channels, blocks, stride of the first block
STAGES = ((32, 1, 1), (40, 2, 2), (56, 3, 2), (112, 4, 2), (168, 3, 1), (280, 3, 2), (560, 1, 1))
STEM, LAST = 56, 1280
TAPS = {4: (2, 40, 24), 8: (5, 56, 32), 16: (9, 112, 64)}  # stride -> block, its channels, those of the pyramid there
TOP = 64  # the pyramid's channels at stride 32
SPREADS = (6.0, 8.0, 100.0)  # usual spread of the pyramid's maps at strides 8, 16, 32, on people: brought to about 1
WAY = 16.0  # cells of stride 4, that of the ways to the joints


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


class MoveNetTrunk(nn.Module):
    """Backbone, pyramid and heads.

    A level holds the pyramid's own map at its stride and what the heads say at stride 4, brought there: at stride 8 the
    joints' maps without loss (four cells become four channels) and the mean of the hidden layer before them; at 16 and
    32 the joints' highest values and the mean ways to the joints.

    forward: (B, 3, H, W) RGB in [0, 1] -> levels at strides 8, 16, 32, each (B, channels[l], H/s, W/s).

    Args:
        maps: whether `look` gives the joints' maps as well, with a head for their offsets.
    """

    strides = (8, 16, 32)

    def __init__(self, maps: bool = False) -> None:
        super().__init__()
        self.stem = conv(3, STEM, 3, 2)
        self.blocks = nn.ModuleList(_blocks())
        self.last = conv(STAGES[-1][0], LAST, 1)
        widths = [c for _, _, c in reversed(TAPS.values())]  # of strides 16, 8, 4
        self.top = conv(LAST, TOP, 1)
        self.lateral = nn.ModuleList(conv(c, out, 1) for _, c, out in reversed(TAPS.values()))
        self.smooth = nn.ModuleList(Separable(c, out) for c, out in zip(widths, [*widths[1:], widths[-1]], strict=True))
        self.joints = nn.ModuleList([Separable(widths[-1], HIDDEN), conv(HIDDEN, JOINTS, 1)])
        self.ways = nn.ModuleList([Separable(widths[-1], HIDDEN), conv(HIDDEN, 2 * JOINTS, 1)])
        self.offsets = nn.ModuleList([Separable(widths[-1], HIDDEN), conv(HIDDEN, 2 * JOINTS, 1)]) if maps else None
        said = 3 * JOINTS
        self.channels = (widths[2] + 4 * JOINTS + HIDDEN, widths[1] + said, TOP + said)

    def pyramid(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Images (B, 3, H, W) RGB in [0, 1] -> maps at strides 8, 16, 32, and the heads' input (B, 24, H/4, W/4)."""
        x = F.relu6(self.stem(roomy(x * 2 - 1)))
        taps = {}
        for number, block in enumerate(self.blocks):
            x = block(x)
            taps[number] = x
        levels = [self.top(F.relu6(self.last(x)))]
        for (number, _, _), lateral, smooth in zip(reversed(TAPS.values()), self.lateral, self.smooth, strict=True):
            coarser = F.interpolate(levels[0], scale_factor=2.0, mode="bilinear", align_corners=False)
            levels.insert(0, smooth(coarser + lateral(taps[number])))
        return levels[1:], levels[0]

    def said(self, finest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The heads' input (B, 24, h, w) -> logits of the joints (B, K, h, w), the layer before, ways (B, 2K, h, w)."""
        hidden = self.joints[0](finest)
        return self.joints[1](hidden), hidden, self.ways[1](self.ways[0](finest))

    def look(self, x: Tensor) -> tuple[list[Tensor], JointMaps | None]:
        """Images (B, 3, H, W) RGB in [0, 1] -> levels at strides 8, 16, 32, and the joints' maps at stride 4."""
        levels, finest = self.pyramid(x)
        p8, p16, p32 = (level / spread for level, spread in zip(levels, SPREADS, strict=True))
        logits, hidden, ways = self.said(finest)
        heights, ways = logits.sigmoid(), ways / WAY
        told = [
            torch.cat((p8, F.pixel_unshuffle(heights, 2), F.avg_pool2d(hidden, 2)), 1),
            torch.cat((p16, F.max_pool2d(heights, 4), F.avg_pool2d(ways, 4)), 1),
            torch.cat((p32, F.max_pool2d(heights, 8), F.avg_pool2d(ways, 8)), 1),
        ]
        if self.offsets is None:
            return told, None
        offsets = self.offsets[1](self.offsets[0](finest)).unflatten(1, (JOINTS, 2))
        return told, JointMaps(F.logsigmoid(logits.float()), offsets.float())

    def forward(self, x: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) RGB in [0, 1] -> levels at strides 8, 16, 32."""
        return self.look(x)[0]


def _blocks() -> Iterator[InvertedResidual]:
    before = STEM
    for number, (channels, count, stride) in enumerate(STAGES):
        for i in range(count):
            yield InvertedResidual(before, channels, stride if i == 0 else 1, 1 if number == 0 else 6)
            before = channels


def from_graph(named: Mapping[str, npt.NDArray[np.generic]]) -> dict[str, Tensor]:
    """MoveNet Thunder's TensorFlow graph, its constants by name -> the state dict of a MoveNetTrunk with maps.

    Raises: KeyError: a constant is missing. ValueError: one has another shape.
    """
    state = MoveNetTrunk(maps=True).state_dict()
    names = _graph_names()
    out = {}
    for ours, shape in ((k, v.shape) for k, v in state.items()):
        theirs = torch.from_numpy(np.array(named[names[ours]], np.float32))
        if theirs.ndim == 4:  # (k, k, in, out), or (k, k, channels, 1) of one that filters each channel
            theirs = theirs.permute(2, 3, 0, 1) if "depthwise" in ours else theirs.permute(3, 2, 0, 1)
        if theirs.shape != shape:
            raise ValueError(f"{names[ours]} is {tuple(theirs.shape)}, not {tuple(shape)}")
        out[ours] = theirs.contiguous()
    return out


def _graph_names() -> dict[str, str]:
    """Our name of every tensor -> the graph's."""
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
    for i, block in enumerate(_blocks()):
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
