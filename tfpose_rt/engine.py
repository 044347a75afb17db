"""OpenVINO, kept quiet: the only module that imports it, and says where it runs the networks instead of torch.

Its Python package reports every import and conversion to its maker; `load()` imports it with that part left out.
A program that imported openvino before us has made its own choice, and keeps it.
"""

from __future__ import annotations

import importlib
import importlib.metadata as packages
import sys
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfpose_rt.errors import DeviceError, UsageError, line_of

ENGINES = ("auto", "torch", "openvino")
NO_INT8 = "--precision int8 cannot be used"
INSTALL = 'pip install "tfpose-rt[openvino]"'
HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # always set: left alone, it takes bf16 where there is one
_cores: list[Any] = []  # the one Core of this process, once it is made
_making = threading.Lock()


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """What runs the networks; `reason` is one line for the summary, the recording's header and `doctor`."""

    name: str  # torch | openvino
    reason: str


def choose_engine(asked: str, device: str, precision: str) -> EngineChoice:
    """What runs the networks on a kind of device; imports OpenVINO only where it could be used.

    Args:
        asked: auto (OpenVINO on the CPU where it is installed), torch, or openvino (or an error).
        device: kind of the torch device: cpu, cuda or mps.
        precision: fp32, fp16, bf16 or int8, which is OpenVINO's alone.
    Raises: DeviceError: openvino or int8 was asked for and cannot be used, with the remedy. UsageError: no such engine.
    """
    if asked not in ENGINES:
        raise UsageError(f"--engine {asked}", why="no such engine", fix="auto, torch or openvino")
    if asked == "torch":
        if precision == "int8":
            raise DeviceError(NO_INT8, why="torch emulates it, slowly", fix="--engine openvino")
        return EngineChoice("torch", "asked for")
    found = _obstacle(device, precision)
    if found is None:
        told = f"OpenVINO {packages.version('openvino')}"
        return EngineChoice("openvino", f"asked for: {told}" if asked == "openvino" else f"auto: {told}, on the CPU")
    why, fix = found
    if precision == "int8":
        raise DeviceError(NO_INT8, why=why, fix=fix)
    if asked == "openvino":
        raise DeviceError("--engine openvino cannot be used", why=why, fix=fix)
    return EngineChoice("torch", f"auto: {why}")


def quickest(precision: str, device: str, engine: str) -> str:
    """A precision for live pictures: for auto bf16, where OpenVINO runs the networks on a processor that computes it.

    It takes two thirds of the time of fp32 and costs 0.3 AP end to end (docs/lab.md), so recordings of files are not
    made in it unasked. Args: as `choose_engine` takes them.
    """
    fits = precision == "auto" and engine != "torch" and _obstacle(device, "bf16") is None
    return "bf16" if fits else precision


def refused(error: RuntimeError) -> DeviceError:
    """The error where OpenVINO has to run a network and does not take it."""
    return DeviceError("--engine openvino cannot be used", why=str(error), fix="--engine torch")


def _obstacle(device: str, precision: str) -> tuple[str, str] | None:
    """Why OpenVINO cannot be used, and the remedy; None where it can."""
    if device != "cpu":
        return f"the networks run on {device}", "--device cpu, or --engine torch"
    if precision not in HINTS:
        return f"it has no {precision} here", "--precision fp32"
    try:
        load()
        able = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except ModuleNotFoundError:
        return "OpenVINO is not installed", INSTALL
    except (ImportError, OSError, RuntimeError) as error:
        return f"OpenVINO does not start ({line_of(error, -1)})", f"{INSTALL} --force-reinstall"
    if precision == "bf16" and "BF16" not in able:
        return "this processor has no bf16", "--precision fp32"
    return None


def load() -> Any:
    """Import openvino without the package that reports its use; later calls are free.

    Raises: ImportError: not installed, or broken.
    """
    if "openvino" in sys.modules:
        return importlib.import_module("openvino")
    absent = "openvino_telemetry" not in sys.modules
    if absent:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # its import fails, and a stub stands in
    try:
        return importlib.import_module("openvino")
    finally:
        if absent:
            del sys.modules["openvino_telemetry"]


def reports() -> bool:
    """Whether the openvino of this process, if any, would report its use."""
    if "openvino" not in sys.modules:
        return False
    told = importlib.import_module("openvino.tools.ovc.telemetry_utils").tm.__name__
    return not str(told).endswith("telemetry_stub")


def runs() -> bool:
    """Whether OpenVINO's CPU part computes 1 - x here."""
    operators = importlib.import_module("openvino.opset13")
    x = operators.parameter([-1], np.float32)
    compiled = core().compile_model(load().Model([operators.subtract(np.float32(1), x)], [x]), "CPU")
    return bool(np.allclose(compiled([np.array([0, 2], np.float32)])[0], [1, -1]))


def core() -> Any:
    """The one Core of this process, which lives as long as the process does.

    The CPU part of each Core gives the calling thread a signal stack, and when it ends puts the one before back. Two
    that end in the order in which they were made leave a stack that is unmapped by then, and the next signal, such as
    Ctrl-C, is a segmentation fault. One that does not end leaves none.
    """
    with _making:
        if not _cores:
            _cores.append(load().Core())
        return _cores[0]
