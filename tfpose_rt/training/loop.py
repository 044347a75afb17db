"""train(): straight down the page. Exact to resume, by step; several processes through torchrun."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from tfpose_rt import interrupts
from tfpose_rt.device import settle
from tfpose_rt.errors import DeviceError, InputError, OutputError, TfposeError, UsageError, line_of
from tfpose_rt.files import write_whole
from tfpose_rt.model.backbone import parts_of
from tfpose_rt.model.header import read_header
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.model.weights import save_model
from tfpose_rt.model.yolo_trunk import YoloTrunk
from tfpose_rt.ops.choice import select_kernel
from tfpose_rt.training.calibrate import calibrate_file
from tfpose_rt.training.checkpoint import Average, start_from
from tfpose_rt.training.data import Sample, is_validation
from tfpose_rt.training.evaluate import require_pycocotools
from tfpose_rt.training.loader import Batch, Loader, weigh
from tfpose_rt.training.objective import Objective
from tfpose_rt.training.processes import agree, join, ranks, side_by_side
from tfpose_rt.training.settings import FREE, TrainConfig
from tfpose_rt.training.state import Progress, restore, save_state
from tfpose_rt.training.validate import validate


def groups(objective: Objective, config: TrainConfig) -> list[dict[str, Any]]:
    """Parameter groups: trunk and the rest, each with and without weight decay (biases, norms, start pose)."""
    trunk = objective.model.trunk
    if config.freeze and not isinstance(trunk, YoloTrunk):
        raise UsageError(f"freeze = {config.freeze}", why="only a YOLO trunk has numbered modules", fix="freeze = 0")
    for parameter in trunk.model[: config.freeze].parameters() if config.freeze else ():  # type: ignore[index,union-attr]
        parameter.requires_grad_(False)
    parts = parts_of(trunk)
    for part in config.frozen:
        if part not in parts:
            known = ", ".join(parts) or "none, of a single trunk"
            raise UsageError(f"frozen = {part!r}", why="no such part of the trunk", fix=known)
        parts[part].requires_grad_(False)
    own = {id(p) for p in trunk.parameters()}
    split: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, p in objective.named_parameters():
        if p.requires_grad:
            split.setdefault((id(p) in own, p.ndim > 1 and "start" not in name and "level" not in name), []).append(p)
    return [
        {
            "params": ps,
            "lr": config.lr,
            "scale": config.trunk_lr if in_trunk else 1.0,
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (in_trunk, decays), ps in split.items()
    ]


def schedule(config: TrainConfig, step: int, done: float) -> float:
    """Learning-rate factor: linear warm-up by steps, cosine over the run down to 1 %."""
    return min(1.0, (step + 1) / config.warmup) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


def mean_pose(samples: list[Sample], config: TrainConfig) -> Tensor:
    """The mean of the labelled joints in their crops: (K, 2), where y^0 starts."""
    from tfpose_rt.crop import apply, crop_matrix, fit_box

    size = config.model.size
    matrices = crop_matrix(fit_box(np.stack([s.box for s in samples]), size, config.model.enlarge), size)
    xy = (apply(matrices, np.stack([s.xy for s in samples])) + 0.5) / config.model.size
    weight = np.stack([s.weight for s in samples])[..., None]
    mean = (xy * weight).sum(0) / np.maximum(weight.sum(0), 1e-6)
    return torch.tensor(mean.clip(0.05, 0.95), dtype=torch.float32)


def train(
    samples: list[Sample],
    config: TrainConfig,
    folder: Path,
    *,
    init: Sequence[Path] = (),
    resume: bool = False,
    device: torch.device | None = None,
    report: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Train, validate, keep the best; returns the last progress.

    Args:
        samples: all people; held-out photographs are used for validation only.
        config: the whole recipe.
        folder: gets run.json (recipe, kernel), log.csv, state.safetensors (to resume), last.safetensors and
            best.safetensors (EMA).
        init: weights to start from, a whole TFPose or a trunk each; the later are laid over the earlier.
        resume: go on from folder/state.safetensors, at the very batch where it ended.
        device: where to train; a GPU if there is one, by default.
        report: called after every step and every validation.
    Raises: InputError: no people left to train on. TfposeError: the loss is not a number any more. DeviceError: the
        GPU's memory is full.
    """
    rank, world = ranks()
    require_pycocotools()
    alone = world == 1 or dist.is_initialized()
    device = join(device, rank, world)
    kept, held = divide(samples, config)
    kernel = select_kernel("auto", device, config.model)
    torch.manual_seed(config.seed)
    model = TFPose(config.model, mean_pose(kept, config))
    settle(model, device, torch.channels_last)
    filled = {name for weights in init for name in start_from(model, weights)}
    if model.witness is not None and not resume and not any(name.startswith("witness.") for name in filled):
        fix = "--init with it, or --set 'witness=\"\"' and tools.finish afterwards"
        raise UsageError(f"witness = {config.model.witness!r}", why="no --init holds that network", fix=fix)
    objective = Objective(model, config).to(device)
    optimizer = torch.optim.AdamW(groups(objective, config), betas=(0.9, 0.999), fused=True)
    run = Run(folder, config, objective, optimizer, Average(model, config.ema), Progress(), held, rank, world)
    if resume:
        restore(folder / "state.safetensors", objective, optimizer, run.average, run.progress)
        if rank == 0:
            note_end(folder, config)
    elif rank == 0:
        begin(folder, config, {"people": len(kept), "kernel": dataclasses.asdict(kernel)})
    loader = Loader(kept, config, rank, world, device)
    batches = loader.iterate(run.progress.step)
    try:
        work(run, loader, batches, device, report)
    except KeyboardInterrupt:
        if rank == 0:
            save_state(folder / "state.safetensors", objective, optimizer, run.average, run.progress)
        raise
    except torch.OutOfMemoryError as error:
        fix = f"--set crops=host, or --batch {max(config.batch // 2, 1)} in a new run"
        raise DeviceError(f"the memory of {device} is full", why=line_of(error), fix=fix) from error
    finally:
        batches.close()  # type: ignore[attr-defined]
    if not alone:
        dist.destroy_process_group()  # who joined the others here leaves them here
    if rank == 0 and held:
        for name in ("last", "best"):
            calibrate_file(folder / f"{name}.safetensors", held, "held-out photographs of the training set")
    return run.progress


