"""A thread to write on: any sink behind a short queue."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tfpose_rt.io.parts import Sink
from tfpose_rt.records import Result

DEPTH = 8  # results that may wait for a sink: bounded, so that a slow disk slows the run instead of filling memory


class Threaded:
    """Any sink, written to on a thread of its own through a short queue.

    An error of the sink is raised by the next `write` or by `close`, once; the sink is aborted then.

    Args:
        sink: what does the writing; used by the thread alone until `close` or `abort`.
        depth: results that may wait.
        pictures: whether the sink looks at them; otherwise they are let go at once.
    """

    def __init__(self, sink: Sink, depth: int = DEPTH, *, pictures: bool = False) -> None:
        self.sink, self._pictures = sink, pictures
        self._queue: queue.Queue[Result | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._done = self._complete = False
        self._thread = threading.Thread(target=self._run, name=f"write {sink.path.name}", daemon=True)
        self._thread.start()

    @property
    def path(self) -> Path:
        """Final name."""
        return self.sink.path

    @property
    def written(self) -> int:
        """Frames written so far."""
        return self.sink.written

    @property
    def files(self) -> list[Path]:
        """Every file it makes; none where it was left unfinished."""
        return [] if self._done and not self._complete else self.sink.files

    @property
    def sums_up(self) -> bool:
        """Whether they hold the summary."""
        return self.sink.sums_up

    def write(self, result: Result) -> None:
        """Hand over one result; waits while the queue is full."""
        if result.image is not None and not self._pictures:
            result = replace(result, image=None)
        self._put(result)

    def close(self, summary: Mapping[str, Any]) -> None:
        """Write what waits, then complete the file."""
        if self._done:
            return
        self._put(None)
        self._thread.join()
        self._done = True
        self._raise()
        try:
            self.sink.close(summary)
        except BaseException:
            self.sink.abort()
            raise
        self._complete = True

    def abort(self) -> None:
        """Drop what waits and leave the `.part`."""
        if self._let_go():
            self.sink.abort()

    def discard(self) -> None:
        """Drop what waits and remove what there is of the file, unless it is complete."""
        self._let_go()
        if not self._complete:
            self.sink.discard()

    def _let_go(self) -> bool:
        """End the thread without its work; False where it has ended already."""
        if self._done:
            return False
        self._done = True
        while self._thread.is_alive():
            with suppress(queue.Empty):
                self._queue.get_nowait()
            with suppress(queue.Full):
                self._queue.put_nowait(None)
            self._thread.join(0.05)
        return True

    def _put(self, item: Result | None) -> None:
        while True:
            self._raise()
            if not self._thread.is_alive():
                return
            with suppress(queue.Full):
                self._queue.put(item, timeout=0.05)
                return

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            self._done = True
            self.sink.abort()
            raise error

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                self.sink.write(item)
            except BaseException as error:  # noqa: BLE001 - handed over, never lost on the thread
                self._error = error
                return
