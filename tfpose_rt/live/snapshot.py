"""One frame on disk: the clean picture, the picture with the skeletons, and the poses."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2

from tfpose_rt.draw import DrawStyle, draw
from tfpose_rt.errors import OutputError
from tfpose_rt.io.record_json import record_of
from tfpose_rt.live.takes import bare, new_path
from tfpose_rt.records import Image, Result


def save_snapshot(folder: Path, result: Result, style: DrawStyle, header: Mapping[str, Any]) -> list[Path]:
    """Write `snapshot_<UTC>_clean.png`, `_overlay.png` and `.json`; no file is ever replaced.

    Args:
        folder: an existing folder.
        result: a frame with image and poses.
        style: of the overlay; its background holds for the clean picture too.
        header: the header record, kept with the poses so that the file explains itself.
    Returns: the three files.
    Raises: OutputError: they cannot be written.
    """
    assert result.image is not None
    assert result.poses is not None
    stem = new_path(folder, "snapshot", "")
    style = dataclasses.replace(style, mirror=False)  # mirrors are for the screen
    record = {"header": dict(header), "frame": record_of(result)}
    clean, overlay = (draw(result.image, result.poses, s, hide=result.cover) for s in (bare(style), style))
    files = {
        stem.with_name(stem.name + "_clean.png"): _png(clean),
        stem.with_name(stem.name + "_overlay.png"): _png(overlay),
        stem.with_name(stem.name + ".json"): (json.dumps(record, ensure_ascii=False) + "\n").encode(),
    }
    for path, data in files.items():
        try:
            with path.open("xb") as file:
                file.write(data)
        except OSError as error:
            raise OutputError(
                f"cannot write {path.name}", why=error.strerror or str(error), fix="another folder"
            ) from error
    return list(files)


def _png(image: Image) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()
