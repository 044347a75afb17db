"""Recordings smoothed when they are read: by a run's streaming filter, or by one that knows what comes after."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tfpose_rt.errors import UsageError
from tfpose_rt.records import Result
from tfpose_rt.smooth import Smoother
from tfpose_rt.tools.reading import Source, kind_of, no_smooth_in_table, open_poses
from tfpose_rt.zero_lag import ZeroLag


def check_smoothing(path: Path, field: str, smooth: str) -> None:
    """Refuse what cannot be asked of a file of poses.

    Args:
        path: the file, which is not opened.
        field: raw or smooth: which points are to be used.
        smooth: how it is to be smoothed first; "" where it is not.
    Raises: UsageError: smoothed points of a table, unless they are made here; another word than `open_smoothed` takes.
    """
    if smooth:
        _filter(smooth)
    elif field == "smooth" and kind_of(path) != ".jsonl":
        raise no_smooth_in_table(path)


def open_smoothed(path: Path, text: str = "") -> Source:
    """A file of poses, with the smoothed points of that --smooth; as it is where nothing is asked for.

    The raw points stay, and the header says what was done. A zero-lag filter reads the file twice.

    Args:
        path: as for `open_poses`.
        text: `one-euro[:mincut,beta]`, `zero-lag[:HZ]` or nothing.
    Raises: InputError, UsageError: as `open_poses`; another word; nobody has an id.
    """
    source = open_poses(path)
    if not text:
        return source
    found = _filter(text)
    if isinstance(found, ZeroLag):
        found.learn(source.results)
        ended = source.summary  # of what was learnt: the second reading stops before the end, which may have moved
        source = open_poses(path)
        source.summary = ended
        about: dict[str, Any] = {"name": "zero-lag", "cutoff_hz": found.cutoff}
        source.results = found.apply(source.results)
    else:
        about = {"name": "one-euro", "mincut": found.mincut, "beta": found.beta}
        source.results = _streamed(found, source.results)
    source.header = source.header | {"smooth": about}
    return source


def described(smooth: Mapping[str, Any] | None) -> str:
    """What the `smooth` of a header says was done to the points, for captions."""
    told = dict(smooth or {})
    words = [str(told.pop("name", ""))]
    words += [f"{key.removesuffix('_hz')} {value}" + " Hz" * key.endswith("_hz") for key, value in told.items()]
    return "smoothed points" + (f" ({', '.join(words)})" if any(words) else "")


def spelled(smooth: Mapping[str, Any] | None) -> str:
    """The same as it is typed: zero-lag:6.0."""
    name, *values = (str(value) for value in (smooth or {"name": "smooth"}).values())
    return name + (f":{','.join(values)}" if values else "")


def _filter(text: str) -> ZeroLag | Smoother:
    name = text.partition(":")[0]
    found = ZeroLag.parse(text) if name == "zero-lag" else Smoother.parse(text) if name == "one-euro" else None
    if found is None:
        why = "neither `zero-lag:HZ` nor `one-euro:mincut,beta`"
        raise UsageError(f"--smooth {text}", why=why, fix="--smooth zero-lag:6")
    return found


def _streamed(smoother: Smoother, results: Iterable[Result]) -> Iterator[Result]:
    for result in results:
        if result.poses is None:
            yield result
            continue
        if result.poses.ids is None and len(result.poses):
            raise UsageError("--smooth", why="nobody in the recording has an id", fix="video without --no-track")
        yield result if result.poses.ids is None else replace(result, poses=smoother.update(result.poses))
