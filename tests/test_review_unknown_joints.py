"""Joints without a place, NaN in memory and null in recordings: they cost nobody an id and no neighbour its numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_track import BODY

from tfpose_rt.records import Poses, Result, frozen
from tfpose_rt.smooth import Smoother
from tfpose_rt.track import Tracker, best_pairs
from tfpose_rt.zero_lag import ZeroLag

NAN = float("nan")


def two(pts: float, unknown: object = None, box: bool = False) -> Poses:
    """Two people who stand still; `unknown` joints of the first have no place, nor has its box if `box`."""
    xy = np.array([BODY * 300 + [100, 50], BODY * 300 + [400, 50]], np.float32)
    boxes = np.concatenate([xy.min(1) - 9, xy.max(1) + 9], 1)
    if unknown is not None:
        xy[0, unknown] = NAN
    if box:
        boxes[0] = NAN
    return Poses(
        xy=frozen(xy), scores=frozen(np.full((2, 17), 0.9)), boxes=frozen(boxes), box_scores=frozen([0.9, 0.8]),
        pts=pts, size=(640, 480), box_from=("detector",) * 2,
    )  # fmt: skip


@pytest.mark.parametrize("unknown", [3, [9, 10], slice(None)])
def test_joints_without_a_place_cost_nobody_an_id(unknown: object) -> None:
    tracker = Tracker()
    for frame in range(6):
        found = two(frame / 30, unknown if frame in (1, 2, 4) else None)
        tracked = tracker.update(found)
        assert tracked.ids is not None
        assert tracked.ids.tolist() == [0, 1]
        np.testing.assert_array_equal(tracked.xy, found.xy)  # what was not found stays unknown
    boxes = tracker.predicted(6 / 30).boxes
    np.testing.assert_allclose(boxes, two(0).boxes, atol=1.0)


def test_a_box_without_a_place_costs_the_others_nothing() -> None:
    tracker = Tracker()
    seen = [tracker.update(two(frame / 30, box=frame == 1)).ids for frame in range(4)]
    assert all(ids is not None and 1 in ids for ids in seen)


def test_pairs_that_may_not_be_do_not_have_to_be_numbers() -> None:
    worth = np.array([[NAN, 0.4], [0.5, NAN]])
    assert best_pairs(worth, np.array([[False, True], [True, False]])) == [(0, 1), (1, 0)]


def test_a_joint_without_a_place_is_a_number_that_counts_for_nothing() -> None:
    from tfpose_rt.likeness import places, weights

    poses = replace(two(0, 3), boxes=frozen([[0, 0, 20, 10], [400, 50, 600, 400]]))
    np.testing.assert_array_equal(places(poses)[0, 3], [10, 5])
    assert weights(poses)[0, 3] == 0
    assert weights(poses)[0, 4] == pytest.approx(0.92)


def one(frame: int, x: float, error: float = 1.0) -> Poses:
    """One person, all joints at (x, 100)."""
    xy = np.full((1, 17, 2), [x, 100.0])
    return Poses(
        xy=frozen(xy), scores=None, boxes=frozen([[0, 0, 200, 200]]), box_scores=frozen([0.9]), pts=frame / 30,
        ids=frozen([0], np.int64), size=(640, 480), errors=frozen(np.full((1, 17), error)),
    )  # fmt: skip


def test_a_joint_without_a_place_is_smoothed_again_from_the_next_frame_on() -> None:
    smoother = Smoother()
    places = [smoother.update(one(frame, x)).xy_smooth for frame, x in enumerate((100, NAN, 110, 110))]
    assert [bool(np.isnan(xy).any()) for xy in places if xy is not None] == [False, True, False, False]
    np.testing.assert_allclose(places[2], one(2, 110).xy)  # nothing is known of before


def recording(*changes: tuple[int, float, float]) -> list[Result]:
    """A joint that walks from 0 px by 1 px a frame for 20 frames; (frame, x, error) are put in place of its own."""
    frames = {frame: one(frame, float(frame)) for frame in range(20)}
    frames |= {frame: one(frame, x, error) for frame, x, error in changes}
    return [Result(frame=frame, pts=poses.pts, poses=poses) for frame, poses in frames.items()]


def smoothed(results: list[Result], more: list[Result] | None = None) -> np.ndarray:
    """(T,) px: where the first joint is after smoothing without lag."""
    smoother = ZeroLag()
    smoother.learn(results)
    done = [result.poses for result in smoother.apply(results + (more or []))]
    return np.array([poses.xy_smooth[0, 0, 0] for poses in done if poses is not None and poses.xy_smooth is not None])


@pytest.mark.filterwarnings("error")
def test_frames_without_a_place_or_an_error_do_not_keep_a_recording_from_being_smoothed() -> None:
    walk = smoothed(recording((5, NAN, 1.0), (9, 9.0, NAN)))
    assert np.flatnonzero(np.isnan(walk)).tolist() == [5]
    np.testing.assert_allclose(np.delete(walk, 5), np.delete(np.arange(20.0), 5), atol=1e-3)
    assert np.isnan(smoothed([Result(pts=f / 30, poses=one(f, NAN, NAN)) for f in range(9)])).all()
    np.testing.assert_allclose(smoothed(recording(*((f, float(f), NAN) for f in range(20)))), range(20), atol=1e-3)


def test_what_a_recording_grows_by_while_it_is_smoothed_is_left_out() -> None:
    results = recording()
    assert len(smoothed(results[:12], results[12:])) == 12
