"""Pictures of figures; matplotlib, extra `[plot]`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from tfpose_rt.errors import InputError, OutputError, TfposeError
from tfpose_rt.training.evaluate import Reliability

# Okabe-Ito without yellow, which is lost on white; told apart by colour-blind readers.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")


def blank(width: float, height: float) -> Any:
    """A figure of so many inches without axes, drawn without a screen.

    Raises: TfposeError: matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise TfposeError("plots need matplotlib", why=str(error), fix='pip install "tfpose-rt[plot]"') from error
    return Figure(figsize=(width, height), layout="constrained")


def figure(width: float, height: float, rows: int = 1) -> tuple[Any, Any]:
    """A `blank` figure and its axes (an array of them where there are several rows, over one x)."""
    made = blank(width, height)
    return made, made.subplots(rows, sharex=True)


def save(made: Any, path: Path) -> None:
    """Write a figure; the suffix picks the format.

    Raises: OutputError: the place cannot be written.
    """
    try:
        made.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {path}", why=str(error), fix="a .png or .svg file") from error


def reliability_plot(graph: Reliability, path: Path, title: str) -> None:
    """Score against the share that was right, with the number of joints in each bin."""
    made, axes = figure(5, 5)
    used = graph.count > 0
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="honest")
    axes.plot(graph.scored[used], graph.right[used], "o-", color="#0072B2", label=f"error {graph.error:.3f}")
    bars = axes.twinx()
    bars.bar(graph.scored[used], graph.count[used], width=0.06, color="#E69F00", alpha=0.3)
    bars.set_ylabel("joints")
    axes.set(xlabel="score", ylabel="share within the OKS tolerance", title=title, xlim=(0, 1), ylim=(0, 1))
    axes.legend(loc="upper left")
    save(made, path)


def curves(logs: Sequence[Path], path: Path, names: Sequence[str]) -> None:
    """Held-out AP, and under it the loss, over the crops seen, a line for each run.

    Args:
        logs: each a training run's log.csv.
        path: picture to write.
        names: of the runs, for the legend.
    Raises: InputError: a log has no such columns, or no line. OutputError, TfposeError: as `save` and `figure`.

    The loss is the mean since the validation before. A run that held nothing out has no AP.
    """
    runs = [read_log(log) for log in logs]
    made, (upper, lower) = figure(7, 6, rows=2)
    for run, name, colour in zip(runs, names, cycle(COLOURS), strict=False):
        seen = [crops / 1000 for crops in run["seen"]]
        if "AP" in run:
            upper.plot(seen, run["AP"], "o-", color=colour, markersize=4, label=name)
        lower.plot(seen, run["pose"], "o-", color=colour, markersize=4, label=name)
    upper.set_ylabel("AP, held-out crops")
    lower.set(xlabel="thousand crops seen", ylabel="pose loss")
    for axes in (upper, lower):
        axes.grid(color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    lower.legend()
    save(made, path)


def read_log(log: Path) -> dict[str, list[float]]:
    """A log.csv's columns `seen`, `pose` and, where people were held out, `AP`.

    Raises: InputError: not such a file.
    """
    try:
        rows = list(csv.DictReader(log.read_text(encoding="utf-8").splitlines()))
        names = ("seen", "pose", *(["AP"] if rows and "AP" in rows[0] else []))
        run = {name: [float(row[name]) for row in rows] for name in names}
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"no column {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"cannot read {log}", why=why, fix="the log.csv of a training run") from error
    if not rows:
        raise InputError(f"{log} is empty", why="nothing was validated yet", fix="wait for the first validation")
    return run
