"""PoseEstimator: what it hands on of what the detector finds. No model is loaded."""

import numpy as np
import pytest
from fakes import BlockEstimator, picture

from tfpose_rt.config import RunConfig
from tfpose_rt.errors import UsageError
from tfpose_rt.estimator import PoseEstimator


def estimator(**settings):
    """With a detector that finds white blocks."""
    made = PoseEstimator.__new__(PoseEstimator)
    made.run, made._detector, made.times = RunConfig(**settings), BlockEstimator(), {}
    return made


def corners(boxes):
    return [(round(float(x + 0.5)), round(float(y + 0.5))) for x, y in np.asarray(boxes)[:, :2]]


THREE = picture([(10, 10), (100, 20), (200, 30)])


def test_a_part_and_a_limit_leave_people_out():
    assert corners(estimator().detect([THREE])[0].boxes) == [(10, 10), (100, 20), (200, 30)]
    assert corners(estimator(max_people=2).detect([THREE])[0].boxes) == [(10, 10), (100, 20)]
    assert corners(estimator(roi=(80, 0, 320, 240)).detect([THREE])[0].boxes) == [(100, 20), (200, 30)]
    with pytest.raises(UsageError):
        estimator(roi=(400, 0, 500, 240)).detect([THREE])


@pytest.mark.parametrize(
    "settings", [{"max_people": 1}, {"roi": (80, 0, 320, 240)}, {"roi": (80, 0, 320, 240), "max_people": 1}, {}]
)
def test_who_is_left_out_is_among_the_others(settings):
    one = estimator(**settings)
    people, others = one.detect_all([THREE, picture([])])
    assert corners(people[0].boxes) == corners(one.detect([THREE])[0].boxes)
    assert set(corners(people[0].boxes) + corners(others[0])) == {(10, 10), (100, 20), (200, 30)}
    assert (len(people[1]), others[1].shape) == (0, (0, 4))
