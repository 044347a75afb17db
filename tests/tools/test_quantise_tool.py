"""What `--precision int8` needs, observed on a pack of drawn people."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tfpose_rt import assets
from tfpose_rt.bounds import read_bounds
from tfpose_rt.config import ModelConfig
from tfpose_rt.model.quantise import convolutions
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.model.weights import save_model
from tfpose_rt.tools import quantise
from tfpose_rt.training.data import is_validation, load


def test_a_pose_model_is_looked_at_through_its_own_crops(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_trunk: str
) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "tiny.safetensors"
    model = TFPose(ModelConfig(trunk=tiny_trunk, channels=64, decoder_layers=1, size=(64, 96)))
    save_model(weights, model, {})
    before = assets.sha256(weights)
    monkeypatch.setattr(sys, "argv", ["quantise", str(pack), str(weights)])
    quantise.main()
    assert capsys.readouterr().out == f"wrote {tmp_path / 'tiny.int8.json'}\n"
    assert assets.sha256(weights) == before
    bounds = read_bounds(weights)
    assert bounds.keys() == convolutions(model).keys()
    low, high = bounds["trunk.stages.0.0"]  # of a picture as ImageNet's models want it: 0..1, less 0.45, over 0.22
    assert -2.2 < low < -1
    assert 1 < high < 2.7
    told = json.loads((tmp_path / "tiny.int8.json").read_text())
    people = sum(not is_validation(s.image) for s in load(pack))
    assert told["observed_on"] == f"{pack.name}, {people} people"


def test_a_detector_is_looked_at_through_scenes(pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantise, "SCENES", 6)  # of one, four and nine people, twice
    for suffix in (".safetensors", ".json"):
        shutil.copy(assets.resolve("yolo-n").with_suffix(suffix), tmp_path / f"mine{suffix}")
    weights = tmp_path / "mine.safetensors"
    quantise.observe_file(load(pack), weights, "drawn people")
    bounds = read_bounds(weights)
    low, high = bounds["model.0.conv"]  # of a picture
    assert low == 0
    assert 0.4 < high <= 1
    assert bounds["model.1.conv"][0] == pytest.approx(-0.2785, abs=0.01)  # the least value of SiLU


def test_a_scene_shows_whole_pictures_side_by_side(pack: Path) -> None:
    samples = load(pack)[:3]
    whole = quantise.scene(samples, np.random.default_rng(1), 2)
    assert whole.shape == (480, 640, 3)
    for y, x in ((0, 0), (0, 320), (240, 0), (240, 320)):
        assert (whole[y : y + 200, x : x + 60] != 114).any()  # somebody in each quarter
    assert (whole[:, 310:320] == 114).all()  # upright pictures leave grey at their right
