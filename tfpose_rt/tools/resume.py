"""--resume: what an interrupted run left, in `.part` files or in finished ones, and where all of them can go on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tfpose_rt.errors import OutputError, TfposeError, UsageError
from tfpose_rt.io.jsonl import Recording
from tfpose_rt.io.openpose import OpenPoseSink
from tfpose_rt.io.parts import PartFile, Resume, unwritable
from tfpose_rt.io.sinks import finals
from tfpose_rt.io.stills import StillsSink
from tfpose_rt.io.tables import CsvSink, meta_path
from tfpose_rt.io.video import VideoSink, constant_rate
from tfpose_rt.records import Poses, Result, Segment, StreamInfo
from tfpose_rt.stats import Stats
from tfpose_rt.tools.completed import differences
from tfpose_rt.tools.outputs import Job
from tfpose_rt.tools.reading import open_poses

SPOOLED = ("jsonl", "parquet", "coco", "trc")  # formats whose .part is a recording
Frames = list[tuple[int, float]]  # number and time, s
MADE_BY = {  # what of a header tells which records a run makes, and what sets it
    "model": "--weights",
    "detector": "--detector, --conf, --iou or --det-every",
    "tracker": "--track-buffer or --no-track",
    "sides": "--sides",
    "smooth": "--smooth",
}
AGAIN = 5.0  # s of the source that are done again rather than refused, where a file was cut off before its first frame


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An interrupted run.

    Args:
        base: the `.part` that holds its persons.
        resume: where it goes on.
    """

    base: Path
    resume: Resume

    def results(self) -> Iterator[Result]:
        """What is kept, from the first frame to the last; gaps and changes of size in between included."""
        between: list[Result] = []  # belongs to the frame or gap behind it
        for result in open_poses(self.base).results:
            if result.gap is None and result.poses is None:
                between.append(result)
                continue
            if (result.gap.seq_from if result.gap is not None else result.frame) > self.resume.last:
                return
            yield from (*between, result)
            between = []


class Before:
    """What an earlier run recorded: counted on its way into the tracker, and known again where it is read twice.

    Args:
        earlier: what is left of it; None for a run from the start.
        info: of the source.
    """

    def __init__(self, earlier: Unfinished | None, info: StreamInfo) -> None:
        self._earlier, self._info = earlier, info  # with the size that was recorded last
        self.stats = Stats()

    def poses(self) -> Iterator[Poses]:
        """The people of every recorded frame."""
        for result in () if self._earlier is None else self._earlier.results():
            self.stats.count(result)
            if result.segment is not None:
                self._info = replace(self._info, size=result.segment.size)
            if result.poses is not None:
                yield result.poses

    def fresh(self, stream: Iterable[Result]) -> Iterator[Result]:
        """The results of the run that goes on: no gap and no change of size is recorded twice, and none is missing."""
        if self._earlier is None:
            yield from stream
            return
        caught_up = False
        for result in stream:
            if result.gap is not None and result.gap.seq_from <= self._earlier.resume.last:
                self.stats.gaps -= 1  # the stream counts it, too
                self.stats.errors -= result.gap.reason == "decode_error"
                continue
            if not caught_up and result.segment is not None:
                continue  # seen from where reading began again, not from the last frame recorded
            if not caught_up and result.poses is not None:
                caught_up = True
                if result.poses.size != self._info.size:
                    yield Result(segment=Segment(size=result.poses.size, fps=self._info.fps))
            yield result


def reopen(job: Job, codec: str) -> str:
    """Make the `.part` files of a finished job again, so that it can go on.

    COCO, Parquet and TRC files go on from a copy of the recording beside them.

    Args:
        job: its files are all there, and hold a summary.
        codec: what was asked for its video.
    Returns: "" where that was done, else the name of a file that cannot be continued; nothing is touched then.
    Raises: OutputError: the system refuses.
    """
    data = [(path, name) for path, name in job.data if str(path) != "-"]
    recording = next((path for path, name in data if name == "jsonl"), None)
    spooled = [path for path, name in data if name in SPOOLED and name != "jsonl"]
    if spooled and recording is None:
        return spooled[0].name
    for path in (path for path, name in data if name == "openpose"):
        if len({file.name.rsplit("_", 2)[0] for file in path.glob("*_keypoints.json")}) > 1:
            return path.name  # other people's files are in it, too
    if recording is None:
        for path in (path for path, name in data if name == "csv" and _smoothed(meta_path(path))):
            return path.name
    anything = StreamInfo(name=job.name, kind="file", size=(0, 0), live=False)
    if job.video is not None and constant_rate(job.video, anything, codec) is not None:
        return job.video.name
    renamed = [path for path, name in data if name in ("csv", "openpose")] + job.drawn
    renamed += [meta_path(path) for path, name in data if name == "csv"]
    for path in (*spooled, *renamed, *([] if recording is None else [recording])):  # the recording last: others need it
        try:
            if path in spooled and recording is not None:
                shutil.copyfile(recording, PartFile.part(path))
                for file in finals(path):
                    file.unlink(missing_ok=True)
            elif path.exists():
                path.replace(PartFile.part(path))
        except OSError as error:
            raise unwritable(path, error) from error
    return ""


