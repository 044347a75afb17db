"""People over time: ids, left and right, smoothing, in this order; what a stream remembers from frame to frame.

Also when the detector may rest, and who has to be covered beside those who are followed.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tfpose_rt.config import RunConfig
from tfpose_rt.records import Detections, Float, Frame, Poses, frozen
from tfpose_rt.sides import SideKeeper, exchange
from tfpose_rt.smooth import Smoother
from tfpose_rt.track import Look, Tracker

AUTO_EVERY = 0.25  # s between detections where the interval is left to us
LOST_SCORE = 0.3  # mean joint score under which a carried person is looked for again at once
SAME = 0.02  # px by which two boxes differ through the rounding of files alone


class Follower:
    """The memories that a run asks for.

    Args:
        run: `track`, `track_buffer`, `det_every`, `sides` and `smooth` apply.
        stills: the frames are photographs, and none says anything of another's left and right.
        stride: by how much the number of one frame is above that of the frame before.
    """

    def __init__(self, run: RunConfig, *, stills: bool = False, stride: int = 1) -> None:
        self.run, self.stills, self.stride = run, stills, stride
        self.tracker = Tracker(run.track_buffer) if run.track or run.det_every != 1 else None
        self.sides = SideKeeper() if run.sides == "tracked" and not stills else None
        self.smoother = Smoother.parse(run.smooth)
        self._last: Poses | None = None  # of the frame before; None where nothing may be carried on from it
        self._detected = -np.inf  # pts of the last detection that found somebody, or nobody to be followed

    def update(self, poses: Poses, look: Look | None = None) -> Poses:
        """Poses of one frame, as the estimator or a recording gives them -> with ids, sides and smoothed points.

        A recording's poses are taken back to the names that the model gave, so that replaying repeats the run.

        Args:
            poses: N people.
            look: finds the poses in boxes of this frame: asked about people whom the detector loses for a moment. What
                it finds is among what comes back if the joints say that somebody is there. None: nobody is looked for.
        Returns: the people of the frame.
        """
        poses = exchange(poses)
        if self.tracker is not None:
            poses = dataclasses.replace(poses, swapped=None)
            if look is not None and self._searched(poses):
                poses = self.tracker.follow(poses, look)
            else:
                poses = self.tracker.update(poses)
            if not self.run.track:
                poses = dataclasses.replace(poses, ids=None, new=None)
        for memory in (self.sides, self.smoother):
            poses = poses if memory is None or poses.ids is None else memory.update(poses)
        self._last = poses
        if not poses.box_from or any(word != "tracker" for word in poses.box_from):  # a recording tells as much
            self._detected = poses.pts
        return poses

    def _searched(self, poses: Poses) -> bool:
        """Whether the detector looked for everybody in this frame, and the frame before says where people should be."""
        known = self.run.track and not self.stills and self._last is not None
        return known and all(word == "detector" for word in poses.box_from)

    def interrupt(self) -> None:
        """People moved on unseen, or the picture changed: boxes are not carried on before somebody has looked."""
        self._last = None

    def reset(self) -> None:
        """Forget everybody; ids go on counting."""
        self.interrupt()
        for memory in (self.tracker, self.sides, self.smoother):
            if memory is not None:
                memory.reset()

    def carried(self, frame: Frame) -> Detections | None:
        """The people of the frame before, where they are expected, if the detector may rest; None where it must run."""
        every = self.run.det_every
        if every == 1 or self.tracker is None or self._last is None or not len(self._last):
            return None
        if every > 1:
            return None if frame.index // self.stride % every == 0 else self.tracker.predicted(frame.pts)
        unsure = self._last.scores is not None and bool((self._last.scores.mean(1) < LOST_SCORE).any())
        if unsure or frame.pts - self._detected >= AUTO_EVERY:
            return None
        return self.tracker.predicted(frame.pts)

    def hidden(self, poses: Poses, found: Float | None = None) -> Float | None:
        """Who has to be covered beside `poses`, the last ones that were followed.

        Args:
            poses: as `update` gave them.
            found: (F, 4) px, everybody the detector found in the picture; None when nobody looked for them.
        Returns: (M, 4) px: who was lost a moment ago and may still be there, whom the tracker took for nobody, and
            those of `found` who are none of `poses`. None where nobody looked and nobody is followed.
        """
        covered = self._out_of_sight(poses.pts)
        if found is None:
            return covered
        covered = frozen(np.zeros((0, 4))) if covered is None else covered
        known = np.concatenate([poses.boxes, covered]).reshape(-1, 4)
        same = np.abs(found[:, None] - known[None]).max(-1) <= SAME  # (F, P + M)
        return frozen(np.concatenate([covered, found[~same.any(1)]]))

    def _out_of_sight(self, pts: float) -> Float | None:
        if self.tracker is None:
            return None
        found = {box.tobytes() for box in self.tracker.predicted(pts).boxes}
        known = self.tracker.predicted(pts, lost=True).boxes
        lost = known[[box.tobytes() not in found for box in known]]
        return frozen(np.concatenate([lost, self.tracker.doubtful]))
