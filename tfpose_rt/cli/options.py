"""Options that several commands share: stated once, never copied. See docs/commands.md for what they mean."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from tfpose_rt.cli.defaults import take_defaults
from tfpose_rt.config import RunConfig
from tfpose_rt.errors import InputError, UsageError

INPUT, MODEL, OUTPUT, DISPLAY, RUN = "Input", "Model", "Output", "Display", "Run"


def _option(panel: str, *names: str, help: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, show_default=True, **more)


Weights = Annotated[str, _option(MODEL, "--weights", "-w", help="Name or .safetensors file of the pose model.")]
DetectorName = Annotated[
    str, _option(MODEL, "--detector", help="Name or file of the person detector; `none` = whole image.")
]
Device = Annotated[str, _option(MODEL, "--device", "-d", help="auto, cpu, cuda, cuda:N or mps.")]
Engine = Annotated[str, _option(MODEL, "--engine", help="auto, torch, or openvino (CPU): what runs the networks.")]
Kernel = Annotated[str, _option(MODEL, "--kernel", help="auto, fused (CUDA) or torch.")]
Precision = Annotated[str, _option(MODEL, "--precision", help="auto, fp32, fp16, bf16, or int8 (OpenVINO).")]
DetSize = Annotated[int, _option(MODEL, "--det-size", help="Long side of the detector's input, px.")]
Conf = Annotated[float, _option(MODEL, "--conf", help="Least score of a person.")]
Iou = Annotated[float, _option(MODEL, "--iou", help="Boxes that overlap a better one by more are dropped.")]
DetEvery = Annotated[str, _option(MODEL, "--det-every", help="Run the detector each N frames; auto or 0: as needed.")]
MaxPeople = Annotated[int, _option(MODEL, "--max-people", help="The highest scores are kept.")]
PoseBatch = Annotated[int, _option(MODEL, "--pose-batch", help="Crops per forward pass.")]
FlipTest = Annotated[
    bool,
    _option(MODEL, "--flip-test/--no-flip-test", help="Mirrored crops, too: more exact, poses take twice as long."),
]
KptThr = Annotated[float, _option(DISPLAY, "--kpt-thr", help="Joints below it are hollow; files keep them.")]
Track = Annotated[bool, _option(MODEL, "--track/--no-track", help="Ids.")]
TrackBuffer = Annotated[float, _option(MODEL, "--track-buffer", help="Seconds an unseen id is kept.")]
Sides = Annotated[str, _option(MODEL, "--sides", help="Left and right: tracked over time, or model's own each frame.")]
Smooth = Annotated[str, _option(MODEL, "--smooth", help="off or one-euro[:mincut,beta]; a second field, raw stays.")]
Roi = Annotated[str | None, _option(INPUT, "--roi", help="x0,y0,x1,y1 px; results stay in full-frame pixels.")]
Rotate = Annotated[str, _option(INPUT, "--rotate", help="auto, 0, 90, 180 or 270 degrees clockwise.")]
Mirror = Annotated[bool, _option(DISPLAY, "--mirror/--no-mirror", help="Mirror the display; files are unchanged.")]
Background = Annotated[str, _option(DISPLAY, "--background", help="frame, black or blur-people.")]
Threads = Annotated[int, _option(RUN, "--threads", help="CPU threads; 0 = all cores.")]
Seed = Annotated[int, _option(RUN, "--seed", help="Noted in the header; a run itself draws nothing at random.")]
FullPrecision = Annotated[bool, _option(OUTPUT, "--full-precision", help="All digits instead of 2 decimals px.")]
Overwrite = Annotated[bool, _option(OUTPUT, "--overwrite", "-y", help="Replace files that exist.")]
ConfigFile = Annotated[
    Path | None,
    _option(RUN, "--config", help="TOML file with defaults.", dir_okay=False, is_eager=True, callback=take_defaults),
]
LogFile = Annotated[
    Path | None,
    _option(RUN, "--log-file", help="Add all that is said, and what -vv would say, to this file.", dir_okay=False),
]
DryRun = Annotated[bool, _option(RUN, "--dry-run", help="Print the resolved plan and open nothing.")]
Progress = Annotated[bool, _option(RUN, "--progress/--no-progress", help="Progress bar, when stderr is a terminal.")]
Quiet = Annotated[bool, _option(RUN, "--quiet", "-q", help="Errors and the files written, nothing else.")]
Verbose = Annotated[
    int, _option(RUN, "--verbose", "-v", help="More messages; -vv tells all, tracebacks too.", count=True)
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Which part of the picture is looked at, and which way up."""

    roi: Roi = None
    rotate: Rotate = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How people are found and followed."""

    weights: Weights = "default"
    detector: DetectorName = "yolo-n"
    device: Device = "auto"
    engine: Engine = "auto"
    kernel: Kernel = "auto"
    precision: Precision = "auto"
    det_size: DetSize = 640
    conf: Conf = 0.25
    iou: Iou = 0.7
    det_every: DetEvery = "1"
    max_people: MaxPeople = 20
    pose_batch: PoseBatch = 16
    flip_test: FlipTest = False
    track: Track = True
    track_buffer: TrackBuffer = 1.0
    sides: Sides = "tracked"
    smooth: Smooth = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """How people are drawn."""

    kpt_thr: KptThr = 0.3
    background: Background = "frame"
    mirror: Mirror = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What a run may use, and where its defaults come from."""

    threads: Threads = 0
    seed: Seed = 0
    log_file: LogFile = None
    config: ConfigFile = None


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameters of a group's type have become the group's own options, in their place.

    typer reads the signature that is set here, so that these are options like all others: in the help, in --config,
    in the environment. Defaults are those of the group that is the parameter's default.

    Args:
        command: takes groups as one value each, such as `drawing: Drawing = Drawing()`.
    Raises: ValueError: two options have one name.
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if dataclasses.is_dataclass(parameter.annotation):
            groups[parameter.name] = parameter.annotation
            hints = get_type_hints(parameter.annotation, include_extras=True)
            parameters += [
                parameter.replace(name=name, annotation=hint, default=getattr(parameter.default, name))
                for name, hint in hints.items()
            ]
        else:
            parameters.append(parameter)

    @functools.wraps(command)
    def flat(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in dataclasses.fields(group)})
        command(**values)

    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what inspect looks for first
    return flat


