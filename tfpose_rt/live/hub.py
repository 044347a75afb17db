"""From one live run to many readers: each gets the newest picture it has time for, and a slow one harms nobody."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import cv2

from tfpose_rt.io.record_json import dumps, record_of
from tfpose_rt.mailbox import Mailbox
from tfpose_rt.records import Image, Result

log = logging.getLogger(__name__)
KEPT = 60  # records that wait for one slow reader before the oldest is lost


class _Reader:
    """One connection's view: a flag that something is new, and the records that wait for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop, self.fresh = loop, asyncio.Event()
        self.lines: deque[bytes] = deque(maxlen=KEPT)

    def wake(self) -> None:
        with suppress(RuntimeError):  # the loop has closed, perhaps this very moment: nobody reads any more
            self.loop.call_soon_threadsafe(self.fresh.set)


class Hub:
    """Takes results from the run's thread and serves them to coroutines.

    Args:
        render: makes the picture that is streamed; called on the hub's own thread, and only while somebody watches.
        quality: of the JPEGs, 1..100.
    """

    def __init__(self, render: Callable[[Result], Image], quality: int = 80) -> None:
        self._render, self._quality = render, quality
        self._box: Mailbox[Result] = Mailbox()
        self._jpeg: tuple[int, bytes] = (-1, b"")
        self._watchers: set[_Reader] = set()
        self._listeners: set[_Reader] = set()
        self._clock: float | None = None
        self.closed = False
        self._thread = threading.Thread(target=self._encode, name="encode page", daemon=True)
        self._thread.start()

    @property
    def readers(self) -> int:
        """Open streams."""
        return len(self._watchers) + len(self._listeners)

    def publish(self, result: Result) -> None:
        """Hand on one result; never waits."""
        if self._clock is None and result.t_capture is not None:
            self._clock = result.t_capture
        if self._watchers and result.image is not None and result.poses is not None:
            self._box.put(result)
        listeners = list(self._listeners)
        if listeners:
            record = record_of(result, clock=self._clock or 0.0)
            kind = "" if record["type"] == "frame" else f"event: {record['type']}\n"
            number = f"id: {record['seq']}\n" if "seq" in record else ""
            line = f"{kind}{number}data: {dumps(record)}\n\n".encode()
            for reader in listeners:
                reader.lines.append(line)
                reader.wake()

    def close(self) -> None:
        """Let every reader end."""
        self.closed = True
        self._box.close()
        for reader in [*self._watchers, *self._listeners]:
            reader.wake()
        self._thread.join(2)

    async def pictures(self) -> AsyncIterator[bytes]:
        """JPEGs, the newest each time the reader is ready for one."""
        reader, seen = self._enter(self._watchers), -1
        try:
            while not self.closed:
                await reader.fresh.wait()
                reader.fresh.clear()
                number, jpeg = self._jpeg
                if number > seen:
                    seen = number
                    yield jpeg
        finally:
            self._watchers.discard(reader)

    async def records(self) -> AsyncIterator[bytes]:
        """Server-sent events, in order; the oldest are lost where the reader is too slow."""
        reader = self._enter(self._listeners)
        try:
            while not self.closed:
                await reader.fresh.wait()
                reader.fresh.clear()
                while reader.lines:
                    yield reader.lines.popleft()
        finally:
            self._listeners.discard(reader)

    def _enter(self, group: set[_Reader]) -> _Reader:
        reader = _Reader(asyncio.get_running_loop())
        group.add(reader)
        return reader

    def _encode(self) -> None:
        number, options = 0, [cv2.IMWRITE_JPEG_QUALITY, self._quality]
        told = ""
        while (taken := self._box.get()) is not None:
            try:
                self._jpeg = (number, cv2.imencode(".jpg", self._render(taken.item), options)[1].tobytes())
            except Exception as error:  # noqa: BLE001 - one picture is lost, and the next one may be fine
                if told != repr(error):  # not thirty times a second
                    told = repr(error)
                    log.warning("a picture for the page could not be made: %s", told)
                continue
            number += 1
            for reader in list(self._watchers):
                reader.wake()
