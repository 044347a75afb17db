"""What eight bits need to know of weights: the bounds of each convolution's inputs, in a file beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tfpose_rt import assets
from tfpose_rt.errors import WeightsError, line_of
from tfpose_rt.files import write_whole

REMEDY = "python -m tfpose_rt.tools.quantise DATA WEIGHTS"
Bounds = Mapping[str, tuple[float, float]]  # name of a convolution -> least and greatest input


def bounds_file(weights: Path) -> Path:
    """Where the bounds of a weights file lie: beside it."""
    return weights.with_suffix(".int8.json")


def read_bounds(weights: Path) -> dict[str, tuple[float, float]]:
    """The bounds that lie beside a weights file.

    Raises: WeightsError: there are none, they are damaged, or were observed on other weights.
    """
    path = bounds_file(weights)
    if not path.is_file():
        why = f"{path.name} is not beside them"
        raise WeightsError(f"{weights.name} cannot run in int8", why=why, fix=f"{REMEDY}, or --precision fp32")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        bounds = {str(name): (float(low), float(high)) for name, (low, high) in told["bounds"].items()}
        of = str(told["weights"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"cannot read {path.name}", why=line_of(error), fix=REMEDY) from error
    if of != assets.sha256(weights):
        raise WeightsError(f"{path.name} is of other weights", why="their SHA-256 differs", fix=REMEDY)
    return bounds


def bounds_for(weights: Path, precision: str) -> dict[str, tuple[float, float]] | None:
    """What `compile_network` wants for a precision: the bounds of these weights for int8, else nothing."""
    return read_bounds(weights) if precision == "int8" else None


def write_bounds(weights: Path, bounds: Bounds, seen: str) -> Path:
    """Put bounds beside their weights, a convolution a line; `seen` tells what they were observed on."""
    path = bounds_file(weights)
    rows = ",\n".join(f"  {json.dumps(name)}: [{low:.6g}, {high:.6g}]" for name, (low, high) in bounds.items())
    head = f'"weights": "{assets.sha256(weights)}",\n"observed_on": {json.dumps(seen)},\n"bounds"'
    write_whole(path, ("{\n" + head + ": {\n" + rows + "\n}\n}\n").encode())
    return path
