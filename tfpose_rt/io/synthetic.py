"""A test pattern with known content: needs no camera, no file, and is the same on every machine."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from tfpose_rt.config import SourceOptions
from tfpose_rt.errors import UsageError
from tfpose_rt.records import Frame, Gap, Image, Segment, StreamInfo

FORM = re.compile(r"synthetic(?::(?P<w>\d+)x(?P<h>\d+)(?:@(?P<fps>\d+(?:\.\d+)?))?)?")
SECONDS = 10.0  # length when neither --end nor --frames says otherwise


class SyntheticSource:
    """Moving bars, a disc on a circle, and the frame's number written in 16 black or white blocks.

    Args:
        spec: `synthetic`, `synthetic:WxH` or `synthetic:WxH@FPS`; 640x480 at 30 when not said.
        options: `start`, `end`, `frames` and `stride` apply; 10 s when no end is given.
    Raises: UsageError: another form.
    """

    live = False

    def __init__(self, spec: str = "synthetic", options: SourceOptions | None = None) -> None:
        match = FORM.fullmatch(spec)
        if match is None or (match["w"] and not (16 <= int(match["w"]) <= 8192 and 16 <= int(match["h"]) <= 8192)):
            raise UsageError(f"cannot read {spec!r}", why="sides are 16 to 8192", fix="synthetic:640x480@30")
        width, height = int(match["w"] or 640), int(match["h"] or 480)
        fps = float(match["fps"] or 30)
        if not fps:
            raise UsageError(f"cannot read {spec!r}", why="a rate of 0", fix="synthetic:640x480@30")
        self._options = options = options or SourceOptions()
        begin, stop = options.frames or (0, round((options.end or (options.start or 0) + SECONDS) * fps))
        begin = max(begin, int(np.ceil((options.start or 0.0) * fps - 1e-6)))
        stop = min(stop, int(np.ceil(options.end * fps - 1e-6))) if options.end else stop
        self._range, self._fps = range(begin, stop, options.stride), fps
        self.ended = "eof"
        self.decode_errors = 0
        self.info = StreamInfo(
            kind="synthetic", name=spec.replace(":", "_"), size=(width, height), fps=fps, frames=len(self._range),
            duration=len(self._range) / fps, detail={"time_base_kind": "container"},
        )  # fmt: skip

    def __iter__(self) -> Iterator[Frame | Gap | Segment]:
        """Every frame, at index / fps."""
        for index in (i for i in self._range if i >= self._options.skip_to):
            image = pattern(index, self.info.size)
            yield Frame(index=index, pts=round(index / self._fps, 6), image=image, seq=index)

    def close(self) -> None:
        """Nothing to release."""


def pattern(index: int, size: tuple[int, int]) -> Image:
    """Picture number `index` as a (H, W, 3) uint8 BGR array, read-only."""
    width, height = size
    x, y = np.arange(width), np.arange(height)[:, None]
    image = np.empty((height, width, 3), np.uint8)
    image[..., 0] = (x + 2 * index) % 256 // 2
    image[..., 1] = (y + index) % 256 // 2
    image[..., 2] = 64
    angle, radius = index * 0.1, min(size) / 10
    middle_x, middle_y = width / 2 + width / 4 * np.cos(angle), height / 2 + height / 4 * np.sin(angle)
    image[(x - middle_x) ** 2 + (y - middle_y) ** 2 <= radius**2] = (40, 220, 255)
    block = max(width // 16, 1)
    for bit in range(16):
        image[: max(height // 16, 1), bit * block : (bit + 1) * block] = 255 if index >> (15 - bit) & 1 else 0
    image.flags.writeable = False
    return image


def number_of(image: Image) -> int:
    """The frame number that `pattern` wrote into a picture; survives ordinary video compression."""
    height, width = image.shape[:2]
    block, middle = max(width // 16, 1), max(height // 16, 1) // 2
    bits = [int(image[middle, bit * block + block // 2].mean() > 127) for bit in range(16)]
    return sum(b << (15 - i) for i, b in enumerate(bits))
