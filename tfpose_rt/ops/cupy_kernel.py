"""Compiles cuda/ms_deform_attn.cu at run time and launches it on torch's stream; the only importer of CuPy."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from tfpose_rt.errors import DeviceError
from tfpose_rt.ops.launch import MOST_PLANS, Kernel
from tfpose_rt.ops.plan import PARAMS_BYTES, POINTERS, Plan
from tfpose_rt.ops.source import kernel_source

OPTIONS = ("--std=c++17",)  # CuPy adds the architecture and -ftz=true
OLDEST = (8, 0)  # bf16 conversion instructions
WRITABLE = "CUPY_CACHE_DIR=a folder that can be written"
Obstacle = tuple[str, str]  # what is in the way, what to do about it


def _wheel() -> str:
    """The CuPy package for the CUDA that this torch was built for."""
    return f"cupy-cuda{str(torch.version.cuda).split('.')[0]}x"


@cache
def _cupy_obstacle() -> Obstacle | None:
    major = str(torch.version.cuda).split(".")[0]
    install = f"pip install {_wheel()}"
    try:
        import cupy
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] in ("cupy", "cupy_backends"):
            return "CuPy is not installed", install
        return f"CuPy does not import: {error}", install
    except ImportError as error:
        return f"CuPy does not import: {' '.join(str(error).split())[:300]}", install
    except OSError as error:  # its import makes the folder that it will keep compiled kernels in
        return f"CuPy cannot write its cache: {error}", WRITABLE
    built = cupy.cuda.runtime.runtimeGetVersion()  # of the CUDA it was built for, such as 13020
    if str(built // 1000) != major:
        wrong = f"cupy-cuda{built // 1000}x"
        return (
            f"CuPy {cupy.__version__} is for CUDA {built // 1000}, but torch {torch.__version__} is for CUDA {major}",
            f"pip uninstall -y {wrong} && {install}",
        )
    return None


def find_obstacle(device: torch.device) -> Obstacle | None:
    """What keeps the fused kernel from this CUDA device: (cause, remedy), or None. Compiles nothing."""
    if torch.version.cuda is None:
        return "this torch is built without CUDA", "pip install torch torchvision, from the ordinary index"
    if not torch.cuda.is_available():
        return "torch finds no CUDA GPU or driver", "nvidia-smi"
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST:
        return (
            f"{torch.cuda.get_device_name(device)} is sm_{capability[0]}{capability[1]}, older than sm_80",
            "--kernel torch",
        )
    return _cupy_obstacle()


class _Stream:
    """What CuPy wants of a stream; its own classes would warn, or make CuPy's stream current."""

    __slots__ = ("ptr",)

    def __init__(self, ptr: int) -> None:
        self.ptr = ptr


@dataclass(slots=True)
class _Ready:
    """A plan made ready in one thread: a struct to fill in and hand over by value, and the loaded function."""

    buffer: bytearray
    args: tuple[Any]
    function: Callable[..., None]
    grid: tuple[int]
    block: tuple[int]


