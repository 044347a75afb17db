"""Ids on people whose paths are known: crossing, hidden, leaving, jittering, many, at uneven times."""

from __future__ import annotations

import dataclasses
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpose_rt.likeness import added, distinct, joined
from tfpose_rt.records import Detections, Poses
from tfpose_rt.track import Tracker, best_pairs

# A standing person in a box of width 0.4 and height 1, x right, y down, in COCO order.
BODY = np.array([
    [0, 0.08], [0.03, 0.06], [-0.03, 0.06], [0.05, 0.07], [-0.05, 0.07], [0.11, 0.2], [-0.11, 0.2], [0.15, 0.35],
    [-0.15, 0.35], [0.16, 0.48], [-0.16, 0.48], [0.08, 0.52], [-0.08, 0.52], [0.09, 0.74], [-0.09, 0.74], [0.1, 0.95],
    [-0.1, 0.95],
])  # fmt: skip


def person(x: float, y: float = 100, height: float = 200) -> np.ndarray:
    """(17, 2) px of somebody whose head is at (x, y)."""
    return BODY * height + [x, y]


def scene(
    people: list[np.ndarray], pts: float, *, scores: list[float] | None = None, size: tuple[int, int] = (1280, 720),
    joint_score: float = 0.9, box_from: str = "detector", boxes: np.ndarray | None = None,
) -> Poses:  # fmt: skip
    xy = np.array(people, np.float32).reshape(-1, 17, 2)
    height = np.ptp(xy[..., 1], axis=1)[:, None] if len(xy) else np.zeros((0, 1))
    around = np.concatenate([xy.min(1) - 0.06 * height, xy.max(1) + 0.06 * height], 1) if boxes is None else boxes
    return Poses(
        xy=xy,
        scores=np.full(xy.shape[:2], joint_score, np.float32),
        boxes=np.asarray(around, np.float32).reshape(-1, 4),
        box_scores=np.array(scores if scores is not None else [0.9] * len(xy), np.float32),
        pts=pts,
        size=size,
        box_from=[box_from] * len(xy),
    )


def ids(poses: Poses) -> list[int]:
    assert poses.ids is not None
    return poses.ids.tolist()


def test_people_who_cross_keep_their_ids() -> None:
    """Two walk through each other at 1.4 m/s; on the frames where one hides the other only one is found."""
    tracker = Tracker()
    rng = np.random.default_rng(1)
    for i in range(120):
        t = i / 30
        a, b = person(200 + 165 * t), person(860 - 165 * t, 108, 190)
        a, b = a + rng.normal(0, 1.5, a.shape), b + rng.normal(0, 1.5, b.shape)
        hidden = abs(a[0, 0] - b[0, 0]) < 25
        found = ids(tracker.update(scene([a] if hidden else [a, b], t)))
        assert found == ([0] if hidden else [0, 1]), f"at {t:.2f} s"


def test_keypoints_tell_apart_whom_boxes_cannot() -> None:
    """Two embrace in one box; the order in which they are found changes."""
    both = np.array([[250, 80, 450, 320]] * 2)
    tracker = Tracker()
    for i in range(10):
        pair = [person(300), person(390)]
        found = ids(tracker.update(scene(pair if i % 2 == 0 else pair[::-1], i / 30, boxes=both)))
        assert found == ([0, 1] if i % 2 == 0 else [1, 0])


def test_half_a_second_behind_a_pillar_keeps_the_id() -> None:
    tracker = Tracker(1.0)
    for i in range(90):
        t = i / 30
        out = tracker.update(scene([] if 1.0 < t <= 1.5 else [person(100 + 160 * t)], t))
        assert ids(out) == ([] if 1.0 < t <= 1.5 else [0])


