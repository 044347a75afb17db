"""`tfpose-rt explain`: how the model came to one person's keypoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfpose_rt.cli.options import (
    DISPLAY,
    INPUT,
    OUTPUT,
    Conf,
    ConfigFile,
    DetectorName,
    DetSize,
    Device,
    Overwrite,
    Quiet,
    Threads,
    Weights,
)  # fmt: skip


def explain(
    source: Annotated[str, typer.Argument(metavar="IMAGE|VIDEO@FRAME", help="An image, or clip.mp4@60: frame 60.")],
    number: Annotated[
        int, typer.Option("--id", help="Which of the people found there, best first.", rich_help_panel=INPUT)
    ] = 0,
    joint: Annotated[str, typer.Option("--joint", help="all, or one: left_wrist.", rich_help_panel=DISPLAY)] = "all",
    layer: Annotated[
        str,
        typer.Option(
            "--layer", help="Attention of this decoder layer: last, a number or all.", rich_help_panel=DISPLAY
        ),
    ] = "last",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="PNG, SVG or PDF; SOURCE_explain.png here.", rich_help_panel=OUTPUT),
    ] = None,
    weights: Weights = "default",
    detector: DetectorName = "yolo-n",
    det_size: DetSize = 640,
    conf: Conf = 0.25,
    device: Device = "auto",
    threads: Threads = 0,
    overwrite: Overwrite = False,
    config: ConfigFile = None,
    quiet: Quiet = False,
) -> None:
    """Show how the model found one person: box, crop, each decoder layer's points and where it looked; moves in px."""
    check_source(source)
    from tfpose_rt.cli.show import say, show_log
    from tfpose_rt.config import RunConfig
    from tfpose_rt.io.sinks import check_outputs
    from tfpose_rt.tools.explain import explain as run
    from tfpose_rt.tools.explain import figure_name, joint_of, layers_of, table
    from tfpose_rt.tools.explain_figure import draw
    from tfpose_rt.tools.plot import check_suffix
    from tfpose_rt.training.plots import blank, save

    show_log(0, quiet)
    chosen = joint_of(joint)
    target = out or Path(figure_name(source))
    check_suffix(target)
    check_outputs([target], overwrite, inputs=[source])
    blank(1, 1)  # without matplotlib it ends here, not after the model has run
    settings = RunConfig(
        weights=weights, detector=detector, det_size=det_size, conf=conf, device=device, threads=threads
    )  # fmt: skip
    seen = run(source, settings, person=number)
    layers = layers_of(layer, len(seen.looks))
    save(draw(seen, chosen, layers), target)
    typer.echo(table(seen, chosen))
    say(f"wrote {target}")


def check_source(spec: str) -> None:
    """Refuse what has no picture to explain, and show no password of it.

    Raises: UsageError: a camera, an address, a recording, a frame that is no number. InputError: there is no such file.
    """
    from tfpose_rt.errors import InputError, UsageError
    from tfpose_rt.io.sinks import SINKS
    from tfpose_rt.tools.explain import refuse_live

    name, at, frame = spec.rpartition("@")
    path = Path(spec if Path(spec).exists() or not at else name)
    refuse_live(spec)
    if str(path).startswith("synthetic"):
        return
    if not path.exists():
        raise InputError(f"no file {path}", why="nothing has that name", fix="the path of an image, or VIDEO@FRAME")
    suffix = path.with_suffix("").suffix if path.suffix == ".part" else path.suffix
    if path.is_file() and suffix and suffix.lower() in SINKS:
        why = "joints are in it, no pictures"
        raise UsageError(f"{path} is a recording", why=why, fix="the video it was made from, VIDEO@FRAME")
    if at and path != Path(spec) and not frame.isdecimal():
        raise UsageError(f"frame {frame!r} of {path}", why="not a number, counted from 0", fix=f"{path}@0")
