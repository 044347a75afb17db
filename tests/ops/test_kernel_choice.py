import sys
import types

import pytest
import torch

from tfpose_rt.config import MODELS, ModelConfig
from tfpose_rt.errors import DeviceError, UsageError
from tfpose_rt.ops import choice, cupy_kernel, deform_attn, launch
from tfpose_rt.ops.choice import KernelChoice, fused_selected, kernel_choice, select_kernel
from tfpose_rt.ops.deform_attn import ms_deform_attn
from tfpose_rt.tools.kernel_cases import Case, make

CPU, GPU, OTHER = torch.device("cpu"), torch.device("cuda", 0), torch.device("cuda", 1)


@pytest.fixture
def gpu(monkeypatch):
    """A machine with a GPU and torch for CUDA 13, as far as the choice looks."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(choice, "_chosen", {})
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Test GPU")
    cupy_kernel._cupy_obstacle.cache_clear()
    yield monkeypatch
    cupy_kernel._cupy_obstacle.cache_clear()


def cupy_of(version):
    found = types.ModuleType("cupy")
    found.__version__ = "14.2.0"
    runtime = types.SimpleNamespace(runtimeGetVersion=lambda: version)
    found.cuda = types.SimpleNamespace(runtime=runtime)
    return found


def test_on_a_cpu_auto_is_torch_and_fused_an_error():
    assert kernel_choice("auto", CPU).name == "torch"
    assert "cpu" in kernel_choice("auto", CPU).reason
    with pytest.raises(DeviceError, match="needs a CUDA GPU") as caught:
        kernel_choice("fused", CPU)
    assert caught.value.exit_code == 6


def test_an_unknown_kernel_is_a_usage_error():
    with pytest.raises(UsageError, match="'quick'"):
        kernel_choice("quick", CPU)


def test_a_fitting_cupy_makes_auto_fused(gpu):
    gpu.setitem(sys.modules, "cupy", cupy_of(13020))
    assert kernel_choice("auto", GPU) == KernelChoice("cuda fused", "CuPy and the GPU fit")
    assert kernel_choice("torch", GPU).name == "torch"


@pytest.mark.parametrize(
    ("module", "cause", "fix"),
    [
        (None, "CuPy is not installed|does not import", "pip install cupy-cuda13x"),
        (cupy_of(12090), "for CUDA 12, but torch", "pip uninstall -y cupy-cuda12x && pip install cupy-cuda13x"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_cupy_is_said_with_the_remedy(gpu, module, cause, fix):
    gpu.setitem(sys.modules, "cupy", module)
    with pytest.raises(DeviceError, match=cause) as caught:
        kernel_choice("fused", GPU)
    assert caught.value.fix == fix
    assert "\n" not in str(caught.value)
    cupy_kernel._cupy_obstacle.cache_clear()
    assert fix in kernel_choice("auto", GPU).reason


def test_a_home_that_cannot_be_written_is_said_with_the_remedy(gpu):
    """CuPy makes its cache's folder while it is imported, and in a container there may be no home."""

    class Loader:
        def find_spec(self, name, *_):
            if name == "cupy":
                raise PermissionError(13, "Permission denied", "/.cupy")

    gpu.delitem(sys.modules, "cupy", raising=False)
    gpu.setattr(sys, "meta_path", [Loader(), *sys.meta_path])
    chosen = kernel_choice("auto", GPU)
    assert chosen.name == "torch"
    assert "cannot write its cache" in chosen.reason
    assert "CUPY_CACHE_DIR=" in chosen.reason


def test_a_gpu_too_old_or_a_torch_without_cuda_is_said(gpu):
    gpu.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(DeviceError, match="Test GPU is sm_75"):
        kernel_choice("fused", GPU)
    gpu.setattr(torch.version, "cuda", None)
    with pytest.raises(DeviceError, match="without CUDA"):
        kernel_choice("fused", GPU)


@pytest.mark.parametrize(
    ("raised", "says", "fix"),
    [
        (
            RuntimeError("Failed to find CUDA headers.\nInstall them"),
            "no CUDA headers",
            "pip install nvidia-cuda-runtime",
        ),
        (RuntimeError("CuPy failed to load libnvrtc.so.13"), "no NVRTC", "pip install nvidia-cuda-nvrtc"),
        (PermissionError(13, "Permission denied", "/home/x"), "cannot write its cache: .*denied", "CUPY_CACHE_DIR"),
        (ValueError("ms_deform_attn.cu(3): error: x"), r"ms_deform_attn.cu\(3\): error: x", "--kernel torch"),
    ],
)
def test_a_failed_compile_is_one_line_with_cause_and_remedy(gpu, raised, says, fix):
    error = cupy_kernel.explain(raised)
    assert isinstance(error, DeviceError)
    with pytest.raises(DeviceError, match=says):
        raise error
    assert fix in error.fix
    assert "\n" not in str(error)


def test_a_failed_compile_never_becomes_the_slow_path(gpu):
    broken = cupy_of(13020)

    def refuse(**given):
        class Module:
            def get_function(self, name):
                raise RuntimeError("Failed to find CUDA headers")

        return Module()

    broken.RawModule = refuse
    gpu.setitem(sys.modules, "cupy", broken)
    assert kernel_choice("auto", GPU).name == "cuda fused"
    with pytest.raises(DeviceError, match="does not compile"):
        cupy_kernel.compile_functions(["forward_a<>"])


