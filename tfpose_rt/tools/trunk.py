"""A trunk as safetensors: what `train --init` starts from, readable without ultralytics and without pickle.

`python -m tfpose_rt.tools.trunk CHECKPOINT trunk.safetensors`, where CHECKPOINT is a YOLO11 or YOLO26 .pt,
torchvision's .pth of a ResNet or of MobileNetV2, or the .json of MoveNet Thunder or Lightning as a
TensorFlow.js graph model.
"""

from __future__ import annotations

import argparse
import pickle
import sys
from pathlib import Path

import torch

from tfpose_rt import assets, yolo
from tfpose_rt.errors import WeightsError
from tfpose_rt.model.backbone import from_torchvision
from tfpose_rt.model.movenet import from_graph
from tfpose_rt.model.weights import write
from tfpose_rt.model.yolo_trunk import from_checkpoint
from tfpose_rt.tools.entry import exits
from tfpose_rt.tools.tfjs import read_constants


def convert(checkpoint: Path, out: Path) -> int:
    """Write the trunk, a YOLO's batch norms folded; the number of tensors written.

    Args:
        checkpoint: a .pt of YOLO11 or YOLO26, torchvision's .pth, or a MoveNet's .json; read without running
            what it holds.
        out: .safetensors to write, whole or not at all.
    Raises: WeightsError: not such a checkpoint.
    """
    tensors = movenet(checkpoint) if checkpoint.suffix == ".json" else from_torchvision(plain_state(checkpoint))
    if not tensors:
        state = yolo.read_pt(checkpoint).state
        if "model.0.bn.weight" not in state:
            fix = "a YOLO11 or YOLO26 .pt, torchvision's ResNet or MobileNetV2, or a MoveNet's .json"
            raise WeightsError(f"{checkpoint.name} has no trunk of ours", why="its layers have other names", fix=fix)
        tensors = from_checkpoint(state)
    write(out, tensors, {"trunk": checkpoint.stem, "origin_sha256": assets.sha256(checkpoint)})
    return len(tensors)


def movenet(graph: Path) -> dict[str, torch.Tensor]:
    """A MoveNet's network. Raises: WeightsError: another network, or no TensorFlow.js graph model."""
    try:
        return from_graph(read_constants(graph))
    except (KeyError, ValueError) as error:
        why = f"no {error.args[0]}" if isinstance(error, KeyError) else str(error)
        raise WeightsError(
            f"{graph.name} is not MoveNet Thunder or Lightning", why=why, fix="movenet-thunder.json"
        ) from error


def plain_state(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Names and tensors of a file that holds nothing else, as torchvision's do; {} for any other file."""
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError):
        return {}  # a whole module, or no checkpoint: the next reader says which
    return {k: v for k, v in state.items() if isinstance(v, torch.Tensor)} if isinstance(state, dict) else {}


@exits
def main() -> None:
    """Convert, and tell how many tensors there are."""
    parser = argparse.ArgumentParser(prog="python -m tfpose_rt.tools.trunk", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    sys.stdout.write(f"{convert(given.checkpoint, given.out)} tensors\n")


if __name__ == "__main__":
    sys.exit(main())
