"""Video files as a source: every frame in order, numbered as in the file, upright, at its true time."""

from __future__ import annotations

import hashlib
import sys
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tfpose_rt.config import SourceOptions
from tfpose_rt.errors import InputError
from tfpose_rt.io.times import WORTH, repair
from tfpose_rt.records import Frame, Gap, Image, Segment, StreamInfo
from tfpose_rt.shell import quoted
from tfpose_rt.wording import plural

if TYPE_CHECKING:
    from tfpose_rt.io.av_reader import Orientation, Picture

MIB = 1 << 20


class FileSource:
    """One video file.

    A picture that cannot be decoded keeps its number: it is yielded as a `Gap` with `reason="decode_error"`, and the
    next frame's index is one higher than without it. Numbers and times count from the file's first picture whatever
    part is asked for.

    Args:
        path: the file.
        options: `start`, `end`, `frames`, `stride`, `skip_to`, `rotate` and `full_hash` apply.
    Raises: InputError: missing, not readable, not a video, or without one decodable picture.
    """

    live = False

    def __init__(self, path: Path, options: SourceOptions | None = None) -> None:
        from tfpose_rt.io.av_reader import AvReader, clockwise, from_degrees

        check_readable(path)
        self._options = options = options or SourceOptions()
        self._reader = reader = AvReader(path)
        rotated = options.rotate != "auto"
        self._turn: Orientation = from_degrees(int(options.rotate)) if rotated else reader.orientation
        width, height = reader.size
        self.ended = "eof"
        self.decode_errors = 0  # within the part asked for
        self.info = StreamInfo(
            kind="file",
            name=path.name,
            size=(height, width) if self._turn[0] else (width, height),
            fps=float(reader.rate) if reader.rate else None,
            variable=reader.variable,
            frames=reader.frames,
            duration=reader.duration,
            rotation=clockwise(self._turn),
            codec=reader.codec,
            sha256=file_hash(path, whole=options.full_hash),
            detail={"time_base": str(reader.time_base), "time_base_kind": "container", "origin": reader.origin},
        )

    def __iter__(self) -> Iterator[Frame | Gap | Segment]:
        """Frames and gaps of the part asked for."""
        options = self._options
        begin, stop = options.frames or (0, None)
        wanted = options.skip_to  # what is before it was already handed on, in an earlier run
        index, previous, first, times = self._begin(begin, wanted)
        size = self._reader.size
        for picture, pts, fixed in times:
            for message in picture.lost:
                if index >= max(begin, wanted) and pts >= (options.start or 0.0) and (stop is None or index < stop):
                    yield self._lost(message, index, previous, pts)
                index += 1
            if (stop is not None and index >= stop) or (options.end is not None and pts >= options.end):
                self.ended = "limit"
                return
            if index >= begin and pts >= (options.start or 0.0) - 1e-6:
                first = index if first is None else first
                if (picture.frame.width, picture.frame.height) != size:
                    size = (picture.frame.width, picture.frame.height)
                    yield Segment(size=(size[1], size[0]) if self._turn[0] else size, fps=self.info.fps)
                if (index - first) % options.stride == 0 and index >= wanted:
                    yield Frame(index=index, pts=pts, image=self._image(picture), seq=index, pts_fixed=fixed)
            index, previous = index + 1, pts
        if self._reader.closed:
            self.ended = "limit"
            return
        for message in self._reader.trailing:
            if index >= max(begin, wanted) and (stop is None or index < stop):
                yield self._lost(message, index, previous, previous)
            index += 1
        self._finish(index, previous, first)

    def _begin(self, begin: int, wanted: int) -> tuple[int, float, int | None, Iterator[tuple[Picture, float, bool]]]:
        """Where reading begins: the next picture's number, the time before it, the part's first number, the pictures.

        The part's first number is what --stride counts from; None while it is still to come.
        """
        reader, step, start = self._reader, 1.0 / (self.info.fps or 30.0), self._options.start
        jump = None
        if start is not None or max(begin, wanted) >= WORTH:
            jump = reader.jump(None if start is None else reader.origin + start, max(begin, wanted))
        if jump is None:
            return 0, 0.0, None, repair(self._stamps(), step)
        seconds = [float(stamp * reader.time_base) - reader.origin for stamp in jump.stamps]
        first = max(begin, bisect_left(seconds, (start or 0.0) - 1e-6))
        before = round(seconds[jump.index - 1], 6)
        times = repair(self._stamps(), step, origin=reader.origin, last=before)
        return jump.index, before, first if first < jump.index else None, times

    def _stamps(self) -> Iterator[tuple[Picture, float | None]]:
        return ((picture, picture.stamp) for picture in self._reader)

    def _image(self, picture: Picture) -> Image:
        from tfpose_rt.io.av_reader import to_bgr

        return to_bgr(picture.frame, self._turn)

    def _lost(self, message: str, index: int, start: float, end: float) -> Gap:
        self.decode_errors += 1
        return Gap(reason="decode_error", t_start=start, t_end=end, seq_from=index, seq_to=index, detail=message)

    def _finish(self, index: int, last: float, first: int | None) -> None:
        """Decide how the file ended: whole, cut short, or damaged on the way."""
        expected, duration, step = self.info.frames, self.info.duration, 1.0 / (self.info.fps or 30.0)
        # By count where the container has one, and by time: an AVI counts empty places, a Matroska file none at all.
        fewer = expected is None or self._reader.packets < expected
        spare = 1.0 if expected is None else 1.5 * step
        short = fewer and duration is not None and last + step < duration - spare
        if short:
            self.ended = "early_eof"
        elif self.decode_errors:
            self.ended = "decode_error"
        if first is None:
            raise InputError(
                f"no frame of {self.info.name} lies in the part asked for",
                why=f"it has {plural(index, 'frame')}, {last:.3f} s",
                fix="another --start, --end or --frames",
            )

    def close(self) -> None:
        """Release the file."""
        self._reader.close()


def check_readable(path: Path) -> None:
    """Raise InputError, with the next step, unless `path` is a file with bytes that this user may read."""
    try:
        if path.is_dir():
            raise InputError(f"{path.name} is a folder", why="a file is needed here", fix=quoted(f"{path.name}/*.mp4"))
        if path.stat().st_size == 0:
            raise InputError(f"{path.name} is empty", why="it has 0 bytes", fix="copy or record it again")
        with path.open("rb") as file:
            file.read(1)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist", why="no such file", fix="check the path") from error
    except PermissionError as error:
        if sys.platform == "win32":  # which does not tell one from the other
            why, fix = "no permission, or another program writes it", "close that program, or look at its properties"
            raise InputError(f"{path.name} cannot be read", why=why, fix=fix) from error
        fix = f"chmod u+r {quoted(path.name)}"
        raise InputError(f"{path.name} cannot be read", why="no permission", fix=fix) from error
    except OSError as error:
        why = error.strerror or str(error)
        raise InputError(f"{path.name} cannot be read", why=why, fix="check the disk") from error


def file_hash(path: Path, *, whole: bool = False) -> str:
    """SHA-256 in hex over the first MiB, the last MiB and the size as 8 bytes, or over the whole file."""
    digest, size = hashlib.sha256(), path.stat().st_size
    with path.open("rb") as file:
        if whole:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(file.read(MIB))
        file.seek(max(0, size - MIB))
        digest.update(file.read(MIB))
    digest.update(size.to_bytes(8, "little"))
    return digest.hexdigest()
