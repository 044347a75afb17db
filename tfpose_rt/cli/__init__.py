"""The command line: one file a command, errors as one line, exit codes as in docs/troubleshooting.md."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

from tfpose_rt.errors import OutputError, TfposeError

COMMANDS = {
    "demo": "demo",
    "video": "video",
    "webcam": "webcam",
    "serve": "serve",
    "cameras": "cameras",
    "convert": "convert",
    "plot": "plot",
    "explain": "explain",
    "export": "export",
    "eval": "evaluate",
    "train": "train",
    "doctor": "doctor",
}  # name -> function in the file of that name
GROUPS = ("weights", "bench")  # commands with commands of their own: their file has an `app`

app = typer.Typer(
    name="tfpose-rt",
    help="Human pose from video, on your own machine.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        from tfpose_rt.io.jsonl import tool_version

        typer.echo(f"tfpose-rt {tool_version()}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.", envvar="TFPOSE_DEBUG")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="Plain text; NO_COLOR does the same.")] = False,
) -> None:
    """Human pose from video, on your own machine."""
    if debug:
        os.environ["TFPOSE_DEBUG"] = "1"
    if no_color:
        os.environ["NO_COLOR"] = "1"


for _name, _function in COMMANDS.items():
    app.command(_name)(getattr(importlib.import_module(f"tfpose_rt.cli.{_name}"), _function))
for _name in GROUPS:
    app.add_typer(importlib.import_module(f"tfpose_rt.cli.{_name}").app, name=_name)


def main() -> None:
    """Run the program; a TfposeError becomes one line on stderr and its exit code."""
    try:
        app(windows_expand_args=False)  # a quoted glob is one recording, and a $ in a URL is a $
    except TfposeError as error:
        if os.environ.get("TFPOSE_DEBUG"):
            raise
        from tfpose_rt.cli.show import print_error

        print_error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        with suppress(OSError):  # whoever read stdout has gone; nothing may complain at interpreter exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(OutputError.exit_code)
