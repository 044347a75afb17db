"""What training minimises: a coordinate term for every decoder layer, a score term, and the heatmap term.

All coordinates are in units of the crop. Weights are per joint; a joint of weight 0 contributes nothing.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tfpose_rt.config import ModelConfig


class Flow(nn.Module):
    """RealNVP over 2-D errors, shared by all keypoints; exists in training only.

    Source: Li et al., "Human Pose Regression with Residual Log-likelihood Estimation", ICCV 2021, section 3.2.
    """

    def __init__(self, layers: int = 6, width: int = 64) -> None:
        super().__init__()

        def net(last: list[nn.Module]) -> nn.Module:
            hidden = [nn.Linear(2, width), nn.LeakyReLU(), nn.Linear(width, width), nn.LeakyReLU()]
            return nn.Sequential(*hidden, nn.Linear(width, 2), *last)

        self.scales = nn.ModuleList(net([nn.Tanh()]) for _ in range(layers))
        self.shifts = nn.ModuleList(net([]) for _ in range(layers))
        for module in [*self.scales, *self.shifts]:
            linear = [m for m in module.modules() if isinstance(m, nn.Linear)]
            for layer in linear:
                nn.init.xavier_uniform_(layer.weight, gain=0.01)
        self.register_buffer("masks", torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(layers // 2, 1), False)

    def log_prob(self, x: Tensor) -> Tensor:
        """Errors (N, 2), in units of their scale -> log-density (N,)."""
        log_det = x.new_zeros(len(x))
        for mask, scale, shift in reversed(list(zip(self.masks, self.scales, self.shifts, strict=True))):  # type: ignore[arg-type]
            kept = mask * x
            s = scale(kept) * (1 - mask)
            t = shift(kept) * (1 - mask)
            x = (1 - mask) * (x - t) * (-s).exp() + kept
            log_det = log_det - s.sum(-1)
        return log_det - 0.5 * (x**2).sum(-1) - math.log(2 * math.pi)


def mean_l1(xy: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """L_reg as published: mean L1 over labelled joints. xy (T, B, K, 2), target (B, K, 2), weight (B, K) -> (T,)."""
    error = (xy - target).abs().mean(-1)
    return (error * weight).sum((1, 2)) / weight.sum().clamp(min=1)


def laplace(xy: Tensor, sigma: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Negative log-likelihood under a Laplace error of learned scale; shapes as `mean_l1`, sigma as xy -> (T,)."""
    nll = ((2 * sigma).log() + (xy - target).abs() / sigma).sum(-1)
    return (nll * weight).sum((1, 2)) / weight.sum().clamp(min=1)


def residual_likelihood(xy: Tensor, sigma: Tensor, target: Tensor, weight: Tensor, flow: Flow) -> Tensor:
    """RLE: the Laplace term plus a flow's residual (RLE paper, eq. 9 and 10); shapes as `laplace` -> (T,)."""
    # What is unknown counts as no error, of weight 0: to pick out the rest, the host would wait for a GPU to count.
    z = torch.where((weight > 0)[..., None], (target - xy) / sigma, 0.0)  # (T, B, K, 2)
    log_phi = flow.log_prob(z.flatten(0, 2)).view(z.shape[:3])  # (T, B, K)
    scale = sigma.log().sum(-1)
    nll = scale - log_phi + scale + 2 * math.log(2) + z.abs().sum(-1)
    return (nll * weight).sum((1, 2)) / weight.sum().clamp(min=1)


def oks_right(xy: Tensor, target: Tensor, area: Tensor, size: tuple[int, int], falloff: Tensor) -> Tensor:
    """Whether each joint lies within the OKS tolerance (OKS_k > 0.5).

    Args:
        xy: (..., B, K, 2) in units of the crop.
        target: (B, K, 2) in units of the crop.
        area: (B,) square px of the crop.
        size: (W, H) of the crop, px.
        falloff: (K,) COCO's sigmas.
    Returns: (..., B, K) bool.
    """
    px = xy.new_tensor(size)
    squared = (((xy - target) * px) ** 2).sum(-1)
    return squared < math.log(2) * 2 * (2 * falloff) ** 2 * area[:, None]


def score_loss(logit: Tensor, right: Tensor, known: Tensor) -> Tensor:
    """Binary cross-entropy of the score against "within tolerance"; logit, right (T, B, K), known (B, K) -> (T,)."""
    bce = F.binary_cross_entropy_with_logits(logit, right.float(), reduction="none")
    return (bce * known).sum((1, 2)) / known.sum().clamp(min=1)


class HeatmapBranch(nn.Module):
    """The auxiliary branch: memory's finest level -> K heatmaps at stride 4; training only (TFPose section 3.4)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.grid = (config.shapes[0], config.shapes[1])
        self.size = (config.size[0] // 4, config.size[1] // 4)  # (w, h) of the maps
        self.spread = 2.0 * config.size[1] / 256  # sigma 2 at 64x48, 3 at 96x72
        steps = config.strides[0] // 4
        self.up = (
            nn.ConvTranspose2d(config.channels, 64, steps, steps) if steps > 1 else nn.Conv2d(config.channels, 64, 1)
        )
        self.maps = nn.Conv2d(64, config.keypoints, 1)
        for parameter in self.maps.parameters():
            nn.init.zeros_(parameter)

    @property
    def blank_error(self) -> float:
        """The loss of an all-zero answer, which is where training starts: a Gaussian's squared mass over the map."""
        return math.pi * self.spread**2 / (self.size[0] * self.size[1])

    def forward(self, memory: Tensor) -> Tensor:
        """Memory (B, S, C) -> (B, K, H / 4, W / 4)."""
        h, w = self.grid
        finest = memory[:, : h * w].transpose(1, 2).reshape(len(memory), -1, h, w)
        maps: Tensor = self.maps(F.relu(self.up(finest)))
        return maps

    def loss(self, memory: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """MSE against unit-peak Gaussians centred on y * (w, h) - 0.5; target (B, K, 2), weight (B, K) -> scalar."""
        predicted = self(memory).float()
        w, h = self.size
        x = torch.arange(w, device=target.device) - (target[..., 0:1] * w - 0.5)  # (B, K, w)
        y = torch.arange(h, device=target.device) - (target[..., 1:2] * h - 0.5)  # (B, K, h)
        two = 2 * self.spread**2
        wanted = (-(y**2) / two).exp()[..., :, None] * (-(x**2) / two).exp()[..., None, :]
        error = ((predicted - wanted) ** 2).mean((-1, -2))
        return (error * weight).sum() / weight.sum().clamp(min=1)
