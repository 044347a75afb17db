"""--resume: what an interrupted run left in its `.part` files, and the frame behind which all of them can go on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tfpose_rt.errors import InputError, OutputError
from tfpose_rt.io.openpose import OpenPoseSink
from tfpose_rt.io.parts import PartFile, Resume
from tfpose_rt.io.tables import CsvSink
from tfpose_rt.io.video import VideoSink
from tfpose_rt.records import Result
from tfpose_rt.tools.outputs import Job
from tfpose_rt.tools.recordings import open_poses

SPOOLED = ("jsonl", "parquet", "coco", "trc")  # formats whose .part is a recording


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
        """What is kept, from the first frame to the last; gaps in between included."""
        for result in open_poses(self.base).results:
            index = result.gap.seq_from if result.gap is not None else result.frame
            if index > self.resume.last:
                return
            yield result


def find(job: Job) -> Unfinished | None:
    """What `job` left behind when it was interrupted; None when there is nothing to go on from.

    Raises: OutputError: one of its `.part` files is missing while others are there, or none holds the persons.
    """
    parts = [PartFile.part(path) for path in job.paths if str(path) != "-"]
    there = [part for part in parts if part.exists()]
    if not there:
        return None
    missing = [part for part in parts if not part.exists()]
    if missing:
        raise OutputError(f"cannot resume {job.name}", why=f"{missing[0].name} is gone", fix="--overwrite")
    base = next((PartFile.part(path) for path, name in job.data if name in SPOOLED), None)
    base = base or next((PartFile.part(path) for path, name in job.data if name == "csv"), None)
    if base is None:
        raise OutputError(f"cannot resume {job.name}", why="no .jsonl or .csv holds its people", fix="--overwrite")
    try:
        frames = [(r.frame, r.pts) for r in open_poses(base).results if r.poses is not None]
    except InputError:  # killed before the header was flushed
        frames = []
    kept = min((_frames_in(path, name, frames) for path, name in job.data if str(path) != "-"), default=len(frames))
    if job.video is not None:
        kept = min(kept, VideoSink.frames_in_part(job.video))
    if not kept:
        return None
    return Unfinished(base, Resume(last=frames[kept - 1][0], frames=kept, first_pts=frames[0][1]))


def _frames_in(path: Path, name: str, frames: list[tuple[int, float]]) -> int:
    """How many of `frames` an unfinished data file holds completely."""
    if name in SPOOLED:
        return len(frames) if PartFile.part(path).stat().st_size else 0
    last = CsvSink.last_frame(path) if name == "csv" else OpenPoseSink.last_frame(path)
    return 0 if last is None else sum(frame <= last for frame, _ in frames)
