"""Ids for people: matching on boxes and keypoints, constant velocity in between. numpy and scipy only, no model.

A track is the last pose of one person and how fast it moved. On each frame every track is carried forward to the
frame's time, compared with every pose found (box IoU and keypoint OKS), and the best total pairing is taken: first the
sure detections, then, among the tracks left over, the weak ones (as ByteTrack does), then what is merely where somebody
should be: a half that shows behind another, a leap. What matches nothing is a new id, if it convinces as a person.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import numpy as np

from tfpose_rt import likeness
from tfpose_rt.likeness import SURE, Array, Bools, Rows, weights
from tfpose_rt.person_track import HORIZON, Track, carried, observe
from tfpose_rt.records import Detections, Float, Poses, frozen

GATE, WEAK_GATE = 0.1, 0.3  # least similarity (mean of IoU and OKS) of a pair, in the first and the second round
NEAR_GATE = 0.6  # least share of the smaller box that lies within the other's reach, in the third
REACH, LEAP = 0.1, 0.2  # reach beyond the box, in its longer side: of what is hardly found, and of a person
LEAP_GROWTH = 0.5  # more reach per s unseen, of a person surely found
COVERED = 0.5  # share of a lost person's box within somebody's who is seen from which that one stands before
CLEARLY = 0.15  # sum of two similarities by which it has to be likelier that two people were confused
MIN_INSIDE = 0.2  # share of a carried box that has to lie in the picture
SEARCH = 0.5  # s that somebody is looked for in place after the detector has seen them last


Look = Callable[[Detections], Poses]


class Tracker:
    """Gives each person of a stream one integer id, never used again for another.

    Deterministic: the same poses in the same order give the same ids, so a recording replayed through a new tracker
    ends in the same state.

    Args:
        buffer_s: s an unseen person's id is kept for.
    """

    def __init__(self, buffer_s: float = 1.0) -> None:
        self.buffer_s = buffer_s
        self.ids_given = 0  # also the next id
        self._tracks: list[Track] = []
        self._time = -np.inf  # pts of the last update
        self._step = 0.8  # s between updates, lately
        self._size = (0, 0)
        self.doubtful: Float = frozen(np.zeros((0, 4)))  # boxes of the last frame that were taken for nobody

    def reset(self) -> None:
        """Forget everybody; numbering goes on."""
        self._tracks = []

    def update(self, poses: Poses) -> Poses:
        """Give ids to the poses of one frame.

        Args:
            poses: N people of one frame, px of the frame; `pts` later than that of the frame before.
        Returns: new Poses with `ids` and `new` filled, in the order given; at most N people: one who was found twice
            is kept once, with the better score, and what looks like nobody and continues nobody is passed over
            (its box is in `doubtful` until the next frame).
        """
        poses = poses.take(likeness.distinct(poses))
        last = self._time
        self._rescale(poses.size)
        self._expire(poses.pts)
        ids = np.full(len(poses), -1, np.int64)
        weak = poses.box_scores < SURE
        for turn, pair in ((~weak, self._alike), (weak, self._alike_weak), (weak | ~weak, self._near)):
            rows = np.flatnonzero(turn & (ids < 0))
            free = [t for t in self._tracks if t.id not in ids]
            if len(rows) and free:
                for place, row in best_pairs(*pair(free, poses, rows)):
                    ids[rows[row]] = free[place].id
        new = (ids < 0) & likeness.convincing(poses)
        new[new] = ~likeness.repeats(poses, np.flatnonzero(new), np.flatnonzero(ids >= 0))
        ids[new] = self.ids_given + np.arange(new.sum())
        self.ids_given += int(new.sum())
        self._untangle(poses, ids)
        kept = np.flatnonzero(ids >= 0)
        self.doubtful = frozen(poses.boxes[ids < 0])
        poses, ids, new = poses.take(kept), ids[kept], new[kept]
        known = {t.id: t for t in self._tracks}
        xy, trust = likeness.places(poses), weights(poses)
        seen = {
            int(i): observe(known.get(int(i)), int(i), poses, row, xy[row], trust[row]) for row, i in enumerate(ids)
        }
        lost = {t.id: self._hide(t, seen) for t in self._tracks if t.t == last and t.id not in seen}
        self._tracks = sorted((known | lost | seen).values(), key=lambda t: t.id)
        return dataclasses.replace(poses, ids=frozen(ids, np.int64), new=frozen(new, np.bool_))

    def _hide(self, track: Track, seen: dict[int, Track]) -> Track:
        """The track of somebody lost on this frame, with whoever was known before and now covers that place."""
        boxes = np.array([t.box for t in seen.values()]).reshape(-1, 4)
        share = likeness.overlap(track.box, boxes) / likeness.area(track.box)
        covers = [(float(s), i) for s, i in zip(share, seen, strict=True) if s >= COVERED]
        other = {t.id: t for t in self._tracks}.get(max(covers)[1]) if covers else None
        track = dataclasses.replace(track, met=None)
        return dataclasses.replace(track, met=(track, dataclasses.replace(other, met=None))) if other else track

    def _untangle(self, poses: Poses, ids: Rows) -> None:
        """Exchange the ids of two people, in place, where one came back from behind the other and they were confused.

        While one box held both, its id was a guess. Once both are seen, what they were like before decides: at once, or
        on the first frame on which it is clear.
        """
        for track in [t for t in self._tracks if t.met is not None and t.id in ids]:
            own, other = track.met or (track, track)
            if other.id not in ids:
                continue
            known = {t.id: t for t in self._tracks}
            rows = np.array([np.flatnonzero(ids == i)[0] for i in (own.id, other.id)])
            like = np.max([self._alike([own, other], poses, rows, walk=walk)[0] for walk in (0.0, 1.0)], axis=0)
            gain = like[0, 1] + like[1, 0] - like[0, 0] - like[1, 1]
            if gain > CLEARLY:
                ids[rows] = ids[rows[::-1]]
                known[own.id] = dataclasses.replace(known[other.id], id=own.id)
                known[other.id] = dataclasses.replace(other if track.t == own.t else track, id=other.id)
            if abs(gain) > CLEARLY or poses.pts - own.t > self.buffer_s:
                known[own.id], known[other.id] = (dataclasses.replace(known[i], met=None) for i in (own.id, other.id))
            self._tracks = list(known.values())

    def predicted(self, pts: float, *, lost: bool = False) -> Detections:
        """Boxes for a frame on which the detector does not run, carried by the keypoints of the frame before.

        Args:
            pts: s, time of the coming frame.
            lost: also people who are not seen at the moment but still remembered (for privacy masks).
        Returns: boxes (N, 4) px, clipped to the picture, and the detector's last scores; a person who has all but left
            the picture is not among them. Changes nothing in the tracker.
        """
        return self._boxes([t for t in self._tracks if lost or t.t == self._time], pts)

    def follow(self, poses: Poses, look: Look) -> Poses:
        """As `update`, but whom the detector loses for a moment is looked for where they are expected.

        Asked for are those who were seen on the frame before and, within `SEARCH`, by the detector, too. Whom it saw
        but once is not: that may have been nobody.

        Args:
            poses: as for `update`.
            look: finds the poses in boxes of this frame; who is there by their joints is followed.
        Returns: as `update`, with those who were found.
        """
        trial = copy.copy(self)  # tracks never change, lists are made anew
        tracked = trial.update(poses)
        before = [t for t in self._tracks if t.t == self._time and t.born < t.t and poses.pts - t.found <= SEARCH]
        missed = trial._boxes([t for t in before if tracked.ids is None or t.id not in tracked.ids], poses.pts)
        more = look(missed) if len(missed) else poses.take([])
        if len(found := likeness.added(poses, more)):
            return self.update(likeness.joined(poses, more.take(found)))
        vars(self).update(vars(trial))
        return tracked

    def _boxes(self, tracks: list[Track], pts: float) -> Detections:
        boxes = np.array([carried(t) + np.tile(t.move(pts), 2) for t in tracks]).reshape(-1, 4)
        scores = np.array([t.score for t in tracks], np.float64)
        w, h = self._size
        clipped = boxes.clip(-0.5, np.array([w, h, w, h]) - 0.5)  # pixel centres: the picture ends at W - 0.5
        extent = clipped[:, 2:] - clipped[:, :2]
        keep = (extent.clip(0).prod(1) >= MIN_INSIDE * likeness.area(boxes)) & (extent.min(1, initial=np.inf) >= 2)
        return Detections(frozen(clipped[keep]), frozen(scores[keep]))

    def _alike(
        self, tracks: list[Track], poses: Poses, rows: Rows, gate: float = GATE, walk: float = 1.0
    ) -> tuple[Array, Bools]:
        """Worth of every pair of track and row, (T, R), and which pairs may be: the mean of box IoU and OKS decides."""
        moves = walk * np.array([t.move(poses.pts) for t in tracks])  # (T, 2)
        age = np.array([poses.pts - t.t for t in tracks])[:, None]
        blind = np.array([t.born == t.t for t in tracks])[:, None]  # seen once: no velocity yet
        boxes = np.array([t.box for t in tracks]) + np.tile(moves, 2)
        # A prediction is a Gaussian too: its spread adds to that of the joints, more for the blind and the long unseen.
        spread = 1 + 8 * np.minimum(age, HORIZON) + 2 * blind
        alike = likeness.pairwise_oks(
            np.array([t.xy for t in tracks]) + moves[:, None], likeness.places(poses)[rows],
            np.array([t.weight for t in tracks]), weights(poses)[rows], likeness.person_areas(boxes)[:, None] * spread,
        )  # fmt: skip
        similarity = (likeness.iou(boxes, poses.boxes[rows].astype(np.float64)) + alike) / 2
        return similarity - 0.05 * age / max(self.buffer_s, 1e-6), similarity >= gate

    def _alike_weak(self, tracks: list[Track], poses: Poses, rows: Rows) -> tuple[Array, Bools]:
        return self._alike(tracks, poses, rows, WEAK_GATE)

    def _near(self, tracks: list[Track], poses: Poses, rows: Rows) -> tuple[Array, Bools]:
        """As `_alike`, for what neither box nor joints say: how much of the smaller box lies within the other's reach.

        A well found person may have leapt; what is hardly found has to be where the person was, as what still shows of
        somebody behind another is.
        """
        found = poses.boxes[rows].astype(np.float64)
        age = np.array([poses.pts - t.t for t in tracks])[:, None]
        sure = np.maximum(poses.box_scores, likeness.mean_scores(poses))[rows] >= SURE
        reach = np.where(likeness.convincing(poses)[rows], LEAP, REACH) + sure * LEAP_GROWTH * age.clip(0, HORIZON)
        reach = (reach * np.array([t.side for t in tracks])[:, None])[..., None] * [-1, -1, 1, 1]  # (T, R, 4)
        near = np.zeros((len(tracks), len(rows)))
        for share in (1.0, 0.0):
            boxes = np.array([t.box + share * np.tile(t.move(poses.pts), 2) for t in tracks])[:, None]  # (T, 1, 4)
            both = likeness.overlap(boxes + reach, found)
            near = np.maximum(near, (both / np.minimum(likeness.area(boxes), likeness.area(found))).clip(0, 1))
        return near - 0.05 * age / max(self.buffer_s, 1e-6), near >= NEAR_GATE

    def _expire(self, pts: float) -> None:
        """Drop who was unseen for longer than the buffer.

        Nobody was looked for between two frames: where frames are slower than the buffer (a model that takes a second),
        those of the frame before are kept, as long as this step is no longer than such steps have been.
        """
        step = pts - self._time
        usual = max(self.buffer_s, 2.5 * self._step)
        self._tracks = [t for t in self._tracks if pts - t.t <= self.buffer_s or (t.t == self._time and step <= usual)]
        if np.isfinite(step):
            self._step += 0.3 * (min(step, usual) - self._step)
        self._time = pts

    def _rescale(self, size: tuple[int, int]) -> None:
        """Carry the tracks over to another picture size (a camera that came back with other settings)."""
        if self._size != size and min(*self._size, *size) > 0:
            ratio = np.array(size) / self._size
            twice, more = np.tile(ratio, 2), float(ratio.max())
            self._tracks = [
                dataclasses.replace(
                    t, xy=t.xy * ratio, box=t.box * twice, velocity=t.velocity * ratio, side=t.side * more, met=None
                )
                for t in self._tracks
            ]
        self._size = size


def best_pairs(worth: Array, allowed: Bools) -> list[tuple[int, int]]:
    """The pairing of rows and columns with the greatest total worth; pairs that are not allowed are left out."""
    if all(allowed.sum(axis).max(initial=0) <= 1 for axis in (0, 1)):  # nobody contends for another's
        return [(int(a), int(b)) for a, b in np.argwhere(allowed)]
    from scipy.optimize import linear_sum_assignment  # half a second to load: not before it is needed

    least = worth.min(initial=0.0, where=allowed)
    gain = np.where(allowed, worth - least + 1.0, 0.0)  # any allowed pair is better than none
    chosen = zip(*linear_sum_assignment(gain, maximize=True), strict=True)
    return [(int(a), int(b)) for a, b in chosen if allowed[a, b]]
