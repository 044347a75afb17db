"""`tfpose-rt train`: TFPose on a keypoint set."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfpose_rt.cli.options import INPUT, MODEL, OUTPUT, RUN, Device, _option, require_folder
from tfpose_rt.errors import InputError, UsageError
from tfpose_rt.files import read_toml
from tfpose_rt.shell import quoted
from tfpose_rt.wording import plural

if TYPE_CHECKING:
    import torch

    from tfpose_rt.training.data import Sample
    from tfpose_rt.training.settings import TrainConfig

STATE = "state.safetensors"  # what a run that can go on has saved


def train(
    data: Annotated[Path, typer.Argument(help="Folder: a training pack, or COCO images with annotations.")],
    ann: Annotated[Path | None, _option(INPUT, "--ann", help="COCO keypoint file, where it is not in DATA.")] = None,
    model: Annotated[str, _option(MODEL, "--model", help="n, s, m or l.")] = "n",
    set_: Annotated[list[str], _option(MODEL, "--set", help="A setting of model or recipe, KEY=VALUE (TOML).")] = [],
    config: Annotated[Path | None, _option(MODEL, "--config", help="TOML file of the recipe.", dir_okay=False)] = None,
    init: Annotated[
        list[Path],
        _option(MODEL, "--init", help="Weights to start from: TFPose, or a trunk; several, one over another."),
    ] = [],
    teacher: Annotated[
        str | None, _option(INPUT, "--teacher", help="Name or file of a TFPose that labels what nobody has labelled.")
    ] = None,
    teacher_share: Annotated[
        float, _option(INPUT, "--teacher-share", help="Weight of its labels, beside 1 of people's.", min=0.01, max=1)
    ] = 0.5,
    minutes: Annotated[float | None, _option(RUN, "--minutes", help="Stop after so long.", min=0.01)] = None,
    epochs: Annotated[int | None, _option(RUN, "--epochs", help="Stop after so many.", min=1)] = None,
    batch: Annotated[int | None, _option(RUN, "--batch", help="Crops a step, over all processes.", min=1)] = None,
    lr: Annotated[float | None, _option(RUN, "--lr", help="Of the transformer.")] = None,
    trunk_lr: Annotated[float | None, _option(RUN, "--trunk-lr", help="Of the trunk, times lr.")] = None,
    weight_decay: Annotated[float | None, _option(RUN, "--weight-decay", help="Of weights, not of biases.")] = None,
    amp: Annotated[str | None, _option(RUN, "--amp", help="auto (bf16 on GPUs), bf16 or off.")] = None,
    workers: Annotated[int | None, _option(RUN, "--workers", help="Threads that cut crops.", min=1)] = None,
    val_every: Annotated[float | None, _option(RUN, "--val-every", help="Minutes between validations.")] = None,
    compile_: Annotated[bool, _option(RUN, "--compile", help="torch.compile: minutes first, faster after.")] = False,
    device: Device = "auto",
    resume: Annotated[bool, _option(RUN, "--resume", help="Go on in --save-dir, at the very step.")] = False,
    save_dir: Annotated[
        Path | None, _option(OUTPUT, "--save-dir", help="runs/<UTC> if left out.", file_okay=False)
    ] = None,
    seed: Annotated[int | None, _option(RUN, "--seed", help="Seed of weights, order and augmentation.")] = None,
) -> None:
    """Train TFPose; Ctrl-C saves and a later --resume goes on."""
    from tfpose_rt import assets
    from tfpose_rt.training.recipe import resumed

    given: dict[str, Any] = {"minutes": minutes, "epochs": epochs, "batch": batch, "lr": lr, "trunk_lr": trunk_lr}
    given |= {"weight_decay": weight_decay, "amp": amp, "workers": workers, "val_every": val_every}
    given |= {"seed": seed, "compile": compile_ or None}
    if not resume:
        init = [assets.resolve(path if path.exists() else str(path)) for path in init]
    start = [save_dir / "run.json"] if resume and save_dir else init
    recipe = recipe_of(model, config, set_, {k: v for k, v in given.items() if v is not None}, start)
    require_folder(data)
    data = data.absolute()  # which has a name even if it is here
    if resume:
        require_run(save_dir)
        recipe = resumed(start[0], recipe, settings_named(given, set_, config), "" if model == "n" else model)
    folder = save_dir or Path("runs") / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    run(data, ann, recipe, folder, init=init, resume=resume, device=device, teacher=teacher, share=teacher_share)


def run(
    data: Path, ann: Path | None, recipe: TrainConfig, folder: Path, *, init: Sequence[Path], resume: bool, device: str,
    teacher: str | None, share: float,
) -> None:  # fmt: skip
    """Train, and show how it goes; raises typer.Exit where a signal ended it."""
    import torch
    import torch.distributed as dist

    from tfpose_rt.cli.show import say
    from tfpose_rt.cli.watch import interruptible
    from tfpose_rt.device import choose_device
    from tfpose_rt.ops.choice import kernel_choice
    from tfpose_rt.training.data import load
    from tfpose_rt.training.labels import remember
    from tfpose_rt.training.loop import train as work_through
    from tfpose_rt.training.processes import join, ranks

    rank, world = ranks()
    first = rank == 0
    if first:
        remember(folder, teacher, share, resume=resume)
    chosen = join(torch.device(choose_device(device)[0]), rank, world)
    people = taught(data, ann, teacher, share, recipe, folder, chosen) if teacher else load(data, ann)
    if first:
        what = f"size {recipe.model.name} on a {recipe.model.trunk} trunk"
        kernel = kernel_choice("auto", chosen, recipe.model)  # as the loop will choose
        where = f"on {chosen}, attention by {kernel.name} ({kernel.reason})"
        say(f"{plural(len(people), 'person', 'people')}, {what}, {where}; results in {folder}")
    with Report(visible=first) as report, interruptible() as interruption:
        try:
            last = work_through(people, recipe, folder, init=init, resume=resume, device=chosen, report=report.update)
        except KeyboardInterrupt:
            words = [data, *(("--ann", ann) if ann else ()), *(("--device", device) if device != "auto" else ())]
            words += ["--teacher", teacher, "--teacher-share", str(share)] if teacher else []
            again = " ".join(map(quoted, [*words, "--resume", "--save-dir", folder]))
            say(f"stopped; go on with: tfpose-rt train {again}")
            raise typer.Exit(interruption.code or 130) from None
    if dist.is_initialized():
        dist.destroy_process_group()
    if first and not report.steps:
        say("the run had come to its end: a higher --minutes, --steps or --epochs goes on")
    if first:
        best = f"best AP {last.best:.1f} on held-out crops" if (last.metrics or {}).get("AP") is not None else "done"
        say(f"{best}; wrote {folder / 'best.safetensors'}")


def recipe_of(
    model: str, file: Path | None, words: Sequence[str], flags: Mapping[str, Any], init: Sequence[Path]
) -> TrainConfig:
    """The whole recipe; an error about a setting names the file where it stands there and nobody typed another value.

    Raises: UsageError: an unknown model, key or value.
    """
    from tfpose_rt.training.recipe import build_config

    tables = _tables(file)
    try:
        return build_config(model, file, words, flags, init)
    except UsageError as error:
        typed = {*flags, *(word.partition("=")[0] for word in words)}
        key = re.search(r"\w+", error.what.removeprefix("unknown setting "))
        if key is None or key[0] in typed or not any(key[0] in table for table in tables):
            raise
        raise UsageError(f"{error.what} in {file}", why=error.why, fix=error.fix) from error


def settings_named(flags: Mapping[str, Any], words: Sequence[str], file: Path | None) -> list[str]:
    """The settings that a command names: by flags, by KEY=VALUE, in a file."""
    in_file = [key for table in _tables(file) for key, value in table.items() if not isinstance(value, dict)]
    return [*(k for k, v in flags.items() if v is not None), *(w.partition("=")[0] for w in words), *in_file]


def _tables(file: Path | None) -> list[dict[str, Any]]:
    """What a recipe's file says: its own settings, and those of each table in it."""
    told = {} if file is None else read_toml(file)
    return [told, *(table for table in told.values() if isinstance(table, dict))]


