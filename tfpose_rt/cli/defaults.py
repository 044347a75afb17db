"""Defaults from --config and the environment, and errors that name the place where a bad one stands."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from tfpose_rt.errors import TfposeError, UsageError
from tfpose_rt.files import read_toml


@dataclass(frozen=True, slots=True)
class Place:
    """Where a setting was told.

    Args:
        key: the setting as the file or the environment calls it.
        file: the TOML file; None: `key` is a variable of the environment.
    """

    key: str
    file: Path | None = None

    def setting(self, value: str) -> str:
        """The setting with a value, as it would be written there."""
        return f"{self.key}={value}" if self.file is None else f"{self.key} = {value}"

    def complaint(self, value: str) -> str:
        """What an error about that value begins with."""
        return self.setting(value) + ("" if self.file is None else f" in {self.file}")


_context: typer.Context | None = None  # of the command under way, whose defaults `take_defaults` has set
_places: dict[str, Place] = {}  # by parameter


def settings(command: Any) -> dict[str, Any]:
    """What can be set of a command, by the names that people know: those of flags without dashes, and of arguments."""
    found: dict[str, Any] = {}
    for param in command.params:
        flags = [flag for flag in param.opts if flag.startswith("--")] or [param.name]
        found |= {flag.removeprefix("--").replace("-", "_"): param for flag in flags if param.name != "config"}
    return found


def take_defaults(context: typer.Context, config: Path | None) -> Path | None:
    """Defaults of every option of the command from --config (TOML), and over them from TFPOSE_<OPTION>.

    Runs before any other option is read, so that precedence is flag > environment > file > built-in for all alike.

    Raises: UsageError: the file cannot be read, names an option that the command does not have, or a value is of the
        wrong kind.
    """
    global _context, _places
    params = settings(context.command)
    told: dict[str, Any] = {}
    places: dict[str, Place] = {}
    for key, value in ({} if config is None else read_toml(config)).items():
        name = key.replace("-", "_")
        if isinstance(value, dict):
            why = "options stand there without tables"
            raise UsageError(f"{config}: table [{key}]", why=why, fix=f"the lines of [{key}] alone")
        if name not in params:
            near = difflib.get_close_matches(name, params, 1)
            fix = near[0] if near else "an option of this command, without the dashes"
            raise UsageError(f"{config}: unknown setting {name!r}", why="this command has no such option", fix=fix)
        told[name], places[str(params[name].name)] = value, Place(key, config)
    for name in params:
        variable = f"TFPOSE_{name.upper()}"
        if (text := os.environ.get(variable)) is not None:
            told[name], places[str(params[name].name)] = text, Place(variable)
    values = {}
    for setting, value in told.items():
        param = params[setting]
        name = str(param.name)
        values[name] = _as_given(value, getattr(param, "multiple", False) or param.nargs == -1)
        try:
            param.process_value(context, values[name])
        except typer.BadParameter as error:
            what = places[name].complaint(value if isinstance(value, str) else repr(value))
            raise UsageError(what, why=error.message, fix=f"{context.command_path} --help") from error
    context.default_map = {**(context.default_map or {}), **values}
    _context, _places = context, places
    return config


def placed(error: TfposeError) -> TfposeError:
    """The error about a flag that nobody typed, told by the file or variable that set it; any other as it is."""
    for name, place in _places.items():
        param = next((p for p in _context.command.params if p.name == name), None) if _context else None
        if _context is None or param is None or given(_context, name):
            continue
        for flag in (*param.opts, *param.secondary_opts):
            if flag not in error.what.split():
                continue
            value = error.what.removeprefix(f"{flag} ")
            if value != error.what and " --" not in value:
                fix = error.fix.removeprefix(f"{flag} ")
                fix = place.setting(fix) if fix != error.fix else fix
                return type(error)(place.complaint(value), why=error.why, fix=fix)
            here = place.key if place.file is None else f"{place.key} in {place.file}"
            return type(error)(error.what, why="; ".join(filter(None, (error.why, f"set by {here}"))), fix=error.fix)
    return error


def forget() -> None:
    """Begin anew: what an earlier command of this process was told is not this one's."""
    global _context, _places
    _context, _places = None, {}


def given(context: typer.Context, name: str) -> bool:
    """Whether the parameter was typed, rather than left at its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _as_given(value: Any, repeated: bool) -> Any:
    """A setting as its flag would bring it: once for each of a list, or a list as one word with commas."""
    if repeated:
        return value if isinstance(value, list) else [value]
    return ",".join(map(str, value)) if isinstance(value, list) else value
