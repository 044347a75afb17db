"""What cameras and network streams share: capture in a thread, newest frame wins, stalls seen, lost sources reopened.

Each connection lives in a thread of its own with its own mailbox. The reader watches the mailbox; a connection that
ends, fails or falls silent is left behind (a driver that hangs inside a read cannot be stopped, only abandoned) and a
new one is opened after a pause. No picture is ever made up: a missing stretch is one `Gap`.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from tfpose_rt import clock
from tfpose_rt.config import SourceOptions
from tfpose_rt.errors import InputError, TfposeError
from tfpose_rt.io.capture import Connect, Grab, Worker
from tfpose_rt.mailbox import Taken
from tfpose_rt.records import Frame, Gap, Image, Segment, StreamInfo

log = logging.getLogger(__name__)
BACKOFF = (0.5, 10.0)  # s before the first and at most before any further attempt
PATIENCE = 2.0  # s of opening after which the user is told
QUEUE = 64  # frames that may wait with `--no-drop`
JOIN = 1.0  # s that closing waits for a thread


class LiveSource:
    """A source that goes on until it is closed, cut off for good, or (a recording read over the network) at its end.

    Args:
        kind: camera or url.
        name: what is shown; no secrets.
        connects: ways to open it, tried in turn; the one that worked is used again after a loss.
        options: `reconnect`, `stall`, `open_timeout`, `drop` and `rotate` apply.
        scrub: takes secrets out of an error's text.
        fix: what to do when it does not open.
    Raises: InputError: none of the ways gave a picture in `open_timeout` s, or the first one cannot be decoded.
    """

    def __init__(
        self,
        kind: Literal["camera", "url"],
        name: str,
        connects: Sequence[Connect],
        options: SourceOptions,
        *,
        scrub: Callable[[str], str] = str,
        fix: str = "",
    ) -> None:
        self.ended = "source_lost"
        self.state = "opening"  # for people to read: opening, connected, reconnecting 2/10, ended
        self._options, self._scrub, self._name = options, scrub, name
        self._depth = 1 if options.drop else QUEUE
        self._turn = 0 if options.rotate == "auto" else int(options.rotate)
        self._stop = threading.Event()
        self._lock = threading.Lock()  # of `_worker`: once the source is closed no other connection begins
        self._captured = self._errors = 0  # of the connections before this one
        self._handed = 0
        start = clock.now()
        self._worker, taken = self._open(connects, fix)
        connection = self._worker.connection
        assert connection is not None
        self._first, self._origin = taken, taken.item.t
        try:
            image = self._upright(taken.item.read())
        except Exception as error:  # noqa: BLE001 - of any decoder; told, once the camera is let go of
            self.close()
            raise InputError(f"{name} did not open", why=f"no picture: {self._told(error)}", fix=fix) from None
        self.live = connection.live
        self._finite = connection.finite
        self.info = StreamInfo(
            kind=kind,
            name=name,
            size=(image.shape[1], image.shape[0]),
            fps=connection.fps,
            duration=connection.duration,
            rotation=self._turn,
            codec=connection.codec,
            live=self.live,
            detail={**connection.detail, "opened_in_s": round(clock.now() - start, 2)},
        )
        self.state = "connected"

    @property
    def captured(self) -> int:
        """Pictures that came in so far, over all connections."""
        return self._captured + self._worker.box.captured

    @property
    def rate(self) -> float | None:
        """Pictures a second that really come, over this connection; None while that cannot be told yet.

        It can by the time a model is loaded: pictures come in from the moment of opening on.
        """
        return self._worker.rate if self.live else None

    @property
    def passed_over(self) -> int:
        """Of those, the ones replaced by a newer one before anybody asked."""
        return self.captured - self._handed - len(self._worker.box)

    @property
    def decode_errors(self) -> int:
        """Pictures that arrived damaged; none of them was handed on."""
        return self._errors + (self._worker.connection.errors if self._worker.connection else 0)

    def close(self) -> None:
        """Let go of the camera or stream; safe to call twice and from any thread."""
        with self._lock:
            self._stop.set()
            self._worker.box.close()
        if self._worker is not threading.current_thread():
            self._worker.join(JOIN)
        self.state = "ended"

    def __iter__(self) -> Iterator[Frame | Gap | Segment]:
        """The newest frame each time, gaps, and changes of size; once only."""
        got: Taken[Grab] | None = self._begin()
        size, pts = self.info.size, -1e-6
        while not self._stop.is_set():
            got = got or self._next()
            if got is None:
                reason = self._why_ended()
                if reason is None:
                    return
                gap, got = self._reconnect(reason, pts)
                yield gap
                if got is None:
                    self.ended = "limit" if self._stop.is_set() else "source_lost"
                    return
            taken, got = got, None
            try:
                image = self._upright(taken.item.read())
            except Exception as error:  # noqa: BLE001 - a damaged picture is counted, and the stream goes on
                log.info("a picture of %s could not be decoded: %s", self._name, self._scrub(str(error)))
                self._errors += 1
                continue
            if (image.shape[1], image.shape[0]) != size:
                size = (image.shape[1], image.shape[0])
                yield Segment(size=size, fps=self._worker.connection.fps if self._worker.connection else None)
            pts = max(self._time(taken.item), round(pts + 1e-6, 6))
            yield self._frame(taken, image, pts)
        self.ended = "limit"

    def _begin(self) -> Taken[Grab]:
        """The picture to begin with: the newest, since a model may have been loading meanwhile. Counts start here."""
        newer = self._worker.box.get(0) if self.live else None
        if newer is not None:
            self._first = dataclasses.replace(newer, skipped=0)
        self._captured -= self._first.seq
        self._origin = self._first.item.t
        return self._first

    def _time(self, grab: Grab) -> float:
        """S since the first frame."""
        first = self._first.item
        start, now = (first.t, grab.t) if grab.pts is None or first.pts is None else (first.pts, grab.pts)
        return round(now - start, 6)

    def _frame(self, taken: Taken[Grab], image: Image, pts: float) -> Frame:
        self._handed += 1
        return Frame(
            index=self._handed - 1,
            pts=pts,
            image=image,
            seq=self._captured + taken.seq,
            skipped=taken.skipped,
            t_capture=taken.item.t if self.live else None,
        )

    def _next(self) -> Taken[Grab] | None:
        """The next picture; None when the connection ended or fell silent, or the source was closed."""
        while not self._stop.is_set():
            silent = clock.now() - self._worker.arrived
            taken = self._worker.box.get(max(0.01, self._options.stall - silent))
            if taken is not None:
                return taken
            if self._worker.box.closed or clock.now() - self._worker.arrived >= self._options.stall:
                return None
        return None

    def _why_ended(self) -> tuple[Literal["disconnected", "stalled"], str] | None:
        """Why there is no next picture: reason and detail of the coming gap, or None when this is the end."""
        worker = self._worker
        if self._stop.is_set():
            self.ended = "limit"
            return None
        if self._finite:
            self.ended = "eof" if worker.error is None and worker.box.closed else "early_eof"
            return None
        if not worker.box.closed or isinstance(worker.error, TimeoutError):
            return "stalled", f"no picture for {self._options.stall:g} s"
        return "disconnected", self._told(worker.error) if worker.error else "the other side ended the stream"

    def _reconnect(
        self, reason: tuple[Literal["disconnected", "stalled"], str], last: float
    ) -> tuple[Gap, Taken[Grab] | None]:
        """Open again, with growing pauses, as often as allowed."""
        seq = self.captured - 1
        limit, attempts, taken = self._options.reconnect, 0, None
        log.warning("%s: %s (%s)", self._name, reason[0], reason[1])
        while taken is None and (limit < 0 or attempts < limit) and not self._stop.is_set():
            pause = min(BACKOFF[0] * 2 ** min(attempts, 10), BACKOFF[1])
            attempts += 1
            self.state = f"reconnecting {attempts}/{limit}" if limit >= 0 else f"reconnecting {attempts}"
            if self._stop.wait(pause) or not self._renew():
                break
            taken = self._await(self._worker, self._options.open_timeout)
        self.state = "connected" if taken else "lost"
        log.warning("%s: %s after %d attempts", self._name, "back" if taken else "given up", attempts)
        gap = Gap(
            reason=reason[0],
            t_start=last,
            t_end=round((taken.item.t if taken else clock.now()) - self._origin, 6),
            seq_from=seq,
            seq_to=None if taken is None else self._captured + taken.seq,
            attempts=attempts,
            detail=reason[1],
        )
        return gap, taken

    def _renew(self) -> bool:
        """Leave the connection behind and begin another; False, with nothing begun, once the source is closed.

        The old one's thread ends by itself as soon as the driver lets it.
        """
        with self._lock:
            if self._stop.is_set():
                return False
            self._captured += self._worker.box.captured
            self._errors += self._worker.connection.errors if self._worker.connection else 0
            self._worker.box.close()
            self._worker = Worker(self._worker.connect, self._name, self._depth)
            return True

    def _await(self, worker: Worker, seconds: float) -> Taken[Grab] | None:
        """The first picture of a connection; None when it fails, the time is up or the source was closed."""
        start = clock.now()
        taken = worker.box.get(min(seconds, PATIENCE))
        if taken is None and not worker.box.closed and seconds > PATIENCE:
            log.warning("still waiting for %s (at most %g s)", self._name, seconds)
            taken = worker.box.get(max(0.0, seconds - (clock.now() - start)))
        if taken is None:
            worker.box.close()
        return taken

    def _open(self, connects: Sequence[Connect], fix: str) -> tuple[Worker, Taken[Grab]]:
        told = []
        for connect in connects:
            worker = Worker(connect, self._name, self._depth)
            taken = self._await(worker, self._options.open_timeout)
            if taken is not None:
                return worker, taken
            told.append(self._told(worker.error) if worker.error else f"no picture in {self._options.open_timeout:g} s")
            log.info("%s: %s", self._name, told[-1])
        raise InputError(f"{self._name} did not open", why="; ".join(dict.fromkeys(told)), fix=fix)

    def _told(self, error: BaseException) -> str:
        """An error in a few words, without secrets."""
        text = (error.why or error.what) if isinstance(error, TfposeError) else getattr(error, "strerror", None)
        text = self._scrub(text or str(error) or type(error).__name__)
        return text[:1].lower() + text[1:]

    def _upright(self, image: Image) -> Image:
        if self._turn:
            import cv2

            codes = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
            image = cv2.rotate(image, codes[self._turn])  # type: ignore[assignment]
        image.flags.writeable = False
        return image
