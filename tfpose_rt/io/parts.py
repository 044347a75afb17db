"""What every sink is built from: its options, and a file that gets its name only when it is complete."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import IO, Any, Protocol

from tfpose_rt.errors import OutputError
from tfpose_rt.records import Image, Result

FLUSH = 1.0  # s: what a killed run loses at most
ODD = "backslashreplace"  # a source's name may be no UTF-8; JSON reads the escape back as what it stands for


class Sink(Protocol):
    """Takes results in order and makes a file of them."""

    @property
    def path(self) -> Path:
        """Final name."""
        ...

    @property
    def written(self) -> int:
        """Frames written so far."""
        ...

    @property
    def files(self) -> list[Path]:
        """Every file it makes: until it is closed those that can be foreseen, afterwards those that are there."""
        ...

    @property
    def sums_up(self) -> bool:
        """Whether what it makes holds the summary of the run, which names every file."""
        ...

    def write(self, result: Result) -> None:
        """Add one result. Raises OutputError."""
        ...

    def close(self, summary: Mapping[str, Any]) -> None:
        """Complete the file and give it its name; `summary` is the record that ends a recording. Raises OutputError."""
        ...

    def abort(self) -> None:
        """Let go of the file and leave its `.part`; never raises."""
        ...

    def discard(self) -> None:
        """Let go of the file and remove what there is of it, unless it is complete; never raises."""
        ...


def closing_order(sinks: Iterable[Sink]) -> list[Sink]:
    """The sinks, those last that sum up: by then it is known which files the others have made."""
    return sorted(sinks, key=lambda sink: sink.sums_up)


def made(sinks: Iterable[Sink]) -> list[tuple[Path, int]]:
    """Every file of the sinks with the number of its frames."""
    return [(file, sink.written) for sink in sinks for file in sink.files]


@dataclass(frozen=True, slots=True)
class Resume:
    """Where an unfinished run is taken up again."""

    last: int  # index of the last frame to keep
    frames: int  # how many frames are kept
    first_pts: float  # s, time of the run's first frame


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkOptions:
    """How files are written; a format ignores what does not apply to it."""

    full_precision: bool = False
    numbers_video: bool = False  # JSONL's video_frame counts the frames of a video saved beside it
    video_rate: float | None = None  # of that video, where it is constant: its frames are places, not results
    csv_layout: str = "wide"  # wide | long
    openpose_layout: str = "coco18"  # coco17 | coco18 | body25
    openpose_naming: str = "openpose"  # openpose | pose2sim
    kpt_thr: float = 0.3  # OpenPose JSON only: points below it are 0,0,0 there
    trc_units: str = "px"
    fill: str = "none"  # none | nan: how an absent value is written in text tables
    normalised: bool = False  # (x + 0.5) / W instead of pixels
    field: str = "raw"  # raw | smooth
    codec: str = "auto"  # auto | h264 | mp4v | vp9
    audio: Path | None = None  # the source file whose sound is copied into a saved video
    render: Callable[[Result], Image] | None = None  # what a saved video shows; the frame itself when not given
    resume: Resume | None = None  # continue an existing .part


class Places:
    """Numbers pictures in a video of constant rate: each at the nearest place, or none where that is taken.

    Args:
        rate: places a second.
    """

    def __init__(self, rate: float) -> None:
        self._rate, self._next = rate, 0

    def of(self, seconds: float) -> int | None:
        """The place of a picture `seconds` after the first one."""
        place = max(ceil(seconds * self._rate - 0.5 - 1e-6), 0)  # half-way: the earlier, so no last one sticks out
        if place < self._next:
            return None
        self._next = place + 1
        return place


class PartFile:
    """A text file written as `<name>.part`, flushed each second, renamed when complete.

    Args:
        path: final name; "-" is standard output.
        overwrite: whether a finished file may be replaced.
        keep: continue an existing `.part` after this many bytes.
    Raises: OutputError: from every method that touches the disk.
    """

    def __init__(self, path: Path, *, overwrite: bool = False, keep: int | None = None) -> None:
        self._path, self._overwrite = path, overwrite
        self._stdout = str(path) == "-"
        self._flushed = time.monotonic()
        try:
            if self._stdout:
                self._file: IO[str] = _plain_stdout()
            elif keep is None:
                self._file = self.part(path).open("w", encoding="utf-8", errors=ODD, newline="\n")
            else:
                self._file = self.part(path).open("r+", encoding="utf-8", errors=ODD, newline="\n")
                self._file.seek(keep)
                self._file.truncate()
        except OSError as error:
            raise unwritable(path, error) from error

    @staticmethod
    def part(path: Path) -> Path:
        """The name under which `path` is written until it is complete."""
        return path.with_name(path.name + ".part")

    def write(self, text: str) -> None:
        """Add text; it reaches the disk within a second of the next write."""
        try:
            self._file.write(text)
            if time.monotonic() - self._flushed >= FLUSH:
                self.flush()
        except (OSError, ValueError) as error:
            raise unwritable(self._path, error) from error

    def flush(self) -> None:
        """Hand everything to the operating system, and notice a file that was deleted meanwhile."""
        self._file.flush()
        self._flushed = time.monotonic()
        if not self._stdout and not self.part(self._path).exists():
            raise OutputError(f"{self._path.name}.part was removed while it was written", why="something deleted it",
                              fix="run again, and leave the .part file alone")  # fmt: skip

    def rewrite(self, text: str) -> None:
        """Replace everything written so far."""
        try:
            self._file.seek(0)
            self._file.truncate()
            self._file.write(text)
        except OSError as error:
            raise unwritable(self._path, error) from error

    def seal(self) -> None:
        """Flush and close, without renaming."""
        try:
            self.flush()
            if not self._stdout:
                self._file.close()
        except OSError as error:
            raise unwritable(self._path, error) from error

    def finish(self) -> None:
        """Flush, close, and rename to the final name."""
        try:
            self.seal()
            if self._stdout:
                return
            into_place(self.part(self._path), self._path, overwrite=self._overwrite)
        except OSError as error:
            raise unwritable(self._path, error) from error

    def abort(self) -> None:
        """Close and leave the `.part`."""
        try:
            if not self._stdout:
                self._file.close()
        except OSError:  # the disk is full: what was flushed stays
            return

    def discard(self) -> None:
        """Close and remove the `.part`."""
        self.abort()
        if not self._stdout:
            with suppress(OSError):
                self.part(self._path).unlink()


def _plain_stdout() -> IO[str]:
    """Standard output with the bytes a file would have: UTF-8 and bare line feeds, whatever the system's habit."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)  # a caller may have put something else in its place
    if reconfigure is not None:
        reconfigure(encoding="utf-8", errors=ODD, newline="\n")
    return sys.stdout


