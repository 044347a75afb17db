"""`tfpose-rt demo`: the main job on a bundled clip; offline, no camera."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfpose_rt.cli.options import ConfigFile, DetectorName, Device, Overwrite, Quiet, Weights


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.", file_okay=False)] = Path(
        "tfpose-demo"
    ),
    display: Annotated[str, typer.Option("--display", help="auto, window or none.")] = "auto",
    weights: Weights = "default",
    detector: DetectorName = "yolo-n",
    device: Device = "auto",
    overwrite: Overwrite = False,
    config: ConfigFile = None,
    quiet: Quiet = False,
) -> None:
    """Find the poses in a bundled 5 s clip: overlay video, recording, table and a picture."""
    from tfpose_rt.cli.show import say
    from tfpose_rt.cli.video import process
    from tfpose_rt.errors import OutputError
    from tfpose_rt.io.sinks import check_outputs
    from tfpose_rt.tools.showcase import DEMO_CLIP, best_picture

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {out}", why=str(error.strerror), fix="another --out") from error
    check_outputs([out / "demo.png"], overwrite)
    files = [out / "demo.jsonl", out / "demo.csv"]
    process(
        [str(DEMO_CLIP)], out=files, save_video=out / "demo.mp4", display=display, overwrite=overwrite,
        weights=weights, detector=detector, device=device, quiet=quiet,
    )  # fmt: skip
    picture = best_picture(DEMO_CLIP, files[0], out / "demo.png")
    say(f"wrote {picture}")
    if quiet:
        return
    say("next:")
    say("  tfpose-rt video YOUR_CLIP.mp4 -o poses.csv --save-video overlay.mp4")
    say("  tfpose-rt webcam")
    say(f"  tfpose-rt convert {files[0]} -f trc")
