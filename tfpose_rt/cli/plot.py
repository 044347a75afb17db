"""`tfpose-rt plot`: figures of a recording over time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tfpose_rt.cli.options import DISPLAY, INPUT, OUTPUT, ConfigFile, Overwrite, Quiet


def plot(
    recording: Annotated[Path, typer.Argument(help="A .jsonl, .csv or .parquet file, or an unfinished .part.")],
    what: Annotated[
        str,
        typer.Option("--what", help="traj, xy, speed, angles, score, gaps or timing.", rich_help_panel=DISPLAY),
    ] = "xy",
    ids: Annotated[
        str, typer.Option("--ids", help="all, or these people, such as 3,5.", rich_help_panel=INPUT)
    ] = "all",
    joints: Annotated[
        str,
        typer.Option("--joints", help="all, or these, such as left_knee,wrist (both wrists).", rich_help_panel=INPUT),
    ] = "all",
    field: Annotated[
        str, typer.Option("--field", help="raw or smooth; smooth with --smooth, else raw.", rich_help_panel=INPUT)
    ] = "",
    smooth: Annotated[
        str,
        typer.Option("--smooth", help="First, by zero-lag[:HZ] or one-euro[:mincut,beta].", rich_help_panel=INPUT),
    ] = "",
    kpt_thr: Annotated[
        float, typer.Option("--kpt-thr", help="Joints scored below it count as unknown.", rich_help_panel=DISPLAY)
    ] = 0.3,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="PNG, SVG or PDF; RECORDING_WHAT.png here.", rich_help_panel=OUTPUT),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="CSV for the numbers drawn; a figure too with -o.", rich_help_panel=OUTPUT),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="In a window; a file too with -o.", rich_help_panel=DISPLAY)
    ] = False,
    overwrite: Overwrite = False,
    config: ConfigFile = None,
    quiet: Quiet = False,
) -> None:
    """Draw a recording: paths, positions, speeds, angles, scores, gaps or timing. Gaps are shaded, never bridged."""
    from tfpose_rt.cli.show import say, show_log
    from tfpose_rt.errors import UsageError
    from tfpose_rt.io.sinks import check_outputs
    from tfpose_rt.tools.motion import read_motion
    from tfpose_rt.tools.plot import check_suffix, view_of
    from tfpose_rt.tools.plot import plot as draw
    from tfpose_rt.tools.plot_table import check_table, write_table
    from tfpose_rt.training.plots import save
    from tfpose_rt.wording import plural

    show_log(0, quiet)
    field = field or ("smooth" if smooth else "raw")
    if field not in ("raw", "smooth"):
        raise UsageError(f"--field {field}", why="unknown", fix="raw or smooth")
    if not 0 <= kpt_thr <= 1:
        raise UsageError(f"--kpt-thr {kpt_thr}", why="it lies in 0..1", fix="--kpt-thr 0.3")
    if show:
        _require_screen()
    stem = recording.name.removesuffix(".part").rpartition(".")[0]
    target = out if out or show or data else Path(f"{stem}_{what}.png")
    if target:
        check_suffix(target)
    if data:
        check_table(data)
    check_outputs([path for path in (target, data) if path], overwrite, inputs=[recording])
    motion = read_motion(recording, field=field, smooth=smooth)
    made = None
    if target or show:
        made = draw(motion, what, ids=ids, joints=joints, threshold=kpt_thr, field=field)
    if target:
        save(made, target)
        say(f"wrote {target}")
    if data:
        view = view_of(motion, what, ids=ids, joints=joints, threshold=kpt_thr, field=field)
        count = write_table(view, what, data, overwrite=overwrite)
        say(f"wrote {data} ({plural(count, 'row')})")
    if show:
        _show(made, recording.name)


def _require_screen() -> None:
    from tfpose_rt.errors import UsageError
    from tfpose_rt.live.window import has_screen

    if not has_screen():
        raise UsageError("--show", why="no window can be opened here", fix="-o FILE.png")


def _show(made: Any, name: str) -> None:
    """The figure in a window until a key or its X closes it."""
    import io
    import time

    import numpy as np

    from tfpose_rt.io.images import decode_image
    from tfpose_rt.live.window import Window

    memory = io.BytesIO()
    made.savefig(memory, format="png", dpi=150)
    image = decode_image(np.frombuffer(memory.getvalue(), np.uint8))
    if image is None:
        return
    window = Window(f"tfpose-rt plot {name}", (image.shape[1], image.shape[0]))
    try:
        words = window.show(image)
        while "quit" not in words:
            time.sleep(0.02)
            words = window.poll()
    finally:
        window.close()
