"""Saved videos: every frame at its own time, playable everywhere, complete or left as a playable `.part`."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tfpose_rt.errors import OutputError, UsageError
from tfpose_rt.io.parts import FLUSH, PartFile, SinkOptions, into_place, unwritable
from tfpose_rt.records import Image, Result, StreamInfo
from tfpose_rt.wording import plural

log = logging.getLogger(__name__)
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
ENCODERS = {"h264": "libx264", "vp9": "libvpx-vp9"}
LIVE_TIME_BASE = Fraction(1, 90_000)  # s; capture times are kept to 11 microseconds


class Encoder(Protocol):
    """What turns pictures into a file."""

    written: int

    def write(self, image: Image, seconds: float) -> None:
        """Add a picture shown from `seconds` after the first one."""
        ...

    def finish(self, part: Path, path: Path, *, all_sound: bool) -> int:
        """Complete `part`, leave the result in it or in a file made from it; how many frames can be read back."""
        ...

    def abort(self) -> None:
        """Let go of the file."""
        ...


class VideoSink:
    """A video of rendered results.

    H.264 in MP4, MOV or Matroska, VP9 in WebM; yuv420p; odd sides are padded by one pixel at the right and bottom, so
    that no coordinate moves. Times are the source's, in its own time base, from the first frame written. The source's
    sound is copied. While running it is `<name>.part`, playable up to the last second whatever happens.

    Args:
        path: final name; the suffix picks the container.
        info: of the source.
        options: `render`, `codec`, `audio` and `resume` apply.
        overwrite: whether a finished file may be replaced.
    Raises:
        UsageError: a suffix or codec that does not fit.
        OutputError: from the first `write` on: no encoder, disk full, removed while running.
    """

    sums_up = False

    def __init__(
        self, path: Path, info: StreamInfo, options: SinkOptions | None = None, *, overwrite: bool = False
    ) -> None:
        self.path, self._info, self._overwrite = path, info, overwrite
        self._options = options or SinkOptions()
        if path.suffix.lower() not in CONTAINERS:
            raise UsageError(f"no video format {path.suffix!r}", why="not a container", fix=", ".join(CONTAINERS))
        self._codec = _codec(self._options.codec, path)
        self._part = PartFile.part(path)
        self._encoder: Encoder | None = None
        self._start: float | None = None  # pts of the first frame written
        self._looked = time.monotonic()
        self._size: tuple[int, int] | None = None
        if self._options.resume is not None:
            if self._codec == "mp4v":
                raise OutputError(f"cannot continue {path.name}", why="MPEG-4 part 2 takes no more", fix="--overwrite")
            self._start = self._options.resume.first_pts
            self._open(info.size)

    @property
    def written(self) -> int:
        """Frames written so far."""
        return 0 if self._encoder is None else self._encoder.written

    @property
    def files(self) -> list[Path]:
        """The video; none before the first frame: without one there will be no video."""
        return [] if self._encoder is None else [self.path]

    def write(self, result: Result) -> None:
        """Draw and add one frame; a gap adds nothing, the frame before it stays on screen longer."""
        if result.image is None:
            return
        image = self._options.render(result) if self._options.render is not None else result.image
        if self._start is None:
            self._start = result.pts
        if self._size is None:
            self._open((image.shape[1], image.shape[0]))
        assert self._encoder is not None
        assert self._size is not None
        try:
            self._encoder.write(_fitted(image, self._size), result.pts - self._start)
        except OSError as error:  # PyAV's errors of the disk are OSErrors too
            raise unwritable(self.path, error) from error
        if time.monotonic() - self._looked >= FLUSH:
            self._looked = time.monotonic()
            if not self._part.exists():
                raise OutputError(f"{self._part.name} was removed while it was written", why="something deleted it",
                                  fix="run again, and leave the .part file alone")  # fmt: skip

    def close(self, summary: Mapping[str, Any]) -> None:
        """Complete the file, read it back, and give it its name."""
        if self._encoder is None:
            return  # not one frame: there is no video
        meant = self._encoder.written
        try:
            found = self._encoder.finish(self._part, self.path, all_sound=summary.get("ended", "eof") == "eof")
        except OSError as error:
            raise unwritable(self.path, error) from error
        if found != meant:
            what, why = f"{self.path.name} holds {plural(found, 'frame')}", f"{plural(meant, 'was', 'were')} written"
            raise OutputError(what, why=why, fix="a free disk")
        into_place(self._part, self.path, overwrite=self._overwrite)

    def abort(self) -> None:
        """Leave the `.part`, playable."""
        if self._encoder is not None:
            self._encoder.abort()

    def discard(self) -> None:
        """Remove the `.part`, where one was begun."""
        self.abort()
        if self._encoder is not None:
            with suppress(OSError):
                self._part.unlink()

    def _open(self, size: tuple[int, int]) -> None:
        self._size = size
        info, options = self._info, self._options
        time_base = Fraction(str(info.detail.get("time_base", LIVE_TIME_BASE)))
        rate = _rate(info)
        if self._codec == "mp4v":
            from tfpose_rt.io.cv_writer import CvEncoder

            log.warning("%s is MPEG-4 part 2: browsers do not play it (no H.264 encoder here)", self.path.name)
            self._encoder = CvEncoder(self._part, size, float(rate))
            return
        from tfpose_rt.io.av_writer import AvEncoder

        self._encoder = AvEncoder(
            self._part, CONTAINERS[self.path.suffix.lower()], ENCODERS[self._codec], size, rate, time_base,
            audio=options.audio, audio_from=float(info.detail.get("origin", 0.0)) + (self._start or 0.0),
            keep=0 if options.resume is None else options.resume.frames,
        )  # fmt: skip

    @classmethod
    def frames_in_part(cls, path: Path) -> int:
        """How many frames of an unfinished `path` can be read; one killed while it was being continued is put back."""
        from tfpose_rt.io.av_writer import count_frames, earlier

        part = PartFile.part(path)
        if earlier(part).exists():
            earlier(part).replace(part)
        return count_frames(part)


def constant_rate(path: Path, info: StreamInfo, codec: str = "auto") -> float | None:
    """Pictures a second of the video that `VideoSink` makes, if it is of a constant rate; None: each has its own time.

    Raises: UsageError, OutputError: as `VideoSink`.
    """
    return float(_rate(info)) if _codec(codec, path) == "mp4v" else None


def _rate(info: StreamInfo) -> Fraction:
    return Fraction(info.fps or 30).limit_denominator(1001) or Fraction(30)  # 0: less than one in half an hour


def _codec(asked: str, path: Path) -> str:
    """h264, vp9 or mp4v: the one asked for, else the best this container and machine have."""
    from tfpose_rt.io.av_writer import has_encoder

    webm = path.suffix.lower() == ".webm"
    if asked not in ("auto", "mp4v", *ENCODERS) or (webm and asked not in ("auto", "vp9")):
        raise UsageError(f"--codec {asked}", why=f"not for {path.suffix}", fix="auto, h264, vp9 (WebM: vp9)")
    wanted = {"auto": "vp9" if webm else "h264"}.get(asked, asked)
    if wanted == "mp4v" or has_encoder(ENCODERS[wanted]):
        return wanted
    if asked == "auto" and path.suffix.lower() in (".mp4", ".m4v", ".mov"):
        return "mp4v"
    raise OutputError(
        f"cannot write {path.name}", why=f"no {ENCODERS[wanted]} in this FFmpeg", fix="--codec auto, .mp4"
    )


def _fitted(image: Image, size: tuple[int, int]) -> Image:
    """The picture in the size the video has: after a change of the source's size it is scaled and centred on black."""
    width, height = size
    if (image.shape[1], image.shape[0]) == size:
        return image
    import cv2

    scale = min(width / image.shape[1], height / image.shape[0])
    inner = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    canvas: Image = np.zeros((height, width, 3), np.uint8)
    x, y = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas[y : y + inner[1], x : x + inner[0]] = cv2.resize(image, inner, interpolation=cv2.INTER_AREA)
    return canvas
