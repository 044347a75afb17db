"""Everything a training run depends on: how crops are varied, and the recipe."""

from __future__ import annotations

from dataclasses import dataclass, field

from tfpose_rt.config import Config, ModelConfig
from tfpose_rt.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig(Config):
    """How strongly training crops are varied: shares of the crops, and ranges."""

    rotate: float = 0.6
    degrees: float = 40.0  # either way
    tumble: float = 0.05  # share turned by any angle: handstands and somersaults
    zoom: tuple[float, float] = (0.65, 1.2)  # part of the picture the crop shows, in units of 1.25 boxes
    shift: float = 0.06  # of the box, like a detector's errors
    flip: float = 0.5
    half_body: float = 0.25
    cut: float = 0.2  # share of people cut off by the picture's edge, as at a desk
    erase: float = 0.3
    colour: float = 0.8
    degrade: float = 0.15  # blur or low resolution
    crowd: float = 0.0  # share of people with somebody else of the batch before them

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("rotate", "tumble", "flip", "half_body", "cut", "erase", "colour", "degrade", "crowd"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise UsageError(f"{name} = {share}", why="a share of the crops, 0 to 1", fix=f"{name} = 0.5")
        if not 0 <= self.degrees <= 180:
            raise UsageError(f"degrees = {self.degrees}", why="not from 0 to 180", fix="degrees = 40")
        if not 0 <= self.shift <= 1:
            raise UsageError(f"shift = {self.shift}", why="in units of the box, 0 to 1", fix="shift = 0.06")
        numbers = len(self.zoom) == 2 and all(isinstance(edge, int | float) for edge in self.zoom)
        if not numbers or not 0 < self.zoom[0] <= self.zoom[1]:
            why = "not the least and the greatest, both above 0"
            raise UsageError(f"zoom = {list(self.zoom)}", why=why, fix="zoom = [0.65, 1.2]")


# of a recipe, what may be another when a run goes on: when it ends, and how its work is done
FREE = ("minutes", "steps", "epochs", "val_every", "workers", "crops", "crop_memory", "compile")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig(Config):
    """Everything a training run depends on; written beside its checkpoints as run.json."""

    model: ModelConfig = field(default_factory=ModelConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: str = "rle"  # rle | laplace | l1
    heatmap: bool = True  # the auxiliary branch
    minutes: float | None = None  # of work; of `minutes`, `steps` and `epochs`, whichever ends first
    steps: int | None = None  # of the optimiser: the same budget on any machine
    epochs: int = 100
    batch: int = 64  # over all processes
    lr: float = 5e-4  # of the transformer; the trunk gets lr * trunk_lr
    trunk_lr: float = 0.3
    freeze: int = 0  # the first so many modules of a YOLO trunk stay as they are
    frozen: tuple[str, ...] = ()  # parts of a joined trunk that stay as they are
    weight_decay: float = 1e-4
    clip: float = 5.0  # of the gradient's norm
    warmup: int = 200  # steps
    ema: float = 0.9995
    amp: str = "auto"  # auto | off | bf16
    compile: bool = False  # torch.compile: minutes of compilation, then about 1.6 times the speed on a CPU
    val_every: float = 10.0  # minutes
    workers: int = 2  # threads that cut crops
    crops: str = "auto"  # where they are cut: host | device | auto (the device where it is a GPU and all pictures fit)
    crop_memory: float = 0.4  # share of the device's free memory that all decoded pictures may take
    seed: int = 0
    sources: tuple[str, ...] = ()  # of the pack; empty = all
    trust: tuple[str, ...] = ("lspet=0.6", "st40=0.6", "ccp=0.5")  # weight of a set's labels, 1 where not named
    repeat: tuple[str, ...] = ("coco=2",)  # how often a set is seen in an epoch, 1 where not named
    hold_out: bool = True  # every twentieth photograph is for validation

    def __post_init__(self) -> None:
        """Check the words."""
        if self.loss not in ("rle", "laplace", "l1"):
            raise UsageError(f"loss = {self.loss!r}", why="no such loss", fix="rle, laplace or l1")
        if self.amp not in ("auto", "off", "bf16"):
            raise UsageError(f"amp = {self.amp!r}", why="no such precision", fix="auto, off or bf16")
        if self.crops not in ("auto", "host", "device"):
            raise UsageError(f"crops = {self.crops!r}", why="no such place", fix="auto, host or device")
        if not 0 <= self.crop_memory <= 1:
            raise UsageError(f"crop_memory = {self.crop_memory}", why="a share, 0 to 1", fix="crop_memory = 0.4")
        for name in ("batch", "steps", "epochs", "warmup", "workers"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UsageError(f"{name} = {value}", why="at least 1", fix=f"{name} = 1")
        if not self.lr > 0 or not self.val_every > 0:
            raise UsageError(f"lr = {self.lr}, val_every = {self.val_every}", why="not above 0", fix="lr = 0.0005")


def per_source(entries: tuple[str, ...]) -> dict[str, float]:
    """("coco=2", ...) -> {"coco": 2.0}.

    Raises: UsageError: an entry is not NAME=NUMBER.
    """
    try:
        return {name: float(value) for name, value in (entry.split("=") for entry in entries)}
    except ValueError as error:
        raise UsageError(f"{entries!r}", why="not a list of SET=NUMBER", fix="coco=2") from error
