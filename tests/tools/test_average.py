"""The mean of two models."""

import dataclasses

import pytest
import torch

from tfpose_rt.config import ModelConfig
from tfpose_rt.errors import OutputError, UsageError
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.model.weights import load_model, save_model
from tfpose_rt.tools.average import average

TINY = ModelConfig(trunk="tiny", channels=64, encoder_layers=0, decoder_layers=1, size=(64, 96))


@pytest.fixture
def two(tmp_path, tiny_trunk):
    """All numbers 1 in the first, 3 in the second."""
    paths = []
    for name, number, enlarge in (("a", 1.0, 1.1), ("b", 3.0, 1.25)):
        model = TFPose(dataclasses.replace(TINY, enlarge=enlarge))
        with torch.no_grad():
            for value in model.state_dict().values():
                if value.is_floating_point():
                    value.fill_(number)
        paths.append(tmp_path / f"{name}.safetensors")
        save_model(paths[-1], model, {}, torch.float32)
    return paths


def test_a_quarter_of_the_second(two, tmp_path):
    average(*two, tmp_path / "mean.safetensors", share=0.25)
    model, metadata = load_model(tmp_path / "mean.safetensors")
    assert {float(v) for t in model.state_dict().values() if t.is_floating_point() for v in t.unique()} == {1.5}
    assert model.config.enlarge == 1.1
    assert metadata["averaged"] == [["a", 0.75], ["b", 0.25]]


def test_what_cannot_be_averaged(two, tmp_path):
    with pytest.raises(UsageError, match="between 0 and 1"):
        average(*two, tmp_path / "x.safetensors", share=1.5)
    with pytest.raises(OutputError, match="exists"):
        average(*two, two[0])
    save_model(tmp_path / "other.safetensors", TFPose(dataclasses.replace(TINY, size=(96, 128))), {})
    with pytest.raises(UsageError, match="two shapes"):
        average(two[0], tmp_path / "other.safetensors", tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()
