"""OpenVINO, kept quiet: the only module that imports it. Runs a torch network faster on processors.

A network is traced and converted once (seconds, and torch is needed for it), kept in the platform's cache folder and
opened from there at each start (tenths of a second, without torch, whose import alone takes longer). Shapes stay
free, so no number of people and no aspect of a video compiles anything anew.
Its Python package reports every import and conversion to its maker; `load()` imports it with that part left out.
A program that imported openvino before us has made its own choice, and keeps it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata as packages
import logging
import os
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfpose_rt.bounds import Bounds
from tfpose_rt.device import usual_threads
from tfpose_rt.errors import DeviceError, UsageError, line_of
from tfpose_rt.records import Image

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)
ENGINES = ("auto", "torch", "openvino")
NO_INT8 = "--precision int8 cannot be used"
INSTALL = 'pip install "tfpose-rt[openvino]"'
HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # always set: left alone, it takes bf16 where there is one
Network = Callable[[Image], tuple[npt.NDArray[np.float32], ...]]
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


def compile_network(
    build: Callable[[], nn.Module],
    sha256: str,
    *,
    size: tuple[int, int],
    any_size: bool = False,
    precision: str = "fp32",
    threads: int = 0,
    bounds: Bounds | None = None,
) -> Network:
    """A network as a function of pictures, run by OpenVINO on the CPU.

    Args:
        build: makes it on the CPU, in eval mode and float32, mapping (B, 3, H, W) RGB in 0..1 to a tensor or a tuple
            of tensors; called only where the cache does not hold it.
        sha256: of its weights, hex.
        size: W, H of its pictures.
        any_size: whether others may follow, as far as the network allows it; `size` is then an example.
        precision: fp32, bf16 or int8.
        threads: of the processor; 0 = as many as torch uses.
        bounds: of int8, as `model.quantise` observes them.
    Returns: a function of (B, H, W, 3) uint8 BGR, any B, to a tuple of float32 arrays of its own; for one thread.
    Raises: RuntimeError: it cannot be converted, or does not answer as torch does. WeightsError: bounds of another one.
    """
    kind = sha256[:16] if bounds is None else f"{sha256[:16]}.int8"
    folder = cache_dir() / f"{kind}-{_fingerprint(sha256, size, any_size, bounds)}"
    settings = {
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "INFERENCE_NUM_THREADS": threads or usual_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # decoding and drawing share the processor
    }
    if (compiled := _kept(folder, settings)) is None:
        from tfpose_rt.conversion import convert

        log.warning("OpenVINO: converting a network; this takes some seconds, once")
        made = convert(build, size, any_size, bounds)
        _keep(made, folder)
        # from the file where there is one: what is read has other last bits than what comes fresh from torch
        compiled = _kept(folder, settings) or core().compile_model(made, "CPU", settings)
    return Compiled(compiled)


def cache_dir() -> Path:
    """The folder of converted networks; it need not exist, and may be deleted at any time."""
    from platformdirs import user_cache_path

    return user_cache_path("tfpose-rt", appauthor=False) / "openvino"


class Compiled:
    """A compiled network with a request of its own."""

    def __init__(self, compiled: Any) -> None:
        self._request, self._outputs = compiled.create_infer_request(), range(len(compiled.outputs))

    def __call__(self, pictures: Image) -> tuple[npt.NDArray[np.float32], ...]:
        """Answer as a `Network` does."""
        found = self._request.infer(pictures, share_inputs=True)
        return tuple(np.asarray(found[i], np.float32) for i in self._outputs)


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


def _fingerprint(*of: object) -> str:
    """What a converted network depends on: its weights, the libraries, and the code that is traced."""
    libraries = [f"{name}={packages.version(name)}" for name in ("openvino", "torch", "ultralytics")]
    digest = hashlib.sha256(repr((of, libraries)).encode())
    home = Path(__file__).parent
    for path in (*sorted((home / "model").glob("*.py")), home / "ops" / "deform_attn.py", home / "person_head.py",
                 home / "yolo.py", home / "conversion.py"):  # fmt: skip
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _kept(folder: Path, settings: Mapping[str, Any]) -> Any:
    """The network of the cache, compiled; None where it is absent or damaged.

    What compiling made of it is put beside it, for this processor and these settings, where a file can be written: the
    next start takes it up from there, to the same bits in a quarter of the time.
    """
    network = folder / "network.xml"
    beside = {"CACHE_DIR": str(folder)} if os.access(folder, os.W_OK) else {}
    with suppress(RuntimeError, OSError):
        return core().compile_model(network, "CPU", {**settings, **beside}) if network.is_file() else None
    return None


def _keep(model: Any, folder: Path) -> None:
    """Put a converted network into the cache, and those of other versions out; where nothing can be written, do not."""
    part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    try:
        with suppress(OSError, RuntimeError):
            part.mkdir(parents=True, exist_ok=True)
            load().save_model(model, part / "network.xml", compress_to_fp16=False)
            for old in folder.parent.glob(f"{folder.name.split('-')[0]}-*"):
                if not old.name.endswith(".part"):
                    shutil.rmtree(old, ignore_errors=True)
            part.replace(folder)  # one rename: no reader sees half of it
    finally:  # after Ctrl-C too
        shutil.rmtree(part, ignore_errors=True)
