"""Both networks as on a GPU, by torch's own rules of devices and types."""

import numpy as np
import pytest
import torch
from fake_cuda import fake_cuda
from torch import nn

from tfpose_rt import assets, detect, estimator
from tfpose_rt.config import ModelConfig
from tfpose_rt.device import settle
from tfpose_rt.model import weights
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.ops import choice
from tfpose_rt.records import Detections, frozen

KINDS = {"fp16": "f16", "bf16": "bf16", "fp32": "float"}
SMALL = ModelConfig(trunk="resnet18", channels=64, encoder_layers=1, decoder_layers=1, size=(64, 96))


def test_a_picture_becomes_poses(monkeypatch):
    path = assets.resolve("default", "pose"), assets.resolve("yolo-n", "detector")
    read, network = weights.load_model(path[0]), detect.load_network(path[1])  # now: a file's numbers are not fake
    monkeypatch.setattr(weights, "load_model", lambda path: read)
    monkeypatch.setattr(detect, "load_network", lambda path: network)
    monkeypatch.setattr(estimator, "choose_device", lambda asked: ("cuda", "asked for"))
    monkeypatch.setattr(choice, "select_kernel", lambda *_: choice.KernelChoice(choice.FUSED, "asked for"))
    picture = np.zeros((240, 320, 3), np.uint8)
    person = Detections(frozen([[10, 10, 100, 200]]), frozen([0.9]))
    with fake_cuda(monkeypatch) as asked:
        model = estimator.PoseEstimator(device="cuda", det_size=320, flip_test=True)
        found = model.detect([picture, picture])
        poses = model.poses([picture, picture], [person, found[1]])
    assert (model.engine, model.precision) == ("torch", "fp16")
    assert [len(d) for d in found] == [0, 0]  # a detector of zeros
    assert [p.xy.shape for p in poses] == [(1, 17, 2), (0, 17, 2)]
    assert set(asked) == {"forward_b<f16, f16, 24, 8, 3, 4, 2, false>"}


@pytest.mark.parametrize("precision", KINDS)
def test_the_kernel_takes_what_an_encoder_gives_it(monkeypatch, precision):
    net = TFPose(SMALL).eval().requires_grad_(False)
    with fake_cuda(monkeypatch) as asked, torch.no_grad():
        settle(net, "cuda", torch.channels_last, precision)
        images = torch.zeros((2, 3, 96, 64), device="cuda").contiguous(memory_format=torch.channels_last)
        with torch.autocast("cuda", {"fp16": torch.float16}.get(precision, torch.bfloat16), precision != "fp32"):
            answers = net(images)
    assert [tuple(t.shape) for t in answers] == [(2, 17, 2), (2, 17), (2, 17)]
    assert {t.dtype for t in answers} == {torch.float32}
    kind = KINDS[precision]
    assert asked == [f"forward_{which}<{kind}, {kind}, 8, 8, 3, 4, 2, false>" for which in "ab"]


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_only_weights_of_convolutions_are_laid_out(memory):
    net = TFPose(SMALL)
    settle(net, "cpu", memory)
    assert net.centres.is_contiguous()
    convolutions = [m.weight for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert all(weight.is_contiguous(memory_format=memory) for weight in convolutions)
    assert {t.dtype for t in net.parameters()} == {torch.float32}


def test_weights_of_a_lower_precision_say_what_autocast_says():
    torch.manual_seed(0)
    plain = TFPose(SMALL).eval().requires_grad_(False)
    for head in plain.heads:
        nn.init.normal_(head.last.weight, std=0.1)
    kept = TFPose(SMALL).eval().requires_grad_(False)
    kept.load_state_dict(plain.state_dict())
    settle(plain, "cpu", torch.channels_last)
    settle(kept, "cpu", torch.channels_last, "bf16")
    assert kept.decoder[0].feed.wide.weight.dtype == kept.project[0][0].weight.dtype == torch.bfloat16
    assert kept.decoder[0].norm.weight.dtype == torch.float32
    images = torch.rand((2, 3, 96, 64)).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for got, expected in zip(kept(images), plain(images), strict=True):
            assert torch.equal(got, expected)
            assert not torch.equal(got[0], got[1])
