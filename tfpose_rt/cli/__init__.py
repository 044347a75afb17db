"""The command line: one file a command, errors as one line, exit codes as in docs/troubleshooting.md."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from tfpose_rt.cli.defaults import forget, placed
from tfpose_rt.cli.journal import open_journal
from tfpose_rt.errors import OutputError, TfposeError, UsageError
from tfpose_rt.shell import quoted, show_all

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
GLOBAL = {"--debug": "TFPOSE_DEBUG", "--no-color": "NO_COLOR"}  # flag -> what it sets
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
    debug: Annotated[bool, typer.Option("--debug", help="Show where errors come from.", envvar="TFPOSE_DEBUG")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="Plain text; NO_COLOR does the same.")] = False,
) -> None:
    """Human pose from video, on your own machine. --debug and --no-color may stand anywhere."""
    if debug:
        os.environ["TFPOSE_DEBUG"] = "1"
    if no_color:
        os.environ["NO_COLOR"] = "1"


for _name, _function in COMMANDS.items():
    app.command(_name)(getattr(importlib.import_module(f"tfpose_rt.cli.{_name}"), _function))
for _name in GROUPS:
    app.add_typer(importlib.import_module(f"tfpose_rt.cli.{_name}").app, name=_name)


def main() -> None:
    """Run the program; whatever goes wrong becomes one line on stderr and its exit code."""
    forget()
    show_all(sys.stdout)
    words = sys.argv[1:]
    own = words[: words.index("--")] if "--" in words else words
    for flag in GLOBAL.keys() & set(own):  # wherever: they are thought of when the line is there already
        os.environ[GLOBAL[flag]] = "1"
    words = [word for word in own if word not in GLOBAL] + words[len(own) :]
    try:
        _require_command(words)
        app(words, windows_expand_args=False)  # a quoted glob is one recording, and a $ in a URL is a $
    except BrokenPipeError:
        with suppress(OSError):  # whoever read stdout has gone; nothing may complain at interpreter exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(OutputError.exit_code)
    except Exception as error:  # told in one line; where it happened is for who asks
        if not isinstance(error, TfposeError) and _interrupted(error):
            raise KeyboardInterrupt from error
        sys.exit(_told(error))
    finally:
        open_journal(None)


def _require_command(words: Sequence[str]) -> None:
    """Raises: UsageError: a file stands where a command should."""
    if words and words[0] not in (*COMMANDS, *GROUPS) and Path(words[0]).is_file():
        command = "plot" if words[0].lower().endswith((".jsonl", ".csv", ".parquet")) else "video"
        fix = f"tfpose-rt {command} {quoted(words[0])}"
        raise UsageError(f"{words[0]} is no command", why="files come behind one", fix=fix)


def _interrupted(error: BaseException | None) -> bool:
    """Whether a Ctrl-C lies behind an error: one that comes amid an import, say, is wrapped by whoever imports."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _told(error: Exception) -> int:
    """Say what went wrong, with the traceback for who debugs; the exit code."""
    from tfpose_rt.cli.show import debugging, print_error, print_traceback, unexpected

    known = isinstance(error, TfposeError)
    shown = bool(os.environ.get("TFPOSE_DEBUG")) or (debugging() and not known)
    print_traceback(error, shown=shown)
    told = placed(error) if isinstance(error, TfposeError) else unexpected(error)
    print_error(told)
    return told.exit_code