class CupyLauncher:
    """Launches plans; modules are kept for each device, argument buffers for each thread."""

    def __init__(self, bench: bool = False) -> None:
        self.bench = bench
        self._functions: dict[tuple[int, str], Any] = {}
        self._lock = threading.Lock()
        self._local = threading.local()
        self._streams: dict[int, _Stream] = {}
        self._sms: dict[int, int] = {}

    def sm_count(self, device: torch.device) -> int:
        """Multiprocessors of the device."""
        index = _index(device)
        if index not in self._sms:
            self._sms[index] = torch.cuda.get_device_properties(index).multi_processor_count
        return self._sms[index]

    def launch(self, plan: Plan, pointers: tuple[int, ...], device: torch.device) -> None:
        """Run the plan on torch's current stream of the device.

        Raises: DeviceError: the kernel does not compile; RuntimeError: it would have to, inside a graph capture.
        """
        index = _index(device)
        ready: dict[tuple[Plan, int], _Ready] = self._local.__dict__.setdefault("ready", {})
        entry = ready.get((plan, index))
        if entry is None:
            if len(ready) >= MOST_PLANS:  # as `Kernel`'s table, or plans that it let go would stay here
                ready.clear()
            entry = ready[plan, index] = self._prepare(plan, index)
        POINTERS.pack_into(entry.buffer, 0, *pointers)
        raw = torch._C._cuda_getCurrentRawStream(index)
        stream = self._streams.get(raw)
        if stream is None:
            stream = self._streams[raw] = _Stream(raw)
        if torch.cuda.current_device() == index:
            entry.function(entry.grid, entry.block, entry.args, stream=stream)
        else:  # CuPy picks the module by the current device
            with torch.cuda.device(index):
                entry.function(entry.grid, entry.block, entry.args, stream=stream)

    def _prepare(self, plan: Plan, index: int) -> _Ready:
        buffer = bytearray(POINTERS.size) + bytearray(plan.statics)
        array = np.frombuffer(buffer, dtype=f"V{PARAMS_BYTES}")  # size 1, so CuPy passes it by value
        return _Ready(buffer, (array,), self.function(plan.expression, index), (plan.grid,), (plan.threads,))

    def function(self, expression: str, index: int) -> Any:
        """The loaded function of one instance on one device, compiled when first asked for."""
        found = self._functions.get((index, expression))
        if found is None:
            if torch.cuda.is_current_stream_capturing():
                raise RuntimeError(f"{expression} is not loaded inside a graph capture: call warmup() first")
            with self._lock, torch.cuda.device(index):
                found = self._functions[index, expression] = compile_functions([expression], self.bench)[expression]
        return found


def _index(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index


def compile_functions(expressions: Iterable[str], bench: bool = False) -> dict[str, Any]:
    """Compile and load instances for the current device.

    Raises: DeviceError: with the compiler's own text, or what is missing, and the remedy.
    """
    import cupy

    names = tuple(expressions)
    module = cupy.RawModule(code=kernel_source(bench), options=OPTIONS, name_expressions=names)
    try:
        return {name: module.get_function(name).kernel for name in names}
    except Exception as error:  # CuPy's own, NVRTC's and driver errors: all end here, told
        raise explain(error) from error


def explain(error: Exception) -> DeviceError:
    """Turn what CuPy raised while compiling or loading into one line with a remedy."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC):
        return DeviceError("the fused kernel cannot be kept", why=f"CuPy cannot write its cache: {text}", fix=WRITABLE)
    major = str(torch.version.cuda).split(".")[0]
    if "CUDA headers" in text or "cuda_runtime" in text or "CUDA_PATH" in text:
        headers = "nvidia-cuda-runtime" if major == "13" else f"nvidia-cuda-runtime-cu{major}"
        return DeviceError(
            "the fused kernel does not compile", why="CuPy finds no CUDA headers", fix=f"pip install {headers}"
        )
    if "nvrtc" in text.lower() and ("load" in text.lower() or "not found" in text.lower()):
        nvrtc = "nvidia-cuda-nvrtc" if major == "13" else f"nvidia-cuda-nvrtc-cu{major}"
        return DeviceError(
            "the fused kernel does not compile", why=f"CuPy finds no NVRTC: {text[:300]}", fix=f"pip install {nvrtc}"
        )
    return DeviceError(
        "the fused kernel does not compile",
        why=f"{type(error).__name__}: {text[:1500]}",
        fix="tfpose-rt doctor, or --kernel torch for the slow path",
    )


def versions() -> dict[str, str]:
    """What a table of times needs beside it: CuPy, NVRTC, driver, and the clock of this moment where it can be read."""
    import cupy

    found = {
        "cupy": str(cupy.__version__),
        "nvrtc": ".".join(map(str, cupy.cuda.nvrtc.getVersion())),
        "driver": str(cupy.cuda.runtime.driverGetVersion()),
    }
    try:
        found["clock MHz"] = str(torch.cuda.clock_rate())
    except Exception as error:  # noqa: BLE001 - nvidia-ml-py may be absent, or raise its own errors (no permission, MIG)
        found["clock MHz"] = f"unknown: {error}"
    return found


@cache
def kernel() -> Kernel:
    """The process's kernel on CUDA devices."""
    return Kernel(CupyLauncher())


def warmup(run: Callable[[], object], device: torch.device) -> None:
    """Compile, load and launch once whatever `run` uses: before a graph capture, or ahead of time.

    Args:
        run: calls the model, or `ms_deform_attn`, with the shapes to come, outside a capture.
        device: the CUDA device to wait for.
    """
    run()
    torch.cuda.synchronize(device)
