"""What a witness's maps of the joints (heatmaps) say, weighed against the transformer's last guess.

The guess is a prior for where a joint is: normal around its place, with the scale that the model states. The joint's
map is evidence: the probability of each cell, to a power. Prior times evidence is a posterior over the cells, and its
mean (a soft-argmax under a prior), with the witness's offset within each cell, is the witnessed place. How much of the
way there the guess goes is its share: the surer the witness the more, the surer the guess the less. Three numbers
decide, fitted on people held out (`training.calibrate`) and not learnt: of people that the transformer was trained on
it knows too much to need a witness.

Left and right are the transformer's. Where the maps show the same person facing the other way, the means of both would
lie between the limbs; then each joint is held against the map of its mirror joint.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tfpose_rt import skeleton

POWER = 4.0  # of a map's probabilities: highest peaks win, neighbouring cells share
BLUR = 2.0  # cells that a sure guess still looks around
SIDES = 10.0  # log of how much likelier the maps must be with left and right exchanged to be read so
FLOOR = -12.0  # log of a probability: below it a map says no, however far
TINY = 1e-36  # of what a posterior adds up to; where there is no more, the guess stays
DOUBT = 1.2  # cells: a witness of probability 1 counts as much as a guess with this scale, both axes together


class JointMaps(NamedTuple):
    """Where a trunk sees the joints. Cell (x, y) of a w x h map lies at (x / w, y / h) of the crop."""

    log_heights: Tensor  # (B, K, h, w) log of the probability that the joint is in the cell, float32
    offsets: Tensor  # (B, K, 2, h, w) cells from there to the joint, y before x, float32


class Witness(NamedTuple):
    """What the maps say around R guesses of each joint."""

    place: Tensor  # (B, K, R, 2) in [0, 1], the posterior's mean
    height: Tensor  # (B, K, R) in (0, 1), the maps' mean probability there
    evidence: Tensor  # (B, K, R) log of how well map and guess fit, up to a constant of the guess


class Meeting(NamedTuple):
    """What came of holding a guess against the maps."""

    place: Tensor  # (B, K, 2) in [0, 1], where the maps say the joint is
    share: Tensor  # (B, K) in (0, 1) of the way there that the guess goes


class Fusion(nn.Module):
    """Weighs one guess of each joint against the maps.

    Args:
        cells: w, h of the maps.
        keypoints: K, a layout whose sides are known.
    """

    cells: Tensor
    mirror: Tensor
    power: Tensor
    blur: Tensor
    doubt: Tensor

    def __init__(self, cells: tuple[int, int], keypoints: int) -> None:
        super().__init__()
        self.register_buffer("mirror", torch.tensor(skeleton.FLIPS[keypoints]), False)
        self.register_buffer("cells", torch.tensor(cells, dtype=torch.float32), False)
        for name, value in (("power", POWER), ("blur", BLUR), ("doubt", DOUBT)):
            self.register_buffer(name, torch.tensor(value))

    def forward(self, xy: Tensor, sigma: Tensor, maps: JointMaps) -> Tensor:
        """A guess xy (B, K, 2) in [0, 1] with scales sigma, alike, and the maps -> the better guess (B, K, 2)."""
        place, share = self.meet(xy, sigma, maps)
        return xy + share[..., None] * (place - xy)

    def meet(self, xy: Tensor, sigma: Tensor, maps: JointMaps) -> Meeting:
        """A guess, its scales and the maps, as `forward` takes them -> what comes of it."""
        with exact(xy.device.type):
            return self._meet(xy, sigma, maps)

    def _meet(self, xy: Tensor, sigma: Tensor, maps: JointMaps) -> Meeting:
        guess, spread = xy.detach(), sigma.detach() * self.cells  # (B, K, 2), the latter in cells
        # joint k held against the map of its mirror joint is that map held against joint k
        guesses, spreads = (torch.stack((each, each[:, self.mirror]), 2) for each in (guess, spread))  # (B, K, 2, 2)
        seen = self.witness(guesses, spreads, maps)
        one = Witness(*(part[:, :, 0] for part in seen))
        other = Witness(*(part[:, self.mirror, 1] for part in seen))
        turned = ((other.evidence - one.evidence).sum(1) > SIDES)[:, None]  # (B, 1)
        place = torch.where(turned[..., None], other.place, one.place)
        height = torch.where(turned, other.height, one.height)
        odds = (height * spread.norm(dim=-1) / self.doubt) ** 2  # of witness against guess, by their variances
        return Meeting(place, odds / (1 + odds))

    def witness(self, xy: Tensor, spread: Tensor, maps: JointMaps) -> Witness:
        """What the maps say around R guesses of each joint.

        Prior and sums are separable: two small products of matrices, not a pass over the cells for each sum. Places
        are counted from the guess, so that what rounding there is (bfloat16 in OpenVINO) is a share of the way.

        Args:
            xy: (B, K, R, 2) in [0, 1], each prior's mean.
            spread: (B, K, R, 2) its deviation, cells.
            maps: the evidence.
        """
        h, w = maps.log_heights.shape[-2:]
        x, y = (torch.arange(n, device=xy.device) for n in (w, h))
        variance = spread**2 + self.blur**2  # (B, K, R, 2)
        right = x - xy[..., :1] * w  # (B, K, R, w) cells from the guess
        down = y - xy[..., 1:] * h  # (B, K, R, h)
        across, along = (-0.5 * right**2 / variance[..., :1]).exp(), (-0.5 * down**2 / variance[..., 1:]).exp()
        belief = (self.power * maps.log_heights.clamp(min=FLOOR)).exp()[:, :, None]  # (B, K, 1, h, w)
        told = torch.cat((torch.ones_like(belief), maps.log_heights.exp()[:, :, None], maps.offsets), 2) * belief
        columns = torch.stack((along, along * down), 2).flatten(2, 3)[:, :, None] @ told  # (B, K, 4, 2R, w)
        plain, sloped = columns.unflatten(3, (2, -1)).unbind(3)  # (B, K, 4, R, w)
        total, height, within_y, within_x = (plain * across[:, :, None]).sum(-1).unbind(2)  # (B, K, R)
        far_x = (plain[:, :, 0] * across * right).sum(-1) + within_x
        far_y = (sloped[:, :, 0] * across).sum(-1) + within_y
        total = total + TINY
        moved = torch.stack((far_x, far_y), -1) / total[..., None] / self.cells
        return Witness((xy + moved).clamp(0, 1), height / total, total.log())


def exact(kind: str) -> AbstractContextManager[object]:
    """No autocast on a device of this kind: a map's faint cells, to a power, are less than float16 can hold."""
    # asked first, for tracing would take a context that changes nothing for an operator
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()
