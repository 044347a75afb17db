"""`tfpose-rt cameras`: which cameras there are, without switching any on."""

from __future__ import annotations

from typing import Annotated

import typer

from tfpose_rt.cli.options import ConfigFile


def cameras(
    probe: Annotated[bool, typer.Option("--probe", help="Open each, take pictures for a second, measure.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON array on stdout.")] = False,
    backend: Annotated[str, typer.Option(help="auto, v4l2, dshow, msmf, avfoundation, gstreamer or any.")] = "auto",
    config: ConfigFile = None,
) -> None:
    """List the cameras of this machine; opens none unless asked to."""
    from tfpose_rt.io.camera_list import list_cameras

    found = list_cameras(backend)
    rows = [camera.to_dict() for camera in found]
    opened = 0
    if probe:
        from tfpose_rt.config import SourceOptions
        from tfpose_rt.io.cameras import probe as measure

        for camera, row in zip(found, rows, strict=True):
            row["probe"] = measure(camera, SourceOptions(backend=backend, reconnect=0))
            opened += row["probe"] is not None
    if json:
        import json as codec

        typer.echo(codec.dumps(rows))
    else:
        _show(rows, probe)
    if probe and not opened:
        raise typer.Exit(3)


def _show(rows: list[dict[str, object]], probed: bool) -> None:
    from tfpose_rt.cli.show import say
    from tfpose_rt.wording import rate

    if not rows:
        say("no camera listed by this system; plugged in, and not handed to another machine or container?")
    for row in rows:
        say(f"  {row['index']}  {row['name']}  ({row['backend']}{', ' + str(row['path']) if row['path'] else ''})")
        measured = row.get("probe")
        if isinstance(measured, dict):
            width, height = measured["size"]
            fps = measured["fps_measured"]
            told = f"{rate(fps)} fps measured" if fps else "rate not measured"
            say(f"     {width}x{height}, {told}, granted {measured['granted']}, open in {measured['opened_in_s']} s")
        elif probed:
            say("     did not open")
