"""What doctor and the choice of a device say where torch cannot use the GPU that is there."""

import ctypes

import pytest
import torch

from tfpose_rt import device
from tfpose_rt.tools.doctor_libraries import torch_checks


class Driver:
    """NVIDIA's, as far as it is asked."""

    def __init__(self, status, gpus):
        self.status, self.gpus = status, gpus

    def cuInit(self, flags):  # noqa: N802 - the driver's name
        return self.status

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = self.gpus
        return self.status


@pytest.fixture
def blind(monkeypatch):
    """A machine whose driver shows two GPUs, and a torch that sees none."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device.sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: {"libcuda.so.1": Driver(0, 2)}[name])
    return monkeypatch


def torch_check():
    return next(check for check in torch_checks() if check.name == "torch")


def test_a_torch_without_cuda_beside_a_gpu(blind):
    blind.setattr(torch.version, "cuda", None)
    check = torch_check()
    assert check.state == "warn"
    assert "does not see the driver's 2 GPUs: it is built without CUDA" in check.found
    assert "pip install" in check.fix
    assert device.choose_device("auto") == ("cpu", "auto: torch does not see the GPU; tfpose-rt doctor")


def test_a_driver_that_is_too_old_for_torch(blind):
    def refuse():
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nPlease update")

    blind.setattr(torch.version, "cuda", "13.0")
    blind.setattr(torch.cuda, "init", refuse)
    check = torch_check()
    assert check.state == "warn"
    assert check.found.endswith("is too old (found version 11040).")
    assert check.fix.startswith("a driver for CUDA 13.0")


@pytest.mark.parametrize(("status", "gpus"), [(0, 0), (100, 0)], ids=["hidden by a variable", "no device"])
def test_a_driver_without_gpus_is_no_fault(blind, status, gpus):
    blind.setattr(ctypes, "CDLL", lambda name: Driver(status, gpus))
    assert device.driver_gpus() == 0
    assert torch_check().state == "pass"
    assert device.choose_device("auto") == ("cpu", "auto: no CUDA device")


def test_without_a_driver_there_are_no_gpus(blind):
    def absent(name):
        raise OSError(f"{name}: cannot open shared object file")

    blind.setattr(ctypes, "CDLL", absent)
    assert device.driver_gpus() == 0
    blind.setattr(device.sys, "platform", "darwin")
    blind.setattr(ctypes, "CDLL", lambda name: object())  # the program itself, which has no such functions
    assert device.driver_gpus() == 0
