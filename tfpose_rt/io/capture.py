"""One connection to a camera or stream, read in a thread of its own into a mailbox."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tfpose_rt import clock
from tfpose_rt.mailbox import Mailbox
from tfpose_rt.records import Image

ENOUGH = 0.5  # s of pictures that tell a rate


@dataclass(frozen=True, slots=True)
class Grab:
    """One picture as it came in.

    Args:
        t: s, monotonic clock, right after it arrived and before it was decoded to pixels.
        read: gives the pixels, (H, W, 3) uint8 BGR; on any thread.
        pts: container time in s, for a recording that is merely read over the network.
    """

    t: float
    read: Callable[[], Image]
    pts: float | None = None


class Ready:
    """Gives a picture that is already there, as `Grab.read` does.

    Args:
        image: (H, W, 3) uint8 BGR, of its own: nobody writes into it any more.
    """

    def __init__(self, image: Image) -> None:
        self._image = image

    def __call__(self) -> Image:
        """The picture."""
        return self._image


class Connection(Protocol):
    """An open camera or stream; made, iterated and closed on one thread.

    Attributes:
        fps: nominal rate, where the device gives one.
        codec: FFmpeg's or the camera's name of the format.
        live: what comes is of now, the newest counts; False for a recording that is read as fast as it is used.
        finite: its end is the end of the source, not a loss.
        duration: s, where the length is known.
        detail: what was granted: backend, format, ... for people to read.
        errors: pictures that could not be decoded so far.
    """

    fps: float | None
    codec: str | None
    live: bool
    finite: bool
    duration: float | None
    detail: Mapping[str, Any]
    errors: int

    def __iter__(self) -> Iterator[Grab]:
        """Pictures as they come; raises when the connection is lost, ends when the other side says so."""
        ...

    def close(self) -> None:
        """Release it."""
        ...


Connect = Callable[[], Connection]


class Worker(threading.Thread):
    """Opens one connection and fills a mailbox of the given depth until told to stop."""

    def __init__(self, connect: Connect, name: str, depth: int = 1) -> None:
        super().__init__(name=f"capture {name}", daemon=True)
        self.box: Mailbox[Grab] = Mailbox(depth)
        self.connection: Connection | None = None
        self.error: Exception | None = None
        self.arrived = clock.now()  # of the newest picture, or of the start
        self.connect = connect
        self._times: tuple[float, float, int] | None = None  # s, of the first and the newest picture; their number
        self.start()

    @property
    def rate(self) -> float | None:
        """Pictures a second, by the times at which they arrived; None before half a second of them is there."""
        if self._times is None:
            return None
        first, last, count = self._times
        return (count - 1) / (last - first) if last - first >= ENOUGH else None

    def run(self) -> None:
        """Open, read, close; every error ends up in `error`."""
        try:
            self.connection = connection = self.connect()
            if not connection.live:
                self.box.depth = 8  # a recording: nothing is passed over, the other side waits
            try:
                for grab in connection:
                    self.arrived = clock.now()
                    first, _, count = self._times or (grab.t, grab.t, 0)
                    self._times = first, grab.t, count + 1
                    if not self.box.put(grab):
                        return
                    self.arrived = clock.now()  # waiting for a slow reader of a recording is no silence
            finally:
                connection.close()
        except Exception as error:  # noqa: BLE001 - told to the reader, never lost on the thread
            self.error = error
        finally:
            self.box.close()
