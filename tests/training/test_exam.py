"""Judging a model on whole pictures: who counts, and how often."""

import numpy as np

from tfpose_rt.training.exam import one_each
from tfpose_rt.training.validate import Answers


def test_a_person_found_twice_counts_once():
    rng = np.random.default_rng(0)
    one, other = rng.uniform((20, 20), (80, 180), (17, 2)), rng.uniform((220, 20), (280, 180), (17, 2))
    boxes = np.float32([[10, 10, 90, 190], [12, 10, 90, 190], [210, 10, 290, 190]])
    sure = np.full((3, 17), 0.8, np.float32)
    said = Answers(np.stack((one, one + 1, other)).astype(np.float32), sure, 1 - sure, boxes)
    picture = np.zeros((200, 300, 3), np.uint8)
    np.testing.assert_array_equal(one_each(said, boxes, [0.6, 0.9, 0.5], picture), [1, 2])
