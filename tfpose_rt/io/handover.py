"""What `Poses` hands to other programs: a picture, a frame record, an OpenPose frame, supervision's KeyPoints."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpose_rt.errors import UsageError
from tfpose_rt.io.images import check_picture
from tfpose_rt.io.openpose import document, known_layout
from tfpose_rt.io.parts import SinkOptions
from tfpose_rt.io.record_json import finite, record_of
from tfpose_rt.records import Result

if TYPE_CHECKING:
    from tfpose_rt.records import Image, Poses


def drawn(poses: Poses, image: Image, **style: Any) -> Image:
    """See `Poses.draw`."""
    from tfpose_rt.draw import DrawStyle, draw

    _in_pixels(poses, "to be drawn")
    check_picture(image)
    size = (image.shape[1], image.shape[0])
    if all(poses.size) and size != tuple(poses.size):
        raise ValueError(f"these are poses of a picture of {poses.size} px, not of {size}")
    return draw(image, poses, DrawStyle(**style))


def frame_record(poses: Poses, *, full_precision: bool = False) -> dict[str, Any]:
    """See `Poses.to_dict`."""
    _in_pixels(poses, "for a record")
    result = Result(frame=poses.frame, pts=poses.pts, seq=poses.frame, poses=poses)
    record: dict[str, Any] = finite(record_of(result, full_precision=full_precision))
    return record


def openpose_frame(poses: Poses, *, layout: str, kpt_thr: float) -> dict[str, Any]:
    """See `Poses.to_openpose`."""
    shares = poses.unit == "share"
    return document(poses, SinkOptions(openpose_layout=known_layout(layout), kpt_thr=kpt_thr, normalised=shares))


def key_points(poses: Poses, *, kpt_thr: float) -> Any:
    """See `Poses.to_supervision`."""
    try:
        from supervision import KeyPoints
    except ImportError as error:
        raise UsageError("supervision is not here", why=str(error), fix="pip install supervision") from error
    n = len(poses)
    if not n:
        return KeyPoints.empty()
    data = {"xyxy": np.array(poses.boxes), "class_name": np.full(n, "person")}
    if poses.ids is not None:
        data["tracker_id"] = np.array(poses.ids)
    common = {"xy": np.array(poses.xy), "class_id": np.zeros(n, int), "data": data}
    scores = None if poses.scores is None else np.array(poses.scores)
    if "keypoint_confidence" not in inspect.signature(KeyPoints).parameters:  # before 0.29
        return KeyPoints(confidence=scores, **common)
    visible = None if scores is None else scores >= kpt_thr
    scored = {"keypoint_confidence": scores, "detection_confidence": np.array(poses.box_scores), "visible": visible}
    return KeyPoints(**scored, **common)


def _in_pixels(poses: Poses, what: str) -> None:
    if poses.unit != "px":
        raise ValueError(f"poses have to be in pixels {what}, not in shares of the picture")
