"""TFPose: keypoints by direct regression with a deformable-attention transformer (Mao et al., 2021).

crop -> trunk -> levels -> tokens -> N_E encoder layers -> N_D decoder layers on K queries -> refined coordinates.
Coordinates are normalised to the crop: y is pixel y * W - 0.5, pixel (0, 0) being the centre of the first one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tfpose_rt.config import ModelConfig
from tfpose_rt.model.backbone import build_backbone, look
from tfpose_rt.model.fusion import Fusion, JointMaps
from tfpose_rt.model.movenet import MAP_STRIDE
from tfpose_rt.model.transformer import DecoderLayer, EncoderLayer, pixel_centres, sine_positions
from tfpose_rt.model.witness import build_witness

EPS = 1e-4  # keeps the logit of a coordinate finite; 0.02 px of a 192 px crop
SIGMA_FLOOR = 0.002  # 0.5 px of a 256 px crop: labels are not better than that


class Guesses(NamedTuple):
    """What training supervises: one guess per decoder layer, the start pose first when it is predicted."""

    xy: Tensor  # (T, B, K, 2) in [0, 1]
    sigma: Tensor  # (T, B, K, 2) scale of each coordinate's error, same units
    score: Tensor  # (T, B, K) logit of lying within the OKS tolerance
    memory: Tensor  # (B, S, C)


class Head(nn.Module):
    """A query's row -> step (2), log-scale (2), score logit (1); the last layer starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels), nn.ReLU()
        )  # fmt: skip
        self.last = nn.Linear(channels, 5)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, q: Tensor) -> Tensor:
        """Queries (B, K, C) -> (B, K, 5), float32."""
        out: Tensor = self.last(self.hidden(q))
        return out.float()


class StartPose(nn.Module):
    """y^0 as logits, with scales: a learned constant, plus a linear map of the coarsest level when asked for."""

    def __init__(self, config: ModelConfig, mean: Tensor | None) -> None:
        super().__init__()
        k = config.keypoints
        pose = torch.full((k, 2), 0.5) if mean is None else mean
        self.constant = nn.Parameter(torch.cat((pose.clamp(EPS, 1 - EPS).logit(), torch.full((k, 2), -2.0)), -1))
        self.squeeze = self.linear = None
        if config.start == "image":
            tokens = config.shapes[-2] * config.shapes[-1]
            self.squeeze = nn.Linear(config.channels, 16)
            self.linear = nn.Linear(16 * tokens, k * 4)
            nn.init.zeros_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)

    def forward(self, coarsest: Tensor) -> Tensor:
        """Coarsest (B, tokens, C) -> (B, K, 4): logit of x, of y, log-scale of each."""
        start = self.constant.expand(coarsest.shape[0], -1, -1)
        if self.squeeze is not None and self.linear is not None:
            start = start + self.linear(self.squeeze(coarsest).flatten(1)).float().view_as(start)
        return start


