"""ONNX, OpenVINO and TorchScript: how a network is written in each, and how the file is run again.

No format knows our operator for deformable attention, so all of them get the same sums as `grid_sample`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tfpose_rt import engine
from tfpose_rt.conversion import extensions
from tfpose_rt.detect import STRIDE
from tfpose_rt.model import transformer
from tfpose_rt.ops.deform_attn import reference
from tfpose_rt.tools.export_check import Array, Runner
from tfpose_rt.tools.export_network import INPUT, Exportable

FREE = ("none", "batch", "size")  # what of the input's shape stays open: nothing, B, or B, H and W
OPSET = 18  # the exporter's own; GridSample came with 16, LayerNormalization with 17
SWITCH = "ORT_DISABLE_TELEMETRY"
KEY = "tfpose_rt"  # the table of the metadata in an OpenVINO file
FILE = "metadata.json"  # of the metadata in a TorchScript file


@dataclass(frozen=True, slots=True)
class Format:
    """A file format.

    Args:
        suffix: of the file that is named.
        beside: suffixes of files that belong to it.
        extra: of this package, which brings what it needs; "" where nothing is.
        needs: packages that writing takes.
        checks: packages that running takes besides.
        half: whether fp16 means computing in float16; otherwise weights are stored so, and the device decides.
        write: puts the network and its metadata into a file; the last argument is one of `FREE`.
        run: opens that file, on the CPU.
    """

    suffix: str
    beside: tuple[str, ...]
    extra: str
    needs: tuple[str, ...]
    checks: tuple[str, ...]
    half: bool
    write: Callable[[Exportable, Mapping[str, str], Path, str], None]
    run: Callable[[Path], Runner]


@contextmanager
def _traceable() -> Iterator[None]:
    """Have attention traced as grid_sample, without gradients; tracing warns of sizes that are constant on purpose."""
    names = vars(transformer)
    kept = names["ms_deform_attn"]
    names["ms_deform_attn"] = reference
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        names["ms_deform_attn"] = kept


def _example(made: Exportable, free: str) -> torch.Tensor:
    w, h = made.size
    if free == "size":
        h = max(h // (2 * STRIDE), 1) * STRIDE  # sides that are equal would be taken for one
    return torch.zeros(1 if free == "none" else 2, 3, h, w)


def write_onnx(made: Exportable, facts: Mapping[str, str], path: Path, free: str) -> None:
    """One .onnx file, weights inside, without the names and paths of this machine's sources."""
    _hush()  # should the exporter import onnxruntime one day
    axes: dict[int, Any] = {} if free == "none" else {0: torch.export.Dim("batch", min=1)}
    if free == "size":
        axes |= {2 + i: STRIDE * torch.export.Dim(side, min=1) for i, side in enumerate(("rows", "columns"))}
    with _traceable():
        program: Any = torch.onnx.export(
            made.network, (_example(made, free),), input_names=[INPUT], output_names=list(made.outputs),
            dynamic_shapes=(axes,) if axes else None, opset_version=OPSET, dynamo=True, optimize=True, verbose=False,
        )  # fmt: skip
    model = program.model
    model.graph.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces
    model.metadata_props.update(facts)
    model.producer_name, model.producer_version = "tfpose-rt", facts["made_by"].split()[-1]
    program.save(path, external_data=False)


def _hush() -> None:
    if "onnxruntime" not in sys.modules:
        os.environ[SWITCH] = "1"


def load_onnxruntime() -> Any:
    """Import onnxruntime with its usage reports switched off; the switch is for this process and its children.

    Its official builds (1.29 on) leave an id in the home folder and send events as soon as they are imported; where
    another part of the program imported it before us, that has made the choice.
    """
    _hush()
    runtime = importlib.import_module("onnxruntime")
    runtime.disable_telemetry_events()  # Windows' own kind does not look at the variable
    return runtime


def run_onnx(path: Path) -> Runner:
    """An .onnx file through onnxruntime, with as many threads as torch has."""
    runtime = load_onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {INPUT: images})


def write_openvino(made: Exportable, facts: Mapping[str, str], path: Path, free: str) -> None:
    """An .xml and a .bin; the metadata is the runtime information `tfpose_rt`."""
    ov = engine.load()
    with _traceable():
        # a function, for a module is first taken apart into hundreds
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            lambda images: made.network(images), _example(made, free), check_trace=False
        )
        sides = [-1, -1] if free == "size" else [made.size[1], made.size[0]]
        shape = ov.PartialShape([1 if free == "none" else -1, 3, *sides])
        model = ov.convert_model(traced, extension=extensions(), input=[shape])
    model.inputs[0].get_tensor().set_names({INPUT})
    for output, name in zip(model.outputs, made.outputs, strict=True):
        output.get_tensor().set_names({name})
    for key, value in facts.items():
        model.set_rt_info(value, [KEY, key])
    ov.save_model(model, path, compress_to_fp16=facts["precision"] == "fp16")


def run_openvino(path: Path) -> Runner:
    """An .xml file on the CPU, in float32."""
    model = engine.core().read_model(path.read_bytes(), path.with_suffix(".bin").read_bytes())
    compiled = engine.core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(images: Array) -> list[Array]:
        found = compiled(images)
        return [np.array(found[i], np.float32) for i in range(len(compiled.outputs))]

    return run


def write_torchscript(made: Exportable, facts: Mapping[str, str], path: Path, free: str) -> None:
    """A traced module; it can be moved to any device, and takes any number of pictures."""
    with _traceable():
        traced = torch.jit.trace(made.network, _example(made, free), check_trace=False)  # type: ignore[no-untyped-call]
        with path.open("wb") as file:  # given a path, torch takes it for one of Windows' code page
            torch.jit.save(traced, file, _extra_files={FILE: json.dumps(facts)})


def run_torchscript(path: Path) -> Runner:
    """A TorchScript file in this torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is to go one day, and says so
        with path.open("rb") as file:
            loaded = torch.jit.load(file, map_location="cpu")  # type: ignore[no-untyped-call]

    def run(images: Array) -> list[Array]:
        with torch.inference_mode():
            return [answer.numpy() for answer in loaded(torch.from_numpy(images))]

    return run


FORMATS = {
    "onnx": Format(
        ".onnx", (), "export", ("onnx", "onnxscript"), ("onnxruntime",), True, write_onnx, run_onnx
    ),
    "openvino": Format(".xml", (".bin",), "openvino", ("openvino",), (), False, write_openvino, run_openvino),
    "torchscript": Format(".torchscript", (), "", (), (), True, write_torchscript, run_torchscript),
}  # fmt: skip
