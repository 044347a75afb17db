"""`tfpose-rt convert`: a recording into other file formats, and back where the format holds enough."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tfpose_rt.cli.options import INPUT, OUTPUT, ConfigFile, FullPrecision, Overwrite, Quiet
from tfpose_rt.wording import plural


def _option(panel: str, *names: str, help: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel)


Recording = Annotated[Path, typer.Argument(help="A .jsonl, .csv or .parquet file, or the .part of an unfinished run.")]
Format = Annotated[
    str, _option(OUTPUT, "--format", "-f", help="jsonl, csv, parquet, openpose, coco, trc; comma between.")
]
Out = Annotated[list[Path], _option(OUTPUT, "--out", "-o", help="File, or folder for several.")]
CsvLayout = Annotated[str, _option(OUTPUT, "--csv-layout", help="wide or long.")]
Layout = Annotated[str, _option(OUTPUT, "--openpose-layout", help="coco17, coco18 or body25.")]
Naming = Annotated[str, _option(OUTPUT, "--naming", help="OpenPose file names: openpose or pose2sim.")]
Threshold = Annotated[float, _option(OUTPUT, "--kpt-thr", help="OpenPose JSON: points below it are 0,0,0.")]
Units = Annotated[str, _option(OUTPUT, "--trc-units", help="Label of the unit in TRC files.")]
Ids = Annotated[str, _option(INPUT, "--ids", help="all, or these people, such as 3,5.")]
Fill = Annotated[str, _option(OUTPUT, "--fill", help="How an absent value is written: none or nan.")]
Normalised = Annotated[bool, _option(OUTPUT, "--normalised", help="0..1 instead of pixels.")]
Field = Annotated[str, _option(INPUT, "--field", help="raw or smooth.")]
Strict = Annotated[bool, _option(INPUT, "--strict", help="Refuse a recording cut short or with gaps.")]


def convert(
    recording: Recording,
    format: Format = "",
    out: Out = [],
    csv_layout: CsvLayout = "wide",
    openpose_layout: Layout = "coco18",
    naming: Naming = "openpose",
    kpt_thr: Threshold = 0.3,
    trc_units: Units = "px",
    ids: Ids = "",
    fill: Fill = "none",
    normalised: Normalised = False,
    field: Field = "raw",
    strict: Strict = False,
    full_precision: FullPrecision = False,
    overwrite: Overwrite = False,
    config: ConfigFile = None,
    quiet: Quiet = False,
) -> None:
    """Turn a recording into other file formats."""
    from tfpose_rt.cli.show import say, show_log
    from tfpose_rt.errors import UsageError
    from tfpose_rt.io.openpose import LAYOUTS
    from tfpose_rt.io.parts import SinkOptions
    from tfpose_rt.io.sinks import finals
    from tfpose_rt.tools.outputs import folders, plan
    from tfpose_rt.tools.recordings import convert as run

    show_log(0, quiet)
    for flag, value, known in (
        ("--csv-layout", csv_layout, ("wide", "long")), ("--openpose-layout", openpose_layout, tuple(LAYOUTS)),
        ("--naming", naming, ("openpose", "pose2sim")), ("--fill", fill, ("none", "nan")),
        ("--field", field, ("raw", "smooth")),
    ):  # fmt: skip
        if value not in known:
            raise UsageError(f"{flag} {value}", why="unknown", fix=f"{flag} {' or '.join(known)}")
    if not 0 <= kpt_thr <= 1:
        raise UsageError(f"--kpt-thr {kpt_thr}", why="it lies in 0..1", fix="--kpt-thr 0.3")
    formats = [name for name in format.split(",") if name]
    jobs = plan([recording.name.removesuffix(".part")], out, formats or ([] if out else ["csv"]))
    options = SinkOptions(
        csv_layout=csv_layout, openpose_layout=openpose_layout, openpose_naming=naming, kpt_thr=kpt_thr, fill=fill,
        trc_units=trc_units, normalised=normalised, field=field,
        full_precision=full_precision,
    )  # fmt: skip
    with folders(jobs):
        made = run(recording, jobs[0].data, options, ids=_numbers(ids), overwrite=overwrite, strict=strict)
    for path, count in made:
        for file in finals(path):
            if file.exists():
                say(f"wrote {file} ({plural(count, 'frame')})")


def _numbers(ids: str) -> tuple[int, ...]:
    from tfpose_rt.errors import UsageError

    if ids.strip().lower() in ("", "all"):
        return ()
    try:
        asked = tuple(int(part) for part in ids.split(",") if part.strip())
    except ValueError:
        asked = ()
    if not asked:
        raise UsageError(f"--ids {ids}", why="not whole numbers", fix="--ids 3,5")
    return asked
