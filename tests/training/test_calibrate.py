import numpy as np
import pytest
from scipy.special import expit

from tfpose_rt.training.calibrate import fit_joint
from tfpose_rt.training.evaluate import reliability
from tfpose_rt.training.plots import curves, reliability_plot


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


def test_plots_are_pictures(tmp_path):
    import cv2

    graph = reliability(np.linspace(0, 1, 200), np.linspace(0, 1, 200) > 0.4)
    reliability_plot(graph, tmp_path / "r.png", "title")
    (tmp_path / "log.csv").write_text("seen,AP,pose\n1000,10,-3\n2000,20,-9\n")
    curves(tmp_path / "log.csv", tmp_path / "c.png")
    for name in ("r.png", "c.png"):
        image = cv2.imread(str(tmp_path / name))
        assert image.shape[0] > 300
        assert image.std() > 5
