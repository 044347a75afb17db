"""What is recorded of the decoder is what its layers really did."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from tfpose_rt.config import ModelConfig
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.model.trace import trace

TINY = {"trunk": "resnet18", "channels": 64, "heads": 4, "points": 3, "decoder_layers": 3, "size": (64, 96)}


def model_of(**changes):
    """A model whose offsets, weights and moves depend on the picture; heads sample beyond the crop too."""
    torch.manual_seed(3)
    model = TFPose(ModelConfig(**(TINY | changes))).eval()
    for layer, head in zip(model.decoder, model.heads, strict=True):
        torch.nn.init.normal_(layer.attention.sampling.weight, std=0.2)
        torch.nn.init.normal_(head.last.weight, std=0.3)
    model.calibration[:, 0], model.calibration[:, 1] = 0.7, -0.4
    return model


def bilinear(table, x, y):
    """Value of a map (H, W, D) at pixel (x, y) with zeros outside, in plain Python."""
    h, w, _ = table.shape
    x0, y0, total = int(np.floor(x)), int(np.floor(y)), 0.0
    for i, j in ((y0, x0), (y0, x0 + 1), (y0 + 1, x0), (y0 + 1, x0 + 1)):
        if 0 <= i < h and 0 <= j < w:
            total = total + table[i, j] * (1 - abs(x - j)) * (1 - abs(y - i))
    return total


@pytest.fixture(scope="module")
def traced():
    model, images = model_of(), torch.rand(2, 3, 96, 64)
    return model, images, trace(model, images)


def test_the_last_layer_is_the_models_answer(traced):
    model, images, layers = traced
    with torch.no_grad():
        xy, scores, _ = model(images)
    assert len(layers) == 3
    torch.testing.assert_close(layers[-1].after, xy, rtol=0, atol=0)
    torch.testing.assert_close(layers[-1].score, scores, rtol=0, atol=0)


@pytest.mark.parametrize("start", ["image", "mean"])
def test_each_layer_starts_where_the_one_before_it_ended(start):
    layers = trace(model_of(start=start), torch.rand(1, 3, 96, 64))
    for one, two in pairwise(layers):
        torch.testing.assert_close(two.before, one.after, rtol=0, atol=0)
    moves = [(layer.after - layer.before).abs().max().item() for layer in layers]
    assert min(moves) > 1e-3  # every layer of this model moves something


def test_weights_are_shares(traced):
    for layer in traced[2]:
        assert layer.weights.shape == (2, 17, 4, 3, 3)
        torch.testing.assert_close(layer.weights.sum((-1, -2)), torch.ones(2, 17, 4))
        assert layer.q2q.shape == (2, 4, 17, 17)
        torch.testing.assert_close(layer.q2q.sum(-1), torch.ones(2, 4, 17))
        assert layer.weights.std() > 0.01


def test_points_and_weights_give_the_layers_own_output(traced):
    """Each head's weighted sum, gathered by hand at the recorded points, is what the attention handed on."""
    model, images, layers = traced
    with torch.no_grad():
        memory, _ = model.encode(images)
    shapes = model.config.shapes
    outside = 0
    for layer, module in zip(layers, model.decoder, strict=True):
        with torch.no_grad():
            value = module.attention.value(memory)[1].view(-1, 4, 16).double().numpy()  # (S, M, D) of the second crop
        for joint in (0, 9):
            heads = []
            for m in range(4):
                total, start = np.zeros(16), 0
                for level, (h, w) in enumerate(zip(shapes[0::2], shapes[1::2], strict=True)):
                    table = value[start : start + h * w, m].reshape(h, w, 16)
                    start += h * w
                    for p in range(3):
                        x, y = layer.places[1, joint, m, level, p].double().tolist()
                        outside += not (0 <= x <= 1 and 0 <= y <= 1)
                        weight = layer.weights[1, joint, m, level, p].item()
                        total += weight * bilinear(table, x * w - 0.5, y * h - 0.5)
                heads.append(total)
            with torch.no_grad():
                expected = module.attention.output(torch.from_numpy(np.concatenate(heads)).float())
            torch.testing.assert_close(layer.gathered[1, joint], expected, rtol=1e-4, atol=1e-5)
    assert outside > 0  # zero padding was met


def test_without_q2q_there_is_none():
    assert [layer.q2q for layer in trace(model_of(q2q=False), torch.rand(1, 3, 96, 64))] == [None] * 3


def test_the_model_is_left_as_it_was(traced):
    model, images, _ = traced
    assert not any(module._forward_hooks for module in model.modules())
    keys = list(model.state_dict())
    with pytest.raises(RuntimeError):
        trace(model, images[:, :, :50])  # not the size of its crops
    assert not any(module._forward_hooks for module in model.modules())
    assert list(model.state_dict()) == keys


@pytest.mark.parametrize(("doubt", "share"), [(1e-6, 1.0), (1e6, 0.0)])
def test_who_trusts_the_maps_ends_where_they_say(doubt, share):
    """All of the way and none of it; the last layer alone meets the maps."""
    model, images = model_of(trunk="movenet", channels=32, witness="movenet"), torch.rand(2, 3, 96, 64)
    model.fusion.doubt.fill_(doubt)
    layers = trace(model, images)
    last = layers[-1]
    assert [layer.witness is None for layer in layers] == [True, True, False]
    assert last.witness.shape == (2, 17, 2)
    torch.testing.assert_close(last.share, torch.full((2, 17), share))
    assert (last.witness - last.before).abs().max() > 0.02  # no empty claim
    if share:
        torch.testing.assert_close(last.after, last.witness)
    with torch.no_grad():
        torch.testing.assert_close(last.after, model(images)[0], rtol=0, atol=0)
    assert trace(model_of(), images)[-1].witness is None