def run_config(*groups: Any, **more: Any) -> RunConfig:
    """The run's settings from a command's parameters, whose defaults `take_defaults` has resolved.

    Args:
        groups: of options; what RunConfig does not know in them is ignored.
        more: other settings, by RunConfig's names.
    Raises: UsageError: a value that makes no sense.
    """
    from tfpose_rt.smooth import Smoother

    names = {f.name for f in dataclasses.fields(RunConfig)}
    chosen = {f.name: getattr(group, f.name) for group in groups for f in dataclasses.fields(group)}
    chosen = {k: v for k, v in chosen.items() if k in names} | more
    every = str(chosen.get("det_every", 1))
    if every != "auto" and not every.isdecimal():
        raise UsageError(f"--det-every {every}", why="neither a whole number nor auto", fix="--det-every 4")
    chosen["det_every"] = 0 if every == "auto" else int(every)
    if isinstance(chosen.get("roi"), str):
        chosen["roi"] = parse_numbers(chosen["roi"], 4, "--roi", "0,0,640,480")
    run = RunConfig(**chosen)
    Smoother.parse(run.smooth)
    return run


def require_folder(data: Path) -> None:
    """Raises: InputError: it is not there, or it is a file."""
    if not data.exists():
        near = next(p for p in data.absolute().parents if p.is_dir())
        raise InputError(f"no folder {data}", why="nothing has that name", fix=f"look in {near}")
    if not data.is_dir():
        why, fix = "DATA is the folder of a set", f"{data.parent} --ann {data}"
        raise InputError(f"{data} is a file", why=why, fix=fix)


def parse_numbers(text: str, count: int, flag: str, example: str) -> tuple[int, ...]:
    """Text such as 1,2,3,4 or 640x480 -> integers."""
    try:
        numbers = tuple(int(part) for part in text.replace("x", ",").replace(":", ",").split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise UsageError(f"{flag} {text}", why=f"not {count} whole numbers", fix=f"{flag} {example}")
    return numbers
