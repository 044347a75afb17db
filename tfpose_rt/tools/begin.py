"""The weights that a training run would begin with: python -m tfpose_rt.tools.begin s OUT --init FILE --init FILE.

What `tfpose-rt train --model s --init FILE --init FILE` starts from, before its first step: to be averaged with where
it ends, or to be used as it is where what is new in the model needs no training. Fit its scores with
`python -m tfpose_rt.tools.calibrate`.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from tfpose_rt.errors import UsageError
from tfpose_rt.tools.entry import exits, unused


def begin(name: str, out: Path, init: Sequence[Path]) -> tuple[int, int]:
    """Write a model of one size with weights laid over one another; tensors that were laid, tensors of the model.

    Args:
        name: of config.MODELS.
        out: .safetensors to write, whole or not at all.
        init: a whole TFPose or a trunk each; the later are laid over the earlier.
    Raises: UsageError: no such size. WeightsError: nothing in a file fits. OutputError: `out` exists.
    """
    import torch

    from tfpose_rt.config import MODELS
    from tfpose_rt.model.tfpose import TFPose
    from tfpose_rt.model.weights import save_model
    from tfpose_rt.training.checkpoint import start_from
    from tfpose_rt.training.recipe import finished

    if name not in MODELS:
        raise UsageError(f"model {name!r}", why="no such model", fix=", ".join(MODELS))
    unused(out)
    torch.manual_seed(0)
    model = TFPose(dataclasses.replace(MODELS[name], **finished(name, init))).eval()
    filled = {key for path in init for key in start_from(model, path)}
    save_model(out, model, {"begun_from": [path.stem for path in init]})
    return len(filled), len(model.state_dict())


@exits
def main() -> None:
    """Write them, and tell how much of the model they fill."""
    parser = argparse.ArgumentParser(prog="python -m tfpose_rt.tools.begin", description=__doc__)
    parser.add_argument("model", help="n, s, m or l")
    parser.add_argument("out", type=Path)
    parser.add_argument("--init", type=Path, action="append", required=True, metavar="FILE")
    given = parser.parse_args()
    laid, whole = begin(given.model, given.out, given.init)
    sys.stdout.write(f"{laid} of {whole} tensors are from elsewhere\n")


if __name__ == "__main__":
    sys.exit(main())
