"""A training recipe from a model's name, a TOML file, KEY=VALUE words and flags; the later ones win."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfpose_rt.config import MODELS, ModelConfig, TrainConfig
from tfpose_rt.errors import UsageError


def build_config(model: str, file: Path | None, words: Sequence[str], flags: Mapping[str, Any]) -> TrainConfig:
    """The whole recipe.

    Args:
        model: a name of config.MODELS.
        file: TOML with settings of TrainConfig, those of the model under [model].
        words: KEY=VALUE, the value as TOML; a key of ModelConfig or of TrainConfig.
        flags: settings of TrainConfig.
    Raises: UsageError: an unknown model, key or value.
    """
    if model not in MODELS:
        raise UsageError(f"--model {model}", why="no such model", fix=", ".join(MODELS))
    told: dict[str, Any] = {}
    if file is not None:
        try:
            told = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise UsageError(f"cannot read --config {file}", why=str(error), fix="a TOML file") from error
    shape: dict[str, Any] = {**dataclasses.asdict(MODELS[model]), **told.pop("model", {})}
    recipe: dict[str, Any] = dict(told)
    own = {f.name for f in dataclasses.fields(ModelConfig)}
    for word in words:
        key, _, text = word.partition("=")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text  # a bare word is a string
        (shape if key in own else recipe)[key] = value
    recipe |= flags
    return TrainConfig.from_dict({**recipe, "model": ModelConfig.from_dict(shape)})
