"""Smoothing of a whole recording without lag: every frame is smoothed by those before and after it.

A cubic smoothing spline per joint and person. Where frames are evenly spaced and equally sure, it passes what a
second-order Butterworth low pass run forwards and backwards passes (fourth order, zero lag: the usual filter of
biomechanics): 1 / (1 + (f / f0)^4). Unlike that filter it takes the frames' own times, ends without padding, and weighs
each frame by the error that the model states, so that one bad frame does not bend its neighbours.

Sources: Craven, Wahba, "Smoothing noisy data with spline functions", Numerische Mathematik 31, 1979; Winter,
"Biomechanics and Motor Control of Human Movement", 4th ed. 2009, chapter 3: the cut-off after two passes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Self

import numpy as np
import numpy.typing as npt

from tfpose_rt.errors import UsageError
from tfpose_rt.records import Poses, Result, frozen

log = logging.getLogger(__name__)
Array = npt.NDArray[np.float64]
CUTOFF = 6.0  # Hz, at which the amplitude has fallen by 3 dB; docs/lab.md, "Smoothing afterwards"
LOWEST = 0.1  # Hz; under it the spline's equations have not digits enough, and points end up anywhere
BREAK = 0.2  # s out of sight after which somebody starts afresh
FEWEST = 5  # frames that a spline takes; shorter appearances stay as they are
LEAST_ERROR = 0.1  # px, of a joint that counts as perfectly known


@dataclass(slots=True)
class _Run:
    """One person seen without a break: a list for each quantity, one entry a frame."""

    size: tuple[int, int]
    t: list[float] = field(default_factory=list)  # s
    xy: list[Array] = field(default_factory=list)  # (K, 2) px
    errors: list[Array | None] = field(default_factory=list)  # (K,) px

    def smooth(self, cutoff: float) -> Array:
        """(T, K, 2) px."""
        xy = np.array(self.xy, np.float64)
        if len(self.t) < FEWEST:
            return xy
        known = [e for e in self.errors if e is not None]
        errors = np.array(known) if len(known) == len(self.t) else np.ones(xy.shape[:2])
        return low_pass(np.array(self.t), xy, errors, cutoff)


@dataclass(slots=True)
class ZeroLag:
    """Fills `Poses.xy_smooth` of a recording that is read twice; `xy` stays as found.

    Args:
        cutoff: Hz.
    """

    cutoff: float = CUTOFF
    _runs: dict[int, list[_Run]] = field(default_factory=dict)
    _learnt: int = 0  # results

    @classmethod
    def parse(cls, text: str) -> Self:
        """`zero-lag` or `zero-lag:HZ` -> a smoother.

        Raises: UsageError: another word, or a frequency below `LOWEST`.
        """
        name, colon, number = text.partition(":")
        try:
            cutoff = float(number) if colon else CUTOFF
            if name != "zero-lag" or not LOWEST <= cutoff < np.inf:
                raise ValueError
        except ValueError:
            why = f"not `zero-lag:HZ` with at least {LOWEST:g} Hz"
            raise UsageError(f"--smooth {text}", why=why, fix="--smooth zero-lag:6") from None
        return cls(cutoff)

    def learn(self, results: Iterable[Result]) -> None:
        """Read every frame of the recording.

        Raises: UsageError: people without ids.
        """
        for result in results:
            self._learnt += 1
            if result.poses is not None:
                self._note(result.poses)
        steps = np.concatenate([np.diff(run.t) for runs in self._runs.values() for run in runs] or [np.zeros(0)])
        if len(steps) and self.cutoff >= (most := 0.5 / float(np.median(steps))):
            told = (
                "--smooth zero-lag:%g: %.4g frames a second hold nothing above %.4g Hz, so hardly anything is smoothed"
            )
            log.warning(told, self.cutoff, 2 * most, most)

    def _note(self, poses: Poses) -> None:
        for row, number in enumerate(_ids(poses)):
            runs = self._runs.setdefault(number, [])
            if not runs or _breaks(runs[-1], poses):
                runs.append(_Run(poses.size))
            runs[-1].t.append(poses.pts)
            runs[-1].xy.append(poses.xy[row].astype(np.float64))
            runs[-1].errors.append(None if poses.errors is None else poses.errors[row].astype(np.float64))

    def apply(self, results: Iterable[Result]) -> Iterator[Result]:
        """The recording again, from its first frame, with smoothed points; what it has grown by since is left out."""
        smooth = {
            number: iter(np.concatenate([r.smooth(self.cutoff) for r in runs])) for number, runs in self._runs.items()
        }
        learnt, self._runs, self._learnt = self._learnt, {}, 0
        for result in islice(results, learnt):
            poses = result.poses
            if poses is not None:
                points = [next(smooth[number]) for number in _ids(poses)]
                filled = frozen(np.array(points, np.float64).reshape(poses.xy.shape))
                result = replace(result, poses=replace(poses, xy_smooth=filled))
            yield result


def low_pass(t: Array, xy: Array, errors: Array, cutoff: float) -> Array:
    """Paths without what is faster than `cutoff`.

    Args:
        t: (T,) s, rising; T >= 5.
        xy: (T, K, 2) px; NaN where a joint has no place, and so it stays.
        errors: (T, K) px; a frame weighs by the square of a joint's median error over its own, or 1 without one (NaN).
        cutoff: Hz at which, frames being alike, the amplitude is 1 / sqrt(2).
    Returns: (T, K, 2) px.
    """
    from scipy.interpolate import make_smoothing_spline

    # Minimised is the weighted sum of squares + lam x the integral of f''^2: its response to evenly spaced samples of
    # weight 1 is 1 / (1 + lam step w^4), with w in radians a second (Craven and Wahba).
    lam = (np.sqrt(2) - 1) / (np.median(np.diff(t)) * (2 * np.pi * cutoff) ** 4)
    out = xy.copy()
    for joint in range(xy.shape[1]):
        known = ~np.isnan(xy[:, joint]).any(-1)
        if known.sum() < FEWEST:
            continue
        error = errors[known, joint].clip(LEAST_ERROR)
        weights = np.nan_to_num((np.nanmedian(error) / error) ** 2, nan=1.0) if np.isfinite(error).any() else None
        for axis in range(xy.shape[2]):
            spline = make_smoothing_spline(t[known], xy[known, joint, axis], w=weights, lam=lam)
            out[known, joint, axis] = spline(t[known])
    return out


def _breaks(run: _Run, poses: Poses) -> bool:
    """Whether somebody starts afresh: unseen for long, other pixels, or a clock that did not go on."""
    return not 0 < poses.pts - run.t[-1] <= BREAK or run.size != poses.size


def _ids(poses: Poses) -> list[int]:
    if poses.ids is None and len(poses):
        raise UsageError("--smooth", why="nobody in the recording has an id", fix="video without --no-track")
    return [] if poses.ids is None else poses.ids.tolist()
