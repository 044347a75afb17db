"""A GPU that computes nothing: tensors with a device, a type, a shape and strides, but no numbers."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from tfpose_rt.ops import choice, deform_attn
from tfpose_rt.ops.plan import FIXED, FLOAT, backward_plan, check, forward_plan

GPU = torch.device("cuda", 0)
MULTIPROCESSORS = 132


@contextmanager
def fake_cuda(patch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Within, what is made or moved "on cuda" is such a tensor, by torch's own rules of devices, types and autocast.

    Every call of the fused kernel is checked and planned as on a GPU, forward and backward, and its answer has the
    shape of the kernel's. Yields the instances that the calls asked for.
    """
    asked: list[str] = []
    operator, to_numpy = deform_attn.OPERATOR, torch.Tensor.numpy

    def planned(value, offsets, logits, ref, shapes, variant="auto"):
        given = (value, offsets, logits, ref)
        assert {t.device for t in given} == {GPU}
        sizes = check(*given, shapes)
        asked.append(forward_plan(sizes, given, MULTIPROCESSORS, variant).expression)
        for mode in (FLOAT, FIXED) if value.requires_grad else ():
            asked.append(backward_plan(sizes, given, MULTIPROCESSORS, mode, ref.requires_grad).expression)
        with torch.autocast("cuda", enabled=False):  # which would call it once more
            return operator(*given, shapes, variant)

    def numbers(tensor, *options):
        """Zeros for what holds no numbers, and from the CPU alone, as numpy() does."""
        if not isinstance(tensor, FakeTensor):
            return to_numpy(tensor, *options)
        assert tensor.device.type == "cpu"
        assert not tensor.requires_grad
        return np.zeros(tensor.shape, str(tensor.dtype).removeprefix("torch."))

    def moved(module, change):
        """As torch's own, which cannot move a fake parameter twice."""
        for child in module.children():
            child._apply(change)
        for name, tensor in module._parameters.items():
            if tensor is not None:
                module._parameters[name] = torch.nn.Parameter(change(tensor), tensor.requires_grad)
        for name, tensor in module._buffers.items():
            module._buffers[name] = change(tensor)
        return module

    patch.setattr(torch.nn.Module, "_apply", moved)
    patch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    patch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    patch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    patch.setattr(torch.Tensor, "numpy", numbers)
    patch.setattr(choice, "_chosen", {GPU: True})
    for name in ("OPERATOR", "_cuda_forward"):  # with and without gradients
        patch.setattr(deform_attn, name, planned)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield asked
