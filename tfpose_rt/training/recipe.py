"""A training recipe from a model's name, a TOML file, KEY=VALUE words and flags; the later ones win."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfpose_rt.config import MODELS, ModelConfig, unknown
from tfpose_rt.errors import InputError, UsageError, WeightsError
from tfpose_rt.files import read_toml
from tfpose_rt.model.header import read_header
from tfpose_rt.training.settings import FREE, AugmentConfig, TrainConfig


def build_config(
    model: str, file: Path | None, words: Sequence[str], flags: Mapping[str, Any], init: Sequence[Path] = ()
) -> TrainConfig:
    """The whole recipe.

    Args:
        model: a name of config.MODELS.
        file: TOML with settings of TrainConfig, those of the model under [model], of augmentation under [augment].
        words: KEY=VALUE, the value as TOML; a key of ModelConfig, AugmentConfig or TrainConfig.
        flags: settings of TrainConfig.
        init: weights that training starts from, or the run.json of a run that goes on: a finished TFPose keeps its
            decoder layers and, in another run of the same model, its witness.
    Raises: UsageError: an unknown model, key or value.
    """
    if model not in MODELS:
        raise UsageError(f"--model {model}", why="no such model", fix=", ".join(MODELS))
    told: dict[str, Any] = {} if file is None else read_toml(file)
    kept = finished(model, init)
    shape: dict[str, Any] = {**dataclasses.asdict(MODELS[model]), **kept, **_table(told, "model")}
    augment, recipe = _table(told, "augment"), dict(told)
    home = {
        field.name: values
        for kind, values in ((TrainConfig, recipe), (ModelConfig, shape), (AugmentConfig, augment))
        for field in dataclasses.fields(kind)
        if field.name not in ("model", "augment")
    }
    for word in words:
        key, _, text = word.partition("=")
        if key not in home:
            raise unknown(key, home, "a training recipe")
        try:
            home[key][key] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            home[key][key] = text  # a bare word is a string
    if shape["keypoints"] != MODELS[model].keypoints and shape["witness"] == kept.get("witness"):
        shape["witness"] = ""  # nobody asked for it, and it does not know these joints
    return TrainConfig.from_dict({**recipe, **flags, "model": shape, "augment": augment})


def resumed(run: Path, typed: TrainConfig, names: Iterable[str], model: str = "") -> TrainConfig:
    """The recipe of a run that goes on: the one it began with, but for when it ends and what changes no number.

    Args:
        run: its run.json.
        typed: what this command would begin.
        names: the settings that were typed.
        model: the size that was typed; "" for none.
    Raises: UsageError: another value was typed than the run began with. InputError: run.json is not one.
    """
    try:
        told = json.loads(run.read_text(encoding="utf-8"))
        known = {field.name for field in dataclasses.fields(TrainConfig)}
        began = TrainConfig.from_dict({key: value for key, value in told.items() if key in known})
    except (OSError, ValueError, TypeError, UsageError) as error:
        raise InputError(f"cannot read {run}", why=str(error), fix="--init with its weights, a new run") from error
    differ = [] if model in ("", began.model.name) else [f"--model {began.model.name}, now {model}"]
    for name in dict.fromkeys(names):
        old, new = (_setting(config, name) for config in (began, typed))
        if name in FREE:
            began = dataclasses.replace(began, **{name: new})
        elif old != new:
            differ.append(f"{name} = {old}, now {new}")
    if differ:
        fix = f"without it, or a run of its own: --init {run.parent / 'last.safetensors'}"
        raise UsageError(f"cannot resume {run.parent}", why=f"it began with {'; '.join(differ)}", fix=fix)
    return began


def _setting(config: TrainConfig, name: str) -> Any:
    return next(getattr(part, name) for part in (config, config.model, config.augment) if hasattr(part, name))


def finished(model: str, init: Sequence[Path]) -> dict[str, Any]:
    """What a model keeps of the last of these files that tells of a TFPose as wide; {} where none does.

    That is its decoder layers, and the witness where it is the same model.
    """
    for path in reversed(init):
        try:
            shape = json.loads(path.read_text())["model"] if path.suffix == ".json" else read_header(path)[0].to_dict()
            if shape["channels"] == MODELS[model].channels:
                kept = ("decoder_layers", "witness") if shape["name"] == model else ("decoder_layers",)
                return {key: shape[key] for key in kept}
        except (WeightsError, OSError, ValueError, KeyError, TypeError):
            continue  # a trunk, or what the loop will refuse
    return {}


def _table(told: dict[str, Any], name: str) -> dict[str, Any]:
    """Take the table [name] out of what a file says; empty where it says nothing."""
    table = told.pop(name, {})
    if not isinstance(table, dict):
        raise UsageError(f"{name} = {table!r}", why="not a table", fix=f"[{name}], and its settings below")
    return table
