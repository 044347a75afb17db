"""Contact sheets: what weights make of a clip, frame by frame, side by side.

`python -m tfpose_rt.tools.sheet CLIP... --weights A --weights B -o DIR`. One picture a clip: a row for each of some
frames spread evenly over it, a column for each weights file. The detector runs once a frame, so that all weights
answer for the same boxes; what is drawn is the overlay of the program, without tracking and smoothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tfpose_rt.config import RunConfig, SourceOptions
from tfpose_rt.draw import DrawStyle, draw
from tfpose_rt.errors import InputError, UsageError
from tfpose_rt.io.sinks import check_outputs
from tfpose_rt.io.sources import expand, open_source
from tfpose_rt.records import Frame, Image, Poses
from tfpose_rt.tools.entry import exits
from tfpose_rt.tools.outputs import folders, plan
from tfpose_rt.tools.tiles import lettered, mosaic, short_names, write_picture
from tfpose_rt.wording import plural

SIDE = 640  # px, long side of a picture on the sheet


def frames_of(clip: str, count: int) -> list[Frame]:
    """Frames spread evenly over a clip, the middle of each of `count` equal parts; all of a shorter one.

    The clip is read twice: what a container says of its number of frames is a hint, not a fact.

    Raises: InputError: it cannot be opened, or holds no frame.
    """
    length = sum(1 for _ in _read(clip))
    if not length:
        raise InputError(f"no frame in {clip}", why="nothing in it decodes", fix="another clip")
    chosen = {(2 * i + 1) * length // (2 * count) for i in range(count)}
    return [frame for place, frame in enumerate(_read(clip)) if place in chosen]


def _read(clip: str) -> Any:
    source = open_source(clip, SourceOptions())
    try:
        yield from (item for item in source if isinstance(item, Frame))
    finally:
        source.close()


def sheet(
    clip: str,
    estimators: Sequence[Any],
    names: Sequence[str],
    *,
    frames: int = 6,
    side: int = SIDE,
    zoom: bool = False,
) -> Image:
    """The contact sheet of one clip.

    Args:
        clip: a video, or anything else that ends and that the program reads.
        estimators: one for each column; the first one's detector finds the people.
        names: the columns' headings.
        frames: rows, at most.
        side: px, the long side of each picture.
        zoom: cut each picture to the boxes of its people.
    Returns: (H, W, 3) uint8 BGR.
    Raises: InputError: the clip cannot be read.
    """
    rows = []
    for frame in frames_of(clip, frames):
        people = estimators[0].detect([frame.image])
        answers = [estimator.poses([frame.image], people)[0] for estimator in estimators]
        rows.append([cell(frame, poses, name, side, zoom) for poses, name in zip(answers, names, strict=True)])
    return mosaic(rows)


def cell(frame: Frame, poses: Poses, name: str, side: int, zoom: bool = False) -> Image:
    """One overlay, `side` px long, cut to the people where asked for and there are any; what it is stands under it."""
    x0, y0, x1, y1 = around(poses) if zoom and len(poses) else (0, 0, *poses.size)
    part = frame.image[y0:y1, x0:x1]
    factor = side / max(part.shape[:2])
    size = (max(1, round(part.shape[1] * factor)), max(1, round(part.shape[0] * factor)))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(part, size, interpolation=way), np.uint8)
    corners = poses.boxes.reshape(-1, 2, 2)
    xy, moved = (((points - (x0, y0) + 0.5) * factor - 0.5).astype(np.float32) for points in (poses.xy, corners))
    # drawn at the size that is seen, so that lines are as wide on every sheet
    here = dataclasses.replace(poses, xy=xy, boxes=moved.reshape(-1, 4), size=size, xy_smooth=None)
    shown = draw(small, here, DrawStyle())
    sure = "" if poses.scores is None or not len(poses) else f", mean score {float(np.mean(poses.scores)):.2f}"
    people = plural(len(poses), "person", "people")
    return lettered(shown, [name, f"frame {frame.index}, {frame.pts:.2f} s", f"{people}{sure}"])


def around(poses: Poses) -> tuple[int, int, int, int]:
    """The part of the picture, x0, y0, x1, y1 px, half open, with all boxes and a quarter of their extent more."""
    low, high = poses.boxes[:, :2].min(0), poses.boxes[:, 2:].max(0)
    margin = 0.25 * (high - low).max()
    x0, y0 = np.clip(low - margin, 0, np.array(poses.size) - 1).astype(int).tolist()
    x1, y1 = np.clip(np.ceil(high + margin), (x0 + 1, y0 + 1), poses.size).astype(int).tolist()
    return x0, y0, x1, y1


def sheets(
    clips: Sequence[str],
    weights: Sequence[str],
    out: Path,
    *,
    frames: int = 6,
    side: int = SIDE,
    zoom: bool = False,
    overwrite: bool = False,
    run: RunConfig | None = None,
    make: Callable[[RunConfig], Any] | None = None,
    unreadable: Callable[[InputError], None] | None = None,
) -> list[Path]:
    """Write one contact sheet a clip, named after it.

    Args:
        clips: as for `sheet`; folders and patterns stand for the clips in them.
        weights: names or paths, one a column.
        out: the folder; made if its parent is there.
        frames: rows of a sheet.
        side: px, the long side of each picture.
        zoom: cut each picture to the boxes of its people.
        overwrite: sheets may be replaced.
        run: the other settings.
        make: builds an estimator from settings; `PoseEstimator` by default.
        unreadable: told of each clip that cannot be read, while the others go on; by default it is raised.
    Returns: the paths written.
    Raises: InputError, WeightsError, OutputError, UsageError: what was asked for cannot be done.
    """
    from tfpose_rt import assets

    if frames < 1 or side < 32:
        raise UsageError(f"--frames {frames} --side {side}", why="there would be nothing to see", fix="--frames 6")
    found, written = [], []
    for clip in clips:
        with _passing_on(unreadable):
            found += expand([clip])
    jobs = plan(found, [out], ["jsonl"])  # whose names are all different
    paths = [job.data[0][0].with_suffix(".png") for job in jobs]
    files = [assets.resolve(name) for name in weights]
    names = headings(files)
    with folders(jobs):
        check_outputs(paths, overwrite)
        if make is None:
            from tfpose_rt.estimator import PoseEstimator

            make = PoseEstimator
        settings = run or RunConfig()
        estimators = [make(dataclasses.replace(settings, weights=str(file))) for file in files if found]
        for clip, path in zip(found, paths, strict=True):
            with _passing_on(unreadable):
                write_picture(path, sheet(clip, estimators, names, frames=frames, side=side, zoom=zoom))
                written.append(path)
    return written


@contextmanager
def _passing_on(unreadable: Callable[[InputError], None] | None) -> Iterator[None]:
    """Whoever wants to be told of an InputError is; else it is raised."""
    try:
        yield
    except InputError as error:
        if unreadable is None:
            raise
        unreadable(error)


def headings(files: Sequence[Path]) -> list[str]:
    """What to call weights files: their stems, and their folders too where a stem says nothing or is another's."""
    names = short_names([file.with_suffix("") for file in files])
    return [f"{f.parent.name}/{n}" if n in ("best", "last") else n for f, n in zip(files, names, strict=True)]


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        prog="python -m tfpose_rt.tools.sheet",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("clips", nargs="+", metavar="CLIP")
    made.add_argument("--weights", action="append", help="name, or path of a .safetensors file; once a column")
    made.add_argument("-o", "--out", type=Path, required=True, help="folder for the sheets")
    made.add_argument("--frames", type=int, default=6, help="rows of a sheet")
    made.add_argument("--side", type=int, default=SIDE, help="px, long side of each picture")
    made.add_argument("--zoom", action="store_true", help="cut each picture to the boxes of its people")
    made.add_argument("--detector", default="yolo-n")
    made.add_argument("--det-size", type=int, default=640)
    made.add_argument("--conf", type=float, default=0.25)
    made.add_argument("--device", default="auto")
    made.add_argument("--threads", type=int, default=0)
    made.add_argument("--overwrite", action="store_true")
    return made


@exits
def main() -> int:
    """Write the sheets; their paths to stdout. A clip that cannot be read is told of and passed over: code 3."""
    given = parser().parse_args()
    run = RunConfig(
        detector=given.detector, det_size=given.det_size, conf=given.conf, device=given.device, threads=given.threads
    )
    failed: list[InputError] = []

    def tell(error: InputError) -> None:
        failed.append(error)
        sys.stderr.write(f"error: {error}\n")

    paths = sheets(
        given.clips, given.weights or ["default"], given.out, frames=given.frames, side=given.side, zoom=given.zoom,
        overwrite=given.overwrite, run=run, unreadable=tell,
    )  # fmt: skip
    sys.stdout.writelines(f"{path}\n" for path in paths)
    return InputError.exit_code if failed else 0


if __name__ == "__main__":
    sys.exit(main())
