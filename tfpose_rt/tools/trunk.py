"""The trunk of a YOLO checkpoint as safetensors: what `train --init` starts from, readable without ultralytics.

`python -m tfpose_rt.tools.trunk yolo11n-pose.pt trunk.safetensors`
"""

from __future__ import annotations

import sys
from pathlib import Path

from tfpose_rt import assets, yolo
from tfpose_rt.errors import TfposeError, WeightsError
from tfpose_rt.model.weights import write
from tfpose_rt.model.yolo_trunk import from_checkpoint


def convert(checkpoint: Path, out: Path) -> int:
    """Fold the batch norms and write the trunk; the number of tensors written.

    Args:
        checkpoint: a .pt of YOLO11 or YOLO26, read without running what it holds.
        out: .safetensors to write, whole or not at all.
    Raises: WeightsError: not such a checkpoint.
    """
    state = yolo.read_pt(checkpoint).state
    if "model.0.bn.weight" not in state:
        why = "it has no batch norms to fold"
        raise WeightsError(f"{checkpoint.name} has no trunk of ours", why=why, fix="a YOLO11 or YOLO26 .pt")
    tensors = from_checkpoint(state)
    write(out, tensors, {"trunk": checkpoint.stem, "origin_sha256": assets.sha256(checkpoint)})
    return len(tensors)


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{convert(Path(sys.argv[1]), Path(sys.argv[2]))} tensors\n")
    except TfposeError as error:
        sys.exit(f"error: {error}")
