"""What `bench kernel` records in a CUDA graph may not leave the device: a copy from the host ends the recording."""

from dataclasses import replace

import pytest
import torch
from fake_cuda import GPU, fake_cuda
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tfpose_rt.ops.launch import Kernel
from tfpose_rt.tools import bench_kernel
from tfpose_rt.tools.bench_workload import BenchCase, workload

CASE = BenchCase("enc dry", (10, 8, 5, 4), 2, None, 24)


class Launcher:
    """Notes what a GPU would run."""

    def __init__(self):
        self.launched = []

    def sm_count(self, device):
        return 132

    def launch(self, plan, pointers, device):
        assert device == GPU
        self.launched.append(plan.expression)


class OnDevice(TorchDispatchMode):
    """Refuses every operator that takes or gives a tensor elsewhere."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        answer = function(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, answer)):
            assert not isinstance(leaf, torch.Tensor) or leaf.device == GPU, f"{function} uses {leaf.device}"
        return answer


@pytest.mark.parametrize(("name", "kernel"), bench_kernel.IN_GRAPHS.items())
def test_what_is_recorded_stays_on_the_device(monkeypatch, name, kernel):
    launcher = Launcher()
    made = workload(CASE, torch.float16, "1", Kernel(launcher), "cpu", 0)
    monkeypatch.setattr(torch.Tensor, "data_ptr", lambda tensor: 4096)
    with fake_cuda(monkeypatch):
        moved = {name: getattr(made, name).to("cuda") for name in ("value", "offsets", "logits", "ref", "grad")}
        inputs = replace(made, **moved)
        call = bench_kernel.forward_variants(compiled=False)[name](inputs)
        with OnDevice():
            answer = call()
    assert (answer.shape, answer.dtype, answer.device) == (inputs.grad.shape, torch.float16, GPU)
    assert [expression.split("<")[0] for expression in launcher.launched] == [kernel]
