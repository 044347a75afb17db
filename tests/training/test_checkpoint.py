"""Starting from weights: of another size, and of another network."""

import dataclasses

import pytest
import torch

from tfpose_rt.config import ModelConfig
from tfpose_rt.errors import WeightsError
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.model.weights import save_model, write
from tfpose_rt.training.checkpoint import resample_start, start_from

SMALL = ModelConfig(trunk="resnet18", channels=32, decoder_layers=1, size=(64, 96))


def test_a_resampled_start_answers_a_constant_picture_alike():
    torch.manual_seed(0)
    weight = torch.randn(8, 3 * 2 * 5)
    wider = resample_start(weight, (3, 2), (6, 4))
    assert wider.shape == (8, 6 * 4 * 5)
    token = torch.randn(5)
    assert torch.allclose(wider @ token.repeat(24), weight @ token.repeat(6), atol=1e-4)


def test_a_resampled_start_looks_at_the_same_place():
    weight = torch.zeros(1, 3 * 3)
    weight[0, 4] = 1.0  # the middle of 3 x 3
    wider = resample_start(weight, (3, 3), (9, 9)).view(9, 9)
    row, column = divmod(int(wider.argmax()), 9)
    assert (row, column) == (4, 4)
    assert torch.allclose(wider, wider.flip(0))
    assert torch.allclose(wider, wider.flip(1))


def test_weights_of_another_crop_size_are_loaded_whole(tmp_path):
    torch.manual_seed(0)
    save_model(tmp_path / "small.safetensors", TFPose(SMALL), {})
    model = TFPose(dataclasses.replace(SMALL, size=(96, 128)))
    assert start_from(model, tmp_path / "small.safetensors") == set(model.state_dict())


def test_weights_of_another_network_are_refused(tmp_path):
    write(tmp_path / "other.safetensors", {"fc.weight": torch.zeros(3, 3)}, {})
    with pytest.raises(WeightsError, match=r"nothing in other\.safetensors fits"):
        start_from(TFPose(SMALL), tmp_path / "other.safetensors")
