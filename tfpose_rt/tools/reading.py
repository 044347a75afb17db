"""Opening files of poses, as programs and people left them: recordings, tables, unfinished runs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfpose_rt.errors import InputError, UsageError
from tfpose_rt.io.files import check_readable
from tfpose_rt.io.jsonl import Recording
from tfpose_rt.io.parquet import read_parquet
from tfpose_rt.io.parts import PartFile
from tfpose_rt.io.sources import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from tfpose_rt.io.table_rows import read_csv
from tfpose_rt.records import Result
from tfpose_rt.shell import quoted
from tfpose_rt.wording import plural

log = logging.getLogger(__name__)
WEIGHTS = (".safetensors", ".pt", ".pth", ".onnx")
READ = (".jsonl", ".csv", ".parquet")


@dataclass(slots=True)
class Source:
    """A file of poses that is open for reading.

    Args:
        header: the header record.
        results: every frame, gap, segment and event; once only.
        summary: the summary record, as far as it is known; final once `results` is spent.
    """

    header: dict[str, Any]
    results: Iterable[Result]
    summary: dict[str, Any] | None = None


def open_poses(path: Path) -> Source:
    """Open a recording, a wide CSV table or a Parquet file, finished or not.

    Raises:
        UsageError: weights, a video, or another file that is no recording.
        InputError: it cannot be read.
    """
    kind = kind_of(path)
    if not path.exists():
        part = PartFile.part(path)
        fix = f"the unfinished {part}" if part.exists() else "check the path"
        raise InputError(f"cannot read {path}", why="no such file", fix=fix)
    if kind == ".jsonl":
        recording = Recording(path)
        source = Source(recording.header, ())
        source.results = _noting_summary(recording, source)
        return source
    header, results, summary = (read_csv if kind == ".csv" else read_parquet)(path)
    if header is None:
        if kind == ".csv" and _is_derived(path):
            why = "angles, summaries and the numbers of figures are not read back"
            raise UsageError(f"{path.name} is no recording", why=why, fix="the recording that it was made from")
        raise InputError(f"{path.name} comes without its header", why="its .meta.json is gone", fix="copy it too")
    return Source(header, results, summary)


def kind_of(path: Path) -> str:
    """How a file of poses is to be read, by its name: ".jsonl", ".csv" or ".parquet".

    Raises:
        UsageError: weights, a video, or another file that is no recording.
        InputError: a video's or an image's name, and nothing there.
    """
    kind, part = Path(path.name.removesuffix(".part")).suffix.lower(), path.name.endswith(".part")
    why, fix = "recordings are read here", "a .jsonl, .csv or .parquet file"
    if kind in WEIGHTS:
        raise UsageError(f"{path.name} is a model", why=why, fix=f"tfpose-rt export {path}")
    if path.is_dir():
        raise UsageError(f"{path} is a folder", why=why, fix=f"{fix} in it")
    if kind in VIDEO_SUFFIXES | IMAGE_SUFFIXES:
        check_readable(path)
        what = "an image" if kind in IMAGE_SUFFIXES else "a video"
        why += ", and `video` makes them"
        raise UsageError(f"{path.name} is {what}", why=why, fix=f"tfpose-rt video {quoted(path)}")
    if part and kind != ".csv":
        return ".jsonl"  # every other format waits as a recording until its end
    if kind in (".json", ".trc"):
        raise UsageError(f"cannot read {path.name}", why="such files lack boxes or times", fix=fix)
    if kind not in READ:
        raise UsageError(f"{path.name} is not a recording", why="its name is none of theirs", fix=fix)
    return kind


def _is_derived(path: Path) -> bool:
    """Whether a CSV file without a header of its own is one that `convert` or `plot` made to be looked at alone."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            columns = file.readline().strip().split(",")
    except OSError:
        return False
    angles = columns[:2] == ["frame", "pts_s"] and "det_score" not in columns and "keypoint" not in columns
    return angles or columns[:2] == ["recording", "id"]


def _noting_summary(recording: Recording, source: Source) -> Iterator[Result]:
    recording.summary = None
    yield from recording
    source.summary = recording.summary


def no_smooth_in_table(path: Path) -> UsageError:
    """The error for smoothed points that are asked of a table, which does not tell them from raw ones."""
    why = f"{path.name} is a table, which holds one kind of points"
    fix = "the JSONL of video --smooth one-euro; or a table made with --field smooth, read without --field"
    return UsageError("--field smooth", why=why, fix=fix)


def tell_cut_short(path: Path, summary: Mapping[str, Any] | None, frames: int) -> None:
    """Warn of a recording without a summary, or with one that says that it does not hold the whole source."""
    what = f"{plural(frames, 'frame is', 'frames are')} in it"
    if summary is None:
        log.warning("%s was cut short: it has no summary; %s", path.name, what)
    elif summary.get("complete") is False:
        log.warning("%s is not complete: it ended early (%s); %s", path.name, summary.get("ended"), what)
