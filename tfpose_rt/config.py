"""Everything a run depends on: frozen dataclasses, checked where they are made."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Self

from tfpose_rt.errors import UsageError

PRECISIONS = ("fp32", "fp16", "bf16", "int8")  # of the networks; beside "auto"


class Config:
    """What every configuration can do: be read from plain values, and be written back."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values; an unknown key is an error that names the nearest known one."""
        known = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        for key in values:
            if key not in known:
                raise unknown(key, known, cls.__name__)
        values = {key: _nested(key, value, known[key].default_factory) for key, value in values.items()}
        for key, value in values.items():
            default = known[key].default
            if default is None or default is dataclasses.MISSING or isinstance(value, Config):
                continue
            fits = isinstance(value, bool) == isinstance(default, bool) and isinstance(
                value,
                (int, float)
                if isinstance(default, float)
                else list | tuple
                if isinstance(default, tuple)
                else type(default),
            )
            if not fits:
                kind = type(default).__name__.replace("tuple", "list")
                raise UsageError(f"{key} = {value!r}", why=f"not a {kind}", fix=f"{key} = {json.dumps(default)}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON and TOML hold them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}  # type: ignore[call-overload]


def unknown(key: str, known: Iterable[str], owner: str) -> UsageError:
    """The error for a key that `owner` does not have; it names the nearest of those it has."""
    near = difflib.get_close_matches(key, known, 1)
    fix = near[0] if near else ", ".join(known)
    return UsageError(f"unknown setting {key!r}", why=f"{owner} has no such field", fix=fix)


def _nested(key: str, value: Any, kind: Any) -> Any:
    """A table in a table becomes a configuration of its own; every other value stays as it is."""
    if not (isinstance(kind, type) and issubclass(kind, Config)) or isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise UsageError(f"{key} = {value!r}", why="not a table", fix=f"[{key}], and its settings below")
    return kind.from_dict(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig(Config):
    """The shape of one TFPose; a weights file carries its own (safetensors metadata, key `config`)."""

    name: str = "n"
    trunk: str = "yolo11n-pose"
    keypoints: int = 17
    channels: int = 192  # C, width of the transformer
    heads: int = 8  # M
    points: int = 4  # P, sampling points per level and head
    encoder_layers: int = 0  # N_E
    decoder_layers: int = 3  # N_D
    ffn: int = 4  # width of the feed-forward layers, in units of C
    size: tuple[int, int] = (192, 256)  # W, H of the crop, px
    enlarge: float = 1.25  # of the box on each axis, what a crop shows in use, and in training on average
    strides: tuple[int, ...] = (8, 16, 32)
    q2q: bool = True  # self-attention between the keypoint queries
    witness: str = ""  # whose maps of the joints the last guess is weighed against: a part of the trunk, or beside it
    start: str = "image"  # y^0: "mean" (a learned constant, the paper) or "image" (predicted from the coarsest level)

    def __post_init__(self) -> None:
        """Check what would fail later, far from its cause."""
        if any(side % self.strides[-1] for side in self.size):
            raise UsageError(
                f"size = {self.size}", why=f"sides are halved to stride {self.strides[-1]}", fix="192, 256"
            )
        if not 1 <= self.enlarge <= 2:
            raise UsageError(f"enlarge = {self.enlarge}", why="crops show 1 to 2 boxes", fix="enlarge = 1.25")
        if self.channels % self.heads or self.channels % 32:
            why = f"not a multiple of {self.heads} heads and of 32 groups"
            raise UsageError(f"channels = {self.channels}", why=why, fix="192")
        if self.decoder_layers < 1 or self.encoder_layers < 0:
            raise UsageError("decoder_layers", why="at least one layer gives the answer", fix="decoder_layers = 3")
        if self.witness and self.keypoints != 17:
            why = f"witnesses know COCO's 17 joints, not {self.keypoints}"
            raise UsageError(f"witness = {self.witness!r}", why=why, fix='witness = ""')
        if self.start not in ("mean", "image"):
            raise UsageError(f"start = {self.start!r}", why="the start pose is mean or image", fix='start = "image"')

    @property
    def shapes(self) -> list[int]:
        """H0, W0, H1, W1, ... of the feature levels."""
        w, h = self.size
        return [side for s in self.strides for side in (h // s, w // s)]


MODELS: dict[str, ModelConfig] = {
    "n": ModelConfig(enlarge=1.1),  # larger people are worth more to small crops than room around them
    "s": ModelConfig(name="s", trunk="yolo11n-pose+movenet", witness="movenet", enlarge=1.1),
    "m": ModelConfig(name="m", trunk="resnet50", channels=256, encoder_layers=4, decoder_layers=6),
    "l": ModelConfig(
        name="l", trunk="resnet50", channels=256, encoder_layers=6, decoder_layers=6, size=(288, 384)
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions(Config):
    """How a source is opened and read; what does not apply to a kind of source is ignored by it."""

    start: float | None = None  # s
    end: float | None = None  # s
    frames: tuple[int, int] | None = None  # A:B, half open
    stride: int = 1
    skip_to: int = 0  # frames before it are passed over, counted but not handed on; --resume sets it
    rotate: str = "auto"  # auto | 0 | 90 | 180 | 270, clockwise
    size: tuple[int, int] | None = None  # asked of a camera
    fps: float | None = None  # asked of a camera
    fourcc: str | None = None
    backend: str = "auto"
    reconnect: int = 10  # 0 = never, -1 = for ever
    stall: float = 3.0  # s without a frame
    open_timeout: float = 10.0  # s
    credentials: str | None = None  # path of a file with user:password, mode 0600
    drop: bool = True  # live: newest frame wins; False queues up to 64 frames, and the delay may grow
    full_hash: bool = False  # sha256 over the whole file, not its ends

    def __post_init__(self) -> None:
        """An angle may be a number, as Python says it."""
        angle: Any = self.rotate
        if isinstance(angle, int):
            object.__setattr__(self, "rotate", str(angle))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig(Config):
    """What one run of the pipeline does."""

    weights: str = "default"
    detector: str = "yolo-n"
    device: str = "auto"
    engine: str = "auto"  # auto | torch | openvino
    kernel: str = "auto"  # auto | fused | torch
    precision: str = "auto"  # auto | fp32 | fp16 | bf16 | int8
    det_size: int = 640
    conf: float = 0.25
    iou: float = 0.7
    det_every: int = 1  # 0 = auto
    max_people: int = 20
    pose_batch: int = 16
    flip_test: bool = False  # join every crop's answer with that of its mirror image
    kpt_thr: float = 0.3  # drawing only
    track: bool = True
    track_buffer: float = 1.0  # s
    sides: str = "tracked"  # tracked: left and right follow each person over time | model: as each frame says
    smooth: str = "off"  # off | one-euro[:mincut,beta]
    roi: tuple[int, int, int, int] | None = None
    mirror: bool = False  # display only
    threads: int = 0  # 0 = physical cores
    seed: int = 0  # noted in the header; nothing in a run is random
    background: str = "frame"  # frame | black | blur-people
    full_precision: bool = False
    source: SourceOptions = field(default_factory=SourceOptions)

    def __post_init__(self) -> None:
        """Check the words and numbers, before any model is loaded; names and paths are looked up by who uses them."""
        if str(self.det_every) == "auto":  # the command line's word for it
            object.__setattr__(self, "det_every", 0)
        for option in dataclasses.fields(self):
            value, number = getattr(self, option.name), option.default
            if type(number) not in (int, float):
                continue
            flag = f"--{option.name.replace('_', '-')}"
            if isinstance(value, bool) or not isinstance(value, Real):
                raise UsageError(f"{flag} {value!r}", why="not a number", fix=f"{flag} {number}")
            if type(number) is int and not isinstance(value, Integral):
                raise UsageError(f"{flag} {value!r}", why="not a whole number", fix=f"{flag} {number}")
        roi = self.roi
        rules = (
            ("weights", bool(self.weights), "neither a name nor a file", "default"),
            ("detector", bool(self.detector), "neither a name nor a file", "none, for whole pictures"),
            ("max_people", self.max_people >= 1, "at least one person", "20"),
            ("pose_batch", self.pose_batch >= 1, "at least one crop", "16"),
            ("conf", 0 <= self.conf <= 1, "it lies in 0..1", "0.25"),
            ("iou", 0 < self.iou <= 1, "it lies above 0, up to 1", "0.7"),
            ("det_every", self.det_every >= 0, "0 = as needed", "4"),
            ("track_buffer", self.track_buffer >= 0, "seconds", "1.0"),
            ("kpt_thr", 0 <= self.kpt_thr <= 1, "it lies in 0..1", "0.3"),
            ("threads", self.threads >= 0, "0 = all cores", "2"),
            ("background", self.background in ("frame", "black", "blur-people"), "unknown",
             "frame, black or blur-people"),
            ("precision", self.precision in ("auto", *PRECISIONS), "unknown", "auto, fp32, fp16, bf16 or int8"),
            ("det_size", self.det_size >= 32 and self.det_size % 32 == 0, "not a multiple of 32", "640"),
            ("engine", self.engine in ("auto", "torch", "openvino"), "unknown", "auto, torch or openvino"),
            ("kernel", self.kernel in ("auto", "fused", "torch"), "unknown", "auto, fused or torch"),
            ("sides", self.sides in ("tracked", "model"), "unknown", "tracked or model"),
            ("roi", roi is None or (roi[2] > roi[0] >= 0 and roi[3] > roi[1] >= 0), "empty", "0,0,640,480"),
        )  # fmt: skip
        for name, fine, why, fix in rules:
            if not fine:
                flag = f"--{name.replace('_', '-')}"
                raise UsageError(f"{flag} {getattr(self, name)}", why=why, fix=f"{flag} {fix}")
        if self.smooth != "off" and not self.track:
            raise UsageError("--smooth with --no-track", why="smoothing follows a person by id", fix="--track")
