"""The people of a recording as arrays over time, and what is derived from them: speeds and image-plane angles.

Absent is NaN throughout: a person not seen, a joint under the threshold, a frame that is missing. Frames known to be
missing have a row of their own, so that nothing drawn from these arrays can bridge them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfpose_rt.errors import InputError, UsageError
from tfpose_rt.io.chosen import points_of
from tfpose_rt.records import Gap, Poses, Result
from tfpose_rt.skeleton import INDEX, NAMES
from tfpose_rt.tools.reading import tell_cut_short
from tfpose_rt.tools.smoothing import check_smoothing, open_smoothed

Array = npt.NDArray[np.float64]

# The joint an angle lies at, and the two it is opened towards.
CORNERS: dict[str, tuple[str, str]] = {
    f"{side}_{joint}": (f"{side}_{a}", f"{side}_{b}")
    for joint, a, b in (
        ("shoulder", "hip", "elbow"), ("elbow", "shoulder", "wrist"), ("hip", "shoulder", "knee"),
        ("knee", "hip", "ankle"),
    )
    for side in ("left", "right")
}  # fmt: skip
TRUNK = "trunk"
ANGLES = (*CORNERS, TRUNK)


@dataclass(frozen=True, slots=True)
class Person:
    """One id over the rows of its `Motion`: xy (T, K, 2) and errors (T, K) px, scores (T, K); NaN where not seen.

    Args:
        id: -1 where the recording has none.
        xy: px of the frame.
        scores: 1 for every joint seen where the model gave no scores.
        errors: NaN throughout where the recording holds none.
        seen: (T,) whether the person is in the row.
    """

    id: int
    xy: Array
    scores: Array
    errors: Array
    seen: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Motion:
    """A recording over its T rows: one a frame, and one for each place where frames are missing.

    Args:
        name: the file's.
        header: the header record.
        pts: (T,) s from the source's first frame, when each row begins; increasing.
        frames: (T,) index in the source; -1 in rows that stand for missing frames.
        skipped: (T,) frames passed over before this one (live).
        latency: (T,) ms from capture; NaN for files.
        holes: what is missing, as from s, to s, reason.
        people: by id, in the order of their ids.
        unnamed: whether a frame holds several people without ids, who cannot be followed; `people` is empty then.
    """

    name: str
    header: Mapping[str, Any]
    pts: Array
    frames: npt.NDArray[np.int64]
    skipped: npt.NDArray[np.int64]
    latency: Array
    holes: tuple[tuple[float, float, str], ...]
    people: Mapping[int, Person]
    unnamed: bool = False

    @property
    def there(self) -> npt.NDArray[np.bool_]:
        """(T,) whether the row is a frame."""
        return self.frames >= 0

    @property
    def size(self) -> tuple[int, int]:
        """W, H of the frame, px."""
        return int(self.header["size"][0]), int(self.header["size"][1])


def read_motion(path: Path, *, field: str = "raw", smooth: str = "") -> Motion:
    """Read a recording, a wide CSV table or a Parquet file.

    Args:
        path: what to read; a `.part` too.
        field: raw, or smooth for the smoothed points.
        smooth: how to smooth it first, as `smoothing.open_smoothed` takes it.
    Raises: InputError: it cannot be read or holds no frame. UsageError: another kind of file, or no smoothed points.
    """
    check_smoothing(path, field, smooth)
    source = open_smoothed(path, smooth)
    rows = list(rows_of(source.results))
    if not any(isinstance(row, Result) for row in rows):
        raise InputError(f"{path.name} holds no frame", why="nothing to plot", fix="another recording")
    times = times_of(rows)
    read = [row if isinstance(row, Result) else Result(frame=-1) for row in rows]
    tell_cut_short(path, source.summary, sum(isinstance(row, Result) for row in rows))
    people, unnamed = _people([r.poses if r.frame >= 0 else None for r in read], field)
    return Motion(
        name=path.name, header=source.header, pts=times, frames=np.array([r.frame for r in read]),
        skipped=np.array([r.skipped for r in read]),
        latency=np.array([np.nan if r.latency_ms is None else r.latency_ms for r in read]),
        holes=tuple(row for row in rows if not isinstance(row, Result)), people=people, unnamed=unnamed,
    )  # fmt: skip


def rows_of(results: Iterable[Result]) -> Iterator[Result | tuple[float, float, str]]:
    """Frames, and (from, to, reason) between two frames with something missing in between.

    Missing is what a gap record tells, and what the frames' numbers tell where they jump by more than they mostly do:
    tables hold no gaps. A change of the picture's size counts too, since its pixels are others.
    """
    results = list(results)
    numbers = [r.frame for r in results if r.poses is not None]
    steps, counts = np.unique(np.diff(numbers), return_counts=True) if len(numbers) > 1 else (np.array([1]), [1])
    stride = int(steps[int(np.argmax(counts))])
    before: Result | None = None
    told: Gap | None = None
    resized = False
    for result in results:
        told = result.gap or told
        resized = resized or result.segment is not None
        if result.poses is None:
            continue
        if before is not None and (told is not None or resized or result.frame - before.frame > stride):
            reason = told.reason.replace("_", " ") if told else "new size" if resized else "frames missing"
            yield before.pts, result.pts, reason
        before, told, resized = result, None, False
        yield result
    if before is not None and told is not None and told.t_end > before.pts:
        yield before.pts, told.t_end, told.reason.replace("_", " ")


def times_of(rows: Sequence[Result | tuple[float, float, str]]) -> Array:
    """When each row begins, s: a hole one ordinary step after the frame before it, which was there that long."""
    pts = [row.pts for row in rows if isinstance(row, Result)]
    step = float(np.median(np.diff(pts))) if len(pts) > 1 else 0.0
    return np.array([r.pts if isinstance(r, Result) else min(r[0] + step, (r[0] + r[1]) / 2) for r in rows])


def _people(rows: Sequence[Poses | None], field: str) -> tuple[dict[int, Person], bool]:
    """Everybody by id; nobody, and True, where people have no ids and are several."""
    if any(p is not None and p.ids is None and len(p) > 1 for p in rows):
        return {}, True
    found: dict[int, Person] = {}
    for row, poses in enumerate(rows):
        if poses is None or not len(poses):
            continue
        points = points_of(poses, field)
        for i, number in enumerate([-1] if poses.ids is None else poses.ids.tolist()):
            if number not in found:
                shape = (len(rows), len(NAMES))
                xy, scores, errors = (np.full(s, np.nan) for s in ((*shape, 2), shape, shape))
                found[number] = Person(number, xy, scores, errors, np.zeros(len(rows), bool))
            person = found[number]
            person.xy[row], person.seen[row] = points[i], True
            person.scores[row] = 1.0 if poses.scores is None else poses.scores[i]
            person.errors[row] = np.nan if poses.errors is None else poses.errors[i]
    return dict(sorted(found.items())), False


def sure(person: Person, threshold: float) -> Array:
    """The person's points (T, K, 2) with those under the threshold taken out (NaN)."""
    return np.where((person.scores >= threshold)[..., None], person.xy, np.nan)