def divide(samples: list[Sample], config: TrainConfig) -> tuple[list[Sample], list[Sample]]:
    """Whom to train on, and who is held out. Raises: InputError: nobody is left to train on."""
    held = [s for s in samples if is_validation(s.image)] if config.hold_out else []
    kept = weigh([s for s in samples if not (config.hold_out and is_validation(s.image))], config)
    if not kept:
        why = "no labelled person of the sources asked for"
        raise InputError("nothing to train on", why=why, fix="--set sources=[]")
    return kept, held


def begin(folder: Path, config: TrainConfig, facts: dict[str, Any]) -> None:
    """Write down what a new run is. Raises: OutputError: the folder holds another."""
    if (folder / "run.json").exists():
        raise OutputError(f"{folder} holds a run", why="runs are never replaced", fix="--resume, or another --save-dir")
    folder.mkdir(parents=True, exist_ok=True)
    told = {**dataclasses.asdict(config), **facts, "torch": torch.__version__}
    (folder / "run.json").write_text(json.dumps(told, indent=1))


def note_end(folder: Path, config: TrainConfig) -> None:
    """Write down what of the recipe a run that goes on was told anew: above all, when it ends."""
    note = folder / "run.json"
    if note.is_file():
        told = json.loads(note.read_text(encoding="utf-8"))
        write_whole(note, json.dumps(told | {name: getattr(config, name) for name in FREE}, indent=1).encode())


def _saved(folder: Path) -> int:
    """The step whose weights `last.safetensors` holds; -1 without it."""
    path = folder / "last.safetensors"
    return int(read_header(path)[1].get("step", -1)) if path.is_file() else -1