@pytest.mark.parametrize("error", [RuntimeError("no NVML"), ModuleNotFoundError("pynvml"), OSError("not permitted")])
def test_a_clock_that_cannot_be_read_is_no_reason_to_fail(gpu, error):
    def refuse():
        raise error

    module = cupy_of(13020)
    module.cuda.nvrtc = types.SimpleNamespace(getVersion=lambda: (13, 2))
    module.cuda.runtime.driverGetVersion = lambda: 13020
    gpu.setitem(sys.modules, "cupy", module)
    gpu.setattr(torch.cuda, "clock_rate", refuse)
    assert cupy_kernel.versions()["clock MHz"] == f"unknown: {error}"


def test_launches_made_ready_go_with_their_plans(gpu):
    """Thousands of shapes leave no more behind in the launcher than in the kernel's own table."""
    for module in (launch, cupy_kernel):
        gpu.setattr(module, "MOST_PLANS", 3)
    gpu.setattr(torch._C, "_cuda_getCurrentRawStream", lambda index: 0, raising=False)
    launcher, launched = cupy_kernel.CupyLauncher(), []
    gpu.setattr(launcher, "sm_count", lambda device: 132)
    gpu.setattr(launcher, "function", lambda *_: lambda grid, block, args, stream: launched.append(block))
    made = launch.Kernel(launcher)
    for queries in range(1, 12):
        x = make(Case(queries=queries))
        made.forward(*x.tensors, x.shapes)
        made.forward(*x.tensors, x.shapes)
        assert {plan for plan, _ in launcher._local.ready} == set(made._plans.values())
    assert len(launched) == 22


def test_the_choice_made_is_the_one_that_calls_follow(gpu):
    gpu.setitem(sys.modules, "cupy", cupy_of(13020))
    for path in ("reference", "_cuda_forward", "OPERATOR"):
        gpu.setattr(deform_attn, path, lambda *_, path=path: path)

    def taken():
        """Without and with gradients, for what looks like a tensor on the GPU."""
        still, learns = (types.SimpleNamespace(device=GPU, requires_grad=learns) for learns in (False, True))
        return [ms_deform_attn(still, still, still, still, ()), ms_deform_attn(still, learns, still, still, ())]

    fused = ["_cuda_forward", "OPERATOR"]
    assert taken() == fused  # before anything was chosen
    for kernel, name, expected in (
        ("torch", "torch", ["reference"] * 2), ("auto", "cuda fused", fused), ("torch", "torch", ["reference"] * 2),
        ("fused", "cuda fused", fused),
    ):  # fmt: skip
        assert select_kernel(kernel, GPU).name == name
        assert taken() == expected
        assert taken() == expected  # remembered


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"heads": 2}, "4, 8 or 16 heads, the model 2"),
        ({"heads": 6}, "4, 8 or 16 heads, the model 6"),
        ({"channels": 320}, "channels a head, the model 40"),
        ({"points": 12}, "32 points a head, the model 3 and 36"),
    ],
)
def test_a_model_of_other_sizes_than_the_kernels_runs_on_plain_torch(gpu, sizes, says):
    gpu.setitem(sys.modules, "cupy", cupy_of(13020))
    model = ModelConfig(**sizes)
    made = select_kernel("auto", GPU, model)
    assert made.name == "torch"
    assert made.reason.endswith(says)
    assert not fused_selected(GPU)
    with pytest.raises(DeviceError, match=says) as caught:
        select_kernel("fused", GPU, model)
    assert (caught.value.exit_code, caught.value.fix) == (6, "--kernel auto")


@pytest.mark.parametrize("name", MODELS)
def test_the_shipped_sizes_are_the_kernels(gpu, name):
    gpu.setitem(sys.modules, "cupy", cupy_of(13020))
    assert select_kernel("fused", GPU, MODELS[name]).name == "cuda fused"


def test_a_choice_holds_for_its_device_alone(gpu):
    gpu.setitem(sys.modules, "cupy", cupy_of(13020))
    select_kernel("torch", GPU)
    select_kernel("auto", CPU)
    assert not fused_selected(GPU)
    assert fused_selected(OTHER)  # nothing was chosen there: auto
    select_kernel("torch", OTHER)
    select_kernel("fused", torch.device("cuda"))  # the current one, which tensors call cuda:0
    assert (fused_selected(GPU), fused_selected(OTHER)) == (True, False)


def test_choosing_while_compiling_leaves_one_graph(monkeypatch):
    """CuPy cannot be traced, and need not be: what was chosen is a constant of the graph."""

    def untraceable(kernel, device, model):
        torch._dynamo.graph_break()  # nothing outside a trace; an error where the whole has to be one graph
        return KernelChoice("cuda fused", "fits")

    def run(x):
        return x + 1 if choice.fused_selected(x.device) else x - 1

    monkeypatch.setattr(choice, "kernel_choice", untraceable)
    monkeypatch.setattr(choice, "_chosen", {})
    torch._dynamo.reset()
    assert torch.compile(run, fullgraph=True, backend="eager")(torch.zeros(1)) == 1