def test_an_id_ends_with_the_buffer_and_is_never_given_again() -> None:
    tracker = Tracker(0.5)
    assert ids(tracker.update(scene([person(300)], 0.0))) == [0]
    assert ids(tracker.update(scene([person(300)], 0.5))) == [0]
    assert ids(tracker.update(scene([], 0.8))) == []
    back = tracker.update(scene([person(300)], 1.1))
    assert ids(back) == [1]
    assert back.new is not None
    assert back.new.tolist() == [True]


def test_frames_slower_than_the_buffer_do_not_cost_the_id() -> None:
    """A model that takes 1.5 s: nobody was looked for in between. A cable pulled for 6 s is another matter."""
    tracker = Tracker(1.0)
    for i in range(8):
        assert ids(tracker.update(scene([person(300 + 5 * i)], 1.5 * i))) == [0]
    assert ids(tracker.update(scene([person(340)], 10.5 + 6.0))) == [1]
    quick = Tracker(1.0)
    for i in range(60):
        assert ids(quick.update(scene([person(300)], i / 30))) == [0]
    assert ids(quick.update(scene([person(300)], 59 / 30 + 1.2))) == [1]


@pytest.mark.parametrize(("buffer", "step"), [(0.0, 1 / 30), (0.0, 1.0), (1.0, 40.0)])
def test_several_people_keep_their_ids_however_short_the_buffer_or_long_the_step(buffer: float, step: float) -> None:
    tracker = Tracker(buffer)
    people = [person(150 + 250 * p) for p in range(4)]
    for i in range(6):
        tracker._step = step  # such steps have been usual
        order = [0, 1, 2, 3] if i % 2 == 0 else [2, 0, 3, 1]
        assert ids(tracker.update(scene([people[p] for p in order], i * step))) == order
    assert tracker.ids_given == 4


@given(seed=st.integers(0, 2**32 - 1), offset=st.sampled_from([0.0, -1.5, -2e4]))
def test_no_pair_that_is_allowed_is_left_apart_however_little_it_is_worth(seed: int, offset: float) -> None:
    rng = np.random.default_rng(seed)
    worth, allowed = rng.random((3, 4)) + offset, rng.random((3, 4)) < 0.5
    pairs = best_pairs(worth, allowed)
    rows, columns = {a for a, _ in pairs}, {b for _, b in pairs}
    assert all(allowed[pair] for pair in pairs)
    assert len(rows) == len(columns) == len(pairs)
    assert all(a in rows or b in columns for a, b in np.argwhere(allowed).tolist())
    assert best_pairs(worth, np.ones((3, 4), np.bool_)) == best_pairs(worth - offset, np.ones((3, 4), np.bool_))


