"""A whole model learns through the kernel's own source, run on the CPU: layouts, types and gradients of real use."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tfpose_rt.config import ModelConfig
from tfpose_rt.device import settle
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.model.transformer import DeformableAttention
from tfpose_rt.ops import cpu_gather
from tfpose_rt.ops.launch import Kernel
from tfpose_rt.tools.host_kernel import HostLauncher
from tfpose_rt.training.loader import Batch
from tfpose_rt.training.objective import Objective
from tfpose_rt.training.settings import TrainConfig


@pytest.fixture(scope="module")
def kernel(tmp_path_factory, compiler):
    """The instances of these models alone, compiled in one go."""
    launcher = HostLauncher(tmp_path_factory.mktemp("kernels"), sms=132)
    launcher.prepare(
        f"{name}<{kind}, {kind}, 8, 8, 3, 4, 2, true{rest}>"
        for kind, learns in (("float", "true"), ("bf16", "false"))
        for name, rest in (("forward_b", ""), ("backward", ", false, 1"), ("backward", f", {learns}, 1"))
    )
    return Kernel(launcher)


def through(kernel):
    """What stands in for the CPU's path: the fused kernel, and what it was asked for."""
    asked = []

    class Fused(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value, offsets, logits, ref, shapes):
            ctx.save_for_backward(value, offsets, logits, ref)
            ctx.shapes = shapes
            asked.append((value.dtype, offsets.dtype))
            return kernel.forward(value, offsets, logits, ref, shapes)

        @staticmethod
        def backward(ctx, grad):
            needs = ctx.needs_input_grad[:4]
            found = kernel.backward(grad, *ctx.saved_tensors, ctx.shapes, needs, False)
            asked.append((grad.dtype, needs[3]))
            return (*(g if need else None for g, need in zip(found, needs, strict=True)), None)

    return SimpleNamespace(apply=Fused.apply), asked


@pytest.mark.parametrize(("amp", "start", "dtype"), [("off", "mean", torch.float32), ("bf16", "image", torch.bfloat16)])
def test_gradients_of_a_model_are_those_of_the_other_path(monkeypatch, kernel, amp, start, dtype):
    torch.manual_seed(0)
    # with maps of two pixels at the coarsest level torch 2.14's bf16 convolutions read beyond them where there is AMX
    model = ModelConfig(trunk="resnet18", channels=64, encoder_layers=1, decoder_layers=1, size=(64, 128), start=start)
    objective = Objective(TFPose(model), TrainConfig(model=model, amp=amp)).eval()
    settle(objective.model, "cpu", torch.channels_last)
    for module in objective.modules():  # as if it had learned: at first points lie on whole pixels, where slopes jump
        if isinstance(module, DeformableAttention):
            nn.init.normal_(module.sampling.weight, std=0.03)
            nn.init.uniform_(module.sampling.bias, -1.4, 1.4)
    labels = torch.rand((2, 17, 2)), torch.ones((2, 17)), torch.ones((2, 17)), torch.full((2,), 1e3)
    batch = Batch(torch.rand((2, 3, 128, 64)), *labels)

    def gradients():
        objective.zero_grad()
        terms = objective(batch)
        terms["loss"].backward()
        return torch.cat([p.grad.flatten() for p in objective.parameters()]), float(terms["loss"].detach())

    expected, loss = gradients()
    fused, asked = through(kernel)
    monkeypatch.setattr(cpu_gather, "Gather", fused)
    got, same = gradients()
    assert same == pytest.approx(loss, rel=1e-4)
    assert float((got - expected).norm() / expected.norm()) < (1e-5 if amp == "off" else 5e-3)
    assert asked == [(dtype, dtype)] * 2 + [(dtype, start == "mean"), (dtype, False)]
