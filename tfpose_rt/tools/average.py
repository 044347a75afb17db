"""The mean of two models of one shape: python -m tfpose_rt.tools.average FIRST SECOND OUT --share 0.7.

Weights that one run ends with and those it started from answer alike but err apart; on pictures that neither has seen
their mean is often better than both (Wortsman et al., Robust fine-tuning of zero-shot models, 2022). Fit the scores of
the outcome with `python -m tfpose_rt.tools.calibrate`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tfpose_rt.errors import UsageError
from tfpose_rt.tools.entry import exits, unused


def average(first: Path, second: Path, out: Path, share: float = 0.5) -> None:
    """Write (1 - share) x first + share x second, with the configuration of `first`.

    Args:
        first: weights of this program.
        second: likewise, of the same shape; `enlarge` alone may differ.
        out: .safetensors to write, whole or not at all.
        share: of the second, 0 to 1.
    Raises: UsageError: a share outside 0 to 1, or models of two shapes. WeightsError: not weights of ours.
        OutputError: `out` exists.
    """
    import dataclasses

    from tfpose_rt.model.weights import load_model, save_model

    if not 0 <= share <= 1:
        raise UsageError(f"--share {share}", why="a share lies between 0 and 1", fix="--share 0.5")
    unused(out)
    (a, _), (b, _) = load_model(first), load_model(second)
    if dataclasses.replace(b.config, enlarge=a.config.enlarge) != a.config:
        raise UsageError(f"{first.name} and {second.name}", why="models of two shapes", fix="two runs of one model")
    other = b.state_dict()
    mean = {
        name: value.lerp(other[name], share) if value.is_floating_point() else value
        for name, value in a.state_dict().items()
    }
    a.load_state_dict(mean)
    save_model(out, a, {"averaged": [[first.stem, round(1 - share, 6)], [second.stem, share]]})


@exits
def main() -> None:
    """Write the mean."""
    parser = argparse.ArgumentParser(prog="python -m tfpose_rt.tools.average", description=__doc__)
    for name in ("first", "second", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="of the second, 0 to 1")
    given = parser.parse_args()
    average(given.first, given.second, given.out, given.share)


if __name__ == "__main__":
    sys.exit(main())
