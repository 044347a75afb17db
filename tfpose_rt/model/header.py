"""What a file of weights says of itself, read without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfpose_rt import assets
from tfpose_rt.config import ModelConfig
from tfpose_rt.errors import TfposeError, WeightsError, line_of


def read_header(path: Path) -> tuple[ModelConfig, dict[str, Any]]:
    """The configuration of a TFPose, and all metadata of its file.

    Raises: WeightsError: not a whole safetensors file, or not of a TFPose that is known here.
    """
    metadata = values(assets.metadata(path))
    return config_of(metadata, path.name), metadata


def values(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """Metadata as values: JSON where it is ours, plain text where another program wrote it."""
    return {key: _value(text) for key, text in (metadata or {}).items()}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def config_of(metadata: Mapping[str, Any], name: str) -> ModelConfig:
    """The configuration in the metadata of a file called `name`.

    Raises: WeightsError: there is none, or it is of a later version or another program.
    """
    if "config" not in metadata:
        raise WeightsError(f"{name} is not a TFPose", why="it carries no configuration", fix="tfpose-rt weights list")
    try:
        return ModelConfig.from_dict(metadata["config"])
    except (TfposeError, TypeError, AttributeError) as error:
        raise unknown(name, error) from error


def unknown(name: str, error: Exception) -> WeightsError:
    """The error where no TFPose known here can be made from the configuration in a file called `name`."""
    what = f"{name} has a configuration that is not known here"
    return WeightsError(what, why=line_of(error), fix="a newer tfpose-rt")