def require_run(folder: Path | None) -> None:
    """Raises: UsageError: no folder was named. InputError: no run was ever saved in it."""
    if folder is not None and (folder / STATE).is_file():
        return
    runs = sorted(Path("runs").glob(f"*/{STATE}"), key=lambda state: state.stat().st_mtime)
    fix = f"--save-dir {runs[-1].parent}, the last run here" if runs else "without --resume, to begin one"
    if folder is None:
        raise UsageError("--resume without --save-dir", why="it says which run goes on", fix=fix)
    raise InputError(f"no run to go on with in {folder}", why=f"no {STATE} is there", fix=fix)


def taught(
    data: Path, ann: Path | None, teacher: str, share: float, recipe: TrainConfig, folder: Path, device: torch.device
) -> list[Sample]:
    """The people of the set with a teacher's labels, kept in the run's folder: asked for once.

    The first process asks; the others, and a run that goes on, read what it was told.
    """
    import torch.distributed as dist

    from tfpose_rt import assets
    from tfpose_rt.model.header import read_header
    from tfpose_rt.training.data import load
    from tfpose_rt.training.labels import LABELS, keep, kept
    from tfpose_rt.training.processes import ranks

    path = assets.resolve(teacher)
    people = load(data, ann, unlabelled=read_header(path)[0].keypoints)
    if ranks()[0] == 0 and not (folder / LABELS).is_file():
        keep(folder, ask(path, people, share, recipe, device))
    if dist.is_initialized():
        dist.barrier()
    return kept(folder, people)


