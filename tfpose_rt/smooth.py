"""One Euro filter per person: still joints stop trembling, fast ones do not lag. Time comes from `pts`, never a clock.

Source: Casiez, Roussel, Vogel, "1 Euro Filter", CHI 2012.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from tfpose_rt.errors import UsageError
from tfpose_rt.records import Poses, frozen

Array = npt.NDArray[np.float64]
SPEED_CUTOFF = 1.0  # Hz, cut-off of the speed estimate, as in the paper


@dataclass(frozen=True, slots=True)
class _State:
    """One person: time, raw and filtered points (K, 2) in px, filtered speed (K, 2) in px/s."""

    t: float
    raw: Array
    xy: Array
    speed: Array


@dataclass(slots=True)
class Smoother:
    """Fills `Poses.xy_smooth`; `xy` stays as found.

    Args:
        mincut: Hz, cut-off for a joint at rest; lower is calmer.
        beta: Hz per px/s, how fast the cut-off rises with speed; higher lags less.
        gap: s without a sighting after which an id starts afresh.
    """

    mincut: float = 1.0
    beta: float = 0.05
    gap: float = 0.5
    _states: dict[int, _State] = dataclasses.field(default_factory=dict)
    _size: tuple[int, int] = (0, 0)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """`off` -> None; `one-euro` or `one-euro:mincut,beta` -> a smoother.

        Raises: UsageError: another word, or numbers that are not positive.
        """
        name, _, numbers = text.partition(":")
        if name == "off" and not numbers:
            return None
        if name == "zero-lag":
            raise UsageError(
                f"--smooth {text}", why="it needs the frames to come", fix="convert RECORDING --smooth zero-lag"
            )
        try:
            values = [float(n) for n in numbers.split(",")] if numbers else [1.0, 0.05]
            if name != "one-euro" or len(values) != 2 or not 0 < values[0] < np.inf or not 0 <= values[1] < np.inf:
                raise ValueError
        except ValueError:
            raise UsageError(
                f"--smooth {text}", why="neither `off` nor `one-euro:mincut,beta`", fix="--smooth one-euro:1.0,0.05"
            ) from None
        return cls(values[0], values[1])

    def reset(self) -> None:
        """Start afresh with everybody."""
        self._states = {}

    def update(self, poses: Poses) -> Poses:
        """Filter the poses of one frame.

        Args:
            poses: N people with ids, px of the frame; `pts` later than that of the frame before.
        Returns: new Poses with `xy_smooth` (N, K, 2) px.
        Raises: ValueError: the poses carry no ids.
        """
        if poses.ids is None:
            raise ValueError("smoothing needs ids: switch tracking on")
        if poses.size != self._size:  # other pixels
            self._states, self._size = {}, poses.size
        kept = {i: s for i, s in self._states.items() if 0 <= poses.pts - s.t <= self.gap}
        new = np.zeros(len(poses), np.bool_) if poses.new is None else poses.new
        for row, number in enumerate(poses.ids.tolist()):
            before = None if new[row] else kept.get(number)
            kept[number] = self._step(before, poses.xy[row].astype(np.float64), poses.pts)
        self._states = kept
        smooth = np.array([kept[i].xy for i in poses.ids.tolist()]).reshape(poses.xy.shape)
        return dataclasses.replace(poses, xy_smooth=frozen(smooth))

    def _step(self, before: _State | None, xy: Array, t: float) -> _State:
        if before is None or t <= before.t:
            return _State(t, xy, xy, np.zeros_like(xy))
        dt = t - before.t
        speed = before.speed + _gain(SPEED_CUTOFF, dt) * ((xy - before.raw) / dt - before.speed)
        # One speed per joint, not per axis: a slanted stroke must not be smoothed more along one axis.
        cutoff = self.mincut + self.beta * np.linalg.norm(speed, axis=-1, keepdims=True)  # (K, 1)
        smooth = before.xy + _gain(cutoff, dt) * (xy - before.xy)
        unknown = np.isnan(before.raw).any(-1, keepdims=True)  # such a joint starts afresh, or it would stay unknown
        return _State(t, xy, np.where(unknown, xy, smooth), np.where(unknown, 0.0, speed))


def _gain(cutoff: Array | float, dt: float) -> Array:
    """Share of the new value a first-order low pass with that cut-off (Hz) takes over `dt` seconds."""
    r = 2 * np.pi * np.asarray(cutoff) * dt
    return np.asarray(r / (r + 1))
