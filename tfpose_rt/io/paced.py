"""A recording played as if a camera saw it now: each frame at its time, the newest wins. For trying things out."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from tfpose_rt import clock
from tfpose_rt.config import SourceOptions
from tfpose_rt.io.capture import Grab, Ready
from tfpose_rt.io.live import LiveSource
from tfpose_rt.io.sources import Source
from tfpose_rt.mailbox import Taken
from tfpose_rt.records import Frame


class PacedSource(LiveSource):
    """Plays another source at the speed of its own times.

    Args:
        source: a file, images or test pattern; closed with this one.
        options: `drop` applies.
    """

    def __init__(self, source: Source, options: SourceOptions) -> None:
        # Turned already, and never silent: it sleeps when the next frame is far off.
        options = dataclasses.replace(options, rotate="auto", stall=86400.0)
        self._go = threading.Event()
        super().__init__("camera", source.info.name, [lambda: _Playing(source, self._go)], options)
        self.info = dataclasses.replace(source.info, live=True, frames=None, detail={"backend": "playback"})

    def close(self) -> None:
        """Stop playing; safe to call twice."""
        self._go.set()
        super().close()

    def _begin(self) -> Taken[Grab]:
        """Play from the start, now."""
        self._go.set()
        self._first = dataclasses.replace(self._first, item=dataclasses.replace(self._first.item, t=clock.now()))
        return super()._begin()


class _Playing:
    """A source as a connection that waits until each frame is due, counted from when `go` is set."""

    live, finite = True, True

    def __init__(self, source: Source, go: threading.Event) -> None:
        self._source, self._go = source, go
        self.fps, self.codec, self.duration = source.info.fps, source.info.codec, source.info.duration
        self.detail: Mapping[str, Any] = {}
        self.errors = 0

    def __iter__(self) -> Iterator[Grab]:
        start: float | None = None
        for item in self._source:
            self.errors = self._source.decode_errors
            if not isinstance(item, Frame):
                continue
            if start is not None:
                time.sleep(max(0.0, start + item.pts - clock.now()))
            yield Grab(clock.now(), Ready(item.image))
            if start is None:
                self._go.wait()
                start = clock.now() - item.pts

    def close(self) -> None:
        self._source.close()
