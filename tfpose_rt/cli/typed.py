"""What the user typed, as a recording's header keeps it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from tfpose_rt.cli.defaults import given

UNTOLD = ("config", "credentials", "log_file", "sources", "token")  # the header names its own source, not the others
MAYBE_PATHS = ("source", "weights", "detector", "out")  # words, unless they are paths


def typed(context: typer.Context) -> dict[str, Any]:
    """The options that were typed: secrets masked, paths as names without the folders of this machine."""
    told = {name: value for name, value in context.params.items() if given(context, name) and name not in UNTOLD}
    return {name: _plain(name, value) for name, value in told.items()}


def _plain(name: str, value: Any) -> Any:
    """A value as JSON may hold it."""
    from tfpose_rt.io.urls import mask_text

    if isinstance(value, list | tuple):
        return [_plain(name, each) for each in value]
    if isinstance(value, Path) or (isinstance(value, str) and name in MAYBE_PATHS and "://" not in value):
        return Path(value).name
    return mask_text(value) if isinstance(value, str) else value
