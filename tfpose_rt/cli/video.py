"""`tfpose-rt video`: files in, every frame, data and overlay video out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfpose_rt.cli.options import (
    DISPLAY,
    INPUT,
    OUTPUT,
    RUN,
    Drawing,
    DryRun,
    Finding,
    FullPrecision,
    Overwrite,
    Picture,
    Progress,
    Quiet,
    Running,
    Verbose,
    _option,
    run_config,
    spread,
)
from tfpose_rt.cli.typed import typed

if TYPE_CHECKING:
    from tfpose_rt.cli.watch import Watch
    from tfpose_rt.config import RunConfig
    from tfpose_rt.tools.batch import How, Outcome
    from tfpose_rt.tools.outputs import Job

Sources = Annotated[list[str], typer.Argument(help="Files, folders, quoted globs, @LIST, synthetic, - (MJPEG).")]
Out = Annotated[list[Path], _option(OUTPUT, "--out", "-o", help="File, folder or -; the suffix picks the format.")]
Format = Annotated[
    str,
    _option(
        OUTPUT, "--format", "-f", help="jsonl, csv, parquet, openpose, coco, trc, angles, mot, summary; comma between."
    ),
]
SaveVideo = Annotated[Path | None, _option(OUTPUT, "--save-video", help="Overlay video, or a folder for several.")]
SaveImages = Annotated[
    Path | None,
    _option(OUTPUT, "--save-images", help="Overlay of a photograph, or a folder for overlays of every frame."),
]
Codec = Annotated[str, _option(OUTPUT, "--codec", help="auto, h264, vp9 or mp4v.")]
Audio = Annotated[bool, _option(OUTPUT, "--audio/--no-audio", help="Copy the source's sound into the video.")]
CsvLayout = Annotated[str, _option(OUTPUT, "--csv-layout", help="wide or long.")]
Layout = Annotated[str, _option(OUTPUT, "--openpose-layout", help="coco17, coco18 or body25.")]
Field = Annotated[str, _option(OUTPUT, "--field", help="raw or smooth; JSONL holds both.")]
ResumeRun = Annotated[bool, _option(OUTPUT, "--resume", help="Continue the .part files of an interrupted run.")]
SkipExisting = Annotated[bool, _option(OUTPUT, "--skip-existing", help="Leave sources alone whose files are there.")]
Start = Annotated[str, _option(INPUT, "--start", help="Begin here: seconds or mm:ss.mmm.")]
End = Annotated[str, _option(INPUT, "--end", help="End here.")]
Frames = Annotated[str, _option(INPUT, "--frames", help="A:B, frames from A to before B; A alone is one.")]
Stride = Annotated[int, _option(INPUT, "--stride", help="Every N-th frame; numbers stay those of the source.")]
Fps = Annotated[float | None, _option(INPUT, "--fps", help="Rate of images and pipes, which carry no times.")]
Hash = Annotated[str, _option(INPUT, "--hash", help="ends or full: what of the file the recording's SHA-256 covers.")]
Display = Annotated[str, _option(DISPLAY, "--display", help="none, window or auto.")]
Jobs = Annotated[int, _option(RUN, "--jobs", "-j", help="Files at once, each in a process of its own.")]
FailFast = Annotated[bool, _option(RUN, "--fail-fast/--keep-going", help="Stop at the first file that fails.")]
Cluster = Annotated[str, _option(RUN, "--cluster", help="ray: spread the files over a Ray cluster.")]


@spread
def video(
    context: typer.Context, sources: Sources, out: Out = [], format: Format = "", save_video: SaveVideo = None,
    save_images: SaveImages = None, codec: Codec = "auto", audio: Audio = True, csv_layout: CsvLayout = "wide",
    openpose_layout: Layout = "coco18", field: Field = "raw", resume: ResumeRun = False,
    skip_existing: SkipExisting = False, overwrite: Overwrite = False, full_precision: FullPrecision = False,
    start: Start = "", end: End = "", frames: Frames = "", stride: Stride = 1, fps: Fps = None, hash: Hash = "ends",
    picture: Picture = Picture(), finding: Finding = Finding(), drawing: Drawing = Drawing(), display: Display = "none",
    jobs: Jobs = 1, fail_fast: FailFast = False, cluster: Cluster = "", running: Running = Running(),
    dry_run: DryRun = False, progress: Progress = True, quiet: Quiet = False, verbose: Verbose = 0,
) -> None:  # fmt: skip
    """Find the poses in video files: every frame, in order, at its true time."""
    from tfpose_rt.cli.show import show_log
    from tfpose_rt.config import SourceOptions
    from tfpose_rt.errors import UsageError
    from tfpose_rt.io.parts import SinkOptions
    from tfpose_rt.tools.batch import How

    show_log(verbose, quiet, None if dry_run else running.log_file)
    if hash not in ("ends", "full"):
        raise UsageError(f"--hash {hash}", why="unknown", fix="--hash ends or --hash full")
    if field not in ("raw", "smooth"):
        raise UsageError(f"--field {field}", why="unknown", fix="--field raw or --field smooth")
    part = SourceOptions(
        start=seconds(start, "--start"), end=seconds(end, "--end"), frames=frame_range(frames), stride=stride, fps=fps,
        rotate=picture.rotate, full_hash=hash == "full",
    )  # fmt: skip
    run = run_config(picture, finding, drawing, running, full_precision=full_precision, source=part)
    how = How(
        overwrite=overwrite, resume=resume, skip_existing=skip_existing, fail_fast=fail_fast, sound=audio,
        sink=SinkOptions(codec=codec, csv_layout=csv_layout, openpose_layout=openpose_layout, field=field),
        args=typed(context),
    )  # fmt: skip
    process(
        sources, out=out, formats=[f for f in format.split(",") if f], save_video=save_video, save_images=save_images,
        display=display, run=run, how=how, jobs=jobs, cluster=cluster, dry_run=dry_run, progress=progress, quiet=quiet,
    )  # fmt: skip


def process(
    sources: Sequence[str], *, out: Sequence[Path] = (), formats: Sequence[str] = (), save_video: Path | None = None,
    save_images: Path | None = None, display: str = "none", run: RunConfig | None = None, how: How | None = None,
    overwrite: bool = False, jobs: int = 1, cluster: str = "", dry_run: bool = False, progress: bool = True,
    quiet: bool = False, **settings: Any,
) -> list[Outcome]:  # fmt: skip
    """Do the main job and show how it went; raises typer.Exit with the run's code unless that is 0."""
    import dataclasses

    from tfpose_rt.cli.plan import show_plan
    from tfpose_rt.cli.show import print_error, say
    from tfpose_rt.cli.watch import Watch, interruptible, show_outcomes
    from tfpose_rt.config import RunConfig
    from tfpose_rt.draw import DrawStyle
    from tfpose_rt.errors import UsageError
    from tfpose_rt.io.sources import checked, expand
    from tfpose_rt.tools import afterwards, batch, completed
    from tfpose_rt.tools.outputs import check_words, folders, plan
    from tfpose_rt.wording import plural

    if jobs < 1:
        raise UsageError(f"--jobs {jobs}", why="at least one file at once", fix="--jobs 2")
    run = run or RunConfig(**settings)
    can_resume, how = how is not None, how or batch.How(overwrite=overwrite)
    style = DrawStyle(kpt_thr=run.kpt_thr, background=run.background, mirror=run.mirror)  # type: ignore[arg-type]
    saved = dataclasses.replace(style, mirror=False)  # only the window is a mirror
    how = dataclasses.replace(how, style=saved)
    checked(run.source)
    _refuse_recordings(sources)
    written, derived = afterwards.split(formats, out)
    todo = plan(expand(sources), out, written, save_video, save_images)
    tables = afterwards.plan_tables(todo, derived, track=run.track)
    check_words(todo, how.sink)
    if how.sink.field == "smooth" and run.smooth == "off":
        raise UsageError("--field smooth", why="nothing is smoothed", fix="--smooth one-euro with it")
    if dry_run:
        later = [job.paths for job in tables.jobs] or [[]] * len(todo)
        outputs = [(job.source, [*job.paths, *more]) for job, more in zip(todo, later, strict=True)]
        shared = {"tables": [str(path) for path in tables.tables]} if tables.tables else {}
        show_plan(outputs, run, overwrite=how.overwrite, resume=how.resume, **shared)
        return []
    with folders(todo), interruptible() as interruption:
        batch.check(todo, how)
        afterwards.check_tables(todo, tables, how)
        _tell_unsmoothed(todo, run, how)
        with Watch(todo, progress=progress, quiet=quiet, display=display, style=style) as watch:
            try:
                outcomes = _run(todo, run, how, watch, jobs=jobs, cluster=cluster)
            except KeyboardInterrupt:  # while the model loads, or told twice
                raise typer.Exit(interruption.code or 130) from None
        options = dataclasses.replace(how.sink, kpt_thr=run.kpt_thr, full_precision=run.full_precision)
        outcomes, summaries = afterwards.make_tables(outcomes, tables, how, options, print_error)
    show_outcomes(outcomes, len(todo), quiet=quiet)
    for path, count in summaries:
        say(f"wrote {path} ({plural(count, 'row')})")
    cut = [o.job for o in outcomes if o.files and o.summary is not None and o.summary["ended"] == "signal"]
    if can_resume and not quiet and any(map(completed.interrupted, cut)):
        say("to go on: the same command with --resume")
    code = interruption.code or batch.worst(outcomes)
    if code:
        raise typer.Exit(code)
    return outcomes


