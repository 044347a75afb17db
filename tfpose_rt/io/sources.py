"""Where frames come from: the Source protocol, and `open_source`, which picks one by what the user typed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from glob import has_magic
from pathlib import Path
from typing import Protocol

from tfpose_rt.config import SourceOptions
from tfpose_rt.errors import InputError, UsageError
from tfpose_rt.files import read_text
from tfpose_rt.records import Frame, Gap, Image, Segment, StreamInfo

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"))
VIDEO_SUFFIXES = frozenset((
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp",
    ".mxf", ".ogv", ".vob", ".gif", ".y4m",
))  # fmt: skip
URL = re.compile(r"^[a-z][a-z0-9+.-]+://", re.IGNORECASE)
ROTATIONS = ("auto", "0", "90", "180", "270")


class Source(Protocol):
    """Anything that hands out frames in order."""

    @property
    def info(self) -> StreamInfo:
        """What is known before the first frame."""
        ...

    @property
    def live(self) -> bool:
        """Whether the newest frame wins; otherwise every frame counts."""
        ...

    @property
    def ended(self) -> str:
        """Eof | early_eof | decode_error | source_lost | limit; final once iteration has stopped."""
        ...

    @property
    def decode_errors(self) -> int:
        """Pictures that could not be decoded so far."""
        ...

    def __iter__(self) -> Iterator[Frame | Gap | Segment]:
        """Frames, and what is known of those that are missing; once only."""
        ...

    def close(self) -> None:
        """Release the file or device; safe to call twice."""
        ...


def open_source(spec: str | Path | int | Iterable[tuple[Image, float]], options: SourceOptions | None = None) -> Source:
    """Open what `spec` names.

    Args:
        spec: a file, a folder or glob of images, `synthetic[:WxH@FPS]`, `-` (MJPEG on stdin), a camera (`0`,
            `camera:NAME`) or a URL; or the caller's own (image, seconds) pairs. A file called `0` is `./0`.
        options: how to read it.
    Returns: an open source; close it when done.
    Raises: InputError: it cannot be opened. UsageError: the options contradict each other.
    """
    options = checked(options or SourceOptions())
    if not isinstance(spec, str | Path | int):
        from tfpose_rt.io.pairs import PairSource

        return PairSource(spec)
    text = str(spec)
    if isinstance(spec, int) or text.isdecimal() or text.startswith("camera:"):
        from tfpose_rt.io.cameras import CameraSource

        return CameraSource(spec if isinstance(spec, int) else text, options)
    if isinstance(spec, str) and URL.match(text):
        from tfpose_rt.io.network import NetworkSource

        return NetworkSource(text, options)
    if text == "-":
        from tfpose_rt.io.stdin_mjpeg import MjpegSource

        return MjpegSource(options=options)
    if text == "synthetic" or text.startswith("synthetic:"):
        from tfpose_rt.io.synthetic import SyntheticSource

        return SyntheticSource(text, options)
    path = Path(text)
    if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES or (has_magic(text) and not path.exists()):
        from tfpose_rt.io.images import ImagesSource

        return ImagesSource(images_of(text), options, name=path.name if path.is_dir() else None)
    from tfpose_rt.io.files import FileSource

    return FileSource(path, options)


def checked(options: SourceOptions) -> SourceOptions:
    """The same options, or UsageError where they make no sense."""
    start, end, frames, fps = options.start, options.end, options.frames, options.fps
    if options.stride < 1:
        raise UsageError(f"--stride {options.stride}", why="at least every frame", fix="--stride 1")
    if options.rotate not in ROTATIONS:
        raise UsageError(f"--rotate {options.rotate}", why="unknown angle", fix="one of " + ", ".join(ROTATIONS))
    if fps is not None and not 0 < fps <= 1000:  # nan is none either
        raise UsageError(f"--fps {fps:g}", why="frames a second, at most 1000", fix="--fps 30")
    if (start is not None and start < 0) or (end is not None and end <= (start or 0)):
        raise UsageError(f"--start {start} --end {end}", why="the part is empty", fix="an end after the start")
    if frames is not None and not 0 <= frames[0] < frames[1]:
        raise UsageError(f"--frames {frames[0]}:{frames[1]}", why="the part is empty", fix="--frames 0:100")
    return options


def images_of(spec: str) -> list[Path]:
    """The images that a folder, glob or path names, in natural order.

    Raises: InputError: there are none.
    """
    path = Path(spec)
    if path.is_dir():
        found = [p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
    elif path.exists() or not has_magic(spec):
        found = [path]
    else:
        found = [p for p in _glob(spec) if p.is_file() and p.suffix.lower() in IMAGE_SUFFIXES]
    if not found:
        raise InputError(f"no image in {spec}", why="nothing there that can be read", fix="a folder of .png or .jpg")
    return sorted(found, key=natural)


def expand(specs: Sequence[str], within: Sequence[Path] = ()) -> list[str]:
    """What the user typed, as one entry for each recording to be made.

    A folder stands for every video in it, and its images, if any, for one recording. A glob stands for every file it
    matches; if those are all images, they are one recording. `@LIST` is a text file with one source a line.

    Args:
        specs: as typed.
        within: the lists that these stand in.
    Raises: InputError: a folder, glob or list names nothing, or a list itself.
    """
    out: list[str] = []
    for spec in specs:
        path = Path(spec)
        if spec.startswith("@") and not path.exists():
            if (listing := Path(spec[1:])) in within:
                raise InputError(f"the list {listing} names itself", why="it has no end", fix="without that line")
            out += expand(_lines(listing), (*within, listing))
        elif path.is_dir():
            files = sorted((p for p in path.iterdir() if p.is_file()), key=natural)
            inside = [str(p) for p in files if p.suffix.lower() in VIDEO_SUFFIXES]
            inside += [spec] if any(p.suffix.lower() in IMAGE_SUFFIXES for p in files) else []
            out += _some(inside, spec)
        elif has_magic(spec) and not path.exists() and not URL.match(spec):
            matches = sorted((p for p in _glob(spec) if p.is_file()), key=natural)
            all_images = all(p.suffix.lower() in IMAGE_SUFFIXES for p in matches)
            out += _some([spec] if matches and all_images else [str(p) for p in matches], spec)
        else:
            out.append(spec)
    return out


def natural(path: Path) -> tuple[object, ...]:
    """Sort key that puts frame_2 before frame_10."""
    parts = (part for part in re.split(r"(\d+)", str(path)) if part)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part.lower()) for part in parts)


def _glob(spec: str) -> list[Path]:
    base = Path(Path(spec).anchor or ".")
    return list(base.glob(str(Path(spec).relative_to(base)) if base.anchor else spec))


def _lines(path: Path) -> list[str]:
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the list {path}", why=str(error), fix="one source a line, UTF-8") from error
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _some(found: list[str], spec: str) -> list[str]:
    if not found:
        raise InputError(f"{spec} names no video or image", why="nothing there matches", fix="check the path")
    return found
