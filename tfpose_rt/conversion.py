"""Torch networks traced for OpenVINO, and compared with what they were made from."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tfpose_rt import engine
from tfpose_rt.bounds import Bounds
from tfpose_rt.compiled import Compiled
from tfpose_rt.errors import line_of
from tfpose_rt.model.quantise import quantise

TOLERANCE = 1e-3  # of 1 + |value|, from torch to the converted network, boxes in px: on noise, deep ones reach 2e-4
ROUNDED = 0.05  # the same of int8, on average: where a number is rounded the other way, what follows moves by a step


class _Pictures(nn.Module):
    """A network that takes pictures as they come: (B, H, W, 3) uint8 BGR."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Any:
        """Pictures -> what the network answers."""
        return self.network(pictures.permute(0, 3, 1, 2).flip(1).float() / 255)


def convert(build: Callable[[], nn.Module], size: tuple[int, int], any_size: bool, bounds: Bounds | None) -> Any:
    """Trace and convert a network with free shapes, and compare its answers with torch's on noise.

    Args and errors are those of `compiled.compile_network`.
    """
    ov = engine.load()
    network = build() if bounds is None else quantise(build(), bounds)
    (w, h), module = size, _Pictures(network).eval().requires_grad_(False)
    noise = np.random.default_rng(0).integers(0, 256, (3, w if any_size else h, h if any_size else w, 3), np.uint8)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing warns of sizes that are constant on purpose
            # a function, for a module is first taken apart into hundreds; unchecked, for both are compared below
            traced = torch.jit.trace(  # type: ignore[no-untyped-call]
                lambda x: module(x), torch.zeros((2, h, w, 3), dtype=torch.uint8), check_trace=False
            )
            model = ov.convert_model(
                traced, extension=extensions(),
                input=[ov.PartialShape([-1, -1, -1, 3] if any_size else [-1, h, w, 3])],
            )  # fmt: skip
            answer = module(torch.from_numpy(noise))
        compiled = engine.core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        answered = Compiled(compiled)(noise)
    except Exception as error:  # its kinds of error are many; all mean the same here
        raise RuntimeError(f"OpenVINO does not take this network: {line_of(error, -1)}") from error
    expected = [t.numpy() for t in (answer if isinstance(answer, tuple) else (answer,))]
    for got, want in zip(answered, expected, strict=True):
        if got.shape != want.shape:
            raise RuntimeError("OpenVINO's answers have another shape than torch's")
        apart = np.abs(got - want) / (1 + np.abs(want))
        if not (apart.mean() <= ROUNDED if bounds else apart.max() <= TOLERANCE):
            raise RuntimeError("OpenVINO's answers differ from torch's")
    return model


def extensions() -> list[Any]:
    """What the converter lacks: the logit, as torch computes it."""
    operators = importlib.import_module("openvino.opset13")
    frontend = importlib.import_module("openvino.frontend.pytorch")

    def logit(node: Any) -> list[Any]:
        x = node.get_input(0)
        rest = operators.subtract(operators.constant(np.float32(1)), x)
        return [operators.log(operators.divide(x, rest)).output(0)]

    return [frontend.ConversionExtension("aten::logit", logit)]
