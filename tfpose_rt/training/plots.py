"""Pictures of figures; matplotlib, extra `[plot]`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfpose_rt.errors import OutputError, TfposeError
from tfpose_rt.training.evaluate import Reliability


def figure(width: float, height: float) -> tuple[Any, Any]:
    """A figure and its axes, drawn without a screen.

    Raises: TfposeError: matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise TfposeError("plots need matplotlib", why=str(error), fix='pip install "tfpose-rt[plot]"') from error
    made = Figure(figsize=(width, height), layout="constrained")
    return made, made.subplots()


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


def curves(log: Path, path: Path) -> None:
    """Loss and AP of a training run's log.csv over the crops seen."""
    import csv

    rows = list(csv.DictReader(log.read_text(encoding="utf-8").splitlines()))
    made, axes = figure(7, 4)
    seen = [float(r["seen"]) / 1000 for r in rows]
    axes.plot(seen, [float(r["AP"]) for r in rows], "o-", color="#0072B2", label="AP, held-out crops")
    axes.set(xlabel="thousand crops", ylabel="AP")
    other = axes.twinx()
    other.plot(seen, [float(r["pose"]) for r in rows], color="#E69F00", label="pose loss of one batch")
    other.set_ylabel("loss")
    axes.legend(loc="lower right")
    save(made, path)
