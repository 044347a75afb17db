"""OpenSim's motion files: numbers over time, separated by tabs, behind a header that counts them; one for each person.

Its readers split lines at blanks and take every piece for a number, so an absent value is NaN and never nothing, and
names hold no blank. `nColumns` counts the column of the time, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tfpose_rt.io.parts import files_of_persons
from tfpose_rt.io.record_json import SECONDS

DEGREES = 2  # decimals


def person_path(path: Path, who: int) -> Path:
    """The file of one person."""
    return path.with_name(f"{path.stem}_person{who}.mot")


def person_paths(path: Path) -> list[Path]:
    """The files of persons that are there, whoever they are."""
    return files_of_persons(path.parent, path.stem, ".mot")


def mot_lines(times: Sequence[float], columns: Mapping[str, npt.NDArray[np.float64]], note: str) -> Iterator[str]:
    """The lines of one file.

    Args:
        times: (R,) s, increasing.
        columns: (R,) degrees by name, NaN where unknown.
        note: what a reader has to know of them, in one line without "=".
    """
    yield "Coordinates\nversion=1\n"
    yield f"nRows={len(times)}\nnColumns={len(columns) + 1}\ninDegrees=yes\n\n{note}\n\nendheader\n"
    yield "\t".join(("time", *columns)) + "\n"
    for when, *values in zip(times, *columns.values(), strict=True):
        cells = ("NaN" if np.isnan(value) else f"{value:.{DEGREES}f}" for value in values)
        yield f"{when:.{SECONDS}f}\t" + "\t".join(cells) + "\n"
