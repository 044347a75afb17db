"""The part of a result that a table, COCO, OpenPose or TRC file holds: who, raw or smoothed, pixels or 0..1."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tfpose_rt.errors import UsageError
from tfpose_rt.io.parts import SinkOptions
from tfpose_rt.records import Poses


def chosen(poses: Poses, options: SinkOptions) -> Poses:
    """The poses as the options ask for them: `ids`, `field` and `normalised`.

    Raises: UsageError: smoothed points asked for where none were made.
    """
    if options.ids:
        keep = np.isin(poses.ids, options.ids) if poses.ids is not None else np.zeros(len(poses), bool)
        poses = select(poses, keep)
    if options.field == "smooth" and len(poses):
        if poses.xy_smooth is None:
            raise UsageError(
                "--field smooth", why="the recording holds no smoothed points", fix="video --smooth one-euro"
            )
        poses = replace(poses, xy=poses.xy_smooth)
    if options.normalised:
        side: npt.NDArray[np.float32] = np.array(poses.size, np.float32)
        if not side.all():
            raise UsageError("--normalised", why="the size of the picture is not known", fix="convert from the JSONL")
        corners = np.concatenate((side, side))
        poses = replace(poses, xy=(poses.xy + 0.5) / side, boxes=(poses.boxes + 0.5) / corners)
    return poses


def select(poses: Poses, keep: npt.NDArray[np.bool_]) -> Poses:
    """The people where `keep` (N,) is true, in the same order."""
    return replace(
        poses,
        xy=poses.xy[keep],
        scores=None if poses.scores is None else poses.scores[keep],
        boxes=poses.boxes[keep],
        box_scores=poses.box_scores[keep],
        ids=None if poses.ids is None else poses.ids[keep],
        box_from=tuple(b for b, k in zip(poses.box_from, keep, strict=False) if k),
        new=None if poses.new is None else poses.new[keep],
        xy_smooth=None if poses.xy_smooth is None else poses.xy_smooth[keep],
    )
