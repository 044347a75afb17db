"""The part of a result that a table, COCO, OpenPose or TRC file holds: raw or smoothed, pixels or 0..1."""

from __future__ import annotations

from dataclasses import replace

from tfpose_rt.errors import UsageError
from tfpose_rt.io.parts import SinkOptions
from tfpose_rt.io.record_json import PIXELS, SHARES
from tfpose_rt.records import Float, Poses


def decimals(options: SinkOptions) -> int:
    """How many decimals a file keeps of what `chosen` gives as places."""
    return SHARES if options.normalised else PIXELS


def points_of(poses: Poses, field: str) -> Float:
    """(N, K, 2) the raw points, or with "smooth" the smoothed ones.

    Raises: UsageError: smoothed points asked for where none were made.
    """
    if field != "smooth" or not len(poses):
        return poses.xy
    if poses.xy_smooth is None:
        fix = "--smooth zero-lag instead, or video --smooth one-euro"
        raise UsageError("--field smooth", why="the recording holds no smoothed points", fix=fix)
    return poses.xy_smooth


def chosen(poses: Poses, options: SinkOptions) -> Poses:
    """The poses as the options ask for them: `field` and `normalised`, which has no errors: px have no one unit.

    Raises: UsageError: smoothed points asked for where none were made.
    """
    if options.field == "smooth":
        poses = replace(poses, xy=points_of(poses, options.field))
    if options.normalised:
        if not all(poses.size):
            raise UsageError("--normalised", why="the size of the picture is not known", fix="convert from the JSONL")
        poses = poses.normalised()
    return poses
