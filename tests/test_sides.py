"""Sides: people whose true left and right are known, named wrongly here and there."""

import dataclasses

import numpy as np
import pytest

from tfpose_rt.config import RunConfig
from tfpose_rt.follow import Follower
from tfpose_rt.io.record_json import record_of, result_of
from tfpose_rt.records import Poses, Result
from tfpose_rt.sides import JOINTS, OTHER, SideKeeper, exchange
from tfpose_rt.skeleton import FLIP, INDEX

ARMS, LEGS = JOINTS


def body(width=40.0, shift=0.0):
    """Somebody upright in a box 100 px wide and 200 px high; left joints `width` px right of the right ones."""
    xy = np.zeros((17, 2), np.float32)
    for name, k in INDEX.items():
        side, _, part = name.partition("_")
        x = {"left": width / 2, "right": -width / 2}.get(side, 0.0)
        y = {"shoulder": 60, "elbow": 90, "wrist": 120, "hip": 120, "knee": 160, "ankle": 195}.get(part, 20)
        xy[k] = 50 + x * (2 if part in ("elbow", "wrist") else 1) + shift, y
    return xy


def seen(xy, frame, *, wrong=(), score=0.9, fps=30.0, ids=(0,)):
    """One frame; the joints of `wrong` are named the other way round."""
    xy = np.asarray(xy, np.float32).copy()
    for joints in wrong:
        xy[joints] = xy[OTHER[joints]]
    n = len(ids)
    return Poses(
        xy=np.tile(xy, (n, 1, 1)), scores=np.full((n, 17), score, np.float32), box_scores=np.ones(n, np.float32),
        boxes=np.tile(np.float32([0, 0, 100, 200]), (n, 1)), ids=np.array(ids), frame=frame, pts=frame / fps,
    )  # fmt: skip


@pytest.mark.parametrize("wrong", [(ARMS,), (LEGS,), (ARMS, LEGS)])
@pytest.mark.parametrize("frames", [{20}, {20, 22, 24}, {20, 21, 22, 23, 24}])
def test_names_that_jump_are_put_right(wrong, frames):
    keeper = SideKeeper()
    for frame in range(40):
        true = body(shift=3.0 * frame)
        found = seen(true, frame, wrong=wrong if frame in frames else ())
        kept = keeper.update(found)
        np.testing.assert_array_equal(kept.xy[0], true)
        marks = [frame in frames and any(w is g for w in wrong) for g in JOINTS]
        assert kept.swapped[0].tolist() == marks
        np.testing.assert_array_equal(exchange(kept).xy, found.xy)


def test_what_the_model_says_mostly_wins_though_it_began_wrongly():
    """Three wrong frames first: nothing is known yet. Within a second of right ones nothing is swapped any more."""
    keeper = SideKeeper()
    last = [keeper.update(seen(body(), frame, wrong=(ARMS, LEGS) if frame < 3 else ())) for frame in range(33)]
    assert not any(p.swapped.any() for p in last[:3])
    assert not last[-1].swapped.any()


def test_a_person_who_turns_round_is_not_turned_back():
    """Shoulders and hips draw together, cross and part again within a second: nothing jumps, nothing is exchanged."""
    keeper = SideKeeper()
    for frame in range(31):
        assert not keeper.update(seen(body(width=40 * np.cos(np.pi * frame / 30)), frame)).swapped.any()


def test_scores_and_errors_go_with_their_joints():
    keeper = SideKeeper()
    for frame in range(10):
        keeper.update(seen(body(), frame))
    jump = seen(body(), 10, wrong=(ARMS,))
    scores, errors = 0.8 + np.arange(17, dtype=np.float32)[None] / 100, np.arange(17, dtype=np.float32)[None]
    kept = keeper.update(dataclasses.replace(jump, scores=scores, errors=errors))
    order = [FLIP[k] if k in ARMS else k for k in range(17)]
    np.testing.assert_array_equal(kept.scores[0], scores[0, order])
    np.testing.assert_array_equal(kept.errors[0], errors[0, order])


def test_unknown_joints_say_nothing():
    keeper = SideKeeper()
    for frame in range(10):
        keeper.update(seen(body(), frame))
    assert not keeper.update(seen(body(), 10, wrong=(ARMS, LEGS), score=0.01)).swapped.any()


