"""Figures against hand-made ones, and against pycocotools' own arithmetic."""

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tfpose_rt import skeleton
from tfpose_rt.training.evaluate import coco_ap, crop_ap, pck, pckh, reliability


def people(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(20, 200, (count, 17, 2))


def test_perfect_answers_are_a_hundred_and_absurd_ones_nothing():
    truth = people(5)
    ones, area = np.ones((5, 17)), np.full(5, 9000.0)
    assert crop_ap(truth, ones[:, 0], truth, ones, area)["AP"] == pytest.approx(100)
    assert crop_ap(truth + 500, ones[:, 0], truth, ones, area)["AP"] == 0


def test_an_oks_between_two_thresholds_counts_for_the_lower_ones_alone():
    """All joints moved so that OKS is 0.72 exactly: right at 0.50 ... 0.70, wrong from 0.75 on: five of ten."""
    truth, area = people(4), np.full(4, 9000.0)
    distance = np.sqrt(-np.log(0.72) * 2 * (2 * skeleton.SIGMAS) ** 2 * area[0])
    moved = truth + np.stack((distance, np.zeros(17)), -1)
    ones = np.ones((4, 17))
    figures = crop_ap(moved, ones[:, 0], truth, ones, area)
    assert figures["AP"] == pytest.approx(50)
    assert (figures["AP50"], figures["AP75"]) == pytest.approx((100, 0))


def test_our_oks_is_pycocotools_own():
    truth, found, area = people(1)[0], people(1, 1)[0], 6000.0
    near = truth + (found - truth) * 0.05
    row = {
        "image_id": 1,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [0, 0, 200, 200],
        "id": 1,
        "area": area,
        "num_keypoints": 17,
        "keypoints": np.concatenate((truth, np.full((17, 1), 2)), 1).ravel().tolist(),
    }
    coco = COCO()
    coco.dataset = {
        "images": [{"id": 1}],
        "annotations": [row],
        "categories": [{"id": 1, "name": "person"}],
        "info": {},
    }
    coco.createIndex()
    said = coco.loadRes(
        [
            {
                "image_id": 1,
                "category_id": 1,
                "score": 1.0,
                "keypoints": np.concatenate((near, np.ones((17, 1))), 1).ravel().tolist(),
            }
        ]
    )
    scorer = COCOeval(coco, said, "keypoints")
    scorer.evaluate()
    assert skeleton.oks(near, truth, area).mean() == pytest.approx(scorer.ious[1, 1][0, 0], abs=1e-9)


def test_boxes_and_an_empty_answer():
    truth = {
        "images": [{"id": 1}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 400.0, "bbox": [5, 5, 20, 20]}
        ],
    }
    assert coco_ap(truth, [], "bbox")["AP"] == 0
    assert coco_ap(truth, [{"image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20], "score": 0.9}], "bbox")[
        "AP"
    ] == pytest.approx(100)


def test_pck_counted_by_hand():
    """Two people, two joints, head size 10: within 5 px is right, the edge included; unlabelled joints do not count."""
    truth = np.zeros((2, 2, 2))
    said = np.array([[[3.0, 4.0], [5.01, 0]], [[0, 0], [99, 99]]])
    known = np.array([[1, 1], [1, 0]])
    each, total = pck(said, truth, known, np.array([10.0, 10.0]), 0.5)
    np.testing.assert_allclose(each, [100, 0])
    assert total == pytest.approx(100 * 2 / 3)


def test_people_without_a_length_are_left_out():
    each, total = pck(np.zeros((1, 1, 2)), np.zeros((1, 1, 2)), np.ones((1, 1)), np.zeros(1), 0.2)
    assert np.isnan(each[0])
    assert total == 0


def test_reliability_by_hand():
    """Ten joints scored 0.8 of which six are right: the gap is 0.2, whatever the bins."""
    graph = reliability(np.full(10, 0.8), np.arange(10) < 6)
    assert graph.error == pytest.approx(0.2)
    assert graph.count.sum() == 10
    honest = reliability(np.array([0.25] * 4 + [0.75] * 4), np.array([1, 0, 0, 0, 1, 1, 1, 0], bool))
    assert honest.error == pytest.approx(0)


def test_a_persons_score_is_the_oks_to_be_expected():
    """Errors at which OKS is 0.8 in a box of 100 x 90 px (area 0.53 of it); 0.2 for the last joint, counted half."""
    reach = lambda similarity: np.sqrt(-np.log(similarity) * 2 * (2 * skeleton.SIGMAS) ** 2 * 0.53 * 9000)  # noqa: E731
    errors, scores = reach(0.8), np.full(17, 0.9)
    assert skeleton.person_score(scores, errors, np.array([5, 5, 105, 95])) == pytest.approx(0.8, abs=1e-6)
    errors[16], scores[16] = reach(0.2)[16], 0.45
    expected = (16 * 0.9 * 0.8 + 0.45 * 0.2) / (16 * 0.9 + 0.45)
    assert skeleton.person_score(scores, errors, np.array([5, 5, 105, 95])) == pytest.approx(expected, abs=1e-6)


def test_a_persons_score_without_any_sure_joint_is_a_number():
    assert skeleton.person_score(np.zeros((2, 17)), np.full((2, 17), 1e9), np.zeros((2, 4))).tolist() == [0, 0]


def test_pckh_counted_by_hand():
    """Head size 20, so 10 px is the limit: both wrists right for one person, one of two for the other; no knees."""
    truth = np.zeros((2, 16, 2))
    said = truth.copy()
    known = np.zeros((2, 16))
    wrists = [skeleton.MPII_NAMES.index(f"{side}_wrist") for side in ("left", "right")]
    known[:, wrists] = 1
    known[:, skeleton.MPII_NAMES.index("pelvis")] = 1
    said[:, skeleton.MPII_NAMES.index("pelvis")] = 99  # wrong, and counted nowhere
    said[0, wrists] = (6, 8)
    said[1, wrists[0]] = (6, 8.1)
    figures = pckh(said, truth, known, np.array([20.0, 20.0]))
    assert figures["Wri."] == pytest.approx(75)
    assert figures["total"] == pytest.approx(75)
    assert figures["Knee"] == 0


def test_sixteen_joints_are_mirrored_by_name():
    order = skeleton.FLIPS[16]
    assert order[skeleton.MPII_NAMES.index("left_knee")] == skeleton.MPII_NAMES.index("right_knee")
    assert order[skeleton.MPII_NAMES.index("thorax")] == skeleton.MPII_NAMES.index("thorax")
    assert sorted(order) == list(range(16))
    assert skeleton.FLIP == (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
