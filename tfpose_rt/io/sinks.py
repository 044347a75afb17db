"""Where results go: one line for each format, and the checks made before any work."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from tfpose_rt.errors import OutputError, UsageError
from tfpose_rt.io.coco import coco_sink, images_path
from tfpose_rt.io.jsonl import JsonlSink
from tfpose_rt.io.mot import person_paths as mot_paths
from tfpose_rt.io.openpose import OpenPoseSink
from tfpose_rt.io.parquet import parquet_sink
from tfpose_rt.io.parts import PartFile, Sink, SinkOptions
from tfpose_rt.io.tables import CsvSink, meta_path
from tfpose_rt.io.threaded import DEPTH, Threaded
from tfpose_rt.io.trc import person_paths, trc_sink
from tfpose_rt.records import StreamInfo
from tfpose_rt.shell import make_folder

__all__ = ["FORMATS", "SINKS", "VIDEO_SUFFIXES", "Sink", "SinkOptions", "check_outputs", "open_sink"]
VIDEO_SUFFIXES = frozenset((".mp4", ".m4v", ".mov", ".mkv", ".webm"))
PICTURES = 64 << 20  # bytes of pictures that may wait for an overlay; at least two pictures do


class Factory(Protocol):
    """How a sink for a data format is made."""

    def __call__(
        self, path: Path, header: Mapping[str, Any], options: SinkOptions | None = None, *, overwrite: bool = False
    ) -> Sink:
        """Open the sink."""
        ...


FORMATS: dict[str, Factory] = {
    "jsonl": JsonlSink,
    "csv": CsvSink,
    "parquet": parquet_sink,
    "coco": coco_sink,
    "openpose": OpenPoseSink,
    "trc": trc_sink,
}
SINKS: dict[str, str] = {  # suffix -> format; a name without suffix is a folder
    ".jsonl": "jsonl", ".csv": "csv", ".parquet": "parquet", ".json": "coco", "": "openpose", ".trc": "trc",
}  # fmt: skip


def format_of(path: Path, format: str | None = None) -> str:
    """The data format that `path` is to have: the one named, else by its suffix ("-": JSONL).

    Raises: UsageError: unknown format, a suffix that no format has, or one that another format has than the one named.
    """
    found = SINKS.get(path.suffix.lower())
    if format is not None:
        if format not in FORMATS:
            raise UsageError(f"unknown format {format!r}", why="no such file format", fix=", ".join(FORMATS))
        if path.suffix and found not in (None, format):
            own = next(suffix for suffix, name in SINKS.items() if name == format)
            why, fix = f"{path.suffix} is a suffix of {found}", f"-o {path.with_suffix(own)}, or -f {found}"
            raise UsageError(f"-o {path} with -f {format}", why=why, fix=fix)
        return format
    if str(path) == "-":
        return "jsonl"
    if found is None:
        hint = "--save-video for a video" if path.suffix.lower() in VIDEO_SUFFIXES else ", ".join(filter(None, SINKS))
        raise UsageError(f"cannot tell the format of {path.name}", why=f"suffix {path.suffix!r} has none", fix=hint)
    return found


def open_sink(
    path: Path | str,
    *,
    format: str | None = None,
    header: Mapping[str, Any],
    info: StreamInfo,
    overwrite: bool = False,
    options: SinkOptions | None = None,
) -> Sink:
    """Open the sink that `path` asks for, on its own thread.

    Args:
        path: final name; "-" is standard output; a video suffix makes an overlay video.
        format: data format, by suffix when not given; "video" or "stills" for overlays.
        header: the JSONL header record (`build_header`).
        info: of the source.
        overwrite: whether a finished file may be replaced.
        options: how to write.
    Raises: OutputError: it cannot be written. UsageError: no such format.
    """
    path = Path(path)
    drawn: Sink | None = None
    if format == "video" or (format is None and path.suffix.lower() in VIDEO_SUFFIXES):
        from tfpose_rt.io.video import VideoSink

        drawn = VideoSink(path, info, options, overwrite=overwrite)
    if format == "stills":
        from tfpose_rt.io.stills import StillsSink

        drawn = StillsSink(path, info, options, overwrite=overwrite)
    if drawn is not None:
        depth = PICTURES // (3 * info.size[0] * info.size[1])
        return Threaded(drawn, min(max(depth, 2), DEPTH), pictures=True)
    return Threaded(FORMATS[format_of(path, format)](path, header, options, overwrite=overwrite))


def check_outputs(
    paths: Sequence[Path | str],
    overwrite: bool = False,
    *,
    inputs: Sequence[Path | str] = (),
    resume: bool = False,
    aside: bool = False,
) -> None:
    """Refuse, before anything slow starts, what could not be written at the end.

    Args:
        paths: final names; "-" is passed over.
        overwrite: finished and unfinished files may be replaced.
        inputs: files that must not be written to, neither by a finished output nor by one under way.
        resume: unfinished files are to be continued.
        aside: an output that has an input in its way while it grows is written elsewhere until then.
    Raises:
        OutputError: exists, folder missing, no permission, or it is an input.
        UsageError: the same name twice.
    """
    seen: set[Path] = set()
    known = _identities(inputs)
    for path in (Path(p) for p in paths if str(p) != "-"):
        real = path.resolve()
        if real in seen:
            raise UsageError(f"{path} is given twice", why="two outputs cannot share a file", fix="two names")
        seen.add(real)
        part, grows = PartFile.part(path), _grows_in(path, known)
        if (grows and not aside) or _identities(finals(path)) & known:
            raise OutputError(f"{path} is the input", why="it would be overwritten", fix="another name")
        _check_place(path)
        for final in finals(path):
            if final.exists() and not overwrite:
                raise OutputError(f"{final} exists", why="files are never replaced unasked", fix="--overwrite")
        if part.exists() and not overwrite and not resume and not grows:
            raise OutputError(f"{part} exists", why="a run was cut short there", fix="--resume or --overwrite")


def in_the_way(path: Path, inputs: Sequence[Path | str]) -> bool:
    """Whether a file that `path` is written in until it is complete is one of `inputs`."""
    return _grows_in(path, _identities(inputs))


def _grows_in(path: Path, known: set[tuple[int, int]]) -> bool:
    return bool(_identities([PartFile.part(final) for final in finals(path)]) & known)


def _identities(paths: Sequence[Path | str]) -> set[tuple[int, int]]:
    """What tells those files apart that exist: one file may have several names, by links or where case is ignored."""
    found = set()
    for path in paths:
        with suppress(OSError, ValueError):  # ValueError: a source that cannot be a path
            about = Path(path).stat()
            found.add((about.st_dev, about.st_ino))
    return found


def finals(path: Path) -> list[Path]:
    """Every file or folder that writing `path` makes, as far as it can be known before the run."""
    kind = path.suffix.lower()
    if kind == ".csv":
        return [path, meta_path(path)]
    if kind == ".json":
        return [path, images_path(path)]
    if kind == ".trc":
        return [path, *person_paths(path)]
    if kind == ".mot":
        return [path, *mot_paths(path)]
    return [path]


def is_there(path: Path) -> bool:
    """Whether `path` was written before, as one file or as several."""
    return any(file.exists() for file in finals(path))


def _check_place(path: Path) -> None:
    parent = path.parent
    if not parent.is_dir():
        raise OutputError(f"cannot write {path}", why=f"no folder {parent}", fix=make_folder(parent))
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {path}", why=f"no permission in {parent}", fix="another --out")
    if path.is_dir() and path.suffix:
        raise OutputError(f"cannot write {path}", why="it is a folder", fix=f"{path / 'poses'}{path.suffix}")
