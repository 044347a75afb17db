import numpy as np
import pytest
from scipy.special import expit

from tfpose_rt.config import ModelConfig
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.training.calibrate import fit, fit_error, fit_joint
from tfpose_rt.training.data import Sample
from tfpose_rt.training.evaluate import reliability
from tfpose_rt.training.validate import answer


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


def test_half_of_the_distances_lie_within_the_fitted_error():
    """Distances of a 2-D normal error: its median is sqrt(2 ln 2) of the deviation that was stated."""
    rng = np.random.default_rng(0)
    deviation = rng.uniform(1, 20, 20_000)
    far = np.linalg.norm(rng.normal(0, 1, (20_000, 2)), axis=1) * deviation
    factor = fit_error(deviation, far)
    assert factor == pytest.approx(np.sqrt(2 * np.log(2)), rel=0.02)
    assert (far <= factor * deviation).mean() == pytest.approx(0.5, abs=0.001)


def test_errors_without_data_stay_and_few_move_little():
    assert fit_error(np.zeros(0), np.zeros(0)) == 1.0
    assert fit_error(np.ones(2), np.full(2, 50.0)) == 1.0


def test_a_fitted_model_states_errors_in_px_of_the_picture():
    """Twelve people of random pixels: once fitted, about half of their joints lie within, in pictures of any scale."""
    model = TFPose(ModelConfig(trunk="mobilenet_v2", channels=64, decoder_layers=1, size=(64, 96))).eval()
    rng = np.random.default_rng(0)
    people = []
    for side in (80, 400):
        for number in range(12):
            picture = rng.integers(0, 256, (side, side, 3), np.uint8)
            box = np.array([0.3, 0.1, 0.7, 0.9], np.float32) * side
            xy = (rng.uniform(0.3, 0.7, (17, 2)) * side).astype(np.float32)
            name, known = f"{side}-{number}", np.ones(17, np.float32)
            people.append(Sample(name, "x", "made", lambda p=picture: p, box, xy, known, 0.2 * side**2))
    fit(model, people)
    said = answer(model, people)
    far = np.linalg.norm(said.xy - np.stack([p.xy for p in people]), axis=-1)
    for part in (slice(0, 12), slice(12, 24)):
        assert (far <= said.errors)[part].mean() == pytest.approx(0.5, abs=0.12)
