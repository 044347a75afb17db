"""Networks in eight bits: convolutions on whole numbers, which processors multiply fastest.

What goes into a convolution is rounded to 256 steps between bounds that were observed once, its weights to steps of
their own for each output channel. Here that is emulated in torch; OpenVINO knows the pattern and computes it with
integers. Linear layers, attention and everything after it stay in float32: there integers are slower, not faster.
Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
CVPR 2018, sections 2.1 and 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tfpose_rt.bounds import REMEDY, Bounds
from tfpose_rt.errors import WeightsError

STEPS = 255  # from the least to the greatest input
WEIGHT_STEPS = 63  # either way; of 127, for older processors add two products in 16 bits, where 2 * 255 * 127 overflows


class Quantised(nn.Module):
    """A convolution whose input and weights are rounded to eight bits.

    Args:
        layer: with its weights.
        low: least input, at most 0.
        high: greatest input, at least 0; 0 itself stays exact, for padding is made of it.
    """

    step: Tensor
    offset: Tensor

    def __init__(self, layer: nn.Conv2d, low: float, high: float) -> None:
        super().__init__()
        self.layer = layer
        self.scale = max(high - low, 1e-6) / STEPS
        self.zero = round(-low / self.scale)
        most = layer.weight.detach().flatten(1).abs().amax(1)
        self.register_buffer("step", (most / WEIGHT_STEPS).clamp_min(1e-9))
        self.register_buffer("offset", torch.zeros(len(most), dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) -> what the layer gives, float32."""
        layer = self.layer
        x = torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero, 0, STEPS)
        weight = torch.fake_quantize_per_channel_affine(layer.weight, self.step, self.offset, 0, -127, 127)
        return F.conv2d(x, weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)


def convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    """The convolutions of a network, by name."""
    return {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}


@torch.no_grad()
def observe(network: nn.Module, batches: Iterable[Tensor]) -> dict[str, tuple[float, float]]:
    """The bounds of every convolution: its least and greatest input of each batch, averaged over the batches.

    Args:
        network: in eval mode.
        batches: (B, 3, H, W) RGB in 0..1 each, like those it will see; at least one.
    """
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in convolutions(network)}

    def watch(name: str) -> torch.utils.hooks.RemovableHandle:
        def note(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            seen[name].append((min(float(given[0].amin()), 0.0), max(float(given[0].amax()), 0.0)))

        return network.get_submodule(name).register_forward_pre_hook(note)

    hooks = [watch(name) for name in seen]
    try:
        for batch in batches:
            network(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: (fmean(low for low, _ in ends), fmean(high for _, high in ends)) for name, ends in seen.items()}


def quantise(network: nn.Module, bounds: Bounds) -> nn.Module:
    """Put quantised convolutions in the place of all others; changes and returns the network.

    Raises: WeightsError: the bounds are of another network.
    """
    found = convolutions(network)
    if found.keys() != bounds.keys():
        odd = sorted(found.keys() ^ bounds.keys())
        raise WeightsError(
            "the 8-bit bounds do not fit these weights", why=f"{len(odd)} convolutions differ, {odd[0]} is one",
            fix=REMEDY,
        )  # fmt: skip
    for name, layer in found.items():
        parent, _, own = name.rpartition(".")
        setattr(network.get_submodule(parent), own, Quantised(layer, *bounds[name]))
    return network