def into_place(part: Path, path: Path, *, overwrite: bool) -> None:
    """Rename a complete file to its final name; a file that appeared there meanwhile is not replaced unasked."""
    if path.exists() and not overwrite:
        raise OutputError(f"{path.name} appeared while it was written", why="another program made it",
                          fix=f"the result is in {part.name}")  # fmt: skip
    try:
        part.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error


def folder_into_place(part: Path, path: Path, *, overwrite: bool) -> None:
    """Rename a complete folder; into one that is there its files are moved, and files of other names stay.

    Raises: OutputError: one that holds something is there and not to be replaced, or the system refuses.
    """
    try:
        if not path.exists():
            part.replace(path)
            return
        if not overwrite and any(path.iterdir()):
            raise OutputError(f"{path.name} appeared while it was written", why="another program made it",
                              fix=f"the result is in {part.name}")  # fmt: skip
        for file in part.iterdir():
            file.replace(path / file.name)
        part.rmdir()
    except OSError as error:
        raise unwritable(path, error) from error


def files_of_persons(folder: Path, stem: str, suffix: str) -> list[Path]:
    """The files `<stem>_person<ID><suffix>` that are there, whoever the persons are."""
    ours = re.compile(rf"{re.escape(stem)}_person\d+{re.escape(suffix)}")
    return sorted(file for file in folder.iterdir() if ours.fullmatch(file.name)) if folder.is_dir() else []


def unwritable(path: Path, error: BaseException) -> OutputError:
    """The error for a file that the system would not write."""
    why = getattr(error, "strerror", None) or str(error)
    fix = {"No space left on device": "free some space, then --resume"}.get(why, "another --out")
    return OutputError(f"cannot write {path.name}", why=why[:1].lower() + why[1:], fix=fix)
