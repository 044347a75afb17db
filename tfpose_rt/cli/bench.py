"""`tfpose-rt bench`: the pipeline on a source, and the fused kernel against its floors and baselines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfpose_rt.cli.options import (
    DetectorName,
    DetEvery,
    DetSize,
    Device,
    Kernel,
    Precision,
    Threads,
    Weights,
    run_config,
)

if TYPE_CHECKING:
    from tfpose_rt.tools.bench import Round

app = typer.Typer(help="Measure speed here; nothing is sent anywhere.", invoke_without_command=True)


@app.callback()
def bench(context: typer.Context) -> None:
    """Measure speed here; nothing is sent anywhere. Alone: the pipeline on the bundled clip."""
    if context.invoked_subcommand is None:
        pipeline()


@app.command()
def pipeline(
    source: Annotated[str, typer.Argument(help="Video to repeat; the bundled clip when left out.")] = "",
    seconds: Annotated[float, typer.Option("--seconds", help="Measured time of each round.", min=0.1)] = 20.0,
    warmup: Annotated[float, typer.Option("--warmup", help="Seconds before that.", min=0.0)] = 3.0,
    people: Annotated[str, typer.Option("--people", help="Numbers of people, 1,5,10; as found when left out.")] = "",
    live: Annotated[bool, typer.Option("--live", help="Play at the source's speed, newest frame wins.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Figures on stdout.")] = False,
    weights: Weights = "default",
    detector: DetectorName = "yolo-n",
    det_size: DetSize = 640,
    det_every: DetEvery = "1",
    device: Device = "auto",
    engine: Annotated[
        str, typer.Option("--engine", help="auto, torch or openvino (CPU); several, torch,openvino: one after another.")
    ] = "auto",
    kernel: Kernel = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
) -> None:
    """Time the whole pipeline: frames a second, each stage's p50, p95 and max, latency, memory."""
    import dataclasses
    import json

    from tfpose_rt.cli.show import estimator_rows, print_table
    from tfpose_rt.errors import UsageError
    from tfpose_rt.estimator import PoseEstimator
    from tfpose_rt.tools.bench import machine, measure
    from tfpose_rt.tools.showcase import DEMO_CLIP

    try:
        counts = [int(n) for n in people.split(",") if n]
    except ValueError:
        raise UsageError(f"--people {people}", why="not whole numbers", fix="--people 1,5,10") from None
    runs = [
        run_config(
            weights=weights, detector=detector, det_size=det_size, det_every=det_every, device=device, engine=name,
            kernel=kernel, precision=precision, threads=threads,
        )
        for name in engine.split(",")
    ]  # fmt: skip
    facts, rounds, used = machine(), [], []
    for run in runs:
        estimator = PoseEstimator(dataclasses.replace(run, max_people=max([run.max_people, *counts])))
        rows = estimator_rows(estimator)
        used.append(rows["engine"])
        facts |= rows
        if not as_json:
            print_table(facts)
        for done in measure(source or str(DEMO_CLIP), estimator, counts, seconds=seconds, warmup=warmup, live=live):
            rounds.append({"engine": estimator.engine, **dataclasses.asdict(done)})
            if not as_json:
                _tell(done)
    facts["engine"] = "; ".join(used)
    if as_json:
        typer.echo(json.dumps({**facts, "rounds": rounds}))


def _tell(done: Round) -> None:
    from tfpose_rt.cli.show import print_table, say

    who = "people as found" if done.people is None else f"{done.people} people"
    say(f"{who}: {done.fps:.1f} fps, memory {done.memory[0]:.0f} -> {done.memory[1]:.0f} MiB")
    times = {**done.stages, **({"latency": done.latency} if done.latency else {})}
    print_table({k: f"p50 {v['p50']:7.1f}  p95 {v['p95']:7.1f}  max {v['max']:7.1f} ms" for k, v in times.items()})


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
