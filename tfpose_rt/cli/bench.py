"""`tfpose-rt bench kernel`: the fused kernel against its floors and baselines, on this machine's GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Measure speed here; nothing is sent anywhere.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure speed here; nothing is sent anywhere."""


@app.command()
def kernel(
    json: Annotated[Path | None, typer.Option("--json", help="Write everything measured to this file.")] = None,
    only: Annotated[str, typer.Option("--only", help="Only cases with this in their name, such as 'enc 3L'.")] = "",
    backward: Annotated[bool, typer.Option("--backward/--no-backward", help="Time the gradients too.")] = True,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="Time torch.compile's baseline too.")] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="No GPU: check every step on the CPU, time nothing.")
    ] = False,
) -> None:
    """Time the fused deformable attention kernel; each result is checked before it is timed."""
    from tfpose_rt.tools.bench_kernel import main

    arguments = [f"--only={only}"]
    arguments += [] if json is None else [f"--json={json}"]
    arguments += [] if backward else ["--no-backward"]
    arguments += [] if compiled else ["--no-compile"]
    arguments += ["--dry-run"] if dry_run else []
    raise typer.Exit(main(arguments))
