"""Tables of what is derived from a recording, for reading alone: angles, OpenSim's motion files, a line a person.

They are sinks like those of `io`, but can only be written once the end is known, and no command reads them back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from tfpose_rt.errors import UsageError
from tfpose_rt.io.mot import DEGREES, mot_lines, person_path, person_paths
from tfpose_rt.io.parts import PartFile, SinkOptions, into_place
from tfpose_rt.io.record_json import SECONDS
from tfpose_rt.io.sinks import FORMATS
from tfpose_rt.records import Result
from tfpose_rt.tools.angles import TABLE, degrees, degrees_error
from tfpose_rt.tools.motion import Array, sure
from tfpose_rt.tools.person_summary import COLUMNS, quoted_cell, summary_rows
from tfpose_rt.tools.smoothing import spelled
from tfpose_rt.tools.spans import Span, Spans

log = logging.getLogger(__name__)
NOTE = "As seen in the picture, not the coordinates of a model: joints 180 stretched, segments 0 upright. NaN: unknown."

Make = Callable[["DerivedSink", Spans], list[Path]]


class DerivedSink:
    """Keeps the results of a recording until its end is known, and makes files of them then.

    Args:
        path: final name; "-" is standard output.
        recording: the name of the recording, for tables that hold several.
        header: the header record.
        options: `field`, `kpt_thr`, `fill` and `full_precision` apply.
        make: writes the files and names them.
        overwrite: whether finished files may be replaced.

    Attributes:
        frames: of those files that hold fewer than were read.
    """

    sums_up = False

    def __init__(
        self, path: Path, recording: str, header: Mapping[str, Any], options: SinkOptions, make: Make, *,
        overwrite: bool,
    ) -> None:  # fmt: skip
        self.path, self.recording, self.header, self.options = path, recording, header, options
        self.overwrite, self._make = overwrite, make
        self.written, self.files, self.frames = 0, list[Path](), dict[Path, int]()
        self._results: list[Result] = []

    def write(self, result: Result) -> None:
        """Add one result."""
        self._results.append(result)
        self.written += result.poses is not None

    def close(self, summary: Mapping[str, Any]) -> None:
        """Write the files; how the recording ended is in none of them."""
        spans = Spans(self._results, self.options.field)
        if not len(spans):
            log.warning("%s: nobody was seen", self.recording)
        self.files = self._make(self, spans)

    def abort(self) -> None:
        """Let go of everything; there is no file yet."""
        self._results.clear()

    def discard(self) -> None:
        """Let go of everything; there is no file yet."""
        self._results.clear()


def angles_sink(
    path: Path, recording: str, header: Mapping[str, Any], options: SinkOptions, *, overwrite: bool = False
) -> DerivedSink:
    """A sink for one CSV file: every angle, a row a frame and person."""
    return DerivedSink(path, recording, header, options, _angles, overwrite=overwrite)


def mot_sink(
    path: Path, recording: str, header: Mapping[str, Any], options: SinkOptions, *, overwrite: bool = False
) -> DerivedSink:
    """A sink for `<stem>_person<ID>.mot`, one for each id."""
    return DerivedSink(path, recording, header, options, _mots, overwrite=overwrite)


def summary_sink(
    path: Path, recording: str, header: Mapping[str, Any], options: SinkOptions, *, overwrite: bool = False
) -> DerivedSink:
    """A sink for one CSV file: a row a person."""

    def make(sink: DerivedSink, spans: Spans) -> list[Path]:
        return write_table(
            path, COLUMNS, map(",".join, summary_rows(recording, spans, options, _points(sink))), overwrite=overwrite
        )

    return DerivedSink(path, recording, header, options, make, overwrite=overwrite)


class SummaryTable:
    """One summary of several recordings, each of which adds its people.

    Args:
        path: final name; "-" is standard output.
        options: as for a sink.
        overwrite: whether a finished file may be replaced.
    """

    def __init__(self, path: Path, options: SinkOptions, *, overwrite: bool = False) -> None:
        self._path, self._options, self._overwrite = path, options, overwrite
        self.rows: list[Sequence[str]] = []

    def sink(self, recording: str, header: Mapping[str, Any]) -> DerivedSink:
        """What takes the results of one recording; where that fails, nothing of it is added."""

        def add(sink: DerivedSink, spans: Spans) -> list[Path]:
            self.rows += summary_rows(recording, spans, self._options, _points(sink))
            return []

        return DerivedSink(self._path, recording, header, self._options, add, overwrite=self._overwrite)

    def write(self) -> list[Path]:
        """Write the table. Raises OutputError."""
        return write_table(self._path, COLUMNS, map(",".join, self.rows), overwrite=self._overwrite)


DERIVED = {"angles": angles_sink, "mot": mot_sink, "summary": summary_sink}
ENDINGS = {"angles": "_angles.csv", "mot": "_angles.mot", "summary": "_summary.csv"}  # behind the recording's stem


def formats_of(words: Iterable[str]) -> list[str]:
    """The formats that -f names, as they are called here. Raises: UsageError: one of them is no format of a file."""
    names = [word.strip().lower() for word in words if word.strip()]
    for name in names:
        if name not in (*FORMATS, *DERIVED):
            fix = ", ".join((*FORMATS, *DERIVED))
            raise UsageError(f"unknown format {name!r}", why="no such file format", fix=fix)
    return names


def write_table(path: Path, columns: Sequence[str], rows: Iterable[str], *, overwrite: bool = False) -> list[Path]:
    """Write a CSV table, whole or not at all. Raises OutputError."""
    return _write(path, (line + "\n" for line in chain((",".join(columns),), rows)), overwrite=overwrite)


def _write(path: Path, lines: Iterable[str], *, overwrite: bool) -> list[Path]:
    file = PartFile(path, overwrite=overwrite)
    try:
        for line in lines:
            file.write(line)
        file.seal()
    except BaseException:
        file.discard()
        raise
    if str(path) == "-":
        return []
    into_place(PartFile.part(path), path, overwrite=overwrite)
    return [path]


def _angles(sink: DerivedSink, spans: Spans) -> list[Path]:
    told = sink.header.get("error_kind", "none") != "none"
    columns = ("frame", "pts_s", "id", *TABLE, *(f"{name}_error" for name in TABLE if told), "points")
    points = quoted_cell(_points(sink))
    rows: list[tuple[int, int, str]] = []
    for place, span in enumerate(spans):
        rows += _rows(span, place, sink.options, told=told, unnamed=spans.unnamed)
    rows.sort()  # in the order of time, a frame's people together
    return write_table(sink.path, columns, (f"{line},{points}" for *_, line in rows), overwrite=sink.overwrite)


def _points(sink: DerivedSink) -> str:
    """Which points the angles are of: "raw", or how they were smoothed, as it is typed."""
    return spelled(sink.header.get("smooth")) if sink.options.field == "smooth" else "raw"


def _rows(span: Span, place: int, options: SinkOptions, *, told: bool, unnamed: bool) -> Iterator[tuple[int, int, str]]:
    """The rows of one person, each with its place in the table; those who cannot be followed are never away."""
    person = span.person
    xy = sure(person, options.kpt_thr)
    values = [degrees(xy, name) for name in TABLE]
    values += [degrees_error(xy, person.errors, name) for name in TABLE if told]
    numbers = [_cells(one, options) for one in values]
    who = "" if person.id < 0 else str(person.id)
    for row, (frame, pts, seen, *cells) in enumerate(zip(span.frames, span.pts, person.seen, *numbers, strict=True)):
        if seen or not unnamed:
            when = "" if frame < 0 else str(frame)
            yield span.first + row, place, ",".join((when, f"{pts:.{SECONDS}f}", who, *cells))


def _cells(values: Array, options: SinkOptions) -> list[str]:
    absent = "nan" if options.fill == "nan" else ""
    if options.full_precision:
        return [absent if np.isnan(value) else repr(value) for value in values.tolist()]
    rounded = (np.round(values, DEGREES) + 0.0).tolist()  # no minus before a zero
    return [absent if np.isnan(value) else f"{value:.{DEGREES}f}" for value in rounded]


def _mots(sink: DerivedSink, spans: Spans) -> list[Path]:
    people = [span.person.id for span in spans]
    if any(who < 0 for who in people):
        raise UsageError("mot needs ids", why="tracking was off, and a file holds one person", fix="video --track")
    if str(sink.path) == "-" and len(people) > 1:
        known = ",".join(map(str, people))
        raise UsageError("-o - with -f mot", why=f"a file holds one person, and {known} are there", fix="--ids")
    made: list[Path] = []
    for span in spans:
        xy = sure(span.person, sink.options.kpt_thr)
        columns = {name: np.round(degrees(xy, name), DEGREES) + 0.0 for name in TABLE}
        path = sink.path if str(sink.path) == "-" else person_path(sink.path, span.person.id)
        sink.frames[path] = int((span.frames >= 0).sum())
        made += _write(
            path, mot_lines(span.pts.tolist(), columns, f"{NOTE} Points: {_points(sink)}."), overwrite=sink.overwrite
        )
    if sink.overwrite and made:
        for stale in set(person_paths(sink.path)) - set(made):
            stale.unlink()
    return made