def _run(
    todo: Sequence[Job], run: RunConfig, how: How, watch: Watch, *, jobs: int, cluster: str
) -> list[Outcome]:  # fmt: skip
    """Do every job here, in processes, or on a cluster."""
    if cluster:
        from tfpose_rt.tools.cluster import run_cluster

        return run_cluster(todo, run, how, watch, engine=cluster)
    if jobs > 1 and len(todo) > 1:
        from tfpose_rt.tools.workers import run_workers

        return run_workers(todo, run, how, watch, jobs_at_once=jobs)
    from tfpose_rt.tools.batch import run_batch

    return run_batch(todo, watch.estimator(run), run, how, watch)


def _refuse_recordings(sources: Sequence[str]) -> None:
    """Refuse recordings that are named where videos are meant. Raises UsageError."""
    from tfpose_rt.errors import UsageError
    from tfpose_rt.io.sinks import SINKS
    from tfpose_rt.shell import quoted

    for path in map(Path, sources):
        if SINKS.get(path.suffix.lower()) in ("jsonl", "csv", "parquet") and path.is_file():
            why = "poses are found in videos and images here"
            raise UsageError(f"{path.name} is data", why=why, fix=f"tfpose-rt convert {quoted(path)}")


def _tell_unsmoothed(todo: Sequence[Job], run: RunConfig, how: How) -> None:
    """Warn where smoothed points are asked for and no data file will hold them."""
    import logging

    kinds = {name for job in todo for _, name in job.data}
    if run.smooth != "off" and how.sink.field == "raw" and kinds and "jsonl" not in kinds:
        log = logging.getLogger(__name__)
        log.warning("--smooth: no data file will hold smoothed points; add --field smooth, or -o FILE.jsonl")


def seconds(text: str, flag: str) -> float | None:
    """Seconds of "83.5", "1:23.5" or "0:01:23.5"; None for nothing."""
    from tfpose_rt.errors import UsageError

    if not text:
        return None
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    if not 1 <= len(parts) <= 3 or not all(0 <= part < 1e9 for part in parts) or any(p >= 60 for p in parts[1:]):
        raise UsageError(f"{flag} {text}", why="not a time", fix=f"{flag} 83.5 or {flag} 1:23.5")
    return float(sum(part * 60.0**place for place, part in enumerate(reversed(parts))))


def frame_range(text: str) -> tuple[int, int] | None:
    """Numbers of "A:B"; either may be left out."""
    from tfpose_rt.errors import UsageError

    if not text:
        return None
    begin, colon, stop = text.partition(":")
    try:
        return int(begin or 0), int(stop or 2**62) if colon else int(begin) + 1
    except ValueError:
        raise UsageError(f"--frames {text}", why="not two whole numbers", fix="--frames 100:200") from None