def runs(known: npt.NDArray[np.bool_]) -> list[slice]:
    """The unbroken stretches of True in (T,), in order."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], known.astype(np.int8), [0]))))
    return [slice(int(a), int(b)) for a, b in zip(edges[0::2], edges[1::2], strict=True)]


def speed(xy: Array, pts: Array) -> Array:
    """Speed in the image plane, px/s, of points (T, 2) at times (T,) s, which may be unevenly spaced.

    Second-order differences within each unbroken stretch, one-sided at its ends: nothing reaches over a gap. A point
    without a neighbour has none (NaN).
    """
    out = np.full(len(xy), np.nan)
    for part in runs(np.asarray(~np.isnan(xy).any(-1))):
        if part.stop - part.start > 1:
            out[part] = np.hypot(*np.gradient(xy[part], pts[part], axis=0).T)
    return out


def angle(at: Array, one: Array, other: Array) -> Array:
    """The angle in degrees, 0..180, at points (T, 2) between the lines to two others, as seen in the picture.

    180 is a stretched joint. NaN where a point is unknown or two coincide.
    """
    a, b = one - at, other - at
    cross, dot = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0], (a * b).sum(-1)
    out = np.degrees(np.arctan2(np.abs(cross), dot))
    return np.asarray(np.where((cross == 0) & (dot == 0), np.nan, out))


def angles(xy: Array, joint: str) -> Array:
    """The angle (T,) at a joint of `CORNERS`, or the trunk's inclination, from points (T, K, 2)."""
    if joint == TRUNK:
        return inclination(xy)
    one, other = CORNERS[joint]
    return angle(xy[:, INDEX[joint]], xy[:, INDEX[one]], xy[:, INDEX[other]])


