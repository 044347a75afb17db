"""How the processes of torchrun come together, on GPUs that are not there."""

import pytest
import torch
import torch.distributed as dist

from tfpose_rt.errors import DeviceError
from tfpose_rt.training.processes import WAIT, join


@pytest.fixture
def begun(monkeypatch):
    """What the processes' group was begun with, on a machine with two GPUs."""
    told = []
    monkeypatch.setattr(dist, "is_initialized", lambda: False)
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **options: told.append((backend, options)))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", told.append)
    return told


def test_each_process_takes_the_gpu_of_its_number_on_its_machine(monkeypatch, begun):
    monkeypatch.setenv("LOCAL_RANK", "1")
    own = torch.device("cuda", 1)
    assert join(torch.device("cuda"), rank=3, world=4) == own
    assert begun == [own, ("nccl", {"timeout": WAIT, "device_id": own})]  # chosen before anything is made on it


def test_more_processes_than_gpus_are_said(monkeypatch, begun):
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(DeviceError, match="process 2 has no GPU: torch sees 2") as caught:
        join(torch.device("cuda"), rank=2, world=3)
    assert caught.value.fix == "--nproc-per-node 2"
    assert begun == []


def test_on_processors_no_gpu_is_named(begun):
    assert join(torch.device("cpu"), rank=1, world=2) == torch.device("cpu")
    assert begun == [("gloo", {"timeout": WAIT, "device_id": None})]
    assert join(torch.device("cpu"), rank=0, world=1) == torch.device("cpu")
    assert len(begun) == 1