def test_everybody_has_a_memory_of_their_own_and_it_ends():
    """Id 4 jumps, id 7 never does. Half a second later, or after a reset, the jump is no jump."""
    keeper = SideKeeper()
    for frame in range(10):
        keeper.update(seen(body(), frame, ids=(7, 4)))
    both = seen(body(), 10, ids=(7, 4))
    xy = both.xy.copy()
    xy[1, LEGS] = xy[1, OTHER[LEGS]]
    assert keeper.update(dataclasses.replace(both, xy=xy)).swapped.tolist() == [[False, False], [False, True]]
    assert not keeper.update(seen(body(), 26, wrong=(LEGS,), ids=(7, 4))).swapped.any()
    keeper.reset()
    assert not keeper.update(seen(body(), 27, ids=(7, 4))).swapped.any()


def test_nobody_is_ordinary_and_no_ids_are_an_error():
    keeper = SideKeeper()
    nobody = keeper.update(seen(body(), 0, ids=()))
    assert nobody.swapped.shape == (0, 2)
    assert exchange(nobody).xy.shape == (0, 17, 2)
    with pytest.raises(ValueError, match="tracking"):
        keeper.update(dataclasses.replace(seen(body(), 1), ids=None))


def test_a_recording_replayed_goes_on_as_if_it_had_not_been_interrupted():
    """Exchanged people are taken back first: half of a run, read from its records, and the rest equal the whole."""
    frames = []
    for f in range(40):
        one = seen(body(shift=2.0 * f), f, wrong=(ARMS,) if 18 <= f < 24 else ())
        frames.append(dataclasses.replace(one, ids=None, size=(640, 480), box_from=("detector",)))
    whole = Follower(RunConfig())
    wanted = [whole.update(p) for p in frames]
    assert any(p.swapped.any() for p in wanted[18:21])
    halved = Follower(RunConfig())
    for poses in wanted[:21]:
        record = record_of(Result(frame=poses.frame, pts=poses.pts, poses=poses), full_precision=True)
        halved.update(result_of(record, (640, 480)).poses)
    for found, one in zip(frames[21:], wanted[21:], strict=True):
        rest = halved.update(found)
        np.testing.assert_array_equal(rest.xy, one.xy)
        np.testing.assert_array_equal(rest.swapped, one.swapped)


@pytest.mark.parametrize("follower", [Follower(RunConfig(sides="model")), Follower(RunConfig(), stills=True)])
def test_the_models_own_names_can_be_kept_and_are_on_photographs(follower):
    for frame in range(25):
        found = dataclasses.replace(seen(body(), frame, wrong=(ARMS,) if frame == 20 else ()), ids=None)
        kept = follower.update(found)
        np.testing.assert_array_equal(kept.xy, found.xy)
        assert kept.swapped is None


@pytest.mark.parametrize("shifts", [[40.0] * 60, [0.0] * 30 + [60.0] + [0.0] * 29, [-55.0, 55.0] * 30])
def test_a_moving_camera_changes_no_names(shifts):
    """A pan of a shoulder's width a frame, one jolt, and a camera that shakes: names are right throughout."""
    keeper = SideKeeper()
    for frame, shift in enumerate(np.cumsum(shifts)):
        assert not keeper.update(seen(body(shift=shift), frame)).swapped.any()


@pytest.mark.parametrize("fps", [10.0, 15.0, 30.0])
def test_a_runner_on_the_spot_keeps_the_names_of_the_limbs(fps):
    """Seen from the side: wrists and ankles swing past each other three times in two seconds, 50 px either way."""
    keeper = SideKeeper()
    for frame in range(int(6 * fps)):
        swing = 50 * np.sin(2 * np.pi * 1.5 * frame / fps)
        xy = body(width=6)
        for part, share in (("wrist", 1.0), ("elbow", 0.5), ("ankle", -1.0), ("knee", -0.5)):
            xy[INDEX[f"left_{part}"], 0] += share * swing
            xy[INDEX[f"right_{part}"], 0] -= share * swing
        assert not keeper.update(seen(xy, frame, fps=fps)).swapped.any()


