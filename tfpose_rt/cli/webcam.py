"""`tfpose-rt webcam`: a camera or stream, seen and recorded now."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfpose_rt.cli.live_options import (
    Camera,
    Duration,
    LiveDisplay,
    LiveSourceName,
    MaxFrames,
    RecordWhat,
    check_files,
    check_weights,
    data_files,
    header_of,
    metrics_of,
    open_live,
    open_model,
    outputs,
    recorded,
    source_options,
    style_of,
    tell_source,
)
from tfpose_rt.cli.options import (
    OUTPUT,
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
from tfpose_rt.wording import plural, rate

if TYPE_CHECKING:
    from tfpose_rt.live.plan import Screen
    from tfpose_rt.records import StreamInfo

Out = Annotated[
    list[Path],
    _option(OUTPUT, "--out", "-o", help="Data file, a folder for one, or -; the suffix picks the format."),
]
Format = Annotated[
    str, _option(OUTPUT, "--format", "-f", help="jsonl, csv, parquet, openpose, coco, trc; comma between.")
]
Record = Annotated[
    Path | None,
    _option(OUTPUT, "--record", help="Video from the first frame on, or a folder for it; .mkv survives a kill."),
]
LAST = 10.0  # s between status lines where stderr is no terminal
MEASURE = 2.0  # s after which the measured rate is told


@spread
def webcam(
    context: typer.Context, source: LiveSourceName = "0", camera: Camera = Camera(), picture: Picture = Picture(),
    out: Out = [], format: Format = "", record: Record = None, record_what: RecordWhat = "overlay",
    overwrite: Overwrite = False, full_precision: FullPrecision = False, display: LiveDisplay = "auto",
    drawing: Drawing = Drawing(), finding: Finding = Finding(det_every="auto"), duration: Duration = None,
    max_frames: MaxFrames = None, running: Running = Running(), dry_run: DryRun = False, progress: Progress = True,
    quiet: Quiet = False, verbose: Verbose = 0,
) -> None:  # fmt: skip
    """Show the poses of a camera or stream now; keeps nothing unless asked to."""
    options = source_options(camera, picture.rotate, duration=duration, record_what=record_what)
    run = run_config(picture, finding, drawing, running, full_precision=full_precision, source=options)
    if display not in ("auto", "window", "none", "http"):
        from tfpose_rt.errors import UsageError

        raise UsageError(f"--display {display}", why="unknown", fix="auto, window, none or http")
    record = recorded(record)
    files = data_files(out, format, record)
    if dry_run:
        from tfpose_rt.cli.plan import show_plan

        show_plan([(source, outputs(files.paths, record, record_what))], run)
        return
    from tfpose_rt.cli.show import show_log
    from tfpose_rt.tools.outputs import folders

    show_log(verbose, quiet, running.log_file)
    more: dict[str, Any] = {"out": files.data, "record": record, "what": record_what, "overwrite": overwrite,
                            "duration": duration, "max_frames": max_frames, "quiet": quiet}  # fmt: skip
    with folders([files]):
        if display == "http":
            from tfpose_rt.cli.serve import serve_view

            serve_view(source, run, typed(context), **more)
            return
        code = _run(source, run, typed(context), display=display, progress=progress, **more)
    if code:
        raise typer.Exit(code)


def _run(
    spec: str, run: Any, args: dict[str, Any], *, out: Sequence[tuple[Path, str]], record: Path | None, what: str,
    overwrite: bool, display: str, duration: float | None, max_frames: int | None, progress: bool, quiet: bool,
) -> int:  # fmt: skip
    """The run; its exit code."""
    from tfpose_rt.cli.show import console, estimator_rows, print_summary, print_table, say
    from tfpose_rt.cli.watch import interruptible

    check_files(spec, [path for path, _ in out], record, what, overwrite)
    check_weights(run)
    need_screen(display)
    from tfpose_rt.live.plan import Plan
    from tfpose_rt.live.session import Session
    from tfpose_rt.pipeline import Stream
    from tfpose_rt.stats import require_frames

    with interruptible() as interruption:
        source = open_live(spec, run.source)
        try:
            if not quiet:
                tell_source(source)
            model = open_model(run, source.info.size)
            if not quiet:
                print_table(estimator_rows(model))
            screen = open_screen(display, source.info)
            stream = Stream(source, model, run)
        except BaseException:
            source.close()
            raise
        plan = Plan(
            header=header_of(source, run, model, args), outs=out, record=record,
            record_what=what,  # type: ignore[arg-type]  # checked in source_options
            style=style_of(run), duration=duration, max_frames=max_frames, overwrite=overwrite,
        )  # fmt: skip
        metrics = metrics_of(stream, model)
        if screen is None and not quiet and (duration, max_frames) == (None, None):
            say("Ctrl-C ends the run and completes its files")
        with _status(progress and not quiet and screen is None) as tell:
            session = Session(
                stream, plan, metrics, screen, on_status=_measured(tell, stream, metrics, quiet),
                signal_code=lambda: interruption.code or 130,
            )  # fmt: skip
            with suppress(KeyboardInterrupt):
                session.run()
    summary = session.summary
    if not quiet and summary:
        print_summary(summary, stream.stats.totals, [])
    for path, count in session.files:
        if path != "-":
            say(f"wrote {path} ({plural(count, 'frame')})")
    if not summary or summary["ended"] == "signal":
        return interruption.code or 130
    if summary["ended"] not in ("user", "limit"):
        require_frames(stream)
    console().file.flush()
    return int(summary["exit_code"])


def need_screen(display: str) -> None:
    """Raises: DeviceError: a window was asked for by name, and there is no screen."""
    if display != "window":
        return
    from tfpose_rt.live.window import has_screen

    if not has_screen():
        from tfpose_rt.errors import DeviceError

        raise DeviceError("no window", why="this machine has no screen for one", fix="--display http or --display none")


def open_screen(display: str, info: StreamInfo) -> Screen | None:
    """A window where one can be had; advice in one line where not."""
    if display == "none":
        return None
    from tfpose_rt.live.window import Window, has_screen

    if has_screen():
        return Window(f"tfpose-rt {info.name}", info.size)
    from tfpose_rt.cli.show import say

    say("no screen here: going on without a window (`tfpose-rt serve` shows the picture in a browser)")
    return None


def _status(visible: bool) -> Any:
    """A context that gives a function for status lines: one line that changes, or a line every ten seconds."""
    from contextlib import contextmanager

    @contextmanager
    def status() -> Any:
        from tfpose_rt.cli.show import console, say

        if visible and sys.stderr.isatty():
            from rich.markup import escape

            with console().status("starting") as spinner:
                yield lambda text: spinner.update(escape(text))
            return
        import time

        told = [time.monotonic()]

        def line(text: str) -> None:
            if visible and time.monotonic() - told[0] >= LAST:
                told[0] = time.monotonic()
                say(text)

        yield line

    return status()


def _measured(tell: Callable[[str], None], stream: Any, metrics: Any, quiet: bool) -> Callable[[str], None]:
    """Status lines, and once, early on, the camera's true rate."""
    from tfpose_rt.cli.show import say

    done = [quiet]

    def status(text: str) -> None:
        if not done[0] and stream.stats.wall > MEASURE and metrics.camera_fps:
            done[0] = True
            say(f"measured: {rate(metrics.camera_fps)} fps from the camera, {rate(metrics.fps)} fps processed")
        tell(text)

    return status
