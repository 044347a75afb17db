from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from tfpose_rt import assets, yolo
from tfpose_rt.detect import load_network
from tfpose_rt.errors import WeightsError
from tfpose_rt.tools.add_weights import add, convert


@pytest.fixture
def pt(tmp_path: Path) -> Path:
    """A small detector as ultralytics saves it: half precision, inside a pickle."""
    model = yolo.load().DetectionModel("yolo26n.yaml", nc=2, verbose=False)
    model.names = {0: "ball", 1: "person"}
    torch.save({"model": model.half(), "version": "8.4.0"}, tmp_path / "own.pt")
    return tmp_path / "own.pt"


def test_a_pt_is_converted_without_loss(pt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFPOSE_STORE", str(pt.parent / "store"))
    entry = add(pt)
    assert (entry.name, entry.kind, entry.architecture) == ("own", "detector", "own.json")
    assert assets.verify(assets.find("own")) == ""
    told = json.loads((pt.parent / "store/own.json").read_text())
    assert told["names"] == {"0": "ball", "1": "person"}
    assert told["made_by"] == "ultralytics 8.4.0"
    x = torch.rand(1, 3, 96, 64)
    with torch.inference_mode():
        assert torch.equal(load_network(assets.resolve("own"))(x), load_network(pt)(x))
    assert convert(pt) == convert(pt)


def test_a_network_that_knows_no_people_is_refused(pt: Path) -> None:
    content = torch.load(pt, weights_only=False)
    content["model"].names = {0: "ball", 1: "net"}
    torch.save(content, pt)
    with pytest.raises(WeightsError, match="finds no people"):
        convert(pt)


@pytest.mark.slow
def test_what_ships_is_the_conversion_of_the_original() -> None:
    weights, architecture = convert(Path(os.environ["TFPOSE_DATA"]) / "models/yolo26n.pt")
    shipped = assets.resolve("yolo-n")
    assert shipped.read_bytes() == weights
    assert shipped.with_suffix(".json").read_bytes() == architecture
