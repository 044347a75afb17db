"""`tfpose-rt eval`: how good the keypoints are, by the field's own measures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfpose_rt.cli.options import (
    INPUT,
    MODEL,
    OUTPUT,
    Conf,
    ConfigFile,
    DetectorName,
    DetSize,
    Device,
    Engine,
    Iou,
    Kernel,
    Overwrite,
    Precision,
    Weights,
    _option,
    require_folder,
)
from tfpose_rt.errors import InputError, UsageError
from tfpose_rt.wording import plural

if TYPE_CHECKING:
    from collections.abc import Mapping


def evaluate(
    data: Annotated[Path, typer.Argument(help="Folder with COCO-format keypoints and images, or a training pack.")],
    ann: Annotated[Path | None, _option(INPUT, "--ann", help="COCO keypoint file, where it is not in DATA.")] = None,
    boxes: Annotated[str, _option(INPUT, "--boxes", help="gt, detector, or a COCO results file with boxes.")] = "gt",
    results: Annotated[
        Path | None,
        _option(INPUT, "--results", help="Keypoints of another program, counted instead of a model's.", dir_okay=False),
    ] = None,
    batch: Annotated[int, _option(MODEL, "--batch", help="Crops per forward pass.", min=1)] = 32,
    flip_test: Annotated[
        bool, _option(MODEL, "--flip-test/--no-flip-test", help="Average with the mirrored crop.")
    ] = False,
    limit: Annotated[int | None, _option(INPUT, "--limit", help="The first so many images only.", min=1)] = None,
    held_out: Annotated[
        bool, _option(INPUT, "--held-out", help="Only the validation part of a training pack.")
    ] = False,
    dump: Annotated[Path | None, _option(OUTPUT, "--dump", help="Write the COCO results here.", dir_okay=False)] = None,
    plot: Annotated[Path | None, _option(OUTPUT, "--reliability", help="Write the reliability plot here, PNG.")] = None,
    min_ap: Annotated[float | None, _option(OUTPUT, "--min-ap", help="End with code 1 below this AP.")] = None,
    as_json: Annotated[bool, _option(OUTPUT, "--json", help="Figures on stdout.")] = False,
    overwrite: Overwrite = False,
    weights: Weights = "default",
    detector: DetectorName = "yolo-n",
    det_size: DetSize = 640,
    conf: Conf = 0.01,
    iou: Iou = 0.7,
    device: Device = "auto",
    engine: Engine = "torch",  # whose figures are comparable with those published
    precision: Precision = "auto",
    kernel: Kernel = "auto",
    config: ConfigFile = None,
) -> None:
    """COCO AP, AR, PCK and the calibration of the scores."""
    from tfpose_rt.cli.show import print_table, say
    from tfpose_rt.config import RunConfig
    from tfpose_rt.io.sinks import check_outputs

    require_folder(data)
    data = data.absolute()  # which has a name even if it is here
    check_outputs([path for path in (dump, plot) if path is not None], overwrite)
    from tfpose_rt.training.exam import APART, examine

    if results is not None:
        from tfpose_rt.training.peers import score

        _refuse({"--boxes": boxes != "gt", "--flip-test": flip_test, "--limit": limit, "--held-out": held_out,
                 "--dump": dump})  # fmt: skip
        report = score(data, results, ann=ann)
    else:
        run = RunConfig(
            weights=weights, detector=detector, det_size=det_size, conf=conf, iou=iou, device=device, engine=engine,
            precision=precision, kernel=kernel,
        )  # fmt: skip
        report = examine(data, run, ann=ann, boxes=boxes, batch=batch, flip=flip_test, limit=limit, held_out=held_out)
    if dump is not None:
        dump.write_text(json.dumps(report.results), encoding="utf-8")
        say(f"wrote {dump} ({plural(len(report.results), 'person', 'people')})")
    if plot is not None and not report.reliability.count.any():
        why = "its rows have scores beyond 0..1, or do not say whom they mean"
        raise InputError(f"no reliability plot of {data.name}", why=why, fix="ann_id in each row (docs/peers.md)")
    if plot is not None:
        from tfpose_rt.training.plots import reliability_plot

        reliability_plot(report.reliability, plot, title=f"{report.facts['model']} on {data.name}")
        say(f"wrote {plot}")
    figures: dict[str, Any] = report.figures
    if as_json:
        typer.echo(json.dumps({**report.facts, **figures, "reliability": report.reliability_rows()}))
    else:
        print_table({name: _apart(fact) if name == APART else fact for name, fact in report.facts.items()})
        print_table({k: f"{v:.3f}" if "calibration" in k else f"{v:.1f}" for k, v in figures.items()})
    if min_ap is not None and figures.get("AP", 0.0) < min_ap:
        say(f"AP {figures.get('AP', 0.0):.1f} is under --min-ap {min_ap}")
        raise typer.Exit(1)


def _refuse(given: Mapping[str, object]) -> None:
    """Options that mean a model, beside `--results`."""
    for name, value in given.items():
        if value:
            raise UsageError(f"{name} with --results", why="no model runs", fix=f"leave {name} out")


def _apart(told: Mapping[str, Any]) -> str:
    """How far apart the two kernels are, or why that is not known, in words."""
    if told["px"] is None:
        return f"not measured: {told['why']}"
    return f"at most {told['px']:.2g} px and {told['score']:.2g} of a score apart on {plural(told['crops'], 'crop')}"
