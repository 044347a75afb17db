"""The angles of a person in the picture against figures built from known angles, and their errors against chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stick_figures import expected, figure

from tfpose_rt.skeleton import INDEX
from tfpose_rt.tools.angles import SEGMENTS, TABLE, degrees, degrees_error, unwrapped

STANDING = {"trunk": 0, "thigh": 0, "shank": 0, "upper_arm": 0, "forearm": 0}
SQUAT = {"trunk": 40, "thigh": -85, "shank": 35, "upper_arm": 20, "forearm": -60}
LEAN = st.floats(-179, 179)


def measured(xy):
    return {name: float(degrees(xy[None], name)[0]) for name in TABLE}


def test_whoever_stands_upright_with_hanging_arms_is_stretched_and_leans_nowhere():
    got = measured(figure(STANDING))
    straight = {name: 180 for side in ("left", "right") for name in (f"{side}_{j}" for j in ("elbow", "hip", "knee"))}
    assert got == pytest.approx({**dict.fromkeys(TABLE, 0.0), **straight}, abs=1e-4)


def test_a_squat_to_the_right_by_hand():
    """Worked out on paper: 180 - (35 + 85), 180 - (40 + 85), 180 - (20 + 60)."""
    got = measured(figure(SQUAT))
    assert [got[f"left_{name}"] for name in ("knee", "hip", "elbow", "shoulder")] == pytest.approx([60, 55, 100, 20])
    assert [got[name] for name in ("trunk", "left_thigh", "right_shank")] == pytest.approx([40, -85, 35])


@given(trunk=LEAN, thigh=LEAN, shank=LEAN, upper_arm=LEAN, forearm=LEAN, left=st.booleans())
def test_every_figure_has_the_angles_it_was_built_from(left, **leans):
    xy = figure(leans if left else STANDING, STANDING if left else {**leans, "trunk": 0})
    for name, value in expected(leans if left else STANDING, STANDING if left else {**leans, "trunk": 0}).items():
        got = measured(xy)[name]
        assert abs((got - value + 180) % 360 - 180) < 1e-3, name


def test_in_the_mirror_leans_change_their_sign_and_joints_do_not():
    xy = figure(SQUAT)
    there, mirrored = measured(xy), measured(xy * [-1, 1])
    assert mirrored == pytest.approx({name: -v if name in SEGMENTS else v for name, v in there.items()})
    assert measured(7 * xy + 100) == pytest.approx(there)


@pytest.mark.parametrize("missing", sorted(INDEX))
def test_an_angle_is_unknown_where_one_of_its_joints_is_and_nowhere_else(missing):
    xy, errors = figure(SQUAT)[None], np.full((1, 17), 2.0)
    xy[0, INDEX[missing]] = np.nan
    side, _, joint = missing.partition("_")
    parts = {"shoulder": "shoulder elbow hip upper_arm", "elbow": "shoulder elbow upper_arm forearm",
             "wrist": "elbow forearm", "hip": "shoulder hip knee thigh", "knee": "hip knee thigh shank",
             "ankle": "knee shank"}  # fmt: skip
    gone = {f"{side}_{name}" for name in parts.get(joint, "").split()}
    gone |= {"trunk"} if joint in ("shoulder", "hip") else set()
    for name in TABLE:
        assert np.isnan(degrees(xy, name)[0]) == np.isnan(degrees_error(xy, errors, name)[0]) == (name in gone), name


def test_points_that_coincide_have_no_angle_and_no_warning():
    xy = np.zeros((1, 17, 2))
    for name in TABLE:
        assert np.isnan(degrees(xy, name)).all()
        assert np.isnan(degrees_error(xy, np.ones((1, 17)), name)).all()


# ---- the error


def chance(xy, errors, draws=20_000):
    """Within what each angle lies half the time when joints err as told: normally, half of them within `errors` px."""
    spread = errors / np.sqrt(2 * np.log(2))  # of each coordinate: the median of a Rayleigh variable is 1.177 times it
    moved = xy + np.random.default_rng(5).normal(size=(draws, 17, 2)) * spread[:, None]
    off = {name: degrees(moved, name) - degrees(xy[None], name) for name in TABLE}
    return {name: float(np.median(np.abs((turn + 180) % 360 - 180))) for name, turn in off.items()}


def told(xy, errors):
    return {name: float(degrees_error(xy[None], errors[None], name)[0]) for name in TABLE}


@pytest.mark.parametrize("leans", [SQUAT, {**SQUAT, "thigh": -30, "forearm": 75, "upper_arm": -120}])
def test_half_of_all_angles_lie_within_their_error(leans):
    """Joints 1 to 8 % of a limb off, each by another amount."""
    xy, errors = figure(leans), np.random.default_rng(3).uniform(1, 8, 17)
    assert told(xy, errors) == pytest.approx(chance(xy, errors), rel=0.04)


@pytest.mark.parametrize(
    "joint", ["nose", *(j for j in INDEX if j.startswith("left_") and j not in ("left_eye", "left_ear"))]
)
def test_one_joint_alone_moves_the_angles_it_is_part_of(joint):
    xy, errors = figure(SQUAT), np.zeros(17)
    errors[INDEX[joint]] = 4
    assert told(xy, errors) == pytest.approx(chance(xy, errors), rel=0.04, abs=1e-9)


def test_a_stretched_joint_is_no_surer_than_a_bent_one():
    xy, errors = figure(STANDING), np.full(17, 4.0)
    assert told(xy, errors) == pytest.approx(chance(xy, errors), rel=0.04)


@pytest.mark.parametrize("share", [0.25, 0.5, 1, 3, 30])
def test_the_error_says_no_less_than_chance_and_never_more_than_nothing(share):
    """Points off by a large share of the limb: more and more of the error is what cannot be linear."""
    xy, errors = figure(SQUAT), np.full(17, share * 100.0)
    real = chance(xy, errors, 10_000)
    for name, value in told(xy, errors).items():
        assert 0.9 * real[name] <= value <= 90, name


def test_the_example_of_the_page_on_formats():
    xy, errors = np.full((17, 2), np.nan), np.full(17, 3.0)
    for joint, place in (("shoulder", (130, 110)), ("hip", (100, 200)), ("knee", (190, 230)), ("ankle", (160, 320))):
        for side in ("left", "right"):
            xy[INDEX[f"{side}_{joint}"]] = place
    got = measured(xy)
    names = ("left_knee", "left_thigh", "right_shank", "trunk")
    assert [round(got[name], 2) for name in names] == [90, -71.57, 18.43, 18.43]
    assert round(told(xy, errors)["left_knee"], 2) == 2.08


def test_an_error_is_unknown_where_that_of_a_joint_is():
    errors = np.full((1, 17), 2.0)
    errors[0, INDEX["left_knee"]] = np.nan
    unknown = {name for name in TABLE if np.isnan(degrees_error(figure(SQUAT)[None], errors, name)[0])}
    assert unknown == {"left_hip", "left_knee", "left_thigh", "left_shank"}


# ---- directions that pass straight down


@pytest.mark.parametrize(("values", "counted"), [
    ([170, 179, -179, -170], [170, 179, 181, 190]), ([-170, -179, 179], [-170, -179, -181]),
    ([10, np.nan, -10], [10, np.nan, -10]), ([np.nan], [np.nan]), ([180], [180]),
])  # fmt: skip
def test_directions_are_counted_on_across_180(values, counted):
    got = unwrapped(np.array(values, float))
    assert np.isnan(got).tolist() == np.isnan(np.array(values, float)).tolist()
    got, counted = got[~np.isnan(got)], np.array([one for one in counted if one == one], float)
    np.testing.assert_allclose((got - counted + 180) % 360, 180, atol=1e-9)  # the same directions
    assert np.diff(got) == pytest.approx(np.diff(counted))
