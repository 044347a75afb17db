"""Overlay pictures: one file for one photograph, a folder with a file for every frame otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tfpose_rt.errors import UsageError
from tfpose_rt.files import write_whole
from tfpose_rt.io.openpose import safe_name
from tfpose_rt.io.parts import PartFile, SinkOptions, folder_into_place, into_place, unwritable
from tfpose_rt.records import Image, Result, StreamInfo

STILLS = (".jpg", ".jpeg", ".png", ".webp")  # what overlays are written as; a folder holds the first kind
QUALITY = 95  # of JPEG and WebP, in percent


class StillsSink:
    """The overlay of every frame as a picture.

    A path with a picture's suffix takes one frame. Any other is a folder: pictures are called after the photographs of
    a sequence where these have names that differ, else after the source and the frame's number. Every picture is whole
    from the moment it is there; the folder is `<name>.part` until the last one.

    Args:
        path: final name.
        info: of the source.
        options: `render` and `resume` apply.
        overwrite: whether finished files may be replaced; in a folder that is there, pictures of other names stay.
    Raises: OutputError, from the first `write` on; UsageError: a second frame for one file.
    """

    sums_up = False

    def __init__(
        self, path: Path, info: StreamInfo, options: SinkOptions | None = None, *, overwrite: bool = False
    ) -> None:
        self.path, self._options, self._overwrite = path, options or SinkOptions(), overwrite
        self._one = path.suffix.lower() in STILLS
        self._part = PartFile.part(path)
        self._names, self._stem = _names(info), safe_name(Path(info.name).stem)
        resume = self._options.resume
        self.written = 0 if resume is None else resume.frames
        if self._one:
            return
        try:
            self._part.mkdir(exist_ok=True)
            if resume is None:
                _empty(self._part)
        except OSError as error:
            raise unwritable(path, error) from error

    @property
    def files(self) -> list[Path]:
        """The picture or the folder; none before the first frame."""
        return [self.path] if self.written else []

    def write(self, result: Result) -> None:
        """Draw and write one frame; a gap has no picture."""
        if result.image is None:
            return
        if self._one and self.written:
            raise UsageError(f"--save-images {self.path}", why="the source has more than one frame", fix="a folder")
        image = result.image if self._options.render is None else self._options.render(result)
        name = self._names.get(result.frame, f"{self._stem}_{result.frame:06d}")
        file = self._part if self._one else self._part / f"{name}{STILLS[0]}"
        try:
            write_whole(file, encoded(image, self.path.suffix if self._one else STILLS[0]))
        except OSError as error:
            raise unwritable(self.path, error) from error
        self.written += 1

    def close(self, summary: Mapping[str, Any]) -> None:
        """Give the picture or the folder its name."""
        if not self.written:
            self.discard()
            return
        place = into_place if self._one else folder_into_place
        place(self._part, self.path, overwrite=self._overwrite)

    def abort(self) -> None:
        """Leave the `.part`."""

    def discard(self) -> None:
        """Remove the `.part`."""
        with suppress(OSError):
            if self._one:
                self._part.unlink(missing_ok=True)
            else:
                _empty(self._part)
                self._part.rmdir()

    @classmethod
    def frames_in_part(cls, path: Path) -> int:
        """How many pictures there are of an unfinished `path`."""
        part = PartFile.part(path)
        return len(_pictures(part)) if part.is_dir() else int(part.exists())


def encoded(image: Image, suffix: str) -> bytes:
    """(H, W, 3) uint8 BGR -> the bytes of a picture file of that suffix, one of `STILLS`."""
    import cv2

    lossy = {".png": [], ".webp": [cv2.IMWRITE_WEBP_QUALITY, QUALITY]}
    flags = lossy.get(suffix.lower(), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return cv2.imencode(suffix, image, flags)[1].tobytes()


def _names(info: StreamInfo) -> dict[int, str]:
    """Frame -> name without suffix, where photographs give them."""
    stems = [Path(name).stem for name in info.detail.get("files", ())]
    differ = len({stem.casefold() for stem in stems}) == len(stems)
    return dict(enumerate(stems)) if differ else {}


def _pictures(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.suffix == STILLS[0]]


def _empty(folder: Path) -> None:
    for file in _pictures(folder):
        file.unlink()
