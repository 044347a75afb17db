"""TRC in pixels: one file for each person, as Sports2D and Pose2Sim read them. y points down, z is 0."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfpose_rt.errors import UsageError
from tfpose_rt.io.chosen import chosen, decimals
from tfpose_rt.io.parts import ODD, SinkOptions, files_of_persons
from tfpose_rt.io.record_json import SECONDS
from tfpose_rt.io.spool import Made, SpoolSink, new_name
from tfpose_rt.records import Result
from tfpose_rt.skeleton import NAMES

log = logging.getLogger(__name__)
MARKERS = tuple(
    {"left": "L", "right": "R"}.get(first, first.capitalize()) + rest.capitalize()
    for first, _, rest in (name.partition("_") for name in NAMES)
)  # Nose, LEye, REye, ...
HEAD = ("DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units", "OrigDataRate", "OrigDataStartFrame",
        "OrigNumFrames")  # fmt: skip


def trc_sink(
    path: Path, header: Mapping[str, Any], options: SinkOptions | None = None, *, overwrite: bool = False
) -> SpoolSink:
    """A sink for `<stem>_px_person<ID>.trc`, one for each id; every file has a row for every frame."""
    return SpoolSink(path, header, options, _build, overwrite=overwrite, files=(), family=person_paths)


def person_path(path: Path, who: int) -> Path:
    """The file of one person."""
    return path.with_name(f"{_stem(path)}_person{who}.trc")


def person_paths(path: Path) -> list[Path]:
    """The files of persons that are there, whoever they are."""
    return files_of_persons(path.parent, _stem(path), ".trc")


def _stem(path: Path) -> str:
    return path.stem if path.stem.endswith("_px") else path.stem + "_px"


def _build(path: Path, results: Callable[[], Iterator[Result]], about: Mapping[str, Any], options: SinkOptions) -> Made:
    times: list[tuple[int, float]] = []
    people: dict[int, dict[int, npt.NDArray[np.float32]]] = {}  # id -> row -> (17, 2)
    for result in results():
        if result.poses is None:
            continue
        poses = chosen(result.poses, options)
        if len(poses) and poses.ids is None:
            raise UsageError("TRC needs ids", why="tracking was off, and a file holds one person", fix="--track")
        for i in range(len(poses)):
            assert poses.ids is not None
            people.setdefault(int(poses.ids[i]), {})[len(times)] = poses.xy[i]
        times.append((result.frame, result.pts))
    rate = _rate(times, about["header"], path)
    made = []
    for who, rows in sorted(people.items()):
        final = person_path(path, who)
        with new_name(final).open("w", encoding="utf-8", errors=ODD, newline="\n") as file:
            file.writelines(_lines(final.name, times, rows, rate, options))
        made.append((new_name(final), final))
    if not people:
        log.warning("%s: nobody was seen, so there is no TRC file", path.name)
    return made


def _lines(
    name: str, times: list[tuple[int, float]], rows: Mapping[int, npt.NDArray[np.float32]], rate: float,
    options: SinkOptions,
) -> Iterator[str]:  # fmt: skip
    places = decimals(options)
    absent = "nan" if options.fill == "nan" else ""
    units = "share" if options.normalised and options.trc_units == "px" else options.trc_units
    values = (f"{rate:.6g}", f"{rate:.6g}", len(times), len(MARKERS), units, f"{rate:.6g}",
              times[0][0] if times else 0, len(times))  # fmt: skip
    yield f"PathFileType\t4\t(X/Y/Z)\t{name}\n"
    yield "\t".join(HEAD) + "\n"
    yield "\t".join(map(str, values)) + "\n"
    yield "Frame#\tTime\t" + "\t\t\t".join(MARKERS) + "\t\t\n"
    yield "\t\t" + "\t".join(f"X{i}\tY{i}\tZ{i}" for i in range(1, len(MARKERS) + 1)) + "\n"
    for row, (frame, pts) in enumerate(times):
        xy = rows.get(row)
        cells = [absent] * (3 * len(MARKERS))
        if xy is not None:
            for k, (x, y) in enumerate(xy.tolist()):
                if np.isfinite(x) and np.isfinite(y):
                    cells[3 * k : 3 * k + 3] = f"{x:.{places}f}", f"{y:.{places}f}", "0"
        yield f"{frame}\t{pts:.{SECONDS}f}\t" + "\t".join(cells) + "\n"


def _rate(times: list[tuple[int, float]], header: Mapping[str, Any], path: Path) -> float:
    """Frames a second: the usual rate, or the mean where the rate varies."""
    fps = header.get("fps", {})
    steps = np.diff([pts for _, pts in times]) if len(times) > 1 else np.array([1.0 / (fps.get("nominal") or 30.0)])
    if fps.get("variable") or not fps.get("nominal"):
        mean = float(1.0 / steps.mean())
        log.warning("%s: the rate varies; DataRate is the mean, %.3f, and Time has the true times", path.name, mean)
        return mean
    usual = float(1.0 / np.median(steps))  # a lost frame does not change it, --stride does
    return float(fps["nominal"]) if abs(usual / fps["nominal"] - 1) < 0.001 else usual
