"""Which frames share a batch: what a mailbox hands over, taken together or one by one, with a gap for each pause."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator

from tfpose_rt.mailbox import Mailbox
from tfpose_rt.records import Event, Frame, Gap, Segment

CHUNK = 4  # frames of a file that share their batches; aligned to the frame's index, so that a resumed run repeats them

Item = Frame | Gap | Segment | Event


class Chunks:
    """Items of a mailbox, in order, with the seconds spent waiting for them; iterated once.

    Args:
        frames: where they come from; its error is raised once all before it are handed on.
        live: frames may be passed over, and those on hand at a pause are thrown away.
        alone: each frame is a chunk of its own; else CHUNK of them.
        paused: set while nothing is to be handed on.
        ended: whether nobody wants any more, asked during a pause.
    """

    def __init__(
        self, frames: Mailbox[Item], *, live: bool, alone: bool, paused: threading.Event, ended: Callable[[], bool]
    ) -> None:
        self._frames, self._live, self._alone, self._paused, self._ended = frames, live, alone, paused, ended

    def __iter__(self) -> Iterator[tuple[list[Item], float]]:
        """Chunks and seconds. Raises: what the mailbox was closed with."""
        chunk: list[Item] = []
        place = 0  # of the chunk among the source's
        count, seq, t, held = 0, -1, 0.0, 0.0  # live frames; number and pts of the last; s since, lost to a pause
        began = time.perf_counter()
        while True:
            held += self._sit_out()
            try:
                taken = self._frames.get(0.1 if self._live else None)
            except BaseException:
                if chunk:  # what came before the error is not lost with it
                    yield chunk, time.perf_counter() - began
                raise
            if taken is None:
                if self._frames.closed and not len(self._frames):
                    break
                continue
            item = taken.item
            if isinstance(item, Frame) and self._live:  # by its number: two mailboxes pass frames over
                if held and item.seq > seq + 1:
                    yield [Gap(reason="paused", t_start=t, t_end=item.pts, seq_from=seq + 1, seq_to=item.seq - 1)], 0.0
                item = dataclasses.replace(item, index=count, skipped=item.seq - seq - 1)
                count, seq, t, held = count + 1, item.seq, item.pts, 0.0
            if chunk and isinstance(item, Frame) and item.index // CHUNK != place:
                yield chunk, time.perf_counter() - began
                chunk, began = [], time.perf_counter()
            place = item.index // CHUNK if isinstance(item, Frame) else place
            chunk.append(item)
            if self._alone or not isinstance(item, Frame):
                yield chunk, time.perf_counter() - began
                chunk, began = [], time.perf_counter()
        if chunk:
            yield chunk, time.perf_counter() - began
        if held:  # the source ended meanwhile
            yield [Gap(reason="paused", t_start=t, t_end=t + held, seq_from=seq + 1)], 0.0

    def _sit_out(self) -> float:
        """Wait while paused, throwing the frames of a live source away; s during which they were lost."""
        began, lost = time.perf_counter(), False
        while self._paused.is_set() and not self._ended():
            if self._frames.closed and (self._live or not len(self._frames)):
                break  # at its end; frames of a file that were read ahead are still to come
            time.sleep(0.02)
            if self._live:
                lost = self._frames.drain() > 0 or lost
        return time.perf_counter() - began if lost else 0.0
