"""CSV and Parquet. Wide: a row for each person and frame; long: a row for each joint. Empty frames have a row too.

Columns, stated once: `frame` (index in the source), `pts_s` (s), `id`, `det_score` (0..1), `x0, y0, x1, y1` (box, px),
then x, y (px) and score (0..1) of every joint. Behind them the error (px) of every joint where the model tells errors,
and whether left and right of the arms, of the legs, were exchanged (0, 1) where sides are tracked, so that no column
moves. Header and summary go to `<name>.meta.json`, or into the Parquet file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfpose_rt.io.chosen import chosen, decimals
from tfpose_rt.io.parts import PartFile, SinkOptions
from tfpose_rt.io.record_json import SCORES, SECONDS
from tfpose_rt.records import Poses, Result
from tfpose_rt.skeleton import INDEX, LIMBS, NAMES

PERSON = ("id", "det_score", "x0", "y0", "x1", "y1")
WIDE = ("frame", "pts_s", *PERSON, *(f"{name}_{part}" for name in NAMES for part in ("x", "y", "score")))
LONG = ("frame", "pts_s", "id", "keypoint", "x", "y", "score")
ERRORS = tuple(f"{name}_error" for name in NAMES)
SWAPPED = tuple(f"{limbs}_swapped" for limbs in LIMBS)
LIMBS_OF = {
    f"{side}_{joint}": limbs for limbs, joints in LIMBS.items() for joint in joints for side in ("left", "right")
}
WIDE_TABLES = [(*WIDE, *errors, *swapped) for errors in ((), ERRORS) for swapped in ((), SWAPPED)]  # that can be read


class CsvSink:
    """Comma, dot, LF, UTF-8; flushed each second to `<name>.part`.

    Args:
        path: final name.
        header: the header record, for `<name>.meta.json`.
        options: `csv_layout`, `field`, `fill`, `normalised`, `full_precision` and `resume` apply.
        overwrite: whether finished files may be replaced.
    """

    sums_up = True

    def __init__(
        self, path: Path, header: Mapping[str, Any], options: SinkOptions | None = None, *, overwrite: bool = False
    ) -> None:
        self.path, self.written, self.files = path, 0, [path, meta_path(path)]
        self._options = options = options or SinkOptions()
        self._long, self._header, self._more = options.csv_layout == "long", header, more_columns(header, options)
        keep = None if options.resume is None else self._kept(options.resume.last)
        self._file = PartFile(path, overwrite=overwrite, keep=keep)
        self._meta = PartFile(meta_path(path), overwrite=overwrite)
        self._meta.write(self._meta_text(None))
        self._meta.flush()
        if keep is None:
            columns = (*LONG, *_long_names(self._more)) if self._long else (*WIDE, *self._more)
            self._file.write(",".join(columns) + "\n")

    def _meta_text(self, summary: Mapping[str, Any] | None) -> str:
        about = {
            "layout": self._options.csv_layout,
            "field": self._options.field,
            "normalised": self._options.normalised,
        }
        return json.dumps({**about, "header": self._header, "summary": summary}, ensure_ascii=False, indent=1) + "\n"

    def _kept(self, last: int) -> int:
        keep, frames = 0, set()
        with PartFile.part(self.path).open("rb") as file:
            for number, line in enumerate(file):
                if not number:  # a run that began before there were such columns goes on without them
                    there = line.decode().rstrip().split(",")
                    self._more = tuple(c for c in self._more if (_long_names((c,))[0] if self._long else c) in there)
                if not line.endswith(b"\n") or (number and int(line.split(b",", 1)[0]) > last):
                    break
                keep += len(line)
                if number:
                    frames.add(line.split(b",", 1)[0])
        self.written = len(frames)
        return keep

    def write(self, result: Result) -> None:
        """Add a frame; gaps and events have no row."""
        if result.poses is None:
            return
        poses = chosen(result.poses, self._options)
        rows = (_long_rows if self._long else _wide_rows)(poses, self._more)
        pixels = None if self._options.full_precision else decimals(self._options)
        places = {"px": pixels, "score": SCORES, "mark": 0}
        for who, numbers in rows:
            cells = [str(result.frame), f"{result.pts:.{SECONDS}f}", *who]
            cells += [_cell(value, places[unit], self._options.fill) for value, unit in numbers]
            self._file.write(",".join(cells) + "\n")
        self.written += 1

    def close(self, summary: Mapping[str, Any]) -> None:
        """Give the table and its meta file their final names."""
        self._file.finish()
        self._meta.rewrite(self._meta_text(summary))
        self._meta.finish()

    def abort(self) -> None:
        """Leave both `.part` files."""
        self._file.abort()
        self._meta.abort()

    def discard(self) -> None:
        """Remove both `.part` files."""
        self._file.discard()
        self._meta.discard()

    @classmethod
    def last_frame(cls, path: Path) -> int | None:
        """Index of the last frame known to be complete in an unfinished `path`."""
        frames: list[int] = []
        with PartFile.part(path).open("rb") as file:
            next(file, None)
            for line in file:
                if line.endswith(b"\n") and (not frames or int(line.split(b",", 1)[0]) != frames[-1]):
                    frames = [*frames[-1:], int(line.split(b",", 1)[0])]
        return frames[0] if len(frames) == 2 else None  # the very last one may lack people


def meta_path(path: Path) -> Path:
    """Where the header of a CSV file is kept."""
    return path.with_suffix(".meta.json")


def more_columns(header: Mapping[str, Any], options: SinkOptions) -> tuple[str, ...]:
    """The columns that a wide table of this recording has behind those of `WIDE`."""
    errors = header.get("error_kind", "none") != "none" and not options.normalised
    return (*(ERRORS if errors else ()), *(SWAPPED if header.get("sides") == "tracked" else ()))


def more_values(poses: Poses, i: int, columns: Sequence[str]) -> list[float | bool | None]:
    """What stands in those columns for person `i`."""
    values: list[float | bool | None] = []
    for name in columns:
        of, _, part = name.rpartition("_")
        if part == "error":
            values.append(None if poses.errors is None else float(poses.errors[i, INDEX[of]]))
        else:
            values.append(poses.swapped is not None and bool(poses.swapped[i, list(LIMBS).index(of)]))
    return values


def _long_names(columns: Sequence[str]) -> tuple[str, ...]:
    """What those columns of a wide table are called in a long one, where a row has one of each."""
    return tuple(dict.fromkeys(name.rpartition("_")[2] for name in columns))


Cells = list[tuple[float | None, str]]  # numbers, each with its unit: px, score or mark
UNITS = {"error": "px", "swapped": "mark"}


def _wide_rows(poses: Poses, more: Sequence[str]) -> Iterator[tuple[list[str], Cells]]:
    """Every row of one frame: its text cells and its numbers."""
    if not len(poses):
        yield [""], [(None, "px")] * (len(WIDE) - 3 + len(more))
    for i in range(len(poses)):
        numbers: Cells = [(float(poses.box_scores[i]), "score")]
        numbers += [(float(v), "px") for v in poses.boxes[i]]
        for k, (x, y) in enumerate(poses.xy[i]):
            score = None if poses.scores is None else float(poses.scores[i, k])
            numbers += [(float(x), "px"), (float(y), "px"), (score, "score")]
        units = [UNITS[name.rpartition("_")[2]] for name in more]
        numbers += zip(more_values(poses, i, more), units, strict=True)
        yield ["" if poses.ids is None else str(poses.ids[i])], numbers


def _long_rows(poses: Poses, more: Sequence[str]) -> Iterator[tuple[list[str], Cells]]:
    parts = _long_names(more)
    if not len(poses):
        yield ["", ""], [(None, "px")] * (3 + len(parts))
    for who, numbers in _wide_rows(poses, more) if len(poses) else ():
        told = dict(zip(more, numbers[len(WIDE) - 3 :], strict=True))
        for k, name in enumerate(NAMES):
            own = [
                told.get(f"{name if part == 'error' else LIMBS_OF.get(name)}_{part}", (0.0, "mark")) for part in parts
            ]
            yield [*who, name], [*numbers[5 + 3 * k : 8 + 3 * k], *own]


def _cell(value: float | None, places: int | None, fill: str) -> str:
    if value is None or not np.isfinite(value):
        return "nan" if fill == "nan" else ""
    return repr(value) if places is None else f"{value:.{places}f}"
