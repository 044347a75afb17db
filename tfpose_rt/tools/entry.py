"""What the tools share: how their main() ends, and where they write weights."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

from tfpose_rt.errors import OutputError, TfposeError
from tfpose_rt.shell import show_all

P = ParamSpec("P")


def exits(main: Callable[P, int | None]) -> Callable[P, int]:
    """A main() that returns an exit code: its own, 0 for None, or that of a TfposeError, which is told in one line."""

    @functools.wraps(main)
    def ending(*args: P.args, **kwargs: P.kwargs) -> int:
        show_all(sys.stdout)
        try:
            return main(*args, **kwargs) or 0
        except TfposeError as error:
            sys.stderr.write(f"error: {error}\n")
            return error.exit_code

    return ending


def unused(out: Path) -> None:
    """Where weights are to be written. Raises: OutputError: there is such a file, and weights are never replaced."""
    if out.exists():
        raise OutputError(f"{out} exists", why="weights are never replaced", fix="another name")
