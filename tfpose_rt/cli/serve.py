"""`tfpose-rt serve`: the live view in a browser, for machines without a screen."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfpose_rt.cli.live_options import (
    Camera,
    Duration,
    LiveSourceName,
    RecordWhat,
    check_files,
    check_weights,
    header_of,
    metrics_of,
    open_live,
    open_model,
    source_options,
    style_of,
    tell_source,
)
from tfpose_rt.cli.options import (
    OUTPUT,
    Drawing,
    DryRun,
    Finding,
    Picture,
    Quiet,
    Running,
    Verbose,
    _option,
    run_config,
    spread,
)
from tfpose_rt.cli.typed import typed
from tfpose_rt.wording import plural

if TYPE_CHECKING:
    from socket import socket

    from tfpose_rt.live.plan import Plan
    from tfpose_rt.live.serve import ServeOptions
    from tfpose_rt.live.session import Session

SERVE = "Page"
Host = Annotated[str, _option(SERVE, "--host", help="Address to serve on; other than loopback needs a token.")]
Port = Annotated[int, _option(SERVE, "--port", help="0 = any free one.", min=0, max=65535)]
Token = Annotated[
    str, _option(SERVE, "--token", help="auto, env (TFPOSE_SERVE_TOKEN) or a file; never the token itself.")
]
Video = Annotated[bool, _option(SERVE, "--video/--no-video", help="Stream pictures, or poses and figures alone.")]
MaxClients = Annotated[int, _option(SERVE, "--max-clients", help="Open streams at a time.", min=1, max=64)]
Quality = Annotated[int, _option(SERVE, "--jpeg-quality", help="Of the streamed pictures.", min=10, max=100)]
Folder = Annotated[
    Path | None, _option(OUTPUT, "--record", help="Folder for takes; without it none can be made.", file_okay=False)
]


@spread
def serve(
    context: typer.Context, source: LiveSourceName = "0", host: Host = "127.0.0.1", port: Port = 8765,
    token: Token = "auto", video: Video = True, max_clients: MaxClients = 4, jpeg_quality: Quality = 80,
    record: Folder = None, record_what: RecordWhat = "overlay", camera: Camera = Camera(),
    picture: Picture = Picture(), drawing: Drawing = Drawing(), finding: Finding = Finding(det_every="auto"),
    duration: Duration = None, running: Running = Running(), dry_run: DryRun = False, quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:  # fmt: skip
    """Show the poses of a camera or stream in a browser; on this machine alone unless told otherwise."""
    options = source_options(camera, picture.rotate, duration=duration, record_what=record_what)
    run = run_config(picture, finding, drawing, running, source=options)
    if dry_run:
        from tfpose_rt.cli.plan import show_plan

        show_plan([(source, [])], run, host=host, port=port, takes=None if record is None else str(record))
        return
    from tfpose_rt.cli.show import show_log

    show_log(verbose, quiet, running.log_file)
    serve_view(
        source, run, typed(context), host=host, port=port, token=token, video=video, max_clients=max_clients,
        quality=jpeg_quality, folder=record, what=record_what, duration=duration, quiet=quiet,
    )  # fmt: skip


def serve_view(
    spec: str, run: Any, args: dict[str, Any], *, host: str = "127.0.0.1", port: int = 8765, token: str = "auto",
    video: bool = True, max_clients: int = 4, quality: int = 80, folder: Path | None = None,
    out: Sequence[tuple[Path, str]] = (), record: Path | None = None, what: str = "overlay", overwrite: bool = False,
    duration: float | None = None, max_frames: int | None = None, quiet: bool = False,
) -> None:  # fmt: skip
    """Serve until the source ends or the user does; raises typer.Exit with the run's code unless that is 0.

    Args beside those of the commands: `folder` is where takes from the page go (None: there are none), `record` a video
    from the first frame on.
    """
    from tfpose_rt.cli.show import print_summary, say
    from tfpose_rt.cli.watch import interruptible
    from tfpose_rt.errors import OutputError, UsageError
    from tfpose_rt.shell import install, make_folder

    try:
        from tfpose_rt.live.guard import read_token
        from tfpose_rt.live.serve import ServeOptions, bind
    except ImportError as error:
        raise UsageError("serve", why=f"{error.name} is not installed", fix=install("serve")) from error
    from tfpose_rt.live.plan import Plan
    from tfpose_rt.stats import require_frames

    if folder is not None and not folder.is_dir():
        raise OutputError(f"--record {folder}", why="no such folder", fix=make_folder(folder))
    check_files(spec, [path for path, _ in out], record, what, overwrite)
    check_weights(run)
    secret = read_token(token, host)
    options = ServeOptions(
        host=host, port=port, token=secret, video=video, max_clients=max_clients, record=folder is not None
    )
    plan = Plan(
        header={}, outs=out, record=record, folder=folder or Path(), style=style_of(run),
        record_what=what,  # type: ignore[arg-type]  # checked in source_options
        duration=duration, max_frames=max_frames, overwrite=overwrite,
    )  # fmt: skip
    with interruptible() as interruption, bind(host, port) as listening:
        session = _session(spec, run, args, plan, quiet=quiet, signal_code=lambda: interruption.code or 130)
        _served(session, options, listening, quality)
    summary = session.summary
    if summary and not quiet:
        print_summary(summary, session.stream.stats.totals, [])
    for path, count in session.files:
        if path != "-":
            say(f"wrote {path} ({plural(count, 'frame')})")
    if not summary or summary["ended"] == "signal":
        raise typer.Exit(interruption.code or 130)
    if summary["ended"] not in ("user", "limit"):
        require_frames(session.stream)
    if summary["exit_code"]:
        raise typer.Exit(summary["exit_code"])


def _session(spec: str, run: Any, args: dict[str, Any], plan: Plan, *, quiet: bool, signal_code: Any) -> Session:
    """The run, ready to begin; nothing stays open where it cannot."""
    from dataclasses import replace

    from tfpose_rt.cli.show import estimator_rows, print_table
    from tfpose_rt.live.session import Session
    from tfpose_rt.pipeline import Stream

    source = open_live(spec, run.source)
    try:
        if not quiet:
            tell_source(source)
        model = open_model(run, source.info.size)
        if not quiet:
            print_table(estimator_rows(model))
        stream = Stream(source, model, run)
    except BaseException:
        source.close()
        raise
    plan = replace(plan, header=header_of(source, run, model, args))
    return Session(stream, plan, metrics_of(stream, model), signal_code=signal_code)


def _served(session: Session, options: ServeOptions, listening: socket, quality: int) -> None:
    """Run it behind the page, until the source ends or a signal does."""
    from tfpose_rt.cli.show import say
    from tfpose_rt.live.guard import is_loopback
    from tfpose_rt.live.hub import Hub
    from tfpose_rt.live.serve import LiveServer
    from tfpose_rt.live.view import people

    hub = Hub(lambda result: people(session.view, result), quality)
    session.on_result = hub.publish
    try:
        server = LiveServer(session, hub, options, listening)
    except BaseException:
        session.stream.close()
        raise
    server.start()
    say(f"live view: {server.url} (Ctrl-C ends it)")
    if options.token is not None:
        say(f"the link works once; elsewhere the token opens it: {options.token}")
    if not is_loopback(options.host):
        say("no TLS: whoever can listen on this network can see the picture")
    try:
        with suppress(KeyboardInterrupt):
            session.run()
    finally:
        server.close()
