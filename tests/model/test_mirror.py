"""The flip test against hand-made answers."""

import cv2
import numpy as np
import torch

from tfpose_rt.config import RunConfig
from tfpose_rt.estimator import PoseEstimator
from tfpose_rt.model.mirror import join_mirrored
from tfpose_rt.records import Detections, frozen

ORDER = (0, 2, 1)  # a nose and two eyes


def answers(kind):
    """The crop says x = 0.5, 0.6, 0.4; its mirror image agrees on the nose alone, and is three times as unsure."""
    plain = np.array([[[0.5, 0.2], [0.6, 0.1], [0.4, 0.1]]]), np.array([[0.9, 0.8, 0.7]]), np.array([[2.0, 2.0, 2.0]])
    mirrored = (
        np.array([[[0.5, 0.2], [0.7, 0.1], [0.3, 0.1]]]),
        np.array([[0.9, 0.3, 0.4]]),
        np.array([[2.0, 6.0, 6.0]]),
    )
    return [kind(part) for part in plain], [kind(part) for part in mirrored]


def test_answers_weigh_by_one_over_their_squared_errors():
    """The mirror's right eye (0.3, error 6) is the left eye at 1 - 0.3 = 0.7: weights 9 to 1, so 0.61."""
    for kind in (np.asarray, torch.as_tensor):
        xy, score, error = (np.asarray(part) for part in join_mirrored(*answers(kind), ORDER))
        np.testing.assert_allclose(xy[0], [[0.5, 0.2], [0.61, 0.1], [0.39, 0.1]], atol=1e-4)
        np.testing.assert_allclose(score[0], [0.9, 0.9 * 0.8 + 0.1 * 0.4, 0.9 * 0.7 + 0.1 * 0.3], atol=1e-4)
        np.testing.assert_allclose(error[0], [2, 2.4, 2.4], atol=1e-3)


def test_a_picture_and_its_mirror_image_get_the_same_people():
    """With the flip test the estimator cannot tell them apart, but for left and right; without it, it can."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (257, 193, 3), np.uint8)
    person = [Detections(frozen([[30, 20, 162, 236]]), frozen([1.0]))]  # in the middle: it mirrors into itself
    far = []
    for flip_test in (True, False):
        run = RunConfig(detector="none", device="cpu", engine="torch", flip_test=flip_test, full_precision=True)
        estimator = PoseEstimator(run)
        (one,), (other,) = (estimator.poses([np.ascontiguousarray(p)], person) for p in (picture, picture[:, ::-1]))
        order = [0, *(k + (1 if k % 2 else -1) for k in range(1, 17))]
        back = other.xy[0, order] * [-1, 1] + [192, 0]
        far.append(float(np.abs(back - one.xy[0]).max()))
        assert np.ptp(one.xy[0], axis=0).min() > 1
    exact = 0.05 if int(cv2.__version__.split(".")[0]) >= 5 else 1.0  # OpenCV 4 cuts crops in steps of 1/32 px
    assert far[0] < exact < far[1]
