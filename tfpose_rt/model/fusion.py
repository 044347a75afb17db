"""What a trunk's own maps of the joints (heatmaps) say, weighed against the transformer's guess.

The guess is a prior for where a joint is: normal around its place, with a scale of its own. The joint's map is
evidence: the probability of each cell, to a power that is learnt. Prior times evidence is a posterior over the cells,
and its mean (a soft-argmax under a prior), with the trunk's offset within each cell, is the witnessed place. How much
of the way there the guess goes is its share: the surer the witness the more, the surer the guess the less. The share,
and what the meeting of both means for scale and score, start from a rule and are learnt.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHARPNESS = 4.0  # power of a map's probabilities at first: highest peaks win, neighbouring cells share
BLUR = 2.0  # cells that a sure guess still looks around, at first
DOUBT = 1.2  # cells: a witness of probability 1 counts as much as a guess with this scale, both axes together
NEAR = 2.0  # cells within which both mean the same place
SEEN = 9  # numbers that describe the meeting of a guess with its witness


class JointMaps(NamedTuple):
    """Where a trunk sees the joints. Cell (x, y) of a w x h map lies at (x / w, y / h) of the crop."""

    log_heights: Tensor  # (B, K, h, w) log of the probability that the joint is in the cell, float32
    offsets: Tensor  # (B, K, 2, h, w) cells from there to the joint, y before x, float32


class Guess(NamedTuple):
    """One guess of the K joints of B people."""

    xy: Tensor  # (B, K, 2) in [0, 1]
    scale: Tensor  # (B, K, 2) log-scale of each coordinate's error, same units
    score: Tensor  # (B, K) logit


class Meeting(NamedTuple):
    """What came of holding a guess against the maps."""

    place: Tensor  # (B, K, 2) in [0, 1], the witnessed place
    share: Tensor  # (B, K) in (0, 1) of the way there that the guess goes
    stated: Tensor  # (B, K, 3) what it adds to both log-scales and to the score's logit
    told: Tensor  # (B, K, C) what the queries may hear of it


class Fusion(nn.Module):
    """Weighs one guess of each joint against the maps.

    Args:
        channels: C of the queries.
        keypoints: K.
        cells: w, h of the maps.
        tells: whether the queries hear of it, for there is a layer after this one.
    """

    cells: Tensor

    def __init__(self, channels: int, keypoints: int, cells: tuple[int, int], tells: bool) -> None:
        super().__init__()
        self.register_buffer("cells", torch.tensor(cells, dtype=torch.float32), False)
        self.sharpness = nn.Parameter(torch.full((keypoints,), math.log(SHARPNESS)))
        self.blur = nn.Parameter(torch.full((keypoints,), math.log(BLUR)))
        self.trust = nn.Parameter(torch.full((keypoints,), -2 * math.log(DOUBT)))
        self.query, self.seen = nn.Linear(channels, channels), nn.Linear(SEEN, channels)
        self.change = nn.Linear(channels, 4)  # of the share's logit, of both log-scales, of the score's logit
        self.tell = nn.Linear(channels, channels) if tells else None
        for layer in (self.change, self.tell):
            if layer is not None:
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, q: Tensor, guess: Guess, maps: JointMaps) -> tuple[Tensor, Guess]:
        """Queries q (B, K, C), their guess, the maps -> q and guess after the meeting."""
        met = self.meet(q, guess, maps)
        xy = guess.xy + met.share[..., None] * (met.place - guess.xy)
        guess = Guess(xy, guess.scale + met.stated[..., :2], guess.score + met.stated[..., 2])
        return q if self.tell is None else q + self.tell(met.told), guess

    def meet(self, q: Tensor, guess: Guess, maps: JointMaps) -> Meeting:
        """Queries q (B, K, C), their guess, the maps -> what comes of it."""
        here, sigma = guess.xy.detach(), guess.scale.detach().exp() * self.cells  # (B, K, 2); scales in cells
        place, height = self.witness(here, sigma, maps)
        apart = (place - here) * self.cells
        prior = 2 * (height * sigma.norm(dim=-1)).clamp_min(1e-6).log() + self.trust  # (B, K)
        seen = describe(apart.detach(), sigma, height.detach(), guess.score.detach(), prior.detach())
        told = F.relu(self.query(q) + self.seen(seen.to(q.dtype)))
        change = self.change(told).float()
        return Meeting(place, (prior + change[..., 0]).sigmoid(), change[..., 1:], told)

    def witness(self, here: Tensor, sigma: Tensor, maps: JointMaps) -> tuple[Tensor, Tensor]:
        """The posterior's mean place (B, K, 2) in [0, 1] and the map's mean height there (B, K) in (0, 1).

        Args:
            here: (B, K, 2) in [0, 1], the prior's mean.
            sigma: (B, K, 2) its spread, cells.
            maps: the evidence.
        """
        b, k, h, w = maps.log_heights.shape
        x, y = (torch.arange(n, device=here.device) for n in (w, h))
        variance = sigma**2 + (2 * self.blur).exp()[:, None]  # (B, K, 2)
        far_x = (x - here[..., :1] * w) ** 2 / variance[..., :1]  # (B, K, w)
        far_y = (y - here[..., 1:] * h) ** 2 / variance[..., 1:]  # (B, K, h)
        evidence = maps.log_heights * self.sharpness.exp()[:, None, None]
        posterior = (evidence - 0.5 * (far_y[..., :, None] + far_x[..., None, :])).flatten(2).softmax(-1)
        over_x, over_y = (posterior.view(b, k, h, w).sum(axis) for axis in (2, 3))
        within = (posterior[:, :, None] * maps.offsets.flatten(3)).sum(-1)  # (B, K, 2), y before x
        place = torch.stack(((over_x * x).sum(-1) + within[..., 1], (over_y * y).sum(-1) + within[..., 0]), -1)
        height = (posterior * maps.log_heights.flatten(2).exp()).sum(-1)
        return (place / self.cells).clamp(0, 1), height


def describe(apart: Tensor, sigma: Tensor, height: Tensor, score: Tensor, prior: Tensor) -> Tensor:
    """The meeting of guesses and witnesses in numbers of order one: (B, K, SEEN).

    Args:
        apart: (B, K, 2) from guess to witness, cells.
        sigma: (B, K, 2) scales of the guess, cells.
        height: (B, K) of the map at the witnessed place, in (0, 1).
        score: (B, K) logit of the guess.
        prior: (B, K) logit of the share by rule.
    """
    far = apart.norm(dim=-1)  # (B, K)
    sure = height * score.sigmoid()
    alike = (-0.5 * (far / NEAR) ** 2).exp()
    agreed = (sure * alike).sum(-1, keepdim=True) / sure.sum(-1, keepdim=True).clamp_min(1e-6)  # the same person?
    rows = (height.clamp_min(1e-6).log(), (1 + far).log(), alike, agreed.expand_as(far), score / 2, prior / 2)
    return torch.cat(((apart / sigma).asinh(), torch.stack(rows, -1), sigma.norm(dim=-1, keepdim=True).log()), -1)
