"""MoveNet Thunder's network as a trunk: image in, three levels out, with what its heads say in them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tfpose_rt.model.fusion import JointMaps
from tfpose_rt.model.movenet import HIDDEN, JOINTS, TAPS, TOP, WIDTHS, MoveNet, head

SPREADS = (6.0, 8.0, 100.0)  # usual spread of the pyramid's maps at strides 8, 16, 32, on people: brought to about 1
WAY = 16.0  # cells of stride 4, that of the ways to the joints


class MoveNetTrunk(MoveNet):
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
        super().__init__(WIDTHS["thunder"], maps)
        self.ways = head(2 * JOINTS)
        said = 3 * JOINTS
        self.channels = (TAPS[2][1] + 4 * JOINTS + HIDDEN, TAPS[1][1] + said, TOP + said)

    def said(self, finest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The heads' input (B, 24, h, w) -> logits of the joints (B, K, h, w), the layer before, ways (B, 2K, h, w)."""
        hidden = self.joints[0](finest)
        return self.joints[1](hidden), hidden, self.ways(finest)

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
        return told, None if self.offsets is None else self.maps(logits, finest)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) RGB in [0, 1] -> levels at strides 8, 16, 32."""
        return self.look(x)[0]
