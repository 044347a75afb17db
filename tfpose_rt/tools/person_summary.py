"""A recording in one row a person: when, how well seen, how fast, and the bounds of every angle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfpose_rt.errors import InputError
from tfpose_rt.io.mot import DEGREES
from tfpose_rt.io.parts import SinkOptions
from tfpose_rt.io.record_json import PIXELS, SCORES, SECONDS
from tfpose_rt.skeleton import INDEX
from tfpose_rt.tools.angles import SEGMENTS, TABLE, degrees, unwrapped
from tfpose_rt.tools.motion import Array, runs, speed, sure
from tfpose_rt.tools.spans import Span, Spans

PLACES = {  # the columns that are no angles, with their decimals
    "first_s": SECONDS, "last_s": SECONDS, "frames": 0, "frames_seen": 0, "frames_posed": 0, "joints_known": SCORES,
    "box_height_px": PIXELS, "hip_heights_per_s": SCORES, "gaps": 0, "longest_gap_s": SECONDS,
}  # fmt: skip
BOUNDS = ("min", "max", "range", "median")
COLUMNS = ("recording", "id", *PLACES, *(f"{name}_{bound}" for name in TABLE for bound in BOUNDS), "points")


def summary_rows(recording: str, spans: Spans, options: SinkOptions, points: str) -> list[Sequence[str]]:
    """A row of `COLUMNS` for each person, or one without a person where nobody was seen; `points` of which kind.

    Raises: InputError: people without ids are several in a frame, so that nobody can be followed.
    """
    if spans.unnamed:
        why = "several people a frame and no ids (--no-track)"
        raise InputError(f"nobody can be followed in {recording}", why=why, fix="a recording made with --track")
    name, points = quoted_cell(recording), quoted_cell(points)
    rows: list[Sequence[str]] = []
    for span in spans:
        numbers = {**facts(span, options.kpt_thr), **bounds(span, options.kpt_thr)}
        who = "" if span.person.id < 0 else str(span.person.id)
        rows.append([name, who, *(_cell(numbers[column], column, options) for column in COLUMNS[2:-1]), points])
    absent = "nan" if options.fill == "nan" else ""
    return rows or [[name, "", *(absent for _ in COLUMNS[2:-1]), points]]


def quoted_cell(text: str) -> str:
    """A cell of a CSV table, quoted where it has to be."""
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if set(text) & set(',"\r\n') else text


def facts(span: Span, threshold: float) -> dict[str, float]:
    """What `PLACES` names of one person; NaN where it is not known."""
    person = span.person
    with np.errstate(invalid="ignore"):
        known = (person.scores >= threshold)[person.seen].mean(1)  # of the joints, in each frame
    away = [span.pts[part.stop] - span.pts[part.start - 1] for part in runs(~person.seen)]
    height = float(np.median(span.heights[person.seen]))
    return {
        "first_s": float(span.pts[0]), "last_s": float(span.pts[-1]), "frames": int((span.frames >= 0).sum()),
        "frames_seen": int(person.seen.sum()), "frames_posed": int((known >= 0.5).sum()),
        "joints_known": float(known.mean()), "box_height_px": height,
        "hip_heights_per_s": _hip_speed(span, threshold) / height if height > 0 else np.nan,
        "gaps": len(away), "longest_gap_s": float(max(away, default=0.0)),
    }  # fmt: skip


def bounds(span: Span, threshold: float) -> dict[str, float]:
    """Least, greatest, range and median of every angle where it is known; NaN where it never is."""
    xy = sure(span.person, threshold)
    out: dict[str, float] = {}
    for name in TABLE:
        values = degrees(xy, name)
        values = (unwrapped(values) if name in SEGMENTS else values)[~np.isnan(values)]
        least, most, middle = (
            (float(values.min()), float(values.max()), float(np.median(values))) if len(values) else (np.nan,) * 3
        )
        out |= {f"{name}_{bound}": one for bound, one in zip(BOUNDS, (least, most, most - least, middle), strict=True)}
    return out


def _hip_speed(span: Span, threshold: float) -> float:
    """The mean speed of the point between the hips, px/s, over all frames that know it; NaN where none does."""
    hips: Array = sure(span.person, threshold)[:, [INDEX["left_hip"], INDEX["right_hip"]]].mean(1)
    fast = speed(hips, span.pts)
    return float(np.nanmean(fast)) if not np.isnan(fast).all() else float("nan")


def _cell(value: float, column: str, options: SinkOptions) -> str:
    if np.isnan(value):
        return "nan" if options.fill == "nan" else ""
    places = PLACES.get(column, DEGREES)
    return repr(float(value)) if options.full_precision and places else f"{round(value, places) + 0.0:.{places}f}"
