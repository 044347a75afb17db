"""The paper's five costs (GFLOPs there, multiply-adds here), counted on the real modules."""

import dataclasses

import pytest

from tfpose_rt.config import ModelConfig
from tfpose_rt.model.cost import cost

PAPER = [
    ("resnet18", 2, 4, (192, 256), 3.61),
    ("resnet18", 6, 6, (192, 256), 6.77),
    ("resnet50", 4, 6, (192, 256), 7.68),
    ("resnet50", 6, 6, (192, 256), 9.15),
    ("resnet50", 6, 6, (288, 384), 20.4),
]


def config(trunk: str, encoders: int, decoders: int, size: tuple[int, int]) -> ModelConfig:
    return ModelConfig(
        trunk=trunk, channels=256, encoder_layers=encoders, decoder_layers=decoders, size=size, start="mean"
    )  # fmt: skip


def gmac(shape: ModelConfig) -> float:
    return cost(shape).gmac


@pytest.mark.parametrize(("trunk", "encoders", "decoders", "size", "told"), PAPER)
def test_the_papers_costs_within_two_percent(trunk, encoders, decoders, size, told):
    assert gmac(config(trunk, encoders, decoders, size)) == pytest.approx(told, rel=0.02)


def test_every_part_costs_something():
    small = config("resnet18", 0, 1, (192, 256))
    costs = [
        gmac(small),
        gmac(dataclasses.replace(small, q2q=False)),
        gmac(dataclasses.replace(small, encoder_layers=1)),
        gmac(dataclasses.replace(small, strides=(4, 8, 16, 32))),
    ]
    assert costs[1] < costs[0] < costs[2]
    assert costs[0] < costs[3]
