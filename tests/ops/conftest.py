import shutil

import pytest
import torch

from tfpose_rt.ops.launch import Kernel
from tfpose_rt.tools import kernel_cases, kernel_checks
from tfpose_rt.tools.host_kernel import HostLauncher

NEEDS_COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="the kernel's CPU build needs g++")


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def compiler():
    """What builds the kernel for the CPU; no part of what this package needs."""
    path = shutil.which("g++")
    if path is None:
        pytest.skip("the kernel's CPU build needs g++")
    return path


@pytest.fixture(scope="session")
def launcher(tmp_path_factory, quick_builds, compiler):
    """The shipped kernels under the shim, every instance of the representative cases compiled in one go."""
    made = HostLauncher(tmp_path_factory.mktemp("kernels"))
    made.prepare(kernel_checks.instances(kernel_cases.representative()))
    return made


@pytest.fixture
def kernel(launcher):
    yield Kernel(launcher)
    launcher.blocks = launcher.threads = None
