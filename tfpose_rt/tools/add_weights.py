"""Brings a weights file into the store. With `export`, the only reader of pickles, and a restricted one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tfpose_rt import assets
from tfpose_rt.assets import Entry
from tfpose_rt.errors import WeightsError


def convert(path: Path) -> tuple[bytes, bytes]:
    """Turn a `.pt` of ultralytics into a safetensors file and its architecture file, both byte for byte repeatable.

    Tensors keep the precision they are stored in.

    Returns: the content of NAME.safetensors and of NAME.json.
    Raises: WeightsError: not such a file, or a network that finds no people.
    """
    from safetensors.torch import save

    from tfpose_rt import yolo
    from tfpose_rt.detect import person_class

    checkpoint = yolo.read_pt(path)
    person_class(checkpoint.names, path.name)
    told = {
        "task": checkpoint.task,
        "made_by": f"ultralytics {checkpoint.made_by}".strip(),
        "names": {str(number): name for number, name in checkpoint.names.items()},
        "architecture": checkpoint.architecture,
    }
    tensors = {name: tensor.contiguous() for name, tensor in checkpoint.state.items()}
    return save(tensors), (_layer_a_line(told) + "\n").encode()


def _layer_a_line(value: object, depth: int = 2) -> str:
    """JSON with the objects opened up and, in them, one layer a line."""
    if depth and isinstance(value, dict):
        inner = ",\n".join(f"{json.dumps(k)}: {_layer_a_line(v, depth - 1)}" for k, v in value.items())
        return "{\n" + inner + "\n}"
    if isinstance(value, list):
        return "[\n" + ",\n".join(f"  {json.dumps(row)}" for row in value) + "\n]"
    return json.dumps(value, ensure_ascii=False)


def add(path: Path, name: str = "", *, replace: bool = False) -> Entry:
    """Copy (or convert) a weights file into the store.

    Args:
        path: poses of this program (.safetensors), a detector (.safetensors with its .json beside it), or a .pt of
            ultralytics, which is converted. Bounds of int8 that lie beside it come along.
        name: what to call it; the file's stem when empty.
        replace: whether an entry of that name may be replaced.
    Raises:
        WeightsError: none of the three.
        UsageError, OutputError: as `assets.keep`.
    """
    from tfpose_rt.bounds import bounds_file

    path = assets.resolve(path)
    name = name or path.stem
    licence, origin = "unknown", f"added from {path.name}"
    beside = path.with_suffix(".json")
    if path.suffix == ".pt":
        weights, architecture = convert(path)
        licence = "AGPL-3.0 where it is ultralytics' own"
    elif "config" in (told := assets.metadata(path)):
        weights, architecture = path.read_bytes(), b""
        licence, origin = told.get("licence", licence), told.get("origin", origin)
    elif beside.is_file():
        weights, architecture = path.read_bytes(), beside.read_bytes()
    else:
        raise WeightsError(
            f"cannot add {path.name}",
            why=f"neither poses of this program nor a detector with {beside.name} beside it",
            fix="the .pt file of a detector, or what `tfpose-rt train` wrote",
        )
    found = bounds_file(path)
    bounds = found.read_bytes() if found.is_file() else b""
    whole = {f"{name}.safetensors": weights, f"{name}.json": architecture, f"{name}.int8.json": bounds}
    files = {file: content for file, content in whole.items() if content}
    entry = Entry(
        name=name,
        kind="detector" if architecture else "pose",
        file=f"{name}.safetensors",
        sha256=hashlib.sha256(weights).hexdigest(),
        size=len(weights),
        architecture=f"{name}.json" if architecture else "",
        architecture_sha256=hashlib.sha256(architecture).hexdigest() if architecture else "",
        bounds=f"{name}.int8.json" if bounds else "",
        bounds_sha256=hashlib.sha256(bounds).hexdigest() if bounds else "",
        licence=licence,
        origin=origin,
    )
    return assets.keep(entry, files, replace=replace)
