"""Wide tables back into results: the rows of a CSV or Parquet file, one result for each frame."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from tfpose_rt.errors import InputError, line_of
from tfpose_rt.io.parts import PartFile
from tfpose_rt.io.tables import ERRORS, SWAPPED, WIDE, WIDE_TABLES, meta_path
from tfpose_rt.records import BoxFrom, Poses, Result, frozen
from tfpose_rt.skeleton import NAMES

log = logging.getLogger(__name__)


def read_csv(path: Path) -> tuple[dict[str, Any] | None, Iterator[Result], dict[str, Any] | None]:
    """A wide CSV file, or its .part, as header record, results and summary; None for those its meta file lacks.

    Raises: InputError: it cannot be read, is in the long layout, or a row is damaged.
    """
    meta: dict[str, Any] = {}
    final = path.with_name(path.name.removesuffix(".part"))
    for side in (meta_path(final), PartFile.part(meta_path(final))):
        with suppress(OSError, ValueError):
            meta = meta or json.loads(side.read_text(encoding="utf-8"))
    meta = meta if isinstance(meta, dict) else {}
    if meta.get("normalised"):
        raise InputError(f"{path.name} holds shares of the picture", why="--normalised made it", fix="the JSONL")
    tell_smoothed(path.name, meta)
    header, cut = meta.get("header"), path.suffix == ".part"
    results = results_of_rows(_csv_rows(path, cut=cut), size_of(header, path.name), path.name, cut=cut)
    return header, results, None if cut else meta.get("summary")


def tell_smoothed(name: str, about: Mapping[str, Any]) -> None:
    """Warn of a table made with --field smooth: what it holds is read as if it were raw."""
    if about.get("field") == "smooth":
        log.warning("%s holds smoothed points alone: they are read as the raw ones", name)


def size_of(header: Mapping[str, Any] | None, name: str) -> tuple[int, int]:
    """The (W, H) that the header of a table `name` tells, px; (0, 0) without one. Raises InputError: it tells none."""
    try:
        width, height = (0, 0) if header is None else header["size"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"the header of {name} is damaged", why="it tells no size", fix="a backup") from error
    return width, height


def _csv_rows(path: Path, *, cut: bool) -> Iterator[dict[str, str]]:
    """The rows of a wide table; with `cut` the last one is left out if it does not end."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets put a mark in front
            reader = csv.DictReader(line for line in file if line.endswith("\n") or not cut)
            if tuple(reader.fieldnames or ()) not in WIDE_TABLES:
                raise InputError(f"{path.name} is not a wide table", why="other columns", fix="--csv-layout wide")
            for row in reader:
                if None in row or None in row.values():
                    why = f"line {reader.line_num} has more or fewer cells"
                    raise InputError(f"{path.name} is damaged", why=why, fix="a backup")
                yield row
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is not UTF-8", why=line_of(error), fix="save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"cannot read {path.name}", why=error.strerror or str(error), fix="check the path") from error


def results_of_rows(
    rows: Iterator[Mapping[str, Any]], size: tuple[int, int], name: str, *, cut: bool = False
) -> Iterator[Result]:
    """Rows of a wide table, in order, as one result for each frame.

    What a table does not hold is left at its default. With `cut` the last frame, which may lack people, is left out.
    """
    frame: tuple[int, float] | None = None
    people: list[Mapping[str, Any]] = []
    seen: set[int] = set()
    for row in rows:
        try:
            key = (int(row["frame"]), float(row["pts_s"]))
        except (ValueError, TypeError) as error:
            raise InputError(f"{name} is damaged", why=f"a row of frame {row['frame']!r}", fix="a backup") from error
        if frame is not None and key != frame:
            yield _checked(frame, people, size, seen, name)
            people = []
        frame = key
        if row["det_score"] not in ("", None):
            people.append(row)
    if frame is not None and not cut:
        yield _checked(frame, people, size, seen, name)


def _checked(
    key: tuple[int, float], people: list[Mapping[str, Any]], size: tuple[int, int], seen: set[int], name: str
) -> Result:
    try:
        return _result_of_people(key, people, size, seen)
    except (ValueError, KeyError, TypeError) as error:
        why = f"a row of frame {key[0]}: {line_of(error)}"
        raise InputError(f"{name} is damaged", why=why, fix="a backup") from error


def _result_of_people(
    key: tuple[int, float], people: list[Mapping[str, Any]], size: tuple[int, int], seen: set[int]
) -> Result:
    n = len(people)
    values = [[row[c] for c in WIDE[3:]] for row in people]
    table = np.array([[np.nan if v in ("", None) else float(v) for v in row] for row in values], np.float64)
    table = table.reshape(n, len(WIDE) - 3)
    joints = table[:, 5:].reshape(n, len(NAMES), 3)
    errors = None
    if n and ERRORS[0] in people[0]:
        errors = np.array([[np.nan if row[c] in ("", None) else float(row[c]) for c in ERRORS] for row in people])
    swapped = None
    if n and SWAPPED[0] in people[0] and people[0][SWAPPED[0]] not in ("", None):
        swapped = frozen([[row[c] in ("1", True) for c in SWAPPED] for row in people], bool)
    ids = None if any(row["id"] in ("", None) for row in people) else frozen([int(r["id"]) for r in people], np.int64)
    new = frozen([ids is not None and int(i) not in seen for i in (ids if ids is not None else ())], bool)
    seen.update(() if ids is None else map(int, ids))
    box_from: list[BoxFrom] = ["detector"] * n
    poses = Poses(
        xy=frozen(joints[..., :2]),
        scores=None if n and np.isnan(joints[..., 2]).all() else frozen(joints[..., 2]),
        boxes=frozen(table[:, 1:5]),
        box_scores=frozen(table[:, 0]),
        ids=ids,
        frame=key[0],
        pts=key[1],
        size=size,
        box_from=box_from,
        new=new if ids is not None else None,
        errors=None if errors is None or np.isnan(errors).all() else frozen(errors),
        swapped=swapped,
    )
    return Result(frame=key[0], pts=key[1], poses=poses, seq=key[0])
