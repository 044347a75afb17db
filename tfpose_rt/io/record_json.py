"""Results as the records of a JSONL recording, and back: frame, gap, segment, event."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from tfpose_rt.records import Event, Gap, Poses, Result, Segment, frozen
from tfpose_rt.skeleton import LIMBS, NAMES

PIXELS, SHARES, SCORES, SECONDS = 2, 6, 4, 6  # decimals; shares are pixels over the side of the picture


def persons_of(poses: Poses, *, full_precision: bool = False) -> list[dict[str, Any]]:
    """The `persons` list of a frame record; numbers are rounded unless `full_precision`."""

    def plain(array: npt.ArrayLike, decimals: int) -> Any:
        wide = np.asarray(array, np.float64)
        return (wide if full_precision else np.round(wide, decimals)).tolist()

    boxes, box_scores = plain(poses.boxes, PIXELS), plain(poses.box_scores, SCORES)
    scores = None if poses.scores is None else plain(poses.scores, SCORES)
    raw = _joints(plain(poses.xy, PIXELS), scores)
    smooth = None if poses.xy_smooth is None else _joints(plain(poses.xy_smooth, PIXELS), scores)
    errors = None if poses.errors is None else plain(poses.errors, PIXELS)
    out = []
    for i in range(len(poses)):
        mean = None if scores is None else sum(scores[i]) / max(len(scores[i]), 1)
        person: dict[str, Any] = {
            "id": None if poses.ids is None else int(poses.ids[i]),
            "bbox": boxes[i],
            "score": box_scores[i],
            "box_from": poses.box_from[i] if i < len(poses.box_from) else "detector",
            "pose_score": mean if mean is None or full_precision else round(mean, SCORES),
            "keypoints": raw[i],
        }
        if smooth is not None:
            person["keypoints_smooth"] = smooth[i]
        if errors is not None:
            person["errors"] = errors[i]
        if poses.swapped is not None and poses.swapped[i].any():
            person["swapped"] = [name for name, swapped in zip(LIMBS, poses.swapped[i], strict=True) if swapped]
        person["new"] = bool(poses.new[i]) if poses.new is not None else False
        out.append(person)
    return out


def _joints(xy: list[Any], scores: list[Any] | None) -> list[Any]:
    return [
        [[x, y, None if scores is None else scores[i][k]] for k, (x, y) in enumerate(points)]
        for i, points in enumerate(xy)
    ]


def record_of(
    result: Result, *, video_frame: int | None = None, full_precision: bool = False, clock: float = 0.0
) -> dict[str, Any]:
    """One result as its record: a frame, gap, segment or event.

    Args:
        result: what the pipeline yielded.
        video_frame: number of this frame in the video saved beside the recording.
        full_precision: keep every digit.
        clock: monotonic time of the stream's start, s; `t_capture` counts from it.
    """
    if result.gap is not None:
        gap = result.gap
        return {"type": "gap", "reason": gap.reason, "t_start": seconds(gap.t_start), "t_end": seconds(gap.t_end),
                "seq_from": gap.seq_from, "seq_to": gap.seq_to, "attempts": gap.attempts,
                "detail": gap.detail}  # fmt: skip
    if result.segment is not None and result.poses is None:
        return {"type": "segment", "size": list(result.segment.size), "fps": seconds(result.segment.fps)}
    if result.event is not None:
        return {
            "type": "event",
            "event": result.event.kind,
            "t": seconds(result.event.t),
            "detail": dict(result.event.detail),
        }
    record: dict[str, Any] = {"type": "frame", "frame": result.frame, "seq": result.seq, "skipped": result.skipped,
                              "pts": seconds(result.pts)}  # fmt: skip
    if result.pts_fixed:
        record["pts_fixed"] = True
    if result.t_capture is not None:
        record["t_capture"] = seconds(result.t_capture - clock)
        record["latency_ms"] = None if result.latency_ms is None else round(result.latency_ms, 2)
    record["video_frame"] = video_frame
    record["persons"] = [] if result.poses is None else persons_of(result.poses, full_precision=full_precision)
    return record


def dumps(record: Mapping[str, Any]) -> str:
    """One line of JSON without the line end; a number that is not finite becomes null, so NaN never appears."""
    try:
        return json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return json.dumps(finite(record), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def finite(value: Any) -> Any:
    """A copy of plain values, each number that is not finite replaced by None."""
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, Mapping):
        return {k: finite(v) for k, v in value.items()}
    return [finite(v) for v in value] if isinstance(value, list | tuple) else value


def result_of(record: Mapping[str, Any], size: tuple[int, int]) -> Result:
    """A record back as the result it was written from; `size` is the (W, H) then in force."""
    kind = record["type"]
    if kind == "gap":
        fields = ("reason", "t_start", "t_end", "seq_from", "seq_to", "attempts", "detail")
        told = {k: record[k] for k in fields if k in record}
        times = {k: float(record[k]) for k in ("t_start", "t_end")}
        return Result(gap=Gap(**told | times), pts=times["t_start"])
    if kind == "segment":
        return Result(segment=Segment(size=(record["size"][0], record["size"][1]), fps=record.get("fps")))
    if kind == "event":
        event = Event(kind=record["event"], t=record.get("t", 0.0), detail=record.get("detail", {}))
        return Result(event=event, pts=event.t)
    frame, pts = int(record["frame"]), float(record["pts"])
    poses = poses_of(record["persons"], frame=frame, pts=pts, size=size)
    return Result(
        frame=frame, pts=pts, poses=poses, seq=int(record.get("seq", frame)), skipped=int(record.get("skipped", 0)),
        pts_fixed=record.get("pts_fixed", False), t_capture=record.get("t_capture"),
        video_frame=record.get("video_frame"), latency_ms=record.get("latency_ms"),
    )  # fmt: skip


def poses_of(persons: list[Mapping[str, Any]], *, frame: int, pts: float, size: tuple[int, int]) -> Poses:
    """The persons of one frame record as read-only arrays; null scores become `scores=None`, null coordinates NaN."""
    n, k = len(persons), len(NAMES)
    joints = np.array([p["keypoints"] for p in persons], np.float64).reshape(n, k, 3)  # None becomes NaN
    scores = None if n and np.isnan(joints[..., 2]).all() else frozen(joints[..., 2])
    smooth = None
    if n and all("keypoints_smooth" in p for p in persons):
        points = np.array([p["keypoints_smooth"] for p in persons], np.float64)
        smooth = frozen(points.reshape(n, k, 3)[..., :2])
    errors = None
    if n and all("errors" in p for p in persons):
        errors = frozen([p["errors"] for p in persons]).reshape(n, k)
    swapped = None
    if any("swapped" in p for p in persons):
        swapped = frozen([[name in p.get("swapped", ()) for name in LIMBS] for p in persons], bool)
    ids = None if any(p.get("id") is None for p in persons) else frozen([p["id"] for p in persons], np.int64)
    return Poses(
        xy=frozen(joints[..., :2]),
        scores=scores,
        boxes=frozen([p["bbox"] for p in persons]).reshape(n, 4),
        box_scores=frozen([p["score"] for p in persons]).reshape(n),
        ids=ids,
        frame=frame,
        pts=pts,
        size=size,
        box_from=tuple(p.get("box_from", "detector") for p in persons),
        new=frozen([p.get("new", False) for p in persons], bool),
        xy_smooth=smooth,
        errors=errors,
        swapped=swapped,
    )


@overload
def seconds(value: float) -> float: ...
@overload
def seconds(value: None) -> None: ...
def seconds(value: float | None) -> float | None:
    """Rounded as files hold times."""
    return None if value is None else round(float(value), SECONDS)
