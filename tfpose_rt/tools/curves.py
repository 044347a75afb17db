"""Held-out AP and loss of training runs over the crops seen: python -m tfpose_rt.tools.curves RUN... -o curves.png.

RUN is a training run's folder or its log.csv; several runs are drawn on one figure, with a legend.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tfpose_rt.errors import UsageError
from tfpose_rt.io.sinks import check_outputs
from tfpose_rt.tools.entry import exits
from tfpose_rt.tools.tiles import short_names
from tfpose_rt.training.plots import curves


def draw_runs(runs: Sequence[Path], out: Path, names: Sequence[str] = (), *, overwrite: bool = False) -> None:
    """Draw the curves of runs.

    Args:
        runs: folders of runs, or their log.csv.
        out: picture to write.
        names: of the runs; those of their folders by default.
        overwrite: `out` may be replaced.
    Raises: InputError: no log there. UsageError: another number of names. OutputError: `out` cannot be written.
    """
    check_outputs([out], overwrite)
    if names and len(names) != len(runs):
        raise UsageError(f"{len(names)} names for {len(runs)} runs", why="each run has one", fix="--name once a run")
    logs = [run / "log.csv" if run.is_dir() else run for run in runs]
    curves(logs, out, names or short_names([log.absolute().parent for log in logs]))


@exits
def main() -> None:
    """Write the figure."""
    parser = argparse.ArgumentParser(
        prog="python -m tfpose_rt.tools.curves",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("-o", "--out", type=Path, required=True, help=".png, .svg or .pdf")
    parser.add_argument(
        "--name", action="append", default=[], help="of a run, in their order; their folders' by default"
    )
    parser.add_argument("--overwrite", action="store_true")
    given = parser.parse_args()
    draw_runs(given.runs, given.out, given.name, overwrite=given.overwrite)


if __name__ == "__main__":
    sys.exit(main())
