"""A source made of the caller's own pictures: any iterable of (image, seconds)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from tfpose_rt.errors import InputError
from tfpose_rt.io.images import check_picture
from tfpose_rt.records import Frame, Gap, Image, Segment, StreamInfo


class PairSource:
    """Frames from (image, seconds) pairs.

    Args:
        pairs: image (H, W, 3) uint8 BGR, copied as it is taken, so that one array may serve for all; seconds rising.
    Raises: InputError: there is no first pair. ValueError: the first is no such pair.
    """

    live = False
    decode_errors = 0

    def __init__(self, pairs: Iterable[tuple[Image, float]]) -> None:
        self._pairs = iter(pairs)
        self.ended = "eof"
        try:
            self._first = _checked(next(self._pairs))
        except StopIteration:
            raise InputError("no pictures", why="the iterable is empty", fix="(image, seconds) pairs") from None
        image = self._first[0]
        self.info = StreamInfo(kind="pairs", name="pictures", size=(image.shape[1], image.shape[0]))

    def __iter__(self) -> Iterator[Frame | Gap | Segment]:
        """One frame a pair; times are counted from the first.

        Raises: ValueError: an image of another kind, or seconds that do not rise.
        """
        start = last = self._first[1]
        size = self.info.size
        index = 0
        pair: tuple[Image, float] | None = self._first
        while pair is not None:
            image, t = _checked(pair)
            if index and t <= last:
                raise ValueError(f"seconds must rise: {t} after {last}")
            if (image.shape[1], image.shape[0]) != size:
                size = (image.shape[1], image.shape[0])
                yield Segment(size=size)
            own = image.copy()
            own.flags.writeable = False
            yield Frame(index=index, pts=t - start, image=own)
            index, last = index + 1, t
            pair = next(self._pairs, None)

    def close(self) -> None:
        """Nothing is held."""


def _checked(pair: Any) -> tuple[Image, float]:
    if isinstance(pair, tuple | list) and len(pair) == 2:
        check_picture(pair[0])
        if not math.isfinite(seconds := float(pair[1])):
            raise ValueError(f"seconds must be a number, not {seconds}")
        return pair[0], seconds
    raise ValueError(f"pictures come as (image, seconds), not as {type(pair).__name__}")
