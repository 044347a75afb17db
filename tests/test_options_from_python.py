"""Options given from Python: the command line's words hold, and nonsense is a `UsageError`."""

from typing import Any

import numpy as np
import pytest
from fakes import BlockEstimator

import tfpose_rt
from tfpose_rt.config import RunConfig
from tfpose_rt.errors import UsageError
from tfpose_rt.estimator import PoseEstimator


def test_auto_is_a_word_for_det_every() -> None:
    assert RunConfig(det_every="auto").det_every == 0  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [4, np.int64(4)])
def test_numbers_of_numpy_are_numbers(value: int) -> None:
    assert RunConfig(det_every=value, conf=np.float32(0.5)).det_every == 4  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"), [("det_every", "often"), ("conf", "0.5"), ("conf", None), ("max_people", True)]
)
def test_what_is_not_a_number_is_a_usage_error(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} {value!r}: not a number"):
        RunConfig(**{name: value})


def test_what_of_a_source_is_read_is_told_where_its_stream_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Known(BlockEstimator):
        stream = PoseEstimator.stream

        def __init__(self, **options: Any) -> None:
            made.append(options)
            super().__init__(RunConfig(**options))

    monkeypatch.setattr("tfpose_rt.estimator.PoseEstimator", Known)
    with tfpose_rt.stream("synthetic:96x64@30", start=0.5, end=1, stride=2, det_every=4, rotate=90) as results:
        assert [r.frame for r in results] == list(range(15, 30, 2))
        assert results.run.source.rotate == "90"
    assert made == [{"det_every": 4}]
    estimator = Known()
    with estimator.stream("synthetic:96x64@30", frames=(3, 5)) as results:
        assert [r.frame for r in results] == [3, 4]
    with pytest.raises(UsageError, match="the part is empty"):
        estimator.stream("synthetic", frames=(5, 3))
    with pytest.raises(TypeError, match="strat"):
        tfpose_rt.stream("synthetic", strat=3)
    opened = tfpose_rt.open_source("synthetic:96x64@30")
    with pytest.raises(UsageError, match="start for an open source"):
        estimator.stream(opened, start=1)
    opened.close()
