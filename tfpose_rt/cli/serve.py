"""`tfpose-rt serve`: the live view in a browser, for machines without a screen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tfpose_rt.cli.live_options import (
    Camera,
    Duration,
    LiveSourceName,
    RecordWhat,
    header_of,
    metrics_of,
    open_live,
    open_model,
    source_options,
    tell_source,
    typed,
)
from tfpose_rt.cli.options import (
    OUTPUT,
    Drawing,
    Finding,
    Picture,
    Quiet,
    Running,
    Verbose,
    _option,
    run_config,
    spread,
)

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
    duration: Duration = None, running: Running = Running(), quiet: Quiet = False, verbose: Verbose = 0,
) -> None:  # fmt: skip
    """Show the poses of a camera or stream in a browser; on this machine alone unless told otherwise."""
    options = source_options(camera, picture.rotate, duration=duration, record_what=record_what)
    run = run_config(picture, finding, drawing, running, source=options)
    serve_view(
        source, run, typed(context), host=host, port=port, token=token, video=video, max_clients=max_clients,
        quality=jpeg_quality, folder=record, what=record_what, duration=duration, quiet=quiet, verbose=verbose,
    )  # fmt: skip


def serve_view(
    spec: str, run: Any, args: dict[str, Any], *, host: str = "127.0.0.1", port: int = 8765, token: str = "auto",
    video: bool = True, max_clients: int = 4, quality: int = 80, folder: Path | None = None, what: str = "overlay",
    duration: float | None = None, quiet: bool = False, verbose: int = 0,
) -> None:  # fmt: skip
    """Serve until the source ends or the user does; raises typer.Exit with the run's code unless that is 0."""
    from tfpose_rt.cli.show import estimator_rows, print_summary, print_table, say, show_log
    from tfpose_rt.cli.watch import interruptible
    from tfpose_rt.draw import DrawStyle
    from tfpose_rt.errors import OutputError, UsageError

    try:
        from tfpose_rt.live.guard import is_loopback, read_token
        from tfpose_rt.live.hub import Hub
        from tfpose_rt.live.serve import LiveServer, ServeOptions
    except ImportError as error:
        raise UsageError("serve", why=f"{error.name} is not installed", fix="pip install 'tfpose-rt[serve]'") from error
    from tfpose_rt.live.plan import Plan
    from tfpose_rt.live.session import Session
    from tfpose_rt.live.view import people
    from tfpose_rt.pipeline import Stream
    from tfpose_rt.stats import require_frames

    if folder is not None and not folder.is_dir():
        raise OutputError(f"--record {folder}", why="no such folder", fix=f"mkdir -p {folder}")
    secret = read_token(token, host)
    show_log(verbose, quiet)
    options = ServeOptions(
        host=host, port=port, token=secret, video=video, max_clients=max_clients, record=folder is not None
    )
    summary = None
    with interruptible() as interruption:
        source = open_live(spec, run.source)
        try:
            if not quiet:
                tell_source(source)
            model = open_model(run, source.info.size)
            stream = Stream(source, model, run)
        except BaseException:
            source.close()
            raise
        style = DrawStyle(kpt_thr=run.kpt_thr, background=run.background, mirror=run.mirror)
        plan = Plan(
            header=header_of(source, run, model, args), folder=folder or Path(), style=style, duration=duration,
            record_what=what,  # type: ignore[arg-type]  # checked in source_options
        )  # fmt: skip
        session = Session(
            stream, plan, metrics_of(stream, model), on_result=lambda result: hub.publish(result),
            signal_code=lambda: interruption.code or 130,
        )  # fmt: skip
        hub = Hub(lambda result: people(session.view, result), quality)
        try:
            server = LiveServer(session, hub, options)
        except BaseException:
            stream.close()
            raise
        server.start()
        if not quiet:
            print_table(estimator_rows(model))
        say(f"live view: {server.url}")
        if secret is not None:
            say(f"the link works once; elsewhere the token opens it: {secret}")
        if not is_loopback(host):
            say("no TLS: whoever can listen on this network can see the picture")
        try:
            summary = session.run()
        except KeyboardInterrupt:
            summary = None
        finally:
            server.close()
    if summary is not None and not quiet:
        print_summary(summary, stream.stats.totals, [])
    for path, count in session.files:
        say(f"wrote {path} ({count} frames)")
    if summary is None:
        raise typer.Exit(interruption.code or 130)
    if summary["ended"] not in ("user", "limit"):
        require_frames(stream)
    if summary["exit_code"]:
        raise typer.Exit(summary["exit_code"])
