"""--resume: what an interrupted run left in its `.part` files, and the frame behind which all of them can go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tfpose_rt.errors import OutputError, TfposeError
from tfpose_rt.io.jsonl import Recording
from tfpose_rt.io.openpose import OpenPoseSink
from tfpose_rt.io.parts import PartFile, Resume
from tfpose_rt.io.tables import CsvSink
from tfpose_rt.io.video import VideoSink
from tfpose_rt.records import Result
from tfpose_rt.tools.outputs import Job
from tfpose_rt.tools.recordings import open_poses

SPOOLED = ("jsonl", "parquet", "coco", "trc")  # formats whose .part is a recording
Frames = list[tuple[int, float]]  # number and time, s
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


def find(job: Job) -> Unfinished | None:
    """What `job` left behind when it was interrupted; None when there is nothing to go on from.

    Raises: OutputError: one of its `.part` files is missing while others are there, is damaged, or none holds the
        persons.
    """
    data = [(PartFile.part(path), path, name) for path, name in job.data if str(path) != "-"]
    parts = [part for part, _, _ in data] + ([] if job.video is None else [PartFile.part(job.video)])
    if not any(part.exists() for part in parts):
        return None
    missing = [part for part in parts if not part.exists()]
    if missing:
        raise _refusal(job, f"{missing[0].name} is gone")
    spooled = {part: _frames(job, part, _recorded) for part, _, name in data if name in SPOOLED}
    base = next(iter(spooled), None) or next((part for part, _, name in data if name == "csv"), None)
    if base is None:
        raise _refusal(job, "no .jsonl or .csv holds its people")
    frames = spooled[base] if base in spooled else _frames(job, base, _tabled)
    counts = {part: len(found) for part, found in spooled.items()}
    for part, path, name in data:
        if part not in counts:
            last = _last_frame(job, part, path, name)
            counts[part] = 0 if last is None else sum(frame <= last for frame, _ in frames)
    if job.video is not None:
        counts[parts[-1]] = VideoSink.frames_in_part(job.video)
    least = min(counts, key=lambda part: counts[part])
    kept = min(counts[least], len(frames))
    if kept:
        return Unfinished(base, Resume(last=frames[kept - 1][0], frames=kept, first_pts=frames[0][1]))
    if frames and frames[-1][1] - frames[0][1] > AGAIN:
        raise _refusal(job, f"{least.name} holds none of the {len(frames)} frames in {base.name}")
    return None


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


def _last_frame(job: Job, part: Path, path: Path, name: str) -> int | None:
    """The last frame that a table or a folder of an unfinished run holds completely."""
    try:
        return CsvSink.last_frame(path) if name == "csv" else OpenPoseSink.last_frame(path)
    except ValueError as error:
        raise _refusal(job, f"{part.name} is damaged") from error


def _refusal(job: Job, why: str) -> OutputError:
    return OutputError(f"cannot resume {job.name}", why=why, fix="--overwrite")
