"""Numbers that a caller gives and that make no sense are refused where they are given."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import picture

from tfpose_rt.config import RunConfig
from tfpose_rt.errors import UsageError
from tfpose_rt.io.pairs import PairSource

BLOCK = picture([(40, 60)])


@pytest.mark.parametrize("seconds", [[float("nan"), 1.0], [0.0, float("nan")], [0.0, float("inf")]])
def test_seconds_that_are_no_number_are_refused(seconds: list[float]) -> None:
    with pytest.raises(ValueError, match=r"seconds must be a number, not (nan|inf)"):
        list(PairSource([(BLOCK, t) for t in seconds]))


@pytest.mark.parametrize("name", ["max_people", "pose_batch", "det_every", "det_size", "threads", "seed"])
def test_whole_numbers_are_whole(name: str) -> None:
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} 32.5: not a whole number"):
        RunConfig(**{name: 32.5})
    assert getattr(RunConfig(**{name: np.int64(32)}), name) == 32
