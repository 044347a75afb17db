"""plot --data: the numbers that a figure draws, and the table of them, so that both say the same.

A row a frame and person, in the order of time, `frame, pts_s, id` and then every joint in the skeleton's order. Where
frames are missing stands a row without a frame's number. What is not known is an empty cell: nothing is filled in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tfpose_rt.errors import UsageError
from tfpose_rt.io.parts import PartFile, into_place
from tfpose_rt.io.record_json import PIXELS, SCORES, SECONDS
from tfpose_rt.skeleton import INDEX
from tfpose_rt.tools.motion import Array, Motion, Person, angles, speed, sure
from tfpose_rt.tools.timeline import Mask, View

Measure = Callable[[View, Person, str], Array]
DEGREES, MILLISECONDS = 2, 3  # decimals


def x_of(view: View, person: Person, name: str) -> Array:
    """X (T,) of a joint, px."""
    return sure(person, view.threshold)[:, INDEX[name], 0]


def y_of(view: View, person: Person, name: str) -> Array:
    """Y (T,) of a joint, px, downwards."""
    return sure(person, view.threshold)[:, INDEX[name], 1]


def error_of(view: View, person: Person, name: str) -> Array:
    """The error (T,) of a joint's place, px, where the place is known."""
    return np.where(np.isnan(x_of(view, person, name)), np.nan, person.errors[:, INDEX[name]])


def speed_of(view: View, person: Person, name: str) -> Array:
    """Speed (T,) of a joint in the picture, px/s."""
    return speed(sure(person, view.threshold)[:, INDEX[name]], view.motion.pts)


def angle_of(view: View, person: Person, name: str) -> Array:
    """The angle (T,) of `ANGLES` in the picture, degrees."""
    return angles(sure(person, view.threshold), name)


def score_of(view: View, person: Person, name: str) -> Array:
    """Score (T,) of a joint, under the threshold too."""
    return person.scores[:, INDEX[name]]


def mostly_known(view: View, person: Person, names: Sequence[str]) -> Mask:
    """(T,) whether at least half of the joints reach the threshold."""
    with np.errstate(invalid="ignore"):
        reach = person.scores[:, [INDEX[name] for name in names]] >= view.threshold
    return np.asarray(reach.mean(1) >= 0.5)


def steps(motion: Motion) -> Array:
    """Time (T,) from the frame before, ms; none after missing frames."""
    out = np.full(len(motion.pts), np.nan)
    out[1:] = np.where(motion.there[1:] & motion.there[:-1], np.diff(motion.pts) * 1e3, np.nan)
    return out


def known_of(view: View, person: Person, name: str) -> Array:
    """1 (T,) where a joint reaches the threshold, 0 where it does not, none in missing frames."""
    return np.where(view.motion.there, mostly_known(view, person, [name]), np.nan)


# What follows the joint's name in the header, its values and their decimals.
MEASURES: Mapping[str, Sequence[tuple[str, Measure, int]]] = {
    "traj": (("x_px", x_of, PIXELS), ("y_px", y_of, PIXELS)),
    "xy": (("x_px", x_of, PIXELS), ("y_px", y_of, PIXELS), ("error_px", error_of, PIXELS)),
    "speed": (("px_per_s", speed_of, PIXELS),),
    "angles": (("deg", angle_of, DEGREES),),
    "score": (("score", score_of, SCORES),),
    "gaps": (("known", known_of, 0),),
}


def check_table(path: Path) -> None:
    """Raises: UsageError: no table has that suffix."""
    if path.suffix.lower() != ".csv":
        raise UsageError(f"--data {path}", why="the table is CSV", fix=f"--data {path.stem or 'table'}.csv")


def write_table(view: View, what: str, path: Path, *, overwrite: bool = False) -> int:
    """Write the numbers of one figure as CSV, whole or not at all.

    Args:
        view: who, which joints, from which score on.
        what: a key of `DRAWINGS`.
        path: final name.
        overwrite: whether a finished file may be replaced.
    Returns: how many rows stand under the header.
    Raises: OutputError: it cannot be written, or exists.
    """
    header, rows = _timing(view.motion) if what == "timing" else _people(view, what)
    file, count = PartFile(path, overwrite=overwrite), 0
    try:
        file.write(",".join(header) + "\n")
        for cells in rows:
            file.write(",".join(cells) + "\n")
            count += 1
        file.seal()
    except BaseException:
        file.discard()
        raise
    into_place(PartFile.part(path), path, overwrite=overwrite)  # where that fails the whole table stays beside it
    return count


def _timing(motion: Motion) -> tuple[Sequence[str], Iterator[Sequence[str]]]:
    columns = [_cells(steps(motion), MILLISECONDS), _cells(motion.latency, MILLISECONDS)]
    columns.append(_cells(np.where(motion.there, motion.skipped, np.nan), 0))
    header = ("frame", "pts_s", "from_previous_ms", "latency_ms", "frames_passed_over")
    return header, ([*when, *cells] for when, *cells in zip(_moments(motion), *columns, strict=True))


def _people(view: View, what: str) -> tuple[Sequence[str], Iterator[Sequence[str]]]:
    motion, measures, lanes = view.motion, MEASURES[what], what == "gaps"
    if motion.header.get("error_kind", "none") == "none":
        measures = [one for one in measures if one[1] is not error_of]
    header = ["frame", "pts_s", "id", *(("seen", "half_known") if lanes else ())]
    header += [f"{name}_{ending}" for name in view.joints for ending, *_ in measures] + ["reason"] * lanes
    reasons = iter(reason for *_, reason in motion.holes)
    why = ["" if there else next(reasons) for there in motion.there]
    tables = []
    for person in view.people:
        columns = [_cells(of(view, person, name), places) for name in view.joints for _, of, places in measures]
        if lanes:
            both = (person.seen, mostly_known(view, person, view.joints))
            columns = [*(_cells(np.where(motion.there, one, np.nan), 0) for one in both), *columns, why]
        columns.insert(0, ["" if person.id < 0 else str(person.id)] * len(motion.pts))
        tables.append(list(zip(*columns, strict=True)))
    return header, ((*when, *table[row]) for row, when in enumerate(_moments(motion)) for table in tables)


def _moments(motion: Motion) -> Iterator[tuple[str, str]]:
    for frame, pts in zip(motion.frames.tolist(), motion.pts.tolist(), strict=True):
        yield "" if frame < 0 else str(frame), f"{pts:.{SECONDS}f}"


def _cells(values: Array, places: int) -> list[str]:
    return ["" if np.isnan(value) else f"{value:.{places}f}" for value in values.tolist()]