@dataclass(frozen=True, slots=True)
class Run:
    """What every step and every validation of a run works on."""

    folder: Path
    config: TrainConfig
    objective: Objective
    optimizer: torch.optim.Optimizer
    average: Average
    progress: Progress
    held: list[Sample]
    rank: int
    world: int


def work(
    run: Run, loader: Loader, batches: Iterator[Batch], device: torch.device, report: Callable[[Progress], None]
) -> None:
    """Step after step to the end of the run, with a validation now and then."""
    config, progress, world = run.config, run.progress, run.world
    objective = run.objective
    network = side_by_side(objective) if world > 1 else objective
    total = min(config.epochs * loader.steps_per_epoch, config.steps or sys.maxsize)
    last_validation = progress.seconds
    progress.done, _ = agree(config, progress, total, False, world, device)  # a run that goes on may end elsewhere
    if progress.done >= 1 and run.rank == 0 and _saved(run.folder) < progress.step:
        checkpoint(run, {})
    recent: list[dict[str, float]] = []  # losses since the last validation: one batch's say little
    while progress.done < 1:
        began = time.monotonic()
        progress.lr = set_rates(run.optimizer, config, progress)
        terms = network(next(batches).to(device))
        terms["loss"].backward()
        norm = nn.utils.clip_grad_norm_(objective.parameters(), config.clip)
        if not math.isfinite(float(norm)):
            raise TfposeError(
                f"step {progress.step}: the gradient is not a number",
                why=f"loss {float(terms['loss'].detach()):.4g}",
                fix="--resume from the last checkpoint, or --lr half of this in a new run",
            )
        with interrupts.deferred() as heed:  # what is saved then is a whole step
            run.optimizer.step()
            run.optimizer.zero_grad(set_to_none=True)
            progress.step += 1
            run.average.update(objective.model, progress.step)
            progress.seconds += min(time.monotonic() - began, 30.0)  # a stopped machine is not work
            progress.seen += loader.each * world
            progress.epoch = progress.step // loader.steps_per_epoch
            late = progress.seconds - last_validation >= config.val_every * 60
            progress.done, due = agree(config, progress, total, late, world, device)
        heed()
        progress.losses = {k: float(v.detach()) for k, v in terms.items()}
        recent.append(progress.losses)
        progress.metrics = None
        report(progress)
        if progress.done >= 1 or due:
            last_validation = progress.seconds
            if run.rank == 0:
                checkpoint(run, {k: fmean(step[k] for step in recent) for k in recent[0]})
                report(progress)
            recent.clear()
            if world > 1:
                dist.barrier()


def set_rates(optimizer: torch.optim.Optimizer, config: TrainConfig, progress: Progress) -> float:
    """Set every group's learning rate for the coming step; the transformer's is returned."""
    lr = config.lr * schedule(config, progress.step, progress.done)
    for group in optimizer.param_groups:
        group["lr"] = lr * group["scale"]
    return lr


def checkpoint(run: Run, means: dict[str, float]) -> None:
    """Validate the averaged weights, keep the best, save all, add a line with the mean losses, if any, to the log."""
    folder, objective, average, progress, held = run.folder, run.objective, run.average, run.progress, run.held
    model = TFPose(objective.model.config)
    model.load_state_dict(average.state, strict=False)
    device = next(objective.parameters()).device
    progress.metrics = validate(model.to(device).eval(), held) if held else {}
    value = progress.metrics.get("AP", float(progress.step))
    facts = {"step": progress.step, "seen": progress.seen, "metrics": progress.metrics}
    save_model(folder / "last.safetensors", model, facts)
    if value > progress.best:
        progress.best = value
        save_model(folder / "best.safetensors", model, facts)
    save_state(folder / "state.safetensors", objective, run.optimizer, average, progress)
    if not means:  # no step was taken since the run went on
        return
    row = {
        "step": progress.step,
        "seconds": round(progress.seconds),
        "seen": progress.seen,
        "lr": progress.lr,
        **means,
        **progress.metrics,
    }
    log = folder / "log.csv"
    new = not log.exists()
    with log.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow({k: float(f"{v:.3g}") if k == "lr" else round(v, 5) for k, v in row.items()})
