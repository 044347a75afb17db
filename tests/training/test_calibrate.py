import numpy as np
import pytest
import torch
from scipy.special import expit

from tfpose_rt.config import ModelConfig
from tfpose_rt.crop import apply, crop_matrix, fit_box
from tfpose_rt.model.fusion import JointMaps
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.training.calibrate import fit, fit_error, fit_joint, fit_maps
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


@pytest.mark.parametrize("honest", [True, False])
def test_maps_are_believed_as_far_as_they_are_right(honest):
    """Maps that peak where people put the joints are followed; maps that peak elsewhere are not."""
    config = ModelConfig(trunk="movenet", witness="movenet", channels=32, decoder_layers=1, size=(64, 96))
    model = TFPose(config).eval()  # its own guess is the middle of the crop
    rng = np.random.default_rng(0)
    picture, box = np.zeros((200, 200, 3), np.uint8), np.array([60, 20, 140, 180], np.float32)
    truth = rng.uniform((70, 40), (130, 160), (17, 2)).astype(np.float32)
    people = [Sample(str(i), "x", "made", lambda: picture, box, truth, np.ones(17, np.float32), 2e3) for i in range(3)]
    to_crop = crop_matrix(fit_box(box[None], config.size, config.enlarge), config.size)
    in_crop = (apply(to_crop, truth[None])[0] + 0.5) / 4  # cells of stride 4
    peaks = in_crop if honest else np.array([15.0, 23.0]) - in_crop
    cells = peaks.round().astype(int).clip(0, (15, 23))
    logits = torch.full((17, 24, 16), -6.0)
    logits[range(17), cells[:, 1], cells[:, 0]] = 2.0
    offsets = torch.tensor((peaks - cells)[:, ::-1].copy(), dtype=torch.float32)  # y before x
    memory = torch.zeros(3, 126, 32)
    heights = torch.nn.functional.logsigmoid(logits).expand(3, -1, -1, -1)
    model.encode = lambda _: (memory, JointMaps(heights, offsets[None, :, :, None, None].expand(3, -1, -1, 24, 16)))
    before = np.linalg.norm(answer(model, people).xy - truth, axis=-1).mean()
    oks = fit_maps(model, people)
    after = np.linalg.norm(answer(model, people).xy - truth, axis=-1).mean()
    if honest:
        assert oks > 0.9
        assert after < 1  # px of the picture
    else:
        assert float(model.fusion.doubt) > 1.2  # where it started
        assert after < before
