"""One slot between two threads: the newest item wins, or a short queue where nothing may be lost.

The slow side never waits for old news and the fast side never waits at all: that is what keeps a live picture at one
frame of delay for hours. Items that must not be lost (a gap, a change of size) travel in order beside the slot.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
TURN = 0.25  # s
WAITING = 64 * 2**20  # bytes that may wait in one place


def slots(size: int, most: int) -> int:
    """How many items of `size` bytes may wait: at most `most`, at least two; 4K pictures wait in smaller numbers."""
    return max(2, min(most, WAITING // max(size, 1)))


@dataclass(frozen=True, slots=True)
class Taken(Generic[T]):
    """What the reader gets.

    Args:
        item: the item.
        skipped: items replaced unread since the one before.
        seq: the item's number, counted from 0 over all that was put.
    """

    item: T
    skipped: int
    seq: int


class Mailbox(Generic[T]):
    """A mailbox for one writer and one reader.

    Args:
        depth: 1 keeps the newest item alone; more makes a bounded queue in which the writer waits when it is full.
    """

    def __init__(self, depth: int = 1) -> None:
        self.depth = depth
        self.captured = 0  # items put, kept ones aside
        self.passed_over = 0  # of those, replaced before they were read
        self._slots: deque[tuple[T, int, bool]] = deque()  # item, seq, kept
        self._skipped = 0  # passed over since the last item read
        self._change = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None

    def __len__(self) -> int:
        """Items waiting."""
        with self._change:
            return len(self._slots)

    @property
    def closed(self) -> bool:
        """Whether nothing more will come."""
        return self._closed

    def put(self, item: T, *, keep: bool = False) -> bool:
        """Hand an item over.

        Args:
            item: anything.
            keep: never pass this one over: it is delivered in its place in the order and is not counted as captured.
        Returns: False once the mailbox is closed: the reader has gone, the writer may end.
        """
        with self._change:
            if self.depth > 1 and not keep:
                self._change.wait_for(lambda: self._closed or self._ordinary() < self.depth)
            if self._closed:
                return False
            if not keep:
                if self.depth == 1 and self._ordinary():
                    self._pass_over()
                self._slots.append((item, self.captured, False))
                self.captured += 1
            else:
                self._slots.append((item, self.captured, True))
            self._change.notify_all()
            return True

    def get(self, timeout: float | None = None) -> Taken[T] | None:
        """Take the next item.

        Args:
            timeout: s to wait; None waits until something comes or the mailbox is closed.
        Returns: the item, or None when the time is up or the mailbox is closed and empty (see `closed`).
        Raises: the error the writer closed with, once all items before it are read.
        """
        with self._change:
            self._wait(timeout)
            if self._slots:
                item, seq, kept = self._slots.popleft()
                skipped = 0 if kept else self._skipped
                if not kept:
                    self._skipped = 0
                self._change.notify_all()
                return Taken(item, skipped, seq)
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            return None

    def _wait(self, timeout: float | None) -> None:
        """Until there is something, or there will be nothing; in turns, since Windows hears no Ctrl-C within one."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self._slots and not self._closed:
            left = TURN if end is None else min(end - time.monotonic(), TURN)
            if left <= 0:
                return
            self._change.wait(left)

    def drain(self) -> int:
        """Throw away what waits (while the picture is frozen); counted as passed over. Kept items stay."""
        with self._change:
            gone = 0
            while self._ordinary():
                self._pass_over()
                gone += 1
            return gone

    def close(self, error: BaseException | None = None) -> None:
        """Nothing more will come; wakes both sides. The reader still gets what waits, then `error`."""
        with self._change:
            self._error = self._error or error
            self._closed = True
            self._change.notify_all()

    def _ordinary(self) -> int:
        return sum(not kept for _, _, kept in self._slots)

    def _pass_over(self) -> None:
        """Remove the oldest item that may be lost."""
        place = next(i for i, (_, _, kept) in enumerate(self._slots) if not kept)
        del self._slots[place]
        self.passed_over += 1
        self._skipped += 1