@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.1, 0.3, 0.7]))
def test_pairs_are_the_best_of_all_that_there_are(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    worth, allowed = rng.random((3, 4)) - 0.5, rng.random((3, 4)) < share
    ways = [[(a, b) for a, b in enumerate(order) if allowed[a, b]] for order in permutations(range(4), 3)]
    assert best_pairs(worth, allowed) == max(ways, key=lambda way: (len(way), sum(worth[pair] for pair in way)))


def test_one_leaves_and_another_enters_at_the_other_side() -> None:
    tracker = Tracker()
    seen: list[list[int]] = []
    for i in range(90):
        t = i / 30
        people = [person(1000 + 300 * t)] if t < 0.9 else [person(-20 + 300 * (t - 1.2))] if t > 1.2 else []
        seen.append(ids(tracker.update(scene(people, t))))
    assert seen[0] == [0]
    assert seen[-1] == [1]
    assert {n for s in seen for n in s} == {0, 1}


def test_reset_forgets_but_numbering_goes_on() -> None:
    tracker = Tracker()
    tracker.update(scene([person(300), person(700)], 0.0))
    tracker.reset()
    assert ids(tracker.update(scene([person(300)], 0.1))) == [2]


def test_fifty_people_who_jitter_keep_fifty_ids() -> None:
    rng = np.random.default_rng(3)
    home = np.array([person(60 + 120 * (k % 10), 20 + 135 * (k // 10), 120) for k in range(50)])
    drift = rng.normal(0, 15, (50, 1, 2))
    tracker = Tracker()
    first = ids(tracker.update(scene(list(home), 0.0)))
    assert first == list(range(50))
    for i in range(1, 40):
        order = rng.permutation(50)
        people = home + drift * i / 30 + rng.normal(0, 2, home.shape)
        found = ids(tracker.update(scene(list(people[order]), i / 30)))
        assert found == order.tolist()
    assert tracker.ids_given == 50


@pytest.mark.parametrize("rate", [8, 12, 30, 240])
def test_a_runner_is_one_person_at_any_frame_rate(rate: int) -> None:
    """A run of 5 m/s by a person of 200 px (1.75 m), arms and legs swinging."""
    tracker = Tracker()
    for i in range(rate):
        t = i / rate
        pose = person(50 + 570 * t)
        swing = 24 * np.sin(2 * np.pi * 1.5 * t)
        pose[[9, 16], 0] += swing
        pose[[10, 15], 0] -= swing
        assert ids(tracker.update(scene([pose], t))) == [0], f"frame {i}"


def test_uneven_times_are_walked_at_even_speed() -> None:
    """Velocity is per second: after 10 short steps, one step ten times as long still lands on the person."""
    times = np.concatenate([np.arange(12) / 60, 12 / 60 + np.array([0.4, 0.42, 0.7])])
    tracker = Tracker()
    for t in times:
        pair = [person(100 + 250 * t), person(215 + 250 * t)]  # the follower ends near where the leader was
        assert ids(tracker.update(scene(pair, float(t)))) == [0, 1]


def test_weak_detections_continue_a_track_but_do_not_steal_one() -> None:
    tracker = Tracker()
    tracker.update(scene([person(300)], 0.0))
    assert ids(tracker.update(scene([person(302)], 0.033, scores=[0.3]))) == [0]
    both = tracker.update(scene([person(304), person(345)], 0.066, scores=[0.9, 0.3]))
    assert ids(both) == [0, 1]
    # The weak one lies nearer to the track, yet the sure one is asked first.
    tracker = Tracker()
    tracker.update(scene([person(300)], 0.0))
    assert ids(tracker.update(scene([person(300), person(330)], 0.033, scores=[0.3, 0.9])))[1] == 0


def test_a_person_found_twice_is_kept_once_with_the_better_score() -> None:
    twice = scene([person(300), person(301), person(420)], 0.0, scores=[0.6, 0.8, 0.7])
    assert distinct(twice).tolist() == [1, 2]
    out = Tracker().update(twice)
    assert len(out) == 2
    assert out.box_scores.tolist() == pytest.approx([0.8, 0.7])
    assert len(out.box_from) == 2


def test_the_upper_half_found_once_more_is_not_another_person_but_a_child_in_front_is() -> None:
    whole = person(300)
    half = whole.copy()
    half[13:] = half[11:13].repeat(2, 0)  # knees and ankles are guessed at the hips, where the part's box ends
    boxes = np.array([[250, 95, 350, 300], [252, 96, 348, 210], [280, 190, 330, 295]])
    child = person(305, 200, 90)
    trust = np.full((3, 17), 0.9, np.float32)
    trust[1, 13:] = 0.1
    poses = scene([whole, half, child], 0.0, scores=[0.9, 0.5, 0.6], boxes=boxes)
    poses = dataclasses.replace(poses, scores=trust)
    assert distinct(poses).tolist() == [0, 2]


def test_a_ball_without_joints_is_nobody_but_a_weak_box_with_joints_is_somebody() -> None:
    tracker = Tracker()
    ball = np.array([[700, 500, 760, 560]])
    out = tracker.update(scene([person(700, 500, 60)], 0.0, scores=[0.45], joint_score=0.05, boxes=ball))
    assert (len(out), ids(out), tracker.ids_given) == (0, [], 0)
    np.testing.assert_array_equal(tracker.doubtful, ball)
    assert ids(tracker.update(scene([person(300)], 0.033, scores=[0.3], joint_score=0.6))) == [0]
    assert len(tracker.doubtful) == 0
    # Known by now: seen on with hardly a joint. And a sure box needs none.
    assert ids(tracker.update(scene([person(301)], 0.066, scores=[0.3], joint_score=0.05))) == [0]
    assert ids(Tracker().update(scene([person(300)], 0.0, scores=[0.6], joint_score=0.05))) == [0]


def test_the_head_that_shows_behind_another_continues_its_person() -> None:
    """B walks up to A and stops behind; for 0.7 s only B's head and shoulder are found, now and then, then all of B."""
    tracker = Tracker()
    for i in range(30):
        assert ids(tracker.update(scene([person(300), person(560 - 6 * i)], i / 30))) == [0, 1]
    b = person(560 - 6 * 29)
    for i in range(30, 51):
        boxes = np.array([[250, 90, 350, 300], [372, 98, 412, 160]])
        frame = scene([person(300), b], i / 30, scores=[0.9, 0.3], boxes=boxes)
        trust = np.full((2, 17), 0.9, np.float32)
        trust[1] = np.where(np.arange(17) < 6, 0.4, 0.02)
        part = dataclasses.replace(frame, scores=trust)
        out = tracker.update(part if i % 5 == 0 else scene([person(300)], i / 30))
        assert ids(out) == ([0, 1] if i % 5 == 0 else [0])
    assert ids(tracker.update(scene([person(300), b + np.array([12, 0])], 51 / 30))) == [0, 1]


def test_who_stops_out_of_sight_is_found_where_the_way_ended() -> None:
    tracker = Tracker()
    for i in range(31):
        tracker.update(scene([person(200 + 10 * i)], i / 30))  # 300 px/s, a person and a half
    assert ids(tracker.update(scene([person(510)], 1.7))) == [0]


def test_a_leap_keeps_the_id_of_whoever_is_surely_found() -> None:
    """Not seen for 0.3 s in the air, then lying across it, half a height away."""
    crouch = person(400, 300)
    tumble = np.array([480, 340]) + (crouch - [400, 400])[:, ::-1] * [1, -1]
    tracker = Tracker()
    for i in range(10):
        tracker.update(scene([crouch], i / 30))
    assert ids(tracker.update(scene([tumble], 9 / 30 + 0.3, scores=[0.4]))) == [0]
    tracker = Tracker()
    for i in range(10):
        tracker.update(scene([crouch], i / 30))
    assert ids(tracker.update(scene([tumble + np.array([300, 0])], 9 / 30 + 0.3, scores=[0.4]))) == [
        1
    ]  # two heights away: another


def test_nobody_turns_up_within_the_outline_of_somebody_known() -> None:
    """The same person once more, legs guessed otherwise: no newcomer, on this frame or any other."""
    tracker = Tracker()
    boxes = np.array([[250, 95, 350, 305], [252, 96, 348, 240]])
    once = person(300)
    again = once.copy()
    again[11:, 1] -= 45
    again[5:11, 0] += 30
    for i in range(5):
        pair = scene([once, again], i / 30, scores=[0.9, 0.6], boxes=boxes)
        out = tracker.update(pair if i else scene([once], 0.0, boxes=boxes[:1]))
        assert ids(out) == [0]
        np.testing.assert_array_equal(out.boxes, boxes[:1])
    assert distinct(scene([once, again], 0.0, boxes=boxes)).tolist() == [0, 1]  # its joints alone do not tell
    child = tracker.update(scene([once, person(320, 200, 90)], 5 / 30))
    assert ids(child) == [0, 1]


def test_what_still_shows_at_the_edge_of_the_picture_is_whoever_left() -> None:
    """Walking out at 600 px/s, missed for 0.17 s; then 30 px of the person, whose joints are guesses in those 30 px."""
    tracker = Tracker()
    for i in range(12):
        tracker.update(scene([person(980 + 20 * i)], i / 30))
    sliver = scene(
        [person(1272, 160, 90)], 16 / 30, scores=[0.4], joint_score=0.3, boxes=np.array([[1249, 90, 1279.5, 300]])
    )
    assert ids(tracker.update(sliver)) == [0]


def meet(x_of_b: np.ndarray, hidden: tuple[int, int]) -> list[list[int]]:
    """Ids of A, who stands at 400, and B, frame by frame; between the frames `hidden` one box holds both.

    Its joints are a mixture for three frames, more of A, and B's from then on.
    """
    tracker, found = Tracker(), []
    for i, x in enumerate(x_of_b):
        a, b = person(400), person(x, 104, 190)
        if hidden[0] <= i < hidden[1]:
            around = np.array([[min(400, x) - 45, 90, max(400, x) + 45, 305]])
            mixture = b if i >= hidden[0] + 3 else 0.7 * a + 0.3 * b
            found.append(ids(tracker.update(scene([mixture], i / 30, scores=[0.6], boxes=around))))
        else:
            found.append(ids(tracker.update(scene([a, b], i / 30))))
    return found


def test_two_who_shared_a_box_are_told_apart_by_what_they_were_like_before() -> None:
    """B comes at 450 px/s and stops before A; whatever id the shared box had, A is A when both are seen again."""
    arrive = np.concatenate([np.arange(820, 460, -15), np.full(10, 455), np.arange(455, 560, 5)])
    found = meet(arrive, (24, 34))
    assert found[23] == [0, 1]
    assert [len(f) for f in found[24:34]] == [1] * 10
    assert found[-1] == [0, 1]


def test_two_who_shared_a_box_while_one_walked_past_keep_their_ids() -> None:
    found = meet(np.arange(700, 100, -10), (25, 35))
    assert found[24] == [0, 1]
    assert all(f == [0, 1] for f in found[35:])


def test_poses_without_joint_scores_are_people() -> None:
    bare = dataclasses.replace(scene([person(300), person(700)], 0.0, scores=[0.3, 0.9]), scores=None)
    assert ids(Tracker().update(bare)) == [0, 1]


def test_nobody_is_ordinary() -> None:
    tracker = Tracker()
    out = tracker.update(scene([], 0.0))
    assert (out.xy.shape, ids(out)) == ((0, 17, 2), [])
    assert tracker.predicted(0.1).boxes.shape == (0, 4)


def test_carried_boxes_follow_keypoints_and_velocity() -> None:
    tracker = Tracker()
    for i in range(4):
        tracker.update(scene([person(300 + 90 * i / 30)], i / 30))
    x = 300 + 90 * 4 / 30
    pose = person(x)
    tracker.update(scene([pose], 4 / 30, box_from="tracker", boxes=np.array([[0, 0, 50, 50]])))  # a useless crop box
    ahead = tracker.predicted(5 / 30)
    expected = scene([person(x + 3)], 0).boxes  # detector-like box of the person 1/30 s later
    np.testing.assert_allclose(ahead.boxes, expected, atol=0.5)
    np.testing.assert_allclose(ahead.scores, [0.9])


def test_carried_boxes_do_not_grow_on_their_own() -> None:
    """Ten seconds of frames without a detection, the model answering with the same pose: the box stays."""
    tracker = Tracker()
    start = tracker.update(scene([person(300)], 0.0)).boxes
    for i in range(1, 300):
        boxes = tracker.predicted(i / 30).boxes
        tracker.update(scene([person(300)], i / 30, box_from="tracker", boxes=boxes))
    np.testing.assert_allclose(tracker.predicted(10.0).boxes, start, atol=0.01)


def test_carried_boxes_are_clipped_and_end_outside_the_picture() -> None:
    tracker = Tracker()
    tracker.update(scene([person(1260), person(1400)], 0.0))
    boxes = tracker.predicted(0.03).boxes
    assert len(boxes) == 1
    assert boxes[0, 2] == 1279.5


def test_the_unseen_are_carried_only_when_asked_for() -> None:
    tracker = Tracker()
    tracker.update(scene([person(300), person(700)], 0.0))
    tracker.update(scene([person(300)], 0.033))
    assert len(tracker.predicted(0.066)) == 1
    assert len(tracker.predicted(0.066, lost=True)) == 2


def test_a_camera_that_returns_with_another_size_keeps_ids() -> None:
    tracker = Tracker()
    tracker.update(scene([person(300), person(700)], 0.0))
    small = [p / 2 for p in (person(300), person(700))]
    assert ids(tracker.update(scene(small, 0.5, size=(640, 360)))) == [0, 1]


def test_replay_ends_in_the_same_state() -> None:
    """What a resumed run relies on: the outputs of a tracker, fed to a new one, give the same ids and predictions."""
    rng = np.random.default_rng(7)
    tracker, replayed = Tracker(), Tracker()
    paths = rng.uniform(100, 1100, (6, 2)) * [1, 0.3]
    speed = rng.normal(0, 150, (6, 2)) * [1, 0.2]
    for i in range(60):
        present = rng.random(6) > 0.15
        people = [
            person(*(paths[k] + speed[k] * i / 30), 150) + rng.normal(0, 1, (17, 2)) for k in range(6) if present[k]
        ]
        out = tracker.update(scene(people, i / 30))
        again = replayed.update(out)
        assert ids(again) == ids(out)
    np.testing.assert_array_equal(tracker.predicted(2.0, lost=True).boxes, replayed.predicted(2.0, lost=True).boxes)
    assert tracker.ids_given == replayed.ids_given


def test_who_is_missed_is_looked_for_where_the_way_leads() -> None:
    """Somebody walks at 300 px/s; unseen on the eleventh frame, expected ten px on, and found there or not."""
    for there in (True, False):
        tracker, plain, asked = Tracker(), Tracker(), []

        def look(missed: Detections, *, there: bool = there, asked: list[Detections] = asked) -> Poses:
            asked.append(missed)
            return scene([person(312)], 11 / 30, joint_score=0.9 if there else 0.3, box_from="tracker")

        for i in range(11):
            for one in (tracker, plain):
                frame = scene([person(200 + 10 * i), person(900)], i / 30)
                assert ids(one.follow(frame, look) if one is tracker else one.update(frame)) == [0, 1]
        assert not asked
        found = tracker.follow(scene([person(900)], 11 / 30), look)
        plain.update(scene([person(900), person(312)] if there else [person(900)], 11 / 30))
        np.testing.assert_allclose(asked[0].boxes, scene([person(310)], 0.0).boxes, atol=2)
        np.testing.assert_allclose(asked[0].scores, [0.9])
        assert (ids(found), list(found.box_from)) == (
            ([1, 0], ["detector", "tracker"]) if there else ([1], ["detector"])
        )
        for one in (tracker, plain):  # and all is as if the detector had seen what was found
            assert ids(one.update(scene([person(322), person(900)], 12 / 30))) == [0, 1]
        np.testing.assert_allclose(tracker.predicted(0.5).boxes, plain.predicted(0.5).boxes, atol=1e-3)


def test_nobody_is_added_who_is_there_already_or_hardly_there() -> None:
    """Looked for behind somebody, the model finds that one again; in an empty place it finds little."""
    seen = scene([person(300)], 0.0)
    more = scene([person(303), person(330, 110, 190), person(700)], 0.0)
    assert added(seen, more).tolist() == [1, 2]
    assert added(seen, scene([person(700)], 0.0, joint_score=0.4)).tolist() == []
    assert added(scene([], 0.0), scene([person(700)], 0.0)).tolist() == [0]
    assert joined(seen, more).box_from == ("detector",) * 4
    np.testing.assert_array_equal(joined(seen, more).xy[1:], more.xy)
