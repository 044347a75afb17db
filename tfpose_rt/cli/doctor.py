"""`tfpose-rt doctor`: what this machine can run, and the remedy for what it cannot."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfpose_rt.cli.options import ConfigFile
from tfpose_rt.errors import OutputError
from tfpose_rt.wording import plural

if TYPE_CHECKING:
    from tfpose_rt.tools.doctor_libraries import Check


def doctor(
    strict: Annotated[bool, typer.Option("--strict", help="Code 1 for a WARN too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Data on stdout.")] = False,
    camera: Annotated[
        str | None, typer.Option("--camera", metavar="SOURCE", help="Also open this camera and take one frame.")
    ] = None,
    export_report: Annotated[
        Path | None,
        typer.Option("--export-report", metavar="FILE", help="Write a report without names, hosts and addresses."),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Examine this installation; code 1 when something FAILs."""
    if export_report and export_report.exists():
        raise OutputError(
            f"{export_report} exists", why="nothing is overwritten unasked", fix="another --export-report"
        )
    from tfpose_rt.tools import doctor as tool

    examiners = [*tool.EXAMINERS, *([("camera", tool.camera(camera))] if camera is not None else [])]
    checks = tool.examine(examiners)
    if export_report:
        try:
            export_report.write_text(json.dumps(tool.report(checks), indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"cannot write {export_report}", why=str(error.strerror), fix="another folder") from error
        typer.echo(f"wrote {export_report}: {len(checks)} checks", err=True)
    if as_json:
        typer.echo(json.dumps(tool.report(checks)))
    else:
        _show(checks)
    worst = {check.state for check in checks}
    if "fail" in worst or (strict and "warn" in worst):
        raise typer.Exit(1)


def _show(checks: list[Check]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    width = max(len(check.name) for check in checks)
    colours = {"pass": "green", "warn": "yellow", "fail": "bold red"}
    for check in checks:
        line = Text(check.state.upper(), style=colours[check.state])
        line.append(f"  {check.name:<{width}}  {check.found}", style="default not bold")
        console.print(line)
        if check.fix:
            console.print(Text(f"{'':{width + 8}}try: {check.fix}"))
    count = Counter(check.state for check in checks)
    told = [plural(count["fail"], "failure"), plural(count["warn"], "warning")]
    console.print(f"{plural(len(checks), 'check')}: {', '.join(told)}")
