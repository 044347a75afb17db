"""Everybody of a recording over their own time: from the first frame that shows them to the last.

Nobody's arrays are longer than that, and one person's are made at a time, so that a long recording of many passers-by
takes the memory of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfpose_rt.io.chosen import points_of
from tfpose_rt.records import Result
from tfpose_rt.skeleton import NAMES
from tfpose_rt.tools.motion import Array, Person, rows_of, times_of


@dataclass(frozen=True, slots=True)
class Span:
    """One person over R rows: a frame each, and one for each place where frames are missing.

    Args:
        person: seen in the first row and in the last one.
        heights: (R,) of the box, px; NaN where not seen.
        frames: (R,) index in the source; -1 in rows that stand for missing frames.
        pts: (R,) s, when each row begins.
        first: the number of its first row among those of the recording.
    """

    person: Person
    heights: Array
    frames: npt.NDArray[np.int64]
    pts: Array
    first: int


class Spans:
    """The people of a recording, in the order of their ids.

    Args:
        results: every frame, gap, segment and event, in order.
        field: raw, or smooth for the smoothed points.

    Attributes:
        unnamed: whether a frame holds several people without ids, who cannot be followed: the first of each frame,
            the second and so on stand in for people then, with the ids -1, -2 ...
    Raises: UsageError: no smoothed points.
    """

    def __init__(self, results: Iterable[Result], field: str = "raw") -> None:
        self._field = field
        rows = list(rows_of(results))
        self._poses = [row.poses if isinstance(row, Result) else None for row in rows]
        self._pts = times_of(rows)
        self._frames = np.array([row.frame if isinstance(row, Result) else -1 for row in rows], np.int64)
        self.unnamed = any(p is not None and p.ids is None and len(p) > 1 for p in self._poses)
        self._places: dict[int, list[tuple[int, int]]] = {}  # id -> row, place in its frame
        for row, poses in enumerate(self._poses):
            if poses is None or not len(poses):
                continue
            points_of(poses, field)  # refuses here, before any file is begun, what it would refuse later
            for i, who in enumerate([-1 - i for i in range(len(poses))] if poses.ids is None else poses.ids.tolist()):
                self._places.setdefault(who, []).append((row, i))

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Span]:
        for who in sorted(self._places, key=lambda who: (who < 0, abs(who))):
            yield self._span(who, self._places[who])

    def _span(self, who: int, places: list[tuple[int, int]]) -> Span:
        first, last = places[0][0], places[-1][0]
        shape = (last - first + 1, len(NAMES))
        xy, scores, errors, heights = (np.full(s, np.nan) for s in ((*shape, 2), shape, shape, shape[:1]))
        seen = np.zeros(shape[0], bool)
        for row, i in places:
            poses, at = self._poses[row], row - first
            assert poses is not None
            xy[at], seen[at] = points_of(poses, self._field)[i], True
            scores[at] = 1.0 if poses.scores is None else poses.scores[i]
            errors[at] = np.nan if poses.errors is None else poses.errors[i]
            heights[at] = poses.boxes[i, 3] - poses.boxes[i, 1]
        rows = slice(first, last + 1)
        return Span(Person(who, xy, scores, errors, seen), heights, self._frames[rows], self._pts[rows], first)
