"""Parquet: the wide table of `tables.py` as typed columns, header and summary in the file's key-value metadata."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpose_rt.errors import InputError, UsageError, line_of
from tfpose_rt.io.chosen import chosen
from tfpose_rt.io.parts import SinkOptions
from tfpose_rt.io.spool import Made, SpoolSink, new_name
from tfpose_rt.io.table_rows import results_of_rows, size_of, tell_smoothed
from tfpose_rt.io.tables import SWAPPED, WIDE, WIDE_TABLES, more_columns, more_values
from tfpose_rt.records import Poses, Result
from tfpose_rt.shell import install

if TYPE_CHECKING:
    import polars as pl

ROWS = 20_000  # of one piece, while the table is put together
KEY = "tfpose-rt"


def parquet_sink(
    path: Path, header: Mapping[str, Any], options: SinkOptions | None = None, *, overwrite: bool = False
) -> SpoolSink:
    """A sink for one Parquet file: frame int64, id int32, pts_s float64, marks bool, else float32; absent is null."""
    _polars()
    return SpoolSink(path, header, options, _build, overwrite=overwrite, files=[path], sums_up=True)


def _build(path: Path, results: Callable[[], Iterator[Result]], about: Mapping[str, Any], options: SinkOptions) -> Made:
    polars = _polars()
    more = more_columns(about["header"], options)
    columns = (*WIDE, *more)
    pieces: list[pl.DataFrame] = []
    rows: list[tuple[Any, ...]] = []
    for result in results():
        if result.poses is not None:
            rows += _rows(result, chosen(result.poses, options), more)
        if len(rows) >= ROWS:
            pieces.append(_frame(rows, columns))
            rows = []
    table = polars.concat([*pieces, _frame(rows, columns)], rechunk=False)
    metadata = {KEY: json.dumps({**about, "field": options.field, "normalised": options.normalised})}
    table.write_parquet(new_name(path), metadata=metadata)
    return [(new_name(path), path)]


def _rows(result: Result, poses: Poses, more: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    if not len(poses):
        yield (result.frame, result.pts, *(None,) * (len(WIDE) - 2 + len(more)))
    for i in range(len(poses)):
        scores = np.full(poses.xy.shape[1], np.nan) if poses.scores is None else poses.scores[i]
        joints = np.column_stack((poses.xy[i], scores)).ravel().tolist()
        who = None if poses.ids is None else int(poses.ids[i])
        person = (who, float(poses.box_scores[i]), *poses.boxes[i].tolist(), *joints)
        yield (result.frame, result.pts, *person, *more_values(poses, i, more))


def _frame(rows: list[tuple[Any, ...]], columns: tuple[str, ...]) -> pl.DataFrame:
    import polars as pl

    types = {"frame": pl.Int64, "pts_s": pl.Float64, "id": pl.Int32, **dict.fromkeys(SWAPPED, pl.Boolean)}
    frame = pl.DataFrame(rows, schema={name: types.get(name, pl.Float32) for name in columns}, orient="row")
    return frame.with_columns(pl.col(pl.Float32).fill_nan(None))


def read_parquet(path: Path) -> tuple[dict[str, Any] | None, Iterator[Result], dict[str, Any] | None]:
    """A Parquet file made here as its header record, its results and its summary.

    Raises: InputError: it cannot be read or has other columns.
    """
    pl = _polars()
    about = about_parquet(path)
    try:
        table = pl.read_parquet(path)
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise _unreadable(path, error) from error
    if tuple(table.columns) not in WIDE_TABLES or about.get("normalised"):
        raise InputError(f"{path.name} is not a table of poses in pixels", why="other columns", fix="the JSONL")
    tell_smoothed(path.name, about)
    header = about.get("header")
    results = results_of_rows(table.iter_rows(named=True), size_of(header, path.name), path.name)
    return header, results, about.get("summary")


def about_parquet(path: Path) -> dict[str, Any]:
    """What a Parquet file made here says of itself, its rows unread: header, summary, field; {} of another's.

    Raises: InputError: it cannot be read.
    """
    pl = _polars()
    try:
        about: dict[str, Any] = json.loads(pl.read_parquet_metadata(path).get(KEY, "{}"))
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise _unreadable(path, error) from error
    return about


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"cannot read {path.name}", why=line_of(error), fix="check the path")


def _polars() -> Any:
    try:
        import polars
    except ImportError as error:
        raise UsageError("Parquet needs polars", why="not installed", fix=install("parquet")) from error
    return polars
