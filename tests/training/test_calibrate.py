import numpy as np
import pytest
from scipy.special import expit

from tfpose_rt.training.calibrate import fit_joint
from tfpose_rt.training.evaluate import reliability


def test_a_known_distortion_is_undone():
    """Scores whose logits were stretched threefold and shifted: the fit must find slope 1/3 and the shift."""
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 1.5, 20_000)
    right = rng.random(20_000) < expit(honest)
    slope, offset = fit_joint(3 * (honest + 0.6), right)
    assert slope == pytest.approx(1 / 3, rel=0.05)
    assert offset == pytest.approx(-0.6, abs=0.06)
    assert reliability(expit(slope * 3 * (honest + 0.6) + offset), right).error < 0.02


def test_without_data_nothing_changes_and_a_slope_is_never_negative():
    assert fit_joint(np.zeros(0), np.zeros(0, bool)) == (1.0, 0.0)
    slope, _ = fit_joint(np.array([3.0, 2.0, -2.0, -3.0] * 50), np.array([False, False, True, True] * 50))
    assert slope > 0
