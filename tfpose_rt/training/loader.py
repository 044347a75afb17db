"""Samples to batches: a few threads cut crops ahead of the training step. A batch depends on (seed, step) alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tfpose_rt.config import TrainConfig, per_source
from tfpose_rt.training.augment import Crop, random_crop
from tfpose_rt.training.data import Sample


@dataclass(frozen=True, slots=True)
class Batch:
    """Tensors of one step: images (B, 3, H, W) float RGB in [0, 1]; the rest as `augment.Crop`, stacked."""

    images: Tensor
    xy: Tensor
    weight: Tensor
    known: Tensor
    area: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(*(getattr(self, name).to(device, non_blocking=True) for name in self.__slots__))


def collate(crops: Sequence[Crop]) -> Batch:
    """Stack crops; pictures become channels-last floats."""

    def stacked(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(c, name) for c in crops]))

    images = stacked("image").permute(0, 3, 1, 2).float().div_(255)
    area = torch.tensor([c.area for c in crops])
    return Batch(images, stacked("xy"), stacked("weight"), stacked("known"), area)


def weigh(samples: Sequence[Sample], config: TrainConfig) -> list[Sample]:
    """Apply the trust in each source to its labels, leave out sources that were not asked for, repeat the others."""
    trust, repeat = per_source(config.trust), per_source(config.repeat)
    chosen = [s for s in samples if not config.sources or s.source in config.sources]
    trusted = [replace(s, weight=s.weight * np.float32(trust.get(s.source, 1.0))) for s in chosen]
    return [s for s in trusted for _ in range(round(repeat.get(s.source, 1)))]


class Loader:
    """Endless batches of one process, from any step on.

    Args:
        samples: after `weigh`.
        config: seed, batch, workers, augment.
        rank, world: this process's share; every process sees other samples of the same permutation.
    """

    def __init__(self, samples: Sequence[Sample], config: TrainConfig, rank: int, world: int) -> None:
        self.samples, self.config = samples, config
        self.rank, self.world = rank, world
        self.each = max(config.batch // world, 1)
        self.steps_per_epoch = max(len(samples) // (self.each * world), 1)

    def indices(self, step: int) -> tuple[int, list[int]]:
        """The epoch of a step, and the samples this process sees in it."""
        epoch, within = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self.config.seed, epoch]).permutation(len(self.samples))
        first = (within * self.world + self.rank) * self.each
        return epoch, [int(order[i % len(order)]) for i in range(first, first + self.each)]

    def batch(self, step: int) -> Batch:
        """The batch of one step."""
        epoch, chosen = self.indices(step)
        size = self.config.model.size
        seeds = [np.random.default_rng([self.config.seed, epoch, i, step]) for i in chosen]
        recipe = self.config.augment
        return collate([random_crop(self.samples[i], size, recipe, r) for i, r in zip(chosen, seeds, strict=True)])

    def iterate(self, step: int) -> Iterator[Batch]:
        """Batches from `step` on, `workers` of them in the making; closing the iterator ends the threads."""
        pool = ThreadPoolExecutor(self.config.workers)
        waiting: deque[Future[Any]] = deque()
        try:
            for ahead in range(self.config.workers + 1):
                waiting.append(pool.submit(self.batch, step + ahead))
            step += len(waiting)
            while True:
                ready = waiting.popleft().result()
                waiting.append(pool.submit(self.batch, step))
                step += 1
                yield ready
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
