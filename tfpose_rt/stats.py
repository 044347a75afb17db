"""What a run counts while it goes on, and the record that ends it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from tfpose_rt.config import SourceOptions
from tfpose_rt.errors import InputError
from tfpose_rt.io.sources import Source
from tfpose_rt.records import Result, StreamInfo


class Stats:
    """Counts and stage times of a run; written by the worker, read by anybody."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.frames = self.with_people = self.persons = self.gaps = self.errors = self.skipped = 0
        self.ids: set[int] = set()
        self.totals: dict[str, float] = {}
        self.recent: dict[str, deque[float]] = {}
        self.latency: deque[float] = deque(maxlen=100_000)  # ms; what the consumer measured
        self.last_pts = 0.0

    def add(self, stage: str, seconds: float) -> None:
        """One measurement of a stage."""
        self.totals[stage] = self.totals.get(stage, 0.0) + seconds
        self.recent.setdefault(stage, deque(maxlen=120)).append(seconds)

    def count(self, result: Result) -> None:
        """One result."""
        if result.gap is not None:
            self.gaps += 1
            self.errors += result.gap.reason == "decode_error"
        if result.poses is None:
            return
        self.frames += 1
        self.skipped += result.skipped
        self.last_pts = result.pts
        self.persons += len(result.poses)
        self.with_people += len(result.poses) > 0
        if result.poses.ids is not None:
            self.ids.update(result.poses.ids.tolist())

    def absorb(self, earlier: Stats) -> None:
        """Add what an earlier run, which this one continues, counted."""
        self.frames += earlier.frames
        self.with_people += earlier.with_people
        self.persons += earlier.persons
        self.gaps += earlier.gaps
        self.errors += earlier.errors
        self.skipped += earlier.skipped
        self.ids |= earlier.ids
        self.last_pts = max(self.last_pts, earlier.last_pts)

    @property
    def wall(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.began

    def percentiles(self, values: Iterable[float]) -> dict[str, float] | None:
        """p50, p95 and max, or None without a value."""
        array = np.fromiter(values, float)
        if not len(array):
            return None
        return {
            "p50": float(np.percentile(array, 50)),
            "p95": float(np.percentile(array, 95)),
            "max": float(array.max()),
        }


class Run(Protocol):
    """What is asked of a stream to sum it up."""

    stats: Stats
    source: Source
    info: StreamInfo
    ended: str


def summary(
    stream: Run,
    *,
    ended: str | None = None,
    exit_code: int | None = None,
    files: Iterable[str] = (),
    more_errors: int = 0,
) -> dict[str, Any]:
    """The record that ends a recording, and what the program prints; see docs/formats.md.

    Args:
        stream: after its last result.
        ended: overrides how the source says it ended (user, signal).
        exit_code: overrides the code that `ended` stands for.
        files: names of what was written.
        more_errors: pictures that an earlier run, which this one continues, could not decode.
    """
    stats, source = stream.stats, stream.source
    errors = source.decode_errors + more_errors
    ended = ended or stream.ended
    complete = ended in ("eof", "limit", "user")
    if errors and (ended == "eof" or (ended == "limit" and not stream.info.live)):
        ended, complete = "decode_error", False
    code = {"eof": 0, "limit": 0, "user": 0, "signal": 130}.get(ended, 7) if exit_code is None else exit_code
    wall = stats.wall
    run = getattr(stream, "run", None)  # a take of a live run is a part of it and has none
    expected = stream.info.frames if run is not None and whole(run.source) and not stream.info.live else None
    return _record(stats, complete, ended, code) | {
        "frames_expected": expected,
        "captured": getattr(source, "captured", stats.frames),
        "decode_errors": errors,
        "wall_s": round(wall, 3),
        "fps_mean": round(stats.frames / wall, 3) if wall else None,
        "latency_ms": {name: round(ms, 3) for name, ms in (stats.percentiles(stats.latency) or {}).items()} or None,
        "files": list(files),
    }


def cut_short(stats: Stats) -> dict[str, Any]:
    """The summary of a recording that has none, from what is in it."""
    return _record(stats, False, "signal", 1)


def _record(stats: Stats, complete: bool, ended: str, code: int) -> dict[str, Any]:
    """The summary record as far as counting results tells it; its keys in the order of the format."""
    return {
        "complete": complete, "ended": ended, "frames": stats.frames, "frames_expected": None,
        "frames_with_people": stats.with_people, "persons": stats.persons, "ids": len(stats.ids),
        "captured": stats.frames + stats.skipped, "skipped": stats.skipped, "gaps": stats.gaps,
        "decode_errors": stats.errors, "duration_s": round(stats.last_pts, 6), "wall_s": None, "fps_mean": None,
        "latency_ms": None, "exit_code": code, "files": [],
    }  # fmt: skip


def whole(options: SourceOptions) -> bool:
    """Whether a source is read from its first frame to its last, so that its own count is what to expect."""
    return (options.start, options.end, options.frames, options.stride) == (None, None, None, 1)


def require_frames(stream: Run) -> None:
    """Raises: InputError: the source ended without a single frame."""
    if stream.stats.frames:
        return
    run = getattr(stream, "run", None)
    if run is not None and not whole(run.source):
        what, fix = f"no frame of {stream.info.name} lies in the part asked for", "another --start, --end or --frames"
        raise InputError(what, why="together they leave none", fix=fix)
    raise InputError(f"{stream.info.name} holds no frame", why="nothing in it could be decoded", fix="another file")
