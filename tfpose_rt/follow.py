"""People over time: ids, left and right, smoothing, in this order; what a stream remembers from frame to frame."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfpose_rt.config import RunConfig
from tfpose_rt.records import Detections, Float, Poses, frozen
from tfpose_rt.sides import SideKeeper, exchange
from tfpose_rt.smooth import Smoother
from tfpose_rt.track import Tracker


class Follower:
    """The memories that a run asks for.

    Args:
        run: `track`, `track_buffer`, `det_every`, `sides` and `smooth` apply.
        stills: the frames are photographs, and none says anything of another's left and right.
    """

    def __init__(self, run: RunConfig, *, stills: bool = False) -> None:
        self.run = run
        self.tracker = Tracker(run.track_buffer) if run.track or run.det_every != 1 else None
        self.sides = SideKeeper() if run.sides == "tracked" and not stills else None
        self.smoother = Smoother.parse(run.smooth)

    def update(self, poses: Poses) -> Poses:
        """Poses of one frame, as the estimator or a recording gives them -> with ids, sides and smoothed points.

        A recording's poses are taken back to the names that the model gave, so that replaying repeats the run.
        """
        poses = exchange(poses)
        if self.tracker is not None:
            poses = self.tracker.update(dataclasses.replace(poses, swapped=None))
            if not self.run.track:
                poses = dataclasses.replace(poses, ids=None, new=None)
        if poses.ids is None:
            return poses
        for memory in (self.sides, self.smoother):
            poses = poses if memory is None else memory.update(poses)
        return poses

    def reset(self) -> None:
        """Forget everybody; ids go on counting."""
        for memory in (self.tracker, self.sides, self.smoother):
            if memory is not None:
                memory.reset()

    def carried(self, pts: float) -> Detections | None:
        """The people of the last frame where they are expected at `pts` (s); None where nobody is followed."""
        return None if self.tracker is None else self.tracker.predicted(pts)

    def hidden(self, pts: float) -> Float | None:
        """(M, 4) px: who was lost a moment ago and may still be there, and whom the tracker took for nobody."""
        if self.tracker is None:
            return None
        found = {box.tobytes() for box in self.tracker.predicted(pts).boxes}
        known = self.tracker.predicted(pts, lost=True).boxes
        lost = known[[box.tobytes() not in found for box in known]]
        return frozen(np.concatenate([lost, self.tracker.doubtful]))