def ask(teacher: Path, people: list[Sample], share: float, recipe: TrainConfig, device: torch.device) -> list[Sample]:
    """The people with the teacher's labels, and a line that says how many those are."""
    from tfpose_rt.cli.show import progress_bar, say
    from tfpose_rt.ops.choice import select_kernel
    from tfpose_rt.training.exam import open_model
    from tfpose_rt.training.teach import teach

    model, _ = open_model(teacher, "auto", device)
    select_kernel("auto", device, model.config)  # the teacher's sizes may be others than those of the model to train
    with progress_bar(True) as bar:
        task = bar.add_task("teacher", total=None, rate="")
        people, change = teach(
            people, model, share=share, hold_out=recipe.hold_out, sources=recipe.sources,
            report=lambda done, total: bar.update(task, completed=done, total=total),
        )  # fmt: skip
    say(f"teacher {teacher.stem} {change}")
    return people


class Report:
    """A bar for the steps and a line for each validation."""

    def __init__(self, visible: bool) -> None:
        from tfpose_rt.cli.show import progress_bar

        self.visible = visible
        self.bar = progress_bar(visible)
        self.task = self.bar.add_task("training", total=1000, rate="")
        self.steps = 0

    def __enter__(self) -> Report:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def update(self, progress: object) -> None:
        """Show a step or a validation."""
        from tfpose_rt.cli.show import say
        from tfpose_rt.training.state import Progress

        assert isinstance(progress, Progress)
        self.steps += 1
        if not self.visible:
            return
        if progress.metrics is not None:
            figures = "  ".join(f"{k} {v:.2f}" for k, v in progress.metrics.items())
            say(f"step {progress.step}  epoch {progress.epoch}  {progress.seconds / 60:.1f} min  {figures}")
            return
        rate = progress.seen / max(progress.seconds, 1e-6)
        text = f"epoch {progress.epoch}  loss {progress.losses['loss']:.3f}  {rate:.0f} crops/s"
        self.bar.update(self.task, completed=int(progress.done * 1000), rate=text)
