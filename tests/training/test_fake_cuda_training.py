"""A training step as on a GPU, by torch's own rules of devices and types; nothing in it may wait for a number."""

import cv2
import numpy as np
import pytest
import torch
from fake_cuda import GPU, fake_cuda
from torch import nn

from tfpose_rt.config import ModelConfig
from tfpose_rt.device import settle
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.training import loader
from tfpose_rt.training.checkpoint import Average
from tfpose_rt.training.data import Sample
from tfpose_rt.training.loader import Batch, Loader
from tfpose_rt.training.loop import groups, set_rates
from tfpose_rt.training.objective import Objective
from tfpose_rt.training.settings import AugmentConfig, TrainConfig
from tfpose_rt.training.state import Progress

MODEL = {"trunk": "resnet18", "channels": 64, "encoder_layers": 1, "decoder_layers": 2, "size": (64, 96)}


def objective_of(**settings):
    model = ModelConfig(**{**MODEL, **settings.pop("model", {})})
    config = TrainConfig(model=model, batch=4, **settings)
    made = Objective(TFPose(model), config)
    settle(made.model, "cuda", torch.channels_last)
    return made.to("cuda")


def batch_of(objective, people=4):
    w, h = objective.config.model.size
    images = torch.rand((people, 3, h, w)).contiguous(memory_format=torch.channels_last)
    labels = torch.rand((people, 17, 2)), torch.ones((people, 17)), torch.ones((people, 17)), torch.ones(people)
    return Batch(images, *labels).to(GPU)


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        ({"loss": "rle"}, "bf16, bf16"),
        ({"loss": "laplace", "heatmap": False}, "bf16, bf16"),
        ({"loss": "l1", "amp": "off", "model": {"start": "mean", "encoder_layers": 0}}, "float, float"),
    ],
    ids=["rle", "laplace", "l1"],
)
def test_a_batch_becomes_a_loss(monkeypatch, settings, kinds):
    with fake_cuda(monkeypatch) as asked:
        objective = objective_of(**settings)
        terms = objective(batch_of(objective))
    assert {(t.device, t.dtype, t.dim()) for t in terms.values()} == {(GPU, torch.float32, 0)}
    assert terms["loss"].requires_grad
    learns = "true" if settings["loss"] == "l1" else "false"  # a start of its own learns through the first layer
    which = "b" if settings["loss"] == "l1" else "a"
    assert asked[:2] == [
        f"forward_{which}<{kinds}, 8, 8, 3, 4, 2, false>", f"backward<{kinds}, 8, 8, 3, 4, 2, false, {learns}, 1>",
    ]  # fmt: skip
    layers = objective.config.model
    assert len(asked) == 3 * (layers.encoder_layers + layers.decoder_layers)


@pytest.mark.parametrize(("amp", "kind"), [("auto", "float"), ("bf16", "bf16")])
def test_a_gpu_without_bf16_learns_in_float32_unless_told_otherwise(monkeypatch, amp, kind):
    with fake_cuda(monkeypatch) as asked:
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
        objective = objective_of(amp=amp, heatmap=False, model={"encoder_layers": 0, "decoder_layers": 1})
        objective(batch_of(objective))
    assert asked[0] == f"forward_b<{kind}, {kind}, 8, 8, 3, 4, 2, false>"


def test_all_that_a_step_changes_stays_on_the_gpu(monkeypatch):
    with fake_cuda(monkeypatch):
        objective = objective_of()
        optimizer = torch.optim.AdamW(groups(objective, objective.config), fused=True)
        average = Average(objective.model, 0.99)
        for parameter in objective.parameters():
            parameter.grad = torch.zeros_like(parameter)
        norm = nn.utils.clip_grad_norm_(objective.parameters(), 5.0)
        set_rates(optimizer, objective.config, Progress())
        optimizer.step()
        average.update(objective.model, 1)
        assert (norm.device, norm.dim()) == (GPU, 0)
        moments = [t for state in optimizer.state.values() for t in state.values()]
        assert {t.device for t in [*moments, *average.state.values()]} == {GPU}
        for parameter, state in optimizer.state.items():
            assert state["exp_avg"].stride() == parameter.stride()  # the fused step walks memory


def person(number):
    """Somebody in a picture up to five times as large as the crop."""
    w, h = 60 + 40 * number, 90 + 50 * number
    image = cv2.resize(np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5, (w, h))
    box = np.array([0.2 * w, 0.15 * h, 0.8 * w, 0.9 * h], np.float32)
    xy = np.random.default_rng(number).uniform(box[:2], box[2:], (17, 2)).astype(np.float32)
    return Sample(f"{number}", f"photo{number}", "coco", lambda: image, box, xy, np.ones(17, np.float32), 1000.0)


def test_crops_are_painted_where_they_are_used(monkeypatch):
    recipe = AugmentConfig(degrade=1, erase=1, colour=1)
    config = TrainConfig(model=ModelConfig(size=(32, 64)), augment=recipe, batch=6, workers=1, crops="auto")
    monkeypatch.setattr(loader, "free_memory", lambda device: 2**30)
    people = [person(number) for number in range(6)]
    with fake_cuda(monkeypatch):
        made = Loader(people, config, 0, 1, GPU)
        assert made.pictures is not None
        batch = made.batch(0)
    tensors = [getattr(batch, name) for name in Batch.__slots__]
    assert {(t.device, t.dtype) for t in tensors} == {(GPU, torch.float32)}
    assert [tuple(t.shape) for t in tensors] == [(6, 3, 64, 32), (6, 17, 2), (6, 17), (6, 17), (6,)]
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
