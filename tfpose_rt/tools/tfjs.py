"""The constants of a TensorFlow.js graph model: a .json that lists them, the .bin files beside it that hold them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfpose_rt.errors import WeightsError

KINDS = {"float32": "<f4", "float16": "<f2", "int32": "<i4", "bool": "|b1", "uint8": "|u1"}
FIX = "model.json of a TensorFlow.js graph model, as it was published, with its .bin files beside it"


def read_constants(file: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Every constant by its name in the graph; those stored in float16 come as that.

    Raises: WeightsError: no such model, a .bin that is missing or too short, or constants stored as scaled integers.
    """
    try:
        groups = json.loads(file.read_text(encoding="utf-8"))["weightsManifest"]
        return {name: value for group in groups for name, value in _group(file.parent, group)}
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise WeightsError(f"{file.name} is no graph model", why=f"{type(error).__name__}: {error}", fix=FIX) from error


def _group(folder: Path, group: dict[str, Any]) -> list[tuple[str, npt.NDArray[np.generic]]]:
    blob = b"".join((folder / name).read_bytes() for name in group["paths"])
    found, start = [], 0
    for weight in group["weights"]:
        stored = weight.get("quantization", {}).get("dtype", weight["dtype"])
        if stored not in KINDS or "scale" in weight.get("quantization", {}):
            raise WeightsError(f"{weight['name']} is stored as {stored}", why="floats alone are read here", fix=FIX)
        kind, count = np.dtype(KINDS[stored]), int(np.prod(weight["shape"], dtype=np.int64))
        end = start + count * kind.itemsize
        if end > len(blob):
            raise WeightsError(f"{', '.join(group['paths'])} ends early", why=f"{len(blob):,} bytes", fix=FIX)
        found.append((weight["name"], np.frombuffer(blob, kind, count, start).reshape(weight["shape"])))
        start = end
    return found
