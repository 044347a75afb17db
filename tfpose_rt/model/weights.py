"""Weights as safetensors: tensors by name, everything else as JSON in the metadata. No pickles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tfpose_rt.errors import TfposeError, WeightsError
from tfpose_rt.files import write_whole
from tfpose_rt.model.header import config_of, unknown, values
from tfpose_rt.model.tfpose import TFPose


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata (each value parsed as JSON) of a safetensors file.

    Raises: WeightsError: absent, or not safetensors.
    """
    if not path.is_file():
        raise WeightsError(f"no weights at {path.name}", why="the file does not exist", fix="tfpose-rt weights list")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = values(file.metadata())
            return {key: file.get_tensor(key) for key in file.keys()}, metadata  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path.name} is not safetensors", why=str(error), fix="tfpose-rt weights list") from error


def write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    contiguous = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    write_whole(path, save(contiguous, {k: json.dumps(v) for k, v in metadata.items()}))  # with the user's umask


def save_model(path: Path, model: TFPose, extra: dict[str, Any], dtype: torch.dtype = torch.float16) -> None:
    """Inference weights, half precision, with the configuration inside."""
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in model.state_dict().items()}
    state["calibration"], state["error_scale"] = model.calibration.float(), model.error_scale.float()
    write(path, state, {"config": model.config.to_dict(), "format": "tfpose-rt/weights-1", **extra})


def load_model(path: Path) -> tuple[TFPose, dict[str, Any]]:
    """A TFPose in fp32, eval mode, built from the configuration that its weights carry.

    Raises: WeightsError: absent, not safetensors, not ours, or of another shape.
    """
    tensors, metadata = read(path)
    config = config_of(metadata, path.name)
    try:
        model = TFPose(config)
    except (TfposeError, TypeError, AttributeError) as error:  # of a later version, or another program's
        raise unknown(path.name, error) from error
    tensors.setdefault("error_scale", model.error_scale)  # files from before errors were fitted
    try:
        model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})
    except RuntimeError as error:
        why = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise WeightsError(
            f"{path.name} does not fit its own configuration", why=why, fix="tfpose-rt weights verify"
        ) from error
    return model.eval(), metadata
