"""What training would begin with, written without a step."""

import dataclasses

import pytest
import torch

from tfpose_rt import config
from tfpose_rt.config import ModelConfig
from tfpose_rt.errors import OutputError, UsageError, WeightsError
from tfpose_rt.model.movenet_trunk import MoveNetTrunk
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.model.weights import load_model, save_model, write
from tfpose_rt.tools.begin import begin

ONE = ModelConfig(trunk="yolo11n-pose", channels=32, decoder_layers=1, size=(64, 96))
BOTH = dataclasses.replace(ONE, trunk="yolo11n-pose+movenet", witness="movenet")


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A small model on one trunk, and the second trunk."""
    monkeypatch.setitem(config.MODELS, "s", BOTH)
    torch.manual_seed(5)
    save_model(tmp_path / "one.safetensors", TFPose(ONE), {}, torch.float32)
    write(tmp_path / "second.safetensors", MoveNetTrunk(maps=True).state_dict(), {})
    return [tmp_path / "one.safetensors", tmp_path / "second.safetensors"]


def test_a_model_and_a_second_trunk_are_laid_over_one_another(files, tmp_path):
    laid, whole = begin("s", tmp_path / "s.safetensors", files)
    model, metadata = load_model(tmp_path / "s.safetensors")
    assert model.config == BOTH
    assert metadata["begun_from"] == ["one", "second"]
    first, _ = load_model(files[0])
    torch.testing.assert_close(
        model.decoder[0].attention.value.weight, first.decoder[0].attention.value.weight, atol=1e-4, rtol=1e-3
    )
    assert not model.project[0][0].weight[:, first.project[0][0].weight.shape[1] :].any()
    assert whole - laid == 3  # the fusion's numbers, which are fitted afterwards


def test_what_cannot_begin(files, tmp_path):
    with pytest.raises(UsageError, match="no such model"):
        begin("x", tmp_path / "x.safetensors", files)
    with pytest.raises(OutputError, match="exists"):
        begin("s", files[0], files)
    write(tmp_path / "odd.safetensors", {"odd": torch.zeros(3)}, {})
    with pytest.raises(WeightsError, match="nothing in odd"):
        begin("s", tmp_path / "x.safetensors", [tmp_path / "odd.safetensors"])
    assert not (tmp_path / "x.safetensors").exists()
