"""Cut-offs so low that the numbers do not hold: a straight path has to stay where it is, or the wish be refused."""

from __future__ import annotations

import numpy as np
import pytest

from tfpose_rt.errors import UsageError
from tfpose_rt.zero_lag import LOWEST, ZeroLag, low_pass


@pytest.mark.parametrize("text", ["zero-lag:1e-6", "zero-lag:0.01", "zero-lag:0.09", "zero-lag:nan"])
def test_a_cutoff_that_would_throw_points_away_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"at least 0\.1 Hz; try: --smooth zero-lag:6"):
        ZeroLag.parse(text)


@pytest.mark.parametrize("fps", [24, 240])
def test_a_straight_path_stays_to_a_fraction_of_a_pixel_at_the_lowest_cutoff(fps: int) -> None:
    t = np.arange(1000) / fps
    path = np.stack([100 + 50 * t, 900 - 20 * t], -1)[:, None]
    cutoff = ZeroLag.parse(f"zero-lag:{LOWEST}").cutoff
    np.testing.assert_allclose(low_pass(t, path, np.ones((1000, 1)), cutoff), path, atol=0.05)
