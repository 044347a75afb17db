"""All pictures of a training set, decoded, on one device, where whole batches of crops are painted."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tfpose_rt.crop import apply, invert, scale_of
from tfpose_rt.training import device_crops
from tfpose_rt.training.augment import Variations, Whole
from tfpose_rt.training.data import Sample

LARGEST = 2**23  # crop px painted at once: some 0.7 GB of passing memory


def free_memory(device: torch.device) -> int:
    """Bytes that nobody uses."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    import psutil

    return int(psutil.virtual_memory().available)


@dataclass(frozen=True, slots=True)
class Pictures:
    """The decoded pictures of a training set.

    Args:
        rows: (N, 3) uint8 BGR on the device, the pixels of all pictures, one after another.
        first: (S,) the row of each sample's first pixel; samples may share a picture.
        sides: (S, 2) w, h px of each sample's picture.
    """

    rows: Tensor
    first: Whole
    sides: Whole

    @classmethod
    def hold(cls, samples: Sequence[Sample], device: torch.device, room: int, threads: int) -> Pictures | None:
        """Decode all pictures and move them to the device; None where they take more than `room` bytes."""
        readers = {sample.read: sample for sample in samples}  # a repeated person is held once
        held: list[npt.NDArray[np.uint8]] = []
        number: dict[Any, int] = {}
        of_photograph: dict[str, list[int]] = {}  # its people may share the whole photograph
        used = 0
        with ThreadPoolExecutor(threads) as pool:
            decoded = pool.map(lambda read: read(), readers)
            for (read, sample), picture in zip(readers.items(), decoded, strict=True):
                twins = of_photograph.setdefault(sample.image, [])
                number[read] = next((n for n in twins if np.array_equal(held[n], picture)), len(held))
                if number[read] < len(held):
                    continue
                twins.append(len(held))
                held.append(picture)
                used += picture.nbytes
                if used > room:
                    pool.shutdown(wait=False, cancel_futures=True)
                    return None
        ends = np.cumsum([0] + [picture.shape[0] * picture.shape[1] for picture in held])
        rows = torch.empty((int(ends[-1]), 3), dtype=torch.uint8, device=device)
        for start, end, picture in zip(ends[:-1], ends[1:], held, strict=True):
            rows[int(start) : int(end)] = torch.from_numpy(picture).view(-1, 3)
        which = [number[sample.read] for sample in samples]
        sides = np.array([held[n].shape[1::-1] for n in which], np.int64)
        return cls(rows, ends[which].astype(np.int64), sides)

    def crops(
        self, chosen: Sequence[int], varied: Variations, size: tuple[int, int]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Paint a batch.

        Args:
            chosen: B numbers of samples.
            varied: of these samples.
            size: (W, H) px.
        Returns: (B, 3, H, W) float RGB in [0, 1], channels last; xy, weight, known and area of `varied` on the device.
        """
        most = max(LARGEST // (size[0] * size[1]), 1)
        images, labels = [], []
        for start in range(0, len(chosen), most):
            rows = slice(start, start + most)
            image, on_device = self._paint(np.asarray(chosen)[rows], varied.part(rows), size)
            images.append(image.permute(0, 3, 1, 2))
            labels.append({name: on_device[name] for name in ("xy", "weight", "known", "area")})
        return torch.cat(images), {name: torch.cat([part[name] for part in labels]) for name in labels[0]}

    def _paint(self, chosen: Whole, varied: Variations, size: tuple[int, int]) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, H, W, 3) RGB in [0, 1], and all arrays on the device."""
        low, factor, blocks = shrinkage(varied, size)
        back = np.zeros(
            (len(chosen), 3, 3)
        )  # block to picture: block i's centre is px low + factor i + (factor - 1) / 2
        back[:, [0, 1], [0, 1]], back[:, 2, 2] = factor[:, None], 1
        back[:, :2, 2] = low + (factor[:, None] - 1) / 2
        shrunk, degraded = factor > 1, (varied.blur > 0) | (varied.coarse[:, 0] > 0)
        hidden = varied.patches[:, 0, 2] > 0
        radius = (np.rint(varied.blur * 6 + 1).astype(np.int64) | 1) // 2  # as cv2.GaussianBlur chooses it for bytes
        on = upload({
            **varied.arrays(), "first": self.first[chosen], "stride": self.sides[chosen, 0], "radius": radius,
            "source": invert(varied.matrix @ back), "low": low, "factor": factor, "blocks": blocks,
            "shrunk": _in_front(shrunk), "degraded": _in_front(degraded), "hidden": _in_front(hidden),
        }, self.rows.device)  # fmt: skip
        image = torch.empty((len(chosen), size[1], size[0], 3), device=self.rows.device)
        small, plain = on["shrunk"].tensor_split([n := int(shrunk.sum())])
        if n:
            most, largest = blocks[shrunk].max(0), int(factor.max())
            image[small] = device_crops.warp_blocks(self.rows, _rows(on, small), most, largest, size)
        if n < len(chosen):
            image[plain] = device_crops.warp(self.rows, _rows(on, plain), size)
        image = device_crops.light(image, on)
        if degraded.any():
            some = on["degraded"][: int(degraded.sum())]
            image[some] = device_crops.degrade(image[some], _rows(on, some), max(int(varied.coarse.max()), 1))
        if hidden.any():
            some = on["hidden"][: int(hidden.sum())]
            image[some] = device_crops.hide(image[some], _rows(on, some))
        return image.flip(-1).div_(255), on


def shrinkage(varied: Variations, size: tuple[int, int]) -> tuple[Whole, Whole, Whole]:
    """How `crop.warp` averages pictures that are much larger than their crops.

    Returns: (B, 2) x, y px where the blocks begin, (B,) px of a block's side, (B, 2) blocks across and down.
    """
    factor = np.floor(1 / scale_of(varied.matrix)).astype(np.int64)
    w, h = size
    corners = apply(invert(varied.matrix), [[0, 0], [w, 0], [0, h], [w, h]])
    margin = 2 * factor[:, None]
    low = np.maximum(np.floor(corners.min(1)).astype(np.int64) - margin, 0)
    high = np.minimum(np.ceil(corners.max(1)).astype(np.int64) + margin, varied.sides)
    whole = (factor < 2) | (high <= low).any(1)  # nothing of the picture is in the crop, or it is small enough
    low, factor = np.where(whole[:, None], 0, low), np.where(whole, 1, factor)
    return low, factor, np.where(whole[:, None], varied.sides, -(-(high - low) // factor[:, None]))


def upload(arrays: dict[str, npt.NDArray[Any]], device: torch.device) -> dict[str, Tensor]:
    """Move small arrays of equal length in one piece: whole numbers arrive as int64, all others as float32.

    One copy from pinned memory, so that nobody waits for the device.
    """
    count = len(next(iter(arrays.values())))
    flat = np.concatenate([array.reshape(count, -1).astype(np.float64) for array in arrays.values()], 1)
    whole = torch.from_numpy(flat)  # float64 holds every row number and every float32 exactly
    if device.type == "cuda":
        whole = whole.pin_memory()
    columns = whole.to(device, non_blocking=True).split([array.size // count for array in arrays.values()], 1)
    kinds = (torch.int64 if array.dtype == np.int64 else torch.float32 for array in arrays.values())
    return {
        name: column.reshape(array.shape).to(kind)
        for (name, array), column, kind in zip(arrays.items(), columns, kinds, strict=True)
    }


def _in_front(flags: npt.NDArray[np.bool_]) -> Whole:
    """The numbers of the flagged people, then those of the others: the device need not look for them."""
    return np.argsort(~flags, kind="stable")


def _rows(arrays: dict[str, Tensor], which: Tensor) -> dict[str, Tensor]:
    return {name: array[which] for name, array in arrays.items()}
