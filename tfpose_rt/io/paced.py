"""A recording played as if a camera saw it now: each frame at its time, the newest wins. For trying things out."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from typing import Any

from tfpose_rt.config import SourceOptions
from tfpose_rt.io.capture import Grab
from tfpose_rt.io.live import LiveSource
from tfpose_rt.io.sources import Source
from tfpose_rt.records import Frame, Image


class PacedSource(LiveSource):
    """Plays another source at the speed of its own times.

    Args:
        source: a file, images or test pattern; closed with this one.
        options: `drop` applies.
    """

    def __init__(self, source: Source, options: SourceOptions) -> None:
        # Turned already, and never silent: it sleeps when the next frame is far off.
        options = dataclasses.replace(options, rotate="auto", stall=86400.0)
        super().__init__("camera", source.info.name, [lambda: _Playing(source)], options)
        self.info = dataclasses.replace(source.info, live=True, frames=None, detail={"backend": "playback"})


class _Playing:
    """A source as a connection that waits until each frame is due."""

    live, finite = True, True

    def __init__(self, source: Source) -> None:
        self._source = source
        self.fps, self.codec, self.duration = source.info.fps, source.info.codec, source.info.duration
        self.detail: Mapping[str, Any] = {}
        self.errors = 0

    def __iter__(self) -> Iterator[Grab]:
        start = time.monotonic()
        for item in self._source:
            self.errors = self._source.decode_errors
            if isinstance(item, Frame):
                time.sleep(max(0.0, start + item.pts - time.monotonic()))
                yield Grab(time.monotonic(), _Ready(item.image))

    def close(self) -> None:
        self._source.close()


class _Ready:
    def __init__(self, image: Image) -> None:
        self._image = image

    def __call__(self) -> Image:
        return self._image