def test_pictures_of_another_size_are_another_place():
    keeper = SideKeeper()
    for frame in range(10):
        keeper.update(dataclasses.replace(seen(body(), frame), size=(640, 480)))
    later = dataclasses.replace(seen(body(), 10, wrong=(ARMS,)), size=(320, 240))
    assert not keeper.update(later).swapped.any()


def test_points_that_are_not_numbers_say_nothing():
    keeper = SideKeeper()
    for frame in range(10):
        keeper.update(seen(body(), frame))
    lost = body()
    lost[:] = np.nan
    keeper.update(seen(lost, 10))
    for frame in range(11, 30):
        assert not keeper.update(seen(body(), frame)).swapped.any()
    assert keeper.update(seen(body(), 30, wrong=(ARMS,))).swapped.tolist() == [[True, False]]


def legs_together(xy, *, hips=0.0):
    """The same person with one leg behind the other: knees and ankles at the same place, hips `hips` px apart."""
    xy = np.asarray(xy, np.float32).copy()
    for part, apart in (("hip", hips), ("knee", 0.0), ("ankle", 0.0)):
        pair = [INDEX[f"{side}_{part}"] for side in ("left", "right")]
        xy[pair, 0] = xy[pair, 0].mean() + apart / 2 * np.array([1, -1])
    return xy


def test_hips_are_named_as_the_shoulders_are():
    """From the front, one leg behind the other, all named the wrong way round: the hips alone would not tell."""
    keeper = SideKeeper()
    for frame in range(20):
        wrong = (ARMS, LEGS) if frame in (10, 11, 14) else ()
        kept = keeper.update(seen(legs_together(body(), hips=10), frame, wrong=wrong))
        assert kept.swapped[0].tolist() == [bool(wrong)] * 2


def test_somebody_seen_from_the_side_may_turn_the_shoulders_against_the_hips():
    """A walker's shoulders swing by a few px, against the hips: that is no reason to exchange anything."""
    keeper = SideKeeper()
    for frame in range(60):
        xy, swing = body(width=0), 5 * np.sin(2 * np.pi * frame / 30)
        for part, share in (("shoulder", 1.0), ("hip", -1.0)):
            for side, sign in (("left", 1), ("right", -1)):
                xy[INDEX[f"{side}_{part}"], 0] += sign * share * swing / 2
        assert not keeper.update(seen(xy, frame)).swapped.any()


def test_what_was_wrong_before_the_legs_crossed_is_not_held_against_the_model_after():
    """A walker from the side. One frame is named wrongly, then the legs cross: who knows which is which behind it."""
    keeper = SideKeeper()
    for frame in range(30):
        xy = legs_together(body(width=0)) if 16 <= frame < 18 else legs_apart(body(width=0))
        kept = keeper.update(seen(xy, frame, wrong=(LEGS,) if frame == 15 else ()))
        assert kept.swapped[0].tolist() == [False, frame == 15]


def legs_apart(xy):
    """The same person in stride, the left leg 60 px before the right one at the ankles."""
    xy = np.asarray(xy, np.float32).copy()
    for part, stride in (("knee", 15), ("ankle", 30)):
        xy[INDEX[f"left_{part}"], 0] += stride
        xy[INDEX[f"right_{part}"], 0] -= stride
    return xy


@pytest.mark.parametrize("fps", [10.0, 30.0])
def test_after_a_cut_the_model_names_anew(fps):
    """Somebody from behind, then, in the same place, somebody else from the front with the arms raised."""
    keeper = SideKeeper()
    behind, front = body(width=-40), body(width=44)
    for side, sign in (("left", 1), ("right", -1)):
        for part, y in (("elbow", 30), ("wrist", 5)):
            front[INDEX[f"{side}_{part}"]] = 50 + sign * 40, y
        front[INDEX[f"{side}_knee"], 1] = 140
        front[INDEX[f"{side}_hip"], 1] = 100
    for frame in range(40):
        assert not keeper.update(seen(behind if frame < 20 else front, frame, fps=fps)).swapped.any()
    kept = keeper.update(seen(front, 40, wrong=(ARMS, LEGS), fps=fps))
    assert kept.swapped.all()  # and it is followed from there