def find(job: Job) -> Unfinished | None:
    """What `job` left behind when it was interrupted; None when there is nothing to go on from.

    Raises: OutputError: one of its `.part` files is missing while others are there, is damaged, or none holds the
        persons.
    """
    data = [(PartFile.part(path), path, name) for path, name in job.data if str(path) != "-"]
    parts = [part for part, _, _ in data] + [PartFile.part(path) for path in job.drawn]
    if not any(part.exists() for part in parts):
        return None
    missing = [part for part in parts if not part.exists()]
    if missing:
        raise _refusal(job, f"{missing[0].name} is gone")
    spooled = {part: _frames(job, part, _recorded) for part, _, name in data if name in SPOOLED}
    base = next(iter(spooled), None) or next((part for part, _, name in data if name == "csv"), None)
    if base is None:
        raise _refusal(job, "no .jsonl or .csv holds its people")
    if base not in spooled and _smoothed(PartFile.part(meta_path(base.with_name(base.name.removesuffix(".part"))))):
        raise _refusal(job, f"{base.name} holds smoothed points alone")
    frames = spooled[base] if base in spooled else _frames(job, base, _tabled)
    counts = {part: len(found) for part, found in spooled.items()}
    for part, path, name in data:
        if part not in counts:
            last = _last_frame(job, part, path, name)
            counts[part] = 0 if last is None else sum(frame <= last for frame, _ in frames)
    for path in job.drawn:
        sink = StillsSink if path == job.stills else VideoSink
        counts[PartFile.part(path)] = sink.frames_in_part(path)
    least = min(counts, key=lambda part: counts[part])
    kept = min(counts[least], len(frames))
    if kept:
        return Unfinished(base, Resume(last=frames[kept - 1][0], frames=kept, first_pts=frames[0][1]))
    if frames and frames[-1][1] - frames[0][1] > AGAIN:
        raise _refusal(job, f"{least.name} holds none of the {len(frames)} frames in {base.name}")
    return None


def _smoothed(meta: Path) -> bool:
    """Whether the table with this `.meta.json` holds smoothed points: persons cannot be followed on from those."""
    with suppress(OSError, ValueError, AttributeError):
        return bool(json.loads(meta.read_text(encoding="utf-8")).get("field") == "smooth")
    return False


def _frames(job: Job, part: Path, read: Callable[[Path], Frames]) -> Frames:
    """Every frame in an unfinished recording or table; none before its first line is whole."""
    with part.open("rb") as file:
        if not file.readline().endswith(b"\n"):  # killed before it was flushed
            return []
    try:
        return read(part)
    except TfposeError as error:
        raise _refusal(job, f"{error.what}: {error.why}") from error
    except (KeyError, TypeError) as error:
        raise _refusal(job, f"{part.name} is damaged") from error


def _recorded(part: Path) -> Frames:
    """By its lines alone: making arrays of all of them takes many times as long."""
    return [(r["frame"], r["pts"]) for r in Recording(part).records() if r["type"] == "frame"]


def _tabled(part: Path) -> Frames:
    return [(r.frame, r.pts) for r in open_poses(part).results if r.poses is not None]


def require_same(job: Job, earlier: Unfinished, header: Mapping[str, Any]) -> None:
    """Refuse to go on with other settings: one file would hold the records of two runs, and say it was made by one.

    Args:
        job: what is to be done.
        earlier: what is left of it.
        header: the record that a new run would begin with.
    Raises: UsageError: the run began with others. InputError: its header cannot be read.
    """
    before = open_poses(earlier.base).header
    told, typed = before.get("args") or {}, header["args"]
    differ = [flag for name, flag in MADE_BY.items() if before.get(name) != header[name]]
    differ += differences(told, typed)
    old, new = (one["source"].get("sha256") for one in (before, header))
    if old and new and old != new and told.get("hash") == typed.get("hash"):
        differ.append("another file")
    if differ:
        why = f"the run began with other settings: {'; '.join(differ)}"
        raise UsageError(f"cannot resume {job.name}", why=why, fix="the options it began with, or --overwrite")


def _last_frame(job: Job, part: Path, path: Path, name: str) -> int | None:
    """The last frame that a table or a folder of an unfinished run holds completely."""
    try:
        return CsvSink.last_frame(path) if name == "csv" else OpenPoseSink.last_frame(path)
    except ValueError as error:
        raise _refusal(job, f"{part.name} is damaged") from error


def _refusal(job: Job, why: str) -> OutputError:
    return OutputError(f"cannot resume {job.name}", why=why, fix="--overwrite")
