"""Images as a source: one picture, or a numbered sequence; read through Python so that any file name works."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfpose_rt.config import SourceOptions
from tfpose_rt.errors import InputError
from tfpose_rt.io.files import check_readable, file_hash
from tfpose_rt.records import Frame, Gap, Image, Segment, StreamInfo

DEFAULT_FPS = 30.0  # images carry no times


class ImagesSource:
    """A sequence of images; frame i is the i-th file and its time is i / fps (`options.fps`, 30 when not given).

    EXIF orientation is applied. An image that cannot be read keeps its number and is yielded as a `Gap`; a change of
    size is yielded as a `Segment`.

    Args:
        paths: files in order, at least one.
        options: `fps`, `start`, `end`, `frames`, `stride` and `rotate` apply.
        name: what to call the sequence; the first file's name when not given.
    Raises: InputError: the first image cannot be read.
    """

    live = False

    def __init__(self, paths: Sequence[Path], options: SourceOptions | None = None, *, name: str | None = None) -> None:
        self._paths, self._options = list(paths), options or SourceOptions()
        self._fps = self._options.fps or DEFAULT_FPS
        self.ended = "eof"
        self.decode_errors = 0
        check_readable(self._paths[0])
        first = self._read(self._paths[0])
        if first is None:
            raise InputError(f"cannot read {self._paths[0].name}", why="not an image", fix="a .png or .jpg file")
        count = len(self._paths)
        self.info = StreamInfo(
            kind="images",
            name=name or self._paths[0].name,
            size=(first.shape[1], first.shape[0]),
            fps=self._fps,
            frames=count,
            duration=count / self._fps,
            rotation=0 if self._options.rotate == "auto" else int(self._options.rotate),
            codec=self._paths[0].suffix.lower().lstrip("."),
            sha256=file_hash(self._paths[0], whole=self._options.full_hash) if count == 1 else None,
            detail={"time_base_kind": "container"} | ({"files": [p.name for p in self._paths]} if count > 1 else {}),
        )

    def __iter__(self) -> Iterator[Frame | Gap | Segment]:
        """Frames, gaps for unreadable images, segments where the size changes."""
        options, size = self._options, self.info.size
        begin, stop = options.frames or (0, len(self._paths))
        chosen = [
            i
            for i in range(begin, min(stop, len(self._paths)))
            if (options.start or 0.0) - 1e-6 <= i / self._fps < (options.end or float("inf"))
        ][:: options.stride]
        for index in (i for i in chosen if i >= options.skip_to):
            pts, image = round(index / self._fps, 6), self._read(self._paths[index])
            if image is None:
                self.decode_errors += 1
                name = self._paths[index].name
                yield Gap(reason="decode_error", t_start=pts, t_end=pts, seq_from=index, seq_to=index, detail=name)
                continue
            if (image.shape[1], image.shape[0]) != size:
                size = (image.shape[1], image.shape[0])
                yield Segment(size=size, fps=self._fps)
            yield Frame(index=index, pts=pts, image=image, seq=index)
        if self.decode_errors:
            self.ended = "decode_error"
        elif chosen and chosen[-1] + options.stride < len(self._paths):
            self.ended = "limit"
        if not chosen:
            raise InputError(
                f"no image of {self.info.name} lies in the part asked for",
                why=f"it has {len(self._paths)}",
                fix="another --start, --end or --frames",
            )

    def _read(self, path: Path) -> Image | None:
        rotate = self._options.rotate
        image = read_image(path, upright=rotate == "auto")
        if image is not None and rotate not in ("auto", "0"):
            image = np.ascontiguousarray(np.rot90(image, -int(rotate) // 90))
            image.flags.writeable = False
        return image

    def close(self) -> None:
        """Nothing stays open between two images."""


def read_image(path: Path, *, upright: bool = True) -> Image | None:
    """An image file as a (H, W, 3) uint8 BGR array, read-only, by default turned as its EXIF tag says.

    Returns: None where the file cannot be read or is not an image.
    """
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError:
        return None
    return decode_image(data, upright=upright) if len(data) else None


def load_image(path: Path) -> Image:
    """As `read_image`. Raises InputError: missing, not readable, or not an image."""
    check_readable(path)
    image = read_image(path)
    if image is None:
        raise InputError(f"{path.name} is not an image", why="it cannot be decoded", fix="a .png or .jpg file")
    return image


def check_picture(image: Any) -> None:
    """Raise ValueError unless this is a picture that the caller holds: (H, W, 3) uint8, with pixels in it."""
    if not isinstance(image, np.ndarray):
        raise ValueError(f"a picture is an array (H, W, 3) uint8, not {type(image).__name__}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"a picture is (H, W, 3) uint8, not {image.shape} {image.dtype}")


def decode_image(data: npt.NDArray[np.uint8], *, upright: bool = True) -> Image | None:
    """Encoded bytes (uint8) as a (H, W, 3) uint8 BGR array, read-only; None where they cannot be decoded."""
    import cv2

    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR if upright else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    if image is None:
        return None
    out: Image = np.asarray(image, np.uint8)
    out.flags.writeable = False
    return out
