"""True times: the container's stamp of every frame, made strictly increasing where a file's own stamps are not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
WORTH = 250  # frames to pass over before it pays to look for a nearer place to decode from
PATIENCE = 4  # bad stamps in a row before the clock is taken to have been set back


def repair(
    stamps: Iterable[tuple[T, float | None]], step: float, *, origin: float | None = None, last: float | None = None
) -> Iterator[tuple[T, float, bool]]:
    """Give every item a time, counted from the first one.

    A missing, repeated or backward stamp is replaced: spread between its good neighbours, never further apart than
    `step`. After more than a few bad stamps in a row the clock counts as set back (files joined end to end), and
    later stamps are moved along with it.

    Args:
        stamps: items in decode order, each with its own time in s, or None where the container has none.
        step: s between frames at the nominal rate, > 0.
        origin: the first item's own time, where that item was passed over; times count from it.
        last: time of the item before, where that was passed over.
    Yields: item, s from the first item (6 decimals, strictly increasing), and whether the time was repaired.
    """
    moved = False
    held: list[T] = []

    def spread(count: float) -> Iterator[tuple[T, float, bool]]:
        nonlocal last
        for item in held:
            last = 0.0 if last is None else round(last + count, 6)
            yield item, last, True
        held.clear()

    for item, stamp in stamps:
        if stamp is not None and origin is None:
            origin = stamp - len(held) * step
        now = None if stamp is None or origin is None else round(stamp - origin, 6)
        if now is not None and (last is None or now > last + 1e-6 * len(held)):
            start = last if last is not None else now - step * (len(held) + 1)
            yield from spread(_floor6(min(step, (now - start) / (len(held) + 1))))
            yield item, now, moved
            last = now
            continue
        held.append(item)
        if len(held) > PATIENCE:
            yield from spread(step)
            if stamp is not None and last is not None:
                origin, moved = stamp - last, True
    yield from spread(step)


def _floor6(seconds: float) -> float:
    """Round down to a microsecond, so that spread times never reach the next good one."""
    return max(int(seconds * 1e6 + 1e-3), 1) / 1e6
