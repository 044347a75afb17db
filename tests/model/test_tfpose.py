import dataclasses

import pytest
import torch

from tfpose_rt.config import MODELS, ModelConfig
from tfpose_rt.errors import UsageError, WeightsError
from tfpose_rt.model.backbone import BACKBONES, build_backbone
from tfpose_rt.model.tfpose import EPS, TFPose
from tfpose_rt.model.transformer import DeformableAttention, pixel_centres
from tfpose_rt.model.weights import load_model, save_model
from tfpose_rt.model.yolo_trunk import fold

TINY = ModelConfig(trunk="resnet18", channels=64, encoder_layers=1, decoder_layers=2, size=(64, 96))


@pytest.mark.parametrize("name", BACKBONES)
def test_a_trunk_gives_the_levels_it_speaks_of(name):
    trunk = build_backbone(name, (8, 16, 32)).eval()
    with torch.no_grad():
        levels = trunk(torch.rand(2, 3, 96, 64))
    for level, stride, channels in zip(levels, trunk.strides, trunk.channels, strict=True):
        assert level.shape == (2, channels, 96 // stride, 64 // stride)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2"])
def test_four_levels_are_a_configuration(name):
    with torch.no_grad():
        levels = build_backbone(name, (4, 8, 16, 32)).eval()(torch.rand(1, 3, 96, 64))
    assert [level.shape[-1] for level in levels] == [16, 8, 4, 2]


@pytest.mark.parametrize(("name", "strides"), [("yolo26s", (4, 8, 16, 32)), ("vgg", (8,)), ("resnet18", (16, 8))])
def test_an_impossible_trunk_is_a_usage_error(name, strides):
    with pytest.raises(UsageError):
        build_backbone(name, strides)


@pytest.mark.parametrize("keypoints", [16, 17])
@pytest.mark.parametrize("start", ["mean", "image"])
def test_shapes_and_ranges(keypoints, start):
    config = dataclasses.replace(TINY, keypoints=keypoints, start=start)
    model = TFPose(config).eval()
    with torch.no_grad():
        xy, scores, _ = model(torch.rand(3, 3, 96, 64))
        guesses = model.guesses(torch.rand(3, 3, 96, 64))
    assert xy.shape == (3, keypoints, 2)
    assert scores.shape == (3, keypoints)
    assert ((xy >= 0) & (xy <= 1)).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    assert len(guesses.xy) == config.decoder_layers + (start == "image")


def test_an_untrained_model_answers_its_start_pose():
    """The coordinate heads start at zero, so refinement must change nothing before training."""
    mean = torch.rand(17, 2) * 0.8 + 0.1
    model = TFPose(dataclasses.replace(TINY, start="mean"), mean).eval()
    with torch.no_grad():
        xy, _, _ = model(torch.rand(2, 3, 96, 64))
    torch.testing.assert_close(xy, mean.clamp(EPS, 1 - EPS).expand(2, -1, -1), atol=1e-5, rtol=0)


def test_gradients_stop_between_layers_but_reach_every_parameter():
    model = TFPose(TINY)
    for head in model.heads:
        torch.nn.init.normal_(head.last.weight, std=0.1)
    guesses = model.guesses(torch.rand(2, 3, 96, 64))
    only_last = torch.autograd.grad(
        guesses.xy[-1].sum(), model.heads[0].last.weight, retain_graph=True, allow_unused=True
    )
    assert only_last[0] is None or not only_last[0].any()
    (guesses.xy.sum() + guesses.sigma.sum() + guesses.score.sum()).backward()
    unreached = [name for name, p in model.named_parameters() if p.grad is None]
    assert unreached == []


def test_the_compass_of_a_new_attention():
    """Deformable DETR's initialisation: M directions on the unit square, point p at radius p + 1, equal weights."""
    attention = DeformableAttention(64, heads=8, levels=2, points=4)
    offsets, logits = attention.split(torch.randn(1, 5, 64))
    assert not logits.any()
    torch.testing.assert_close(offsets[0, 0, 0, 0], torch.tensor([[1.0, 0], [2, 0], [3, 0], [4, 0]]), atol=1e-5, rtol=0)
    torch.testing.assert_close(offsets[0, 3, 1, 1, 1], torch.tensor([2.0, 2.0]), atol=1e-5, rtol=0)


def test_pixel_centres_by_hand():
    centres = pixel_centres([1, 2, 1, 1])[0, :, 0]
    torch.testing.assert_close(centres, torch.tensor([[0.25, 0.5], [0.75, 0.5], [0.5, 0.5]]))


def test_folding_a_norm_changes_no_answer():
    conv, norm = torch.nn.Conv2d(3, 5, 3, bias=False).double(), torch.nn.BatchNorm2d(5, eps=1e-3).double().eval()
    for parameter in (norm.weight, norm.bias, norm.running_mean):
        torch.nn.init.normal_(parameter)
    torch.nn.init.uniform_(norm.running_var, 0.5, 2)
    weight, bias = fold(conv.weight, norm.state_dict(), norm.eps)
    x = torch.randn(2, 3, 7, 7, dtype=torch.float64)
    torch.testing.assert_close(torch.nn.functional.conv2d(x, weight, bias), norm(conv(x)))


def test_weights_carry_their_configuration(tmp_path):
    model = TFPose(TINY).eval()
    save_model(tmp_path / "m.safetensors", model, {"note": "x"}, dtype=torch.float32)
    again, metadata = load_model(tmp_path / "m.safetensors")
    assert again.config == TINY
    assert metadata["note"] == "x"
    x = torch.rand(1, 3, 96, 64)
    with torch.no_grad():
        torch.testing.assert_close(again(x), model(x))


def test_weights_of_a_later_version_are_a_weights_error(tmp_path):
    from tfpose_rt.errors import WeightsError
    from tfpose_rt.model.weights import read, write

    save_model(tmp_path / "m.safetensors", TFPose(TINY), {})
    tensors, metadata = read(tmp_path / "m.safetensors")
    for name, change in {"word": {"rope": 3}, "kind": {"channels": "many"}, "trunk": {"trunk": "vit"}}.items():
        write(tmp_path / f"{name}.safetensors", tensors, {**metadata, "config": {**metadata["config"], **change}})
        with pytest.raises(WeightsError, match="not known here"):
            load_model(tmp_path / f"{name}.safetensors")


def test_weights_from_before_errors_still_load(tmp_path):
    from tfpose_rt.model.weights import read, write

    save_model(tmp_path / "m.safetensors", TFPose(TINY), {})
    tensors, metadata = read(tmp_path / "m.safetensors")
    del tensors["error_scale"]
    write(tmp_path / "old.safetensors", tensors, metadata)
    assert load_model(tmp_path / "old.safetensors")[0].error_scale.tolist() == [1.0] * TINY.keypoints


def test_an_error_is_the_scale_in_px_of_the_crop():
    """Scales of 0.03 and 0.04 of a 64 x 96 crop are 1.92 and 3.84 px: 4.293 px together, times the joint's factor."""
    model = TFPose(TINY).eval()
    model.error_scale[2] = 0.5
    told = model.guesses(torch.rand(1, 3, 96, 64))
    sigma = torch.tensor([0.03, 0.04]).expand_as(told.sigma)
    model.guesses = lambda _: told._replace(sigma=sigma)
    errors = model(torch.zeros(1))[2]
    torch.testing.assert_close(errors[0, 0], torch.tensor(4.2932), rtol=1e-4, atol=0)
    torch.testing.assert_close(errors[0, 2], torch.tensor(2.1466), rtol=1e-4, atol=0)


@pytest.mark.parametrize("content", [None, b"", b"\x80\x02not safetensors"])
def test_foreign_weights_are_refused_in_one_line(tmp_path, content):
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_weights_of_another_shape_are_refused(tmp_path):
    from tfpose_rt.model.weights import read, write

    save_model(tmp_path / "m.safetensors", TFPose(TINY), {})
    tensors, metadata = read(tmp_path / "m.safetensors")
    metadata["config"]["channels"] = 128
    write(tmp_path / "m.safetensors", tensors, metadata)
    with pytest.raises(WeightsError, match="does not fit"):
        load_model(tmp_path / "m.safetensors")


def test_the_four_models_are_what_the_documents_say():
    assert {name: (c.encoder_layers, c.decoder_layers, c.size) for name, c in MODELS.items()} == {
        "n": (0, 3, (192, 256)), "s": (0, 3, (192, 256)), "m": (4, 6, (192, 256)), "l": (6, 6, (288, 384)),
    }  # fmt: skip
