"""Where people's joints were during the last second, for drawing."""

from __future__ import annotations

from collections import deque

import numpy as np

from tfpose_rt.draw import visible
from tfpose_rt.records import Float, Poses


class Trails:
    """A second of joint positions by id.

    Args:
        seconds: how far back.
        thr: score under which a joint leaves a hole in its trail.
    """

    def __init__(self, seconds: float = 1.0, thr: float = 0.3) -> None:
        self.seconds, self.thr = seconds, thr
        self._paths: dict[int, deque[tuple[float, Float]]] = {}
        self._size = (0, 0)

    def add(self, poses: Poses) -> None:
        """Take note of one frame; one of another size has other pixels, and everything before is forgotten."""
        if poses.size != self._size:
            self._paths, self._size = {}, poses.size
        points = poses.xy if poses.xy_smooth is None else poses.xy_smooth
        for row, number in enumerate([] if poses.ids is None else poses.ids.tolist()):
            shown = visible(points[row], None if poses.scores is None else poses.scores[row], self.thr, poses.size)
            path = self._paths.setdefault(number, deque())
            path.append((poses.pts, np.where(shown[:, None], points[row], np.float32("nan")).astype(np.float32)))
        for number, path in list(self._paths.items()):
            while path and poses.pts - path[0][0] > self.seconds:
                path.popleft()
            if not path:
                del self._paths[number]

    def paths(self) -> dict[int, Float]:
        """By id (T, K, 2) px, oldest first; NaN where a joint was not to be seen."""
        return {
            number: np.stack([points for _, points in path]) for number, path in self._paths.items() if len(path) > 1
        }

    def clear(self) -> None:
        """Forget everything."""
        self._paths = {}