class TFPose(nn.Module):
    """The whole model.

    Args:
        config: its shape.
        mean_pose: (K, 2) start of the coordinates, normalised to the crop; the training set's mean.
    """

    positions: Tensor
    centres: Tensor
    calibration: Tensor
    error_scale: Tensor

    def __init__(self, config: ModelConfig, mean_pose: Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        c, levels = config.channels, len(config.strides)
        part = config.witness if config.witness in config.trunk.split("+") else ""
        self.trunk = build_backbone(config.trunk, config.strides, part)
        self.witness = build_witness(config.witness, config.size) if config.witness and not part else None
        self.project = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, c, 1), nn.GroupNorm(32, c))
            for width in self.trunk.channels  # type: ignore[union-attr]
        )
        self.level = nn.Parameter(torch.randn(levels, c) * 0.02)
        shape = (c, config.heads, levels, config.points, config.ffn)
        self.encoder = nn.ModuleList(EncoderLayer(*shape) for _ in range(config.encoder_layers))
        self.content = nn.Parameter(torch.zeros(config.keypoints, c))
        self.query = nn.Parameter(torch.randn(config.keypoints, c) * 0.1)
        self.start = StartPose(config, mean_pose)
        self.decoder = nn.ModuleList(DecoderLayer(*shape, config.q2q) for _ in range(config.decoder_layers))
        self.heads = nn.ModuleList(Head(c) for _ in range(config.decoder_layers))
        cells = (config.size[0] // MAP_STRIDE, config.size[1] // MAP_STRIDE)
        if self.witness is not None:
            cells = self.witness.requires_grad_(False).cells  # type: ignore[assignment]
        self.fusion = Fusion(cells, config.keypoints) if config.witness else None
        sizes = list(zip(config.shapes[0::2], config.shapes[1::2], strict=True))
        self.register_buffer("positions", torch.cat([sine_positions(h, w, c) for h, w in sizes])[None], False)
        self.register_buffer("centres", pixel_centres(config.shapes), False)
        # score = sigmoid(a * logit + b) per joint, fitted on held-out people after training; a > 0 keeps it monotone
        self.register_buffer("calibration", torch.tensor([[1.0, 0.0]]).repeat(config.keypoints, 1))
        # error = this * the guess's scale per joint, fitted likewise: half of the joints lie within
        self.register_buffer("error_scale", torch.ones(config.keypoints))

    def encode(self, images: Tensor) -> tuple[Tensor, JointMaps | None]:
        """What the decoder reads of images (B, 3, H, W) RGB in [0, 1].

        Returns: memory (B, S, C), levels one after another; the joints' maps, where there is a witness. It is not asked
            in training: of people that it learns from the transformer knows too much to need one.
        """
        features, maps = look(self.trunk, images)
        if self.training:
            maps = None
        elif self.witness is not None:
            maps = self.witness(images)
        levels = [p(f).flatten(2).transpose(1, 2) for p, f in zip(self.project, features, strict=True)]
        z = torch.cat([f + e for f, e in zip(levels, self.level, strict=True)], 1)
        for layer in self.encoder:
            z = layer(z, self.positions, self.centres, self.config.shapes)
        # without encoder layers nothing has told the decoder where a token lies
        return z if self.encoder else z + self.positions, maps

    def decode(self, memory: Tensor, maps: JointMaps | None = None) -> Guesses:
        """Memory (B, S, C) -> one guess per layer; gradients stop between layers (iterative refinement).

        Args:
            memory: from `encode`.
            maps: likewise; without them the last guess stays the transformer's own.
        """
        coarsest = self.config.shapes[-2] * self.config.shapes[-1]
        start = self.start(memory[:, -coarsest:])  # (B, K, 4)
        q = self.content.expand(memory.shape[0], -1, -1)  # (B, K, C)
        e = self.query[None]
        y = start[..., :2].sigmoid()  # (B, K, 2)  y^0
        guesses = [(y, start[..., 2:], torch.zeros_like(y[..., 0]))] if self.config.start == "image" else []
        for layer, head in zip(self.decoder, self.heads, strict=True):
            if guesses:  # a constant start has no guess of its own: it learns through the first layer
                y = y.detach()
            q = layer(q, e, y, memory, self.config.shapes)
            out = head(q)  # (B, K, 5)
            y = (y.clamp(EPS, 1 - EPS).logit() + out[..., :2]).sigmoid()  # y^d = s(s^-1(y^{d-1}) + dy^d)
            guesses.append((y, out[..., 2:4] - 2.0, out[..., 4]))
        xy, scale, score = (torch.stack(part) for part in zip(*guesses, strict=True))
        sigma = SIGMA_FLOOR + scale.exp().clamp(max=1.0)
        if self.fusion is not None and maps is not None:
            xy = torch.cat((xy[:-1], self.fusion(xy[-1], sigma[-1], maps)[None]))
        return Guesses(xy, sigma, score, memory)

    def guesses(self, images: Tensor) -> Guesses:
        """Images (B, 3, H, W) -> everything training and `explain` look at."""
        return self.decode(*self.encode(images))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images (B, 3, H, W) RGB in [0, 1] -> keypoints, scores and errors.

        Returns: keypoints (B, K, 2) in [0, 1] of the crop; scores (B, K) in [0, 1]; errors (B, K) in px of the crop,
            the distance from the true place that half of such joints stay within.
        """
        last = self.guesses(images)
        logit = last.score[-1] * self.calibration[:, 0] + self.calibration[:, 1]
        w, h = self.config.size
        x, y = last.sigma[-1].float().unbind(-1)
        return last.xy[-1], logit.sigmoid(), ((x * w) ** 2 + (y * h) ** 2).sqrt() * self.error_scale
