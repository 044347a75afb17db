"""Eight bits: against integers added up by hand, and against the shipped models in float32."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tfpose_rt import assets
from tfpose_rt.bounds import bounds_file, bounds_for, read_bounds, write_bounds
from tfpose_rt.errors import WeightsError
from tfpose_rt.model.quantise import WEIGHT_STEPS, Quantised, convolutions, observe, quantise

SHIPPED = ("default", "tfpose-s", "yolo-n", "yolo-s")


class Two(nn.Module):
    """A strided and a depthwise convolution."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Conv2d(3, 6, 3, 2, 1)
        self.rest = nn.Sequential(nn.SiLU(), nn.Conv2d(6, 6, 3, padding=1, groups=6))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.rest(self.first(x))
        return out


def test_a_convolution_adds_up_whole_numbers() -> None:
    layer = nn.Conv2d(5, 4, 1)
    rng = np.random.default_rng(0)
    layer.weight.data = torch.from_numpy(rng.normal(size=(4, 5, 1, 1)).astype(np.float32))
    x = rng.uniform(-1.0, 3.0, (1, 5, 2, 2)).astype(np.float32)
    low, high = -0.5, 2.0  # narrower than x: what lies beyond is cut off
    got = Quantised(layer, low, high)(torch.from_numpy(x)).detach().numpy()

    step = (high - low) / 255
    zero = round(-low / step)
    whole = np.clip(np.rint(x.astype(np.float64) / step) + zero, 0, 255).astype(int) - zero
    weight = layer.weight.detach().numpy()[:, :, 0, 0].astype(np.float64)
    unit = np.abs(weight).max(1) / WEIGHT_STEPS
    steps = np.rint(weight / unit[:, None]).astype(int)
    assert np.abs(steps).max() == WEIGHT_STEPS
    expected = np.einsum("oc,bchw->bohw", steps, whole) * unit[None, :, None, None] * step
    np.testing.assert_allclose(got, expected + layer.bias.detach().numpy()[None, :, None, None], atol=1e-5)


def test_two_products_fit_sixteen_bits() -> None:
    assert 2 * 255 * WEIGHT_STEPS < 2**15  # what processors without VNNI add up before they widen


def test_bounds_are_the_mean_extremes_of_the_batches_and_hold_zero() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1))
    bounds = observe(network, [torch.tensor([[[[-1.0, 2.0]]]]), torch.tensor([[[[-3.0, 8.0]]]])])
    assert bounds == {"0": (-2.0, 5.0)}
    assert observe(network, [torch.full((1, 1, 2, 2), 4.0)]) == {"0": (0.0, 4.0)}  # 0 is what padding is made of
    assert not network[0]._forward_pre_hooks  # nobody goes on watching


def test_a_whole_network_stays_close(tmp_path: Path) -> None:
    network, x = Two().eval(), torch.rand(2, 3, 16, 12)
    with torch.no_grad():
        expected = network(x)
        got = quantise(network, observe(network, [x]))(x)
    assert [type(m) for m in (network.first, network.rest[1])] == [Quantised, Quantised]
    spread = float(expected.std())
    assert 0 < float((got - expected).abs().max()) < 0.1 * spread  # rounded, and no more than rounded


def test_bounds_of_another_network_are_refused() -> None:
    with pytest.raises(WeightsError, match="2 convolutions differ, first is one"):
        quantise(Two(), {})


def test_bounds_lie_beside_their_weights(tmp_path: Path) -> None:
    weights = tmp_path / "mine.safetensors"
    weights.write_bytes(b"one")
    with pytest.raises(WeightsError, match=r"mine.int8.json is not beside them"):
        read_bounds(weights)
    assert bounds_for(weights, "fp32") is None
    path = write_bounds(weights, {"a.conv": (-0.25, 1.5)}, "the packs")
    assert read_bounds(weights) == bounds_for(weights, "int8") == {"a.conv": (-0.25, 1.5)}
    assert json.loads(path.read_text())["observed_on"] == "the packs"
    weights.write_bytes(b"two")
    with pytest.raises(WeightsError, match="is of other weights"):
        read_bounds(weights)
    path.write_text('{"bounds": []}')
    with pytest.raises(WeightsError, match=r"cannot read mine.int8.json"):
        read_bounds(weights)


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_has_bounds_that_fit(name: str) -> None:
    from tfpose_rt.detect import load_network
    from tfpose_rt.model.weights import load_model

    path = assets.resolve(name)
    network = load_model(path)[0] if assets.find(name).kind == "pose" else load_network(path)
    bounds = read_bounds(path)
    assert bounds.keys() == convolutions(network).keys()
    assert all(low <= 0 < high for low, high in bounds.values())
    entry = assets.find(name)
    assert entry.bounds == bounds_file(path).name
    assert assets.verify(entry) == ""


def test_altered_bounds_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(assets.ROOT / "weights", tmp_path / "weights")
    monkeypatch.setattr(assets, "ROOT", tmp_path)
    (tmp_path / "weights" / "yolo26n.int8.json").write_text("{}")
    assert "yolo26n.int8.json is not the file" in assets.verify(assets.find("yolo-n"))