def inclination(xy: Array) -> Array:
    """How far the trunk leans, in degrees (T,), from points (T, K, 2).

    From the centre of the hips to that of the shoulders, against the vertical of the picture: 0 is upright, 90 level to
    either side. NaN where one of the four joints is unknown.
    """
    hips, shoulders = (xy[:, [INDEX[f"left_{one}"], INDEX[f"right_{one}"]]].mean(1) for one in ("hip", "shoulder"))
    return angle(hips, hips - (0, 1), shoulders)


def joints_of(text: str, known: Sequence[str] = NAMES) -> tuple[str, ...]:
    """The joints that a --joints option names, in the skeleton's order: `all`, names, or `knee` for both knees.

    Raises: UsageError: an unknown name, with the nearest ones; or one that is not among `known`.
    """
    words = [word.strip().lower().replace("-", "_").replace(" ", "_") for word in text.split(",") if word.strip()]
    if not words or words == ["all"]:
        return tuple(known)
    chosen: set[str] = set()
    for word in words:
        match = {name for name in (*NAMES, *known) if word in (name, name.partition("_")[2])}
        if not match:
            words_known = dict.fromkeys([*NAMES, *known, *(n.partition("_")[2] for n in NAMES if "_" in n)])
            near = difflib.get_close_matches(word, words_known, 3, 0.5)
            raise UsageError(f"unknown joint {word!r}", why="no such name", fix=", ".join(near) or ", ".join(NAMES))
        if not match & set(known):
            raise UsageError(f"nothing to plot at {word}", why="no angle lies there", fix=", ".join(known))
        chosen |= match
    return tuple(name for name in known if name in chosen)


def ids_of(text: str, motion: Motion) -> tuple[int, ...]:
    """The ids that an --ids option names, in its order; those of everybody for `all`.

    Raises: UsageError: not whole numbers, or one that is not in the recording. InputError: nobody is, or people
        without ids are several in a frame.
    """
    if motion.unnamed:
        why = "several people a frame and no ids (--no-track)"
        raise InputError(f"nobody can be followed in {motion.name}", why=why, fix="a recording made with --track")
    known = tuple(motion.people)
    if not known:
        raise InputError(f"nobody is in {motion.name}", why="no frame holds a person", fix="--what timing")
    if text.strip().lower() in ("", "all"):
        return known
    try:
        asked = tuple(dict.fromkeys(int(part) for part in text.split(",") if part.strip()))
    except ValueError:
        raise UsageError(f"--ids {text}", why="not whole numbers", fix="--ids 3,5") from None
    for number in asked:
        if number not in known:
            there = ",".join(map(str, known)) if known != (-1,) else "all, it was made with --no-track"
            raise UsageError(f"id {number} is not in {motion.name}", why="nobody has it", fix=f"--ids {there}")
    return asked
