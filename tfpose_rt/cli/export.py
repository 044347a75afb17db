"""`tfpose-rt export`: a model for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfpose_rt.cli.options import MODEL, OUTPUT, ConfigFile, Overwrite, Quiet


def export(
    weights: Annotated[str, typer.Argument(help="Name or file of a pose model or a person detector.")],
    to: Annotated[
        str,
        typer.Option("--to", help="onnx, openvino or torchscript; by --out, else onnx.", rich_help_panel=OUTPUT),
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help=".onnx, .xml or .torchscript; NAME.onnx here.", rich_help_panel=OUTPUT),
    ] = None,
    precision: Annotated[str, typer.Option("--precision", help="fp32 or fp16.", rich_help_panel=MODEL)] = "fp32",
    dynamic: Annotated[
        str,
        typer.Option(
            "--dynamic", help="What the file leaves open: none, batch, or size (detectors).", rich_help_panel=MODEL
        ),
    ] = "batch",
    det_size: Annotated[
        int, typer.Option("--det-size", help="A detector's input: a square of this side, px.", rich_help_panel=MODEL)
    ] = 640,
    check: Annotated[
        bool,
        typer.Option("--check/--no-check", help="Compare with torch; code 5 if it differs.", rich_help_panel=OUTPUT),
    ] = True,
    overwrite: Overwrite = False,
    config: ConfigFile = None,
    quiet: Quiet = False,
) -> None:
    """Write a model for other runtimes: ONNX, OpenVINO or TorchScript; says how far it is from torch, in px."""
    from tfpose_rt.cli.show import print_table, say
    from tfpose_rt.tools.export import export as run
    from tfpose_rt.tools.export import told

    made = run(
        weights, to, out, precision=precision, free=dynamic, det_size=det_size, check=check, overwrite=overwrite
    )  # fmt: skip
    if not quiet:
        print_table(told(made))
    say(f"wrote {', '.join(map(str, made.files))} ({made.size / 1e6:.1f} MB)")
