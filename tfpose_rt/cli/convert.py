"""`tfpose-rt convert`: a recording into other file formats, and back where the format holds enough."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tfpose_rt.cli.options import INPUT, OUTPUT, ConfigFile, FullPrecision, Overwrite, Quiet
from tfpose_rt.wording import plural


def _option(panel: str, *names: str, help: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel)


Recordings = Annotated[
    list[str],
    typer.Argument(help="Recordings: .jsonl, .csv, .parquet, or the .part of a run; folders, quoted globs, @LIST."),
]
Format = Annotated[
    str,
    _option(
        OUTPUT, "--format", "-f", help="jsonl, csv, parquet, openpose, coco, trc, angles, mot, summary; comma between."
    ),
]
Out = Annotated[list[Path], _option(OUTPUT, "--out", "-o", help="File, folder for several, or - (standard output).")]
CsvLayout = Annotated[str, _option(OUTPUT, "--csv-layout", help="wide or long.")]
Layout = Annotated[str, _option(OUTPUT, "--openpose-layout", help="coco17, coco18 or body25.")]
Naming = Annotated[str, _option(OUTPUT, "--naming", help="OpenPose file names: openpose or pose2sim.")]
Threshold = Annotated[
    float,
    _option(OUTPUT, "--kpt-thr", help="Joints below it: 0,0,0 in OpenPose JSON, unknown to angles, mot and summary."),
]
Units = Annotated[str, _option(OUTPUT, "--trc-units", help="Label of the unit in TRC files.")]
Ids = Annotated[str, _option(INPUT, "--ids", help="all, or these people, such as 3,5.")]
Fill = Annotated[str, _option(OUTPUT, "--fill", help="How an absent value is written: none or nan.")]
Normalised = Annotated[bool, _option(OUTPUT, "--normalised", help="0..1 instead of pixels.")]
Field = Annotated[str, _option(INPUT, "--field", help="raw or smooth; smooth with --smooth, else raw.")]
Smooth = Annotated[
    str, _option(INPUT, "--smooth", help="zero-lag[:HZ] (6 Hz, from before and after) or one-euro[:mincut,beta].")
]
Strict = Annotated[bool, _option(INPUT, "--strict", help="Refuse a recording cut short or with gaps.")]


def convert(
    recordings: Recordings,
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
    field: Field = "",
    smooth: Smooth = "",
    strict: Strict = False,
    full_precision: FullPrecision = False,
    overwrite: Overwrite = False,
    config: ConfigFile = None,
    quiet: Quiet = False,
) -> None:
    """Turn recordings into other file formats, and into tables of angles."""
    from tfpose_rt.cli.show import print_error, say, show_log
    from tfpose_rt.cli.watch import show_outcomes
    from tfpose_rt.errors import UsageError
    from tfpose_rt.io.openpose import LAYOUTS
    from tfpose_rt.io.parts import SinkOptions
    from tfpose_rt.tools.batch import worst
    from tfpose_rt.tools.conversions import check, convert_all, plan_conversion, recordings_of
    from tfpose_rt.tools.outputs import folders
    from tfpose_rt.tools.reading import kind_of
    from tfpose_rt.tools.recordings import convert as run

    show_log(0, quiet)
    field = field or ("smooth" if smooth else "raw")
    for flag, value, known in (
        ("--csv-layout", csv_layout, ("wide", "long")), ("--openpose-layout", openpose_layout, tuple(LAYOUTS)),
        ("--naming", naming, ("openpose", "pose2sim")), ("--fill", fill, ("none", "nan")),
        ("--field", field, ("raw", "smooth")),
    ):  # fmt: skip
        if value not in known:
            raise UsageError(f"{flag} {value}", why="unknown", fix=f"{flag} {' or '.join(known)}")
    if not 0 <= kpt_thr <= 1:
        raise UsageError(f"--kpt-thr {kpt_thr}", why="it lies in 0..1", fix="--kpt-thr 0.3")
    options = SinkOptions(
        csv_layout=csv_layout, openpose_layout=openpose_layout, openpose_naming=naming, kpt_thr=kpt_thr, fill=fill,
        trc_units=trc_units, normalised=normalised, field=field,
        full_precision=full_precision,
    )  # fmt: skip
    who, files = _numbers(ids), recordings_of(recordings)
    several = len(files) > 1 or files != [Path(name) for name in recordings]  # a folder of one, too
    if not several:
        kind_of(files[0])  # what is no recording is told before what stands in its way
    todo = plan_conversion(files, out, format.split(","), shared=several)
    with folders(todo.jobs):
        if not several:
            data = todo.jobs[0].data
            made = run(files[0], data, options, ids=who, overwrite=overwrite, strict=strict, smooth=smooth)
            for path, count in (file for one in made for file in one.files):
                say(f"wrote {path} ({plural(count, 'frame')})")
            return
        check(todo, overwrite=overwrite)
        outcomes, tables = convert_all(
            todo, options, print_error, ids=who, overwrite=overwrite, strict=strict, smooth=smooth
        )
    show_outcomes(outcomes, len(todo.jobs), quiet=quiet)
    for path, count in tables:
        say(f"wrote {path} ({plural(count, 'row')})")
    if code := worst(outcomes):
        raise typer.Exit(code)


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
