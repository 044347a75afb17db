"""Guesses about people who are known: made by hand, and wrong in one known way each."""

import math

import numpy as np
import pytest

from tfpose_rt import skeleton
from tfpose_rt.tools.diagnose import conditions, diagnose, exchange, others, table, tilt
from tfpose_rt.training.data import Sample

# A standing person who faces the camera, 100 px wide and 200 high: the left side is at the right of the picture.
STANDING = np.array([
    (50, 20), (55, 15), (45, 15), (62, 18), (38, 18),
    (75, 45), (25, 45), (85, 80), (15, 80), (90, 110), (10, 110),
    (65, 110), (35, 110), (68, 150), (32, 150), (70, 195), (30, 195),
], np.float32)  # fmt: skip
AREA = 9216.0 + 784  # a large person in COCO's count
ALL = tuple(range(17))
LEGS = [skeleton.INDEX[f"{side}_{joint}"] for side in ("left", "right") for joint in ("hip", "knee", "ankle")]


def person(xy=STANDING, *, key="1", image="a.jpg", joints=ALL, box=(0, 0, 100, 200), area=AREA):
    weight = np.zeros(17, np.float32)
    weight[list(joints)] = 1
    return Sample(
        key, image, "made", lambda: np.zeros((300, 400, 3), np.uint8), np.array(box, np.float32),
        np.asarray(xy, np.float32), weight, area,
    )  # fmt: skip


def beside(px):
    """The standing person so far to the right."""
    return STANDING + np.array((px, 0), np.float32)


def judge(answer, sample, *more):
    """The case of one person; `more` are people of the same picture, who are answered for without a fault."""
    return diagnose(np.stack([answer, *(s.xy for s in more)]), [sample, *more])[0]


def tolerance(area=AREA):
    """(17,) px at which a joint's similarity is one half, by COCO's formula."""
    return np.sqrt(2 * math.log(2) * area) * 2 * skeleton.SIGMAS


def away(times):
    """The standing person with every joint moved right by a multiple of its tolerance."""
    return STANDING + np.stack((times * tolerance(), np.zeros(17)), -1)


def test_a_right_answer_is_known_by_its_figures():
    case = judge(STANDING, person())
    assert (case.oks, case.missed, case.joints, case.height, case.size) == (1, 0, 17, 200, "large")


def test_missed_is_the_share_beyond_the_tolerance():
    answer = STANDING.copy()
    answer[LEGS] += 500
    assert judge(answer, person()).missed == pytest.approx(6 / 17)
    assert judge(away(0.99), person()).missed == 0
    assert judge(away(1.01), person()).missed == 1


def test_left_and_right_exchanged_is_a_swap():
    case = judge(STANDING[list(skeleton.FLIP)], person())
    assert case.oks < 0.5
    assert case.swapped == pytest.approx(1)
    assert case.guesses[0] == "left/right swapped"


def test_exchanged_legs_alone_are_a_swap_too():
    near = np.ones((1, 17))
    near[0, LEGS] = 0
    crossed = 1 - near
    assert exchange(near, crossed, np.ones((1, 17), bool)) == pytest.approx(1)
    answer = STANDING.copy()
    answer[LEGS] = STANDING[list(skeleton.FLIP)][LEGS]
    assert "left/right swapped" in judge(answer, person()).guesses


def test_an_answer_that_is_nowhere_is_no_swap():
    case = judge(STANDING + 500, person())
    assert case.guesses == ("lost",)


def test_the_skeleton_of_a_neighbour_is_the_other_person():
    neighbour = person(beside(150), key="2", box=(150, 0, 250, 200))
    case = judge(neighbour.xy, person(), neighbour)
    assert case.guesses[0] == "other person"
    assert (case.rival, case.other) == (1, pytest.approx(1))
    assert case.oks < 0.01


def test_others_are_those_of_the_same_picture_with_joints_enough():
    neighbour = beside(150)
    stranger = person(neighbour, key="2", image="b.jpg")
    hand = person(neighbour, key="3", joints=(9, 10), box=(150, 90, 180, 120))
    assert judge(neighbour, person(), stranger, hand).guesses == ("lost",)
    xy = np.stack([neighbour, neighbour])
    apart = diagnose(xy, [person(), person(neighbour, key="2")], together=False)[0]
    assert (apart.rival, apart.other, apart.guesses) == (-1, 0, ("lost",))


def test_the_best_of_several_others_is_the_rival():
    truth = np.stack([STANDING, beside(150), beside(160)])
    answers = np.stack([beside(158), truth[1], truth[2]])
    fit, rival = others(answers, truth, np.ones((3, 17), bool), np.full(3, AREA), ["a"] * 3)
    assert rival.tolist() == [2, 2, 1]
    squared = 2.0**2 / (2 * AREA * (2 * skeleton.SIGMAS) ** 2)
    assert fit[0] == pytest.approx(np.exp(-squared).mean())


def test_few_joints_small_and_upside_down():
    assert judge(STANDING + 500, person(joints=(0, 5, 6))).guesses == ("few joints",)
    assert judge(STANDING + 500, person(joints=(0, 5, 6, 7))).guesses == ("lost",)
    assert judge(STANDING + 500, person(box=(0, 0, 40, 63))).guesses == ("small",)
    assert judge(STANDING + 500, person(box=(0, 0, 40, 64))).guesses == ("lost",)
    over = STANDING * (1, -1) + (0, 200)
    assert judge(over + 500, person(over)).guesses == ("inverted",)


def test_tilt_is_the_angle_from_upright():
    lying = STANDING[:, ::-1]  # x and y exchanged: the head at the left
    truth = np.stack([STANDING, lying, STANDING * (1, -1), STANDING, STANDING])
    labelled = np.ones((5, 17), bool)
    labelled[3, [11, 12]] = False
    labelled[4, :5] = False  # the shoulders stand in for the face
    np.testing.assert_allclose(tilt(truth, labelled), [0, 90, 180, np.nan, 0], atol=0.2)


def test_jitter_ends_at_twice_the_tolerance():
    near, far = judge(away(1.5), person()), judge(away(2.5), person())
    assert near.oks == pytest.approx(0.5**2.25)  # similarity falls with the square of the distance
    assert (near.guesses, far.guesses) == (("jitter",), ("lost",))


def test_who_is_covered_by_half_is_crowded():
    half = person(beside(150), key="2", box=(0, 95, 100, 400))
    less = person(beside(150), key="2", box=(0, 105, 100, 400))
    assert judge(STANDING + 500, person(), half).guesses == ("crowded",)
    assert judge(STANDING + 500, person(), less).guesses == ("lost",)


def test_counts_by_size_are_those_of_the_people_who_fail():
    sizes = [(20 * 20.0, "a"), (50 * 50.0, "b"), (50 * 50.0, "c"), (200 * 200.0, "d")]
    people = [person(area=area, image=image, joints=(0, 5) if image == "c" else ALL) for area, image in sizes]
    answers = np.stack([STANDING, STANDING + 500, STANDING + 500, STANDING + 900])
    cases = diagnose(answers, people)
    counts = table(cases)
    assert {size: (line["people"], line["low"]) for size, line in counts.items()} == {
        "small": (1, 0), "medium": (2, 2), "large": (1, 1),
    }  # fmt: skip
    assert (counts["medium"]["lost"], counts["medium"]["few joints"], counts["large"]["lost"]) == (1, 1, 1)
    assert sum(counts["small"].values()) == 1  # one person, none of whom anything is guessed
    assert conditions(cases)["few joints"] == {"people": 1, "low": 1}
    assert conditions(cases, below=0)["few joints"] == {"people": 1, "low": 0}
