"""The bundled clip, and the picture that shows what came of it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tfpose_rt.draw import DrawStyle, draw
from tfpose_rt.errors import OutputError
from tfpose_rt.io.jsonl import read_results
from tfpose_rt.io.sources import open_source
from tfpose_rt.records import Frame

DEMO_CLIP = Path(__file__).parents[1] / "clips" / "demo.mp4"


def best_picture(clip: Path, recording: Path, out: Path) -> Path:
    """Write the overlay of the frame with the most, and the surest, people.

    Args:
        clip: the video.
        recording: its JSONL.
        out: PNG to write; replaced if there.
    Raises: OutputError: it cannot be written.
    """
    poses = {r.frame: r.poses for r in read_results(recording) if r.poses is not None}
    sure = {frame: float(p.scores.mean(1).sum()) for frame, p in poses.items() if p.scores is not None and len(p)}
    chosen = max(sure, key=lambda frame: sure[frame], default=0)
    source = open_source(clip)
    try:
        image = next(f.image for f in source if isinstance(f, Frame) and f.index == chosen)
    finally:
        source.close()
    picture = draw(image, poses[chosen], DrawStyle()) if chosen in poses else image
    ok, data = cv2.imencode(".png", np.ascontiguousarray(picture))
    try:
        out.write_bytes(data.tobytes() if ok else b"")
    except OSError as error:
        raise OutputError(f"cannot write {out}", why=str(error.strerror), fix="another --out") from error
    return out
