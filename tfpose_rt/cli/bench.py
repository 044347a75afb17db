"""`tfpose-rt bench`: the pipeline on a source, and the fused kernel against its floors and baselines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from tfpose_rt.cli.options import (
    INPUT,
    MODEL,
    OUTPUT,
    RUN,
    ConfigFile,
    DetectorName,
    DetEvery,
    DetSize,
    Device,
    Kernel,
    Precision,
    Threads,
    Weights,
    _option,
    run_config,
)
from tfpose_rt.errors import UsageError
from tfpose_rt.wording import plural, rate

if TYPE_CHECKING:
    from tfpose_rt.tools.bench import Round


class Bench(TyperGroup):
    """`bench SOURCE` is `bench pipeline SOURCE`; a video called kernel is ./kernel."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in the command that is meant where none is named; help is its help."""
        if not args or args[0] not in self.commands:
            args = ["pipeline", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=Bench, help="Measure speed here; nothing is sent anywhere. `bench SOURCE` times the pipeline.")

Source = Annotated[str, typer.Argument(help="Video or synthetic[:WxH@FPS], repeated; the bundled clip when left out.")]
Seconds = Annotated[float, _option(RUN, "--seconds", help="Measured time of each round.", min=0.1)]
Warmup = Annotated[float, _option(RUN, "--warmup", help="Seconds before that.", min=0.0)]
People = Annotated[str, _option(INPUT, "--people", help="A round for each number, 1,5,10; as found when left out.")]
Live = Annotated[bool, _option(INPUT, "--live", help="Play at the source's speed, newest frame wins.")]
Stages = Annotated[bool, _option(OUTPUT, "--stages/--no-stages", help="Each stage's p50, p95 and max.")]
Json = Annotated[bool, _option(OUTPUT, "--json", help="Figures on stdout.")]
Engines = Annotated[
    str,
    _option(MODEL, "--engine", help="auto, torch or openvino (CPU); several, torch,openvino: one after another."),
]


@app.command()
def pipeline(
    source: Source = "",
    seconds: Seconds = 20.0,
    warmup: Warmup = 3.0,
    people: People = "",
    live: Live = False,
    stages: Stages = True,
    as_json: Json = False,
    weights: Weights = "default",
    detector: DetectorName = "yolo-n",
    det_size: DetSize = 640,
    det_every: DetEvery = "1",
    device: Device = "auto",
    engine: Engines = "auto",
    kernel: Kernel = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    config: ConfigFile = None,
) -> None:
    """Time the whole pipeline: frames a second, each stage, latency, memory. `bench kernel` times the fused kernel."""
    import dataclasses
    import json

    from tfpose_rt.cli.live_options import quick_model
    from tfpose_rt.cli.show import estimator_rows, print_table
    from tfpose_rt.estimator import PoseEstimator
    from tfpose_rt.io.sources import open_source
    from tfpose_rt.tools.bench import machine, measure
    from tfpose_rt.tools.showcase import DEMO_CLIP

    counts, source = counts_of(people), source or str(DEMO_CLIP)
    open_model = quick_model if live else PoseEstimator
    runs = [
        run_config(
            weights=weights, detector=detector, det_size=det_size, det_every=det_every, device=device, engine=name,
            kernel=kernel, precision=precision, threads=threads,
        )
        for name in engine.split(",")
    ]  # fmt: skip
    opened = open_source(source, runs[0].source)  # what cannot be opened is told before a model is loaded
    opened.close()
    size = "x".join(map(str, opened.info.size))
    facts, rounds, used = {"source": f"{opened.info.name}, {size}", **machine()}, [], []
    for run in runs:
        estimator = open_model(dataclasses.replace(run, max_people=max([run.max_people, *counts])))
        rows = estimator_rows(estimator)
        used.append(rows["engine"])
        facts |= rows
        if not as_json:
            print_table(facts)
        for done in measure(source, estimator, counts, seconds=seconds, warmup=warmup, live=live):
            done = done if stages else dataclasses.replace(done, stages={})
            rounds.append({"engine": estimator.engine, **dataclasses.asdict(done)})
            if not as_json:
                _tell(done)
    facts["engine"] = "; ".join(used)
    if as_json:
        typer.echo(json.dumps({**facts, "rounds": rounds}))


def counts_of(people: str) -> list[int]:
    """Numbers of people, as --people lists them; none for "".

    Raises: UsageError: one of them is no number above 0.
    """
    words = [word for word in people.split(",") if word]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise UsageError(f"--people {people}", why="not whole numbers from 1 on", fix="--people 1,5,10")
    return [int(word) for word in words]


def _tell(done: Round) -> None:
    from tfpose_rt.cli.show import print_table, say

    who = "people as found" if done.people is None else plural(done.people, "person", "people")
    say(f"{who}: {rate(done.fps)} fps, memory {done.memory[0]:.0f} -> {done.memory[1]:.0f} MiB")
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
