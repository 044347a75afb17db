"""Whether an exported network answers as torch does: on people of the bundled clip, in pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tfpose_rt.config import SourceOptions
from tfpose_rt.crop import crop_matrix, fit_box, warp
from tfpose_rt.detect import GREY, Letterbox
from tfpose_rt.io.sources import open_source
from tfpose_rt.records import Frame, Image
from tfpose_rt.tools.export_network import Exportable
from tfpose_rt.tools.showcase import DEMO_CLIP

Array = npt.NDArray[np.float32]
Runner = Callable[[Array], Sequence[Array]]  # images (B, 3, H, W) -> the outputs, in order
# Two people at four moments of the clip, as the detector found them: the check needs no detector.
PEOPLE: dict[int, tuple[tuple[int, int, int, int], ...]] = {
    0: ((251, 18, 458, 240), (783, 293, 840, 511)),
    25: ((302, 45, 391, 247), (633, 284, 728, 508)),
    50: ((493, 285, 624, 506), (319, 40, 381, 237)),
    75: ((393, 273, 462, 509), (377, 47, 432, 241)),
}
SURE = 0.1  # boxes are compared where torch's score is over it; the others are nobody's


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest differences of an exported network's answers to torch's in float32.

    Args:
        px: of a joint or its error, or of a box's side; px of the input. NaN where an answer holds one.
        score: of a score.
        of: number of pictures.
        people: number of joints or boxes compared.
    """

    px: float
    score: float
    of: int
    people: int


def pictures(plain: Exportable) -> Array:
    """(N, 3, H, W) float32 RGB in 0..1: eight crops of the bundled clip, or four frames of it for a detector."""
    frames = _frames()
    if plain.kind == "pose":
        cut = [_crop(frames[number], box, plain.size) for number, boxes in PEOPLE.items() for box in boxes]
    else:
        cut = [_square(image, plain.size[0]) for image in frames.values()]
    images: Array = np.ascontiguousarray(np.stack(cut)[..., ::-1].transpose(0, 3, 1, 2), np.float32)
    return images / np.float32(255)


def _frames() -> dict[int, Image]:
    source = open_source(str(DEMO_CLIP), SourceOptions(frames=(0, max(PEOPLE) + 1)))
    try:
        return {f.index: f.image for f in source if isinstance(f, Frame) and f.index in PEOPLE}
    finally:
        source.close()


def _crop(image: Image, box: tuple[int, int, int, int], size: tuple[int, int]) -> Image:
    return warp(image, crop_matrix(fit_box(box, size), size), size)


def _square(image: Image, side: int) -> Image:
    """A frame scaled into a square, grey below it or beside it."""
    inner = Letterbox.fit(image.shape[1], image.shape[0], side).apply(image)
    out: Image = np.full((side, side, 3), GREY, np.uint8)
    out[: inner.shape[0], : inner.shape[1]] = inner
    return out


def compare(plain: Exportable, run: Runner, *, free_batch: bool = True) -> Difference:
    """Run torch's float32 network and the exported one on the same pictures.

    Args:
        plain: the network in float32.
        run: the exported file's.
        free_batch: the first picture goes alone and the others together; otherwise each goes alone.
    """
    images = pictures(plain)
    starts = [0, 1] if free_batch else list(range(len(images)))
    parts = [images[a:b] for a, b in zip(starts, [*starts[1:], len(images)], strict=True)]
    with torch.inference_mode():
        wanted = [np.concatenate(rows) for rows in zip(*(_torch(plain, part) for part in parts), strict=True)]
    given = [np.concatenate(rows) for rows in zip(*(run(part) for part in parts), strict=True)]
    if plain.kind == "detector":
        sure = wanted[0][:, 4] > SURE  # (N, A)
        (wanted_px, wanted_score), (px, score) = (
            (rows[0].transpose(0, 2, 1)[sure][:, :4], rows[0][:, 4][sure]) for rows in (wanted, given)
        )
    else:
        (wanted_px, wanted_score), (px, score) = wanted[:2], given[:2]
    far = [np.abs(a - b).max() for a, b in zip([px, *given[2:]], [wanted_px, *wanted[2:]], strict=True)]  # errors too
    return Difference(float(np.max(far)), float(np.abs(score - wanted_score).max()), len(images), wanted_score.size)


def _torch(plain: Exportable, images: Array) -> list[Array]:
    return [answer.numpy() for answer in plain.network(torch.from_numpy(images))]
