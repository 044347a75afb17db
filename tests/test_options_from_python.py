"""Options given from Python: the command line's words hold, and nonsense is a `UsageError`."""

from typing import Any

import numpy as np
import pytest

from tfpose_rt.config import RunConfig
from tfpose_rt.errors import UsageError


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
