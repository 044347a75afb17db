"""Networks beside the trunk that are asked for one thing: where they see the joints, as maps."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from tfpose_rt.errors import UsageError
from tfpose_rt.model.fusion import JointMaps
from tfpose_rt.model.movenet import MAP_STRIDE, WIDTHS, MoveNet

COARSEST = 32


class Lightning(MoveNet):
    """MoveNet Lightning. It sees crops at 3/4, where people are as large as it knows them: it was made for 192 px.

    forward: (B, 3, H, W) RGB in [0, 1] -> the joints' maps, `cells` of them over the crop.

    Args:
        size: W, H of the crops, multiples of 32.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__(WIDTHS["lightning"])
        w, h = size
        self.seen = (w * 3 // 4, h * 3 // 4)
        self.cells = (self.seen[0] // MAP_STRIDE, self.seen[1] // MAP_STRIDE)
        # black on both sides, to whole cells of the coarsest level: 0, 4, 8 or 12 px, which are whole cells of the maps
        self.margin = tuple(-side % COARSEST // 2 for side in self.seen)

    def forward(self, images: Tensor) -> JointMaps:
        """Images (B, 3, H, W) RGB in [0, 1] -> the joints' maps."""
        (w, h), (x, y) = self.seen, self.margin
        small = F.interpolate(images, size=(h, w), mode="bilinear", align_corners=False)
        finest = self.pyramid(F.pad(small, (x, x, y, y)))[1]
        x, y, (w, h) = x // MAP_STRIDE, y // MAP_STRIDE, self.cells
        finest = finest[:, :, y : y + h, x : x + w]
        return self.maps(self.joints(finest), finest)


# A newcomer is one line here: a function of the crops' size that gives a module with `cells` (W, H of its maps), which
# makes the JointMaps of COCO's 17 joints from images.
WITNESSES: dict[str, Callable[[tuple[int, int]], nn.Module]] = {"movenet-lightning": Lightning}


def build_witness(name: str, size: tuple[int, int]) -> nn.Module:
    """The network called `name`, for crops of this size (W, H).

    Raises: UsageError: no such network, or it cannot see crops of this size.
    """
    if name not in WITNESSES:
        fix = f"{', '.join(WITNESSES)}, or movenet where that is a part of the trunk"
        raise UsageError(f"witness = {name!r}", why="no such network", fix=fix)
    if any(side % COARSEST for side in size):
        raise UsageError(f"size = {size}", why=f"a witness sees sides that are multiples of {COARSEST}", fix="192, 256")
    return WITNESSES[name](size)
