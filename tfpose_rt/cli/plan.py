"""--dry-run: what would be done, as JSON on stdout; nothing is opened and no secret is shown."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from tfpose_rt.config import RunConfig


def show_plan(jobs: Iterable[tuple[str, Iterable[Path]]], run: RunConfig, **more: Any) -> None:
    """Print every source with its outputs, and the settings of the run.

    Args:
        jobs: what the user named as a source, and the files that it makes.
        run: all settings.
        more: further entries.
    """
    import json

    from tfpose_rt.io.urls import mask_text

    plan = {
        "jobs": [{"source": mask_text(source), "outputs": [str(path) for path in paths]} for source, paths in jobs],
        "run": {k: v for k, v in run.to_dict().items() if k != "source"},
        "source": {k: v for k, v in run.source.to_dict().items() if v is not None and k != "credentials"},
        **more,
    }
    typer.echo(json.dumps(plan, indent=1, default=str))
