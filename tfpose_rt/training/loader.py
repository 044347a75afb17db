"""Samples to batches: a few threads make them ahead of the training step. A batch depends on (seed, step) alone."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numpy.random import Generator, Philox
from torch import Tensor

from tfpose_rt.errors import DeviceError
from tfpose_rt.training.augment import Dice, Variations, vary
from tfpose_rt.training.crowd import crowd
from tfpose_rt.training.data import Sample
from tfpose_rt.training.host_crops import crop
from tfpose_rt.training.pictures import Pictures, free_memory
from tfpose_rt.training.settings import TrainConfig, per_source

log = logging.getLogger(__name__)
CHUNK = 16  # pictures that the host holds decoded at a time


@dataclass(frozen=True, slots=True)
class Batch:
    """Tensors of one step: images (B, 3, H, W) float RGB in [0, 1]; the rest as `augment.Variations` has them."""

    images: Tensor
    xy: Tensor
    weight: Tensor
    known: Tensor
    area: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(*(getattr(self, name).to(device, non_blocking=True) for name in self.__slots__))


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
        config: seed, batch, workers, augment, crops.
        rank, world: this process's share; every process sees other samples of the same permutation.
        device: where the batches are used.
    Raises: DeviceError: crops = "device", and the pictures do not fit there.
    """

    def __init__(
        self, samples: Sequence[Sample], config: TrainConfig, rank: int, world: int, device: torch.device | None = None
    ) -> None:
        self.samples, self.config = samples, config
        self.rank, self.world = rank, world
        self.each = max(config.batch // world, 1)
        self.steps_per_epoch = max(len(samples) // (self.each * world), 1)
        self.device = device or torch.device("cpu")
        self.pictures = self._hold()

    def _hold(self) -> Pictures | None:
        """The pictures, where crops are cut on the device; None where the host cuts them."""
        config = self.config
        if config.crops == "host" or (config.crops == "auto" and self.device.type != "cuda"):
            return None
        room = int(free_memory(self.device) * config.crop_memory)
        pictures = Pictures.hold(self.samples, self.device, room, config.workers)
        if pictures is None:
            what = f"the pictures take more than {room / 2**30:.1f} GiB of {self.device}"
            if config.crops == "device":
                raise DeviceError(
                    what, why=f"crop_memory = {config.crop_memory} of what is free", fix="--set crops=auto"
                )
            log.warning("%s: the processor cuts the crops", what)
        return pictures

    def indices(self, step: int) -> tuple[int, list[int]]:
        """The epoch of a step, and the samples this process sees in it."""
        epoch, within = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self.config.seed, epoch]).permutation(len(self.samples))
        first = (within * self.world + self.rank) * self.each
        return epoch, [int(order[i % len(order)]) for i in range(first, first + self.each)]

    def batch(self, step: int) -> Batch:
        """The batch of one step."""
        epoch, chosen = self.indices(step)
        if self.pictures is None:
            parts = [self._cut(epoch, step, chosen[i : i + CHUNK]) for i in range(0, len(chosen), CHUNK)]
            batch = Batch(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
        else:
            varied = self._vary(epoch, step, chosen, self.pictures.sides[chosen])
            images, labels = self.pictures.crops(chosen, varied, self.config.model.size)
            batch = Batch(images, **labels)
        if not (share := self.config.augment.crowd):
            return batch
        dice = Generator(Philox(key=[self.config.seed, epoch], counter=[1, step, self.rank, 0]))
        return replace(batch, images=crowd(batch.images, batch.xy, batch.weight, share, dice))

    def _vary(self, epoch: int, step: int, chosen: Sequence[int], sides: npt.ArrayLike) -> Variations:
        """What is done to the samples of a step, from a generator for each of them."""
        seed = self.config.seed
        dice = Dice([Generator(Philox(key=[seed, epoch], counter=[0, step, i, 0])) for i in chosen])
        people, model = [self.samples[i] for i in chosen], self.config.model
        return vary(people, sides, model.size, self.config.augment, dice, model.enlarge)

    def _cut(self, epoch: int, step: int, chosen: Sequence[int]) -> tuple[Tensor, ...]:
        """A part of a batch, cut by the host: its pictures are decoded at the same time."""
        pictures = [self.samples[i].read() for i in chosen]
        varied = self._vary(epoch, step, chosen, [picture.shape[1::-1] for picture in pictures])
        crops = [crop(picture, varied, i, self.config.model.size) for i, picture in enumerate(pictures)]
        images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float().div_(255)
        return images, *(torch.from_numpy(array) for array in (varied.xy, varied.weight, varied.known, varied.area))

    def _enter(self) -> None:
        """A thread starts on the first GPU whatever the process chose, and would take memory there."""
        if self.device.type == "cuda" and self.device.index is not None:
            torch.cuda.set_device(self.device)

    def iterate(self, step: int) -> Iterator[Batch]:
        """Batches from `step` on, `workers` of them in the making; closing the iterator ends the threads."""
        pool = ThreadPoolExecutor(self.config.workers, initializer=self._enter)
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
