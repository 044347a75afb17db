"""Fit scores and errors of finished weights anew: python -m tfpose_rt.tools.calibrate DATA WEIGHTS.

DATA is a training set: its held-out photographs are used. WEIGHTS are changed in place.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tfpose_rt.errors import InputError
from tfpose_rt.tools.entry import exits


@exits
def main() -> None:
    """Fit, and tell the calibration error before and after."""
    from tfpose_rt.training.calibrate import calibrate_file
    from tfpose_rt.training.data import is_validation, load

    parser = argparse.ArgumentParser(prog="python -m tfpose_rt.tools.calibrate", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    given = parser.parse_args()
    held = [s for s in load(given.data) if is_validation(s.image)]
    if not held:
        raise InputError(f"nothing held out in {given.data}", why="too few photographs", fix="the training packs")
    before, after = calibrate_file(given.weights, held, f"{given.data.name}, held out")
    sys.stdout.write(f"calibration error {before:.4f} -> {after:.4f}\n")


if __name__ == "__main__":
    sys.exit(main())
