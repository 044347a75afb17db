"""What a trunk's own maps of the joints (heatmaps) say, weighed against the transformer's last guess.

The guess is a prior for where a joint is: normal around its place, with the scale that the model states. The joint's
map is evidence: the probability of each cell, to a power. Prior times evidence is a posterior over the cells, and its
mean (a soft-argmax under a prior), with the trunk's offset within each cell, is the witnessed place. How much of the
way there the guess goes is its share: the surer the witness the more, the surer the guess the less. Three numbers
decide, fitted on people held out (`training.calibrate`) and not learnt: of people that the transformer was trained on
it knows too much to need a witness.

Left and right are the transformer's. Where the maps show the same person facing the other way, the means of both would
lie between the limbs; then each joint is held against the map of its mirror joint.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tfpose_rt import skeleton

POWER = 4.0  # of a map's probabilities: highest peaks win, neighbouring cells share
BLUR = 2.0  # cells that a sure guess still looks around
SIDES = 10.0  # log of how much likelier the maps must be with left and right exchanged to be read so
DOUBT = 1.2  # cells: a witness of probability 1 counts as much as a guess with this scale, both axes together


class JointMaps(NamedTuple):
    """Where a trunk sees the joints. Cell (x, y) of a w x h map lies at (x / w, y / h) of the crop."""

    log_heights: Tensor  # (B, K, h, w) log of the probability that the joint is in the cell, float32
    offsets: Tensor  # (B, K, 2, h, w) cells from there to the joint, y before x, float32


class Witness(NamedTuple):
    """What the maps say around a guess."""

    place: Tensor  # (B, K, 2) in [0, 1], the posterior's mean
    height: Tensor  # (B, K) in (0, 1), the maps' mean probability there
    evidence: Tensor  # (B, K) log of how well map and guess fit, up to a constant of the guess


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
        spread = sigma.detach() * self.cells  # (B, K, 2) cells
        exchanged = JointMaps(*(part[:, self.mirror] for part in maps))
        one, other = (self.witness(xy.detach(), spread, each) for each in (maps, exchanged))
        turned = ((other.evidence - one.evidence).sum(1) > SIDES)[:, None]  # (B, 1)
        place = torch.where(turned[..., None], other.place, one.place)
        height = torch.where(turned, other.height, one.height)
        odds = (height * spread.norm(dim=-1) / self.doubt) ** 2  # of witness against guess, by their variances
        return Meeting(place, odds / (1 + odds))

    def witness(self, xy: Tensor, spread: Tensor, maps: JointMaps) -> Witness:
        """What the maps say around a guess.

        Args:
            xy: (B, K, 2) in [0, 1], the prior's mean.
            spread: (B, K, 2) its deviation, cells.
            maps: the evidence.
        """
        b, k, h, w = maps.log_heights.shape
        x, y = (torch.arange(n, device=xy.device) for n in (w, h))
        variance = spread**2 + self.blur**2  # (B, K, 2)
        far_x = (x - xy[..., :1] * w) ** 2 / variance[..., :1]  # (B, K, w)
        far_y = (y - xy[..., 1:] * h) ** 2 / variance[..., 1:]  # (B, K, h)
        prior = -0.5 * (far_y[..., :, None] + far_x[..., None, :])
        joint = (prior + self.power * maps.log_heights).flatten(2)  # (B, K, h * w) log of prior x evidence
        posterior = joint.softmax(-1)
        over_x, over_y = (posterior.view(b, k, h, w).sum(axis) for axis in (2, 3))
        within = (posterior[:, :, None] * maps.offsets.flatten(3)).sum(-1)  # (B, K, 2), y before x
        place = torch.stack(((over_x * x).sum(-1) + within[..., 1], (over_y * y).sum(-1) + within[..., 0]), -1)
        height = (posterior * maps.log_heights.flatten(2).exp()).sum(-1)
        return Witness((place / self.cells).clamp(0, 1), height, joint.logsumexp(-1))
