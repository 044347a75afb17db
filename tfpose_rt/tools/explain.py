"""explain: how the model came to one person's keypoints, from the picture to the last decoder layer."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfpose_rt import skeleton
from tfpose_rt.config import RunConfig, SourceOptions
from tfpose_rt.crop import apply, crop_matrix, fit_box, invert, warp
from tfpose_rt.errors import InputError, UsageError
from tfpose_rt.io.sources import IMAGE_SUFFIXES, open_source
from tfpose_rt.io.urls import mask
from tfpose_rt.records import Frame, Image

Array = npt.NDArray[np.float64]
AT_FRAME = re.compile(r"(?P<name>.+)@(?P<frame>\d+)")


@dataclass(frozen=True, slots=True)
class Look:
    """One decoder layer at one person, numpy; see `model.trace.Layer` for the shapes without B."""

    before: Array
    after: Array
    score: Array
    places: Array
    weights: Array
    q2q: Array | None
    witness: Array | None
    share: Array | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """Everything about one person of one picture.

    Args:
        source: basename of what was read.
        frame: its number in the source; None for a single image.
        pts: s from the source's first frame.
        image: (H, W, 3) uint8 BGR.
        boxes: (N, 4) px, everybody found, best first.
        box_scores: (N,).
        number: which of them is explained.
        crop: (h, w, 3) uint8 BGR, what the model saw.
        to_crop: (2, 3), picture px to crop px.
        looks: the decoder layers in order.
        shapes: h, w of each feature level, finest first.
        model: the model's name.
    """

    source: str
    frame: int | None
    pts: float
    image: Image
    boxes: npt.NDArray[np.float32]
    box_scores: npt.NDArray[np.float32]
    number: int
    crop: Image
    to_crop: Array
    looks: Sequence[Look]
    shapes: Sequence[tuple[int, int]]
    model: str

    def in_crop(self, places: Array) -> Array:
        """Places (..., 2), normalised to the crop -> px of the crop."""
        return places * np.array(self.crop.shape[1::-1], np.float64) - 0.5

    @property
    def path(self) -> Array:
        """(N_D + 1, K, 2) px of the crop: the start y^0, then y^d after each layer."""
        return self.in_crop(np.stack([self.looks[0].before, *(look.after for look in self.looks)]))

    @property
    def xy(self) -> Array:
        """(N_D + 1, K, 2) px of the picture: the start, then the points after each layer; the last are the answer."""
        return apply(invert(self.to_crop), self.path)

    @property
    def moves(self) -> Array:
        """(N_D, K) px of the picture by which each layer moved each joint."""
        return np.asarray(np.linalg.norm(np.diff(self.xy, axis=0), axis=-1))

    @property
    def title(self) -> str:
        """Picture, frame and person in words."""
        where = self.source if self.frame is None else f"{self.source}, frame {self.frame} ({self.pts:.3f} s)"
        return f"{where}, person {self.number} of {len(self.boxes)}"


def refuse_live(spec: str) -> None:
    """Raises: UsageError: a camera, a pipe or an address, with or without @ and a number; no password is in it."""
    name, at, _ = spec.rpartition("@")
    word = spec if Path(spec).exists() or not at else name
    if "://" in spec or word == "-" or word.isdecimal() or word.startswith("camera:"):
        raise UsageError(f"{mask(spec)} has no frames to go back to", why="it is live", fix="a file")


def read_frame(spec: str) -> tuple[Frame, str, bool]:
    """The picture that IMAGE or VIDEO@FRAME names.

    Args:
        spec: an image file; or a video or folder of images, @, and a frame's number, counted from 0 as recordings do.
    Returns: the frame, the source's name, and whether a frame was named.
    Raises: UsageError: a video without a frame, or what has no frames to choose from. InputError: it cannot be read.
    """
    refuse_live(spec)
    match = AT_FRAME.fullmatch(spec)
    if match is None or Path(spec).exists():
        if Path(spec).suffix.lower() not in IMAGE_SUFFIXES:
            name, what = Path(spec).name or spec, "an image, or a video and a frame"
            raise UsageError(f"which frame of {name}?", why=f"explain takes {what}", fix=f"{spec}@0")
        name, number = spec, None
    else:
        name, number = match["name"], int(match["frame"])
    source = open_source(name, SourceOptions(frames=None if number is None else (number, number + 1)))
    try:
        found = next((item for item in source if isinstance(item, Frame)), None)
    except InputError as error:
        raise InputError(f"no frame {number} in {source.info.name}", why=error.why, fix="another number") from error
    finally:
        source.close()
    if found is None:
        raise InputError(f"no frame {number} in {source.info.name}", why="it cannot be decoded", fix="the next frame")
    return found, source.info.name, number is not None


def figure_name(spec: str) -> str:
    """What to call the figure of IMAGE or VIDEO@FRAME: clip.mp4@60 -> clip_60_explain.png."""
    match = None if Path(spec).exists() else AT_FRAME.fullmatch(spec)
    stem = Path(match["name"]).stem + f"_{match['frame']}" if match else Path(spec).stem
    return f"{stem}_explain.png"


def explain(spec: str, run: RunConfig | None = None, *, person: int = 0) -> Explained:
    """Run detector and model on one picture and record what the decoder did for one person.

    The model runs in torch and float32 whatever else the program would choose: another engine has no layers to look at.

    Args:
        spec: as for `read_frame`.
        run: weights, detector and device.
        person: which of those found, best first.
    Raises: as `read_frame`; InputError: nobody is found. UsageError: no such person, or weights of another layout.
        WeightsError, DeviceError: what was asked for cannot be used.
    """
    import torch

    from tfpose_rt import assets
    from tfpose_rt.detect import open_detector
    from tfpose_rt.device import choose_device, set_threads
    from tfpose_rt.model.trace import trace
    from tfpose_rt.model.weights import load_model

    run = run or RunConfig()
    weights = assets.resolve(run.weights, "pose")
    frame, name, named = read_frame(spec)
    device, _ = choose_device(run.device)
    detector = open_detector(run.detector, det_size=run.det_size, conf=run.conf, iou=run.iou, device=device)
    if run.threads:
        set_threads(run.threads)
    people = detector.detect([frame.image])[0]
    if not len(people):
        fix = "a lower --conf, or --detector none for the whole picture"
        raise InputError(f"nobody found in {name}", why=f"no person scored {run.conf:g} or more", fix=fix)
    if not 0 <= person < len(people):
        raise UsageError(f"--id {person}", why=f"{len(people)} found, numbered from 0, best first", fix="--id 0")
    model, _ = load_model(weights)
    if model.config.keypoints != len(skeleton.NAMES):
        why = f"it has {model.config.keypoints} joints, not COCO's {len(skeleton.NAMES)}"
        raise UsageError(f"{weights.name} cannot be explained", why=why, fix="weights for COCO's joints")
    size = model.config.size
    to_crop = crop_matrix(fit_box(people.boxes[person], size, model.config.enlarge), size)
    crop = warp(frame.image, to_crop, size)
    rgb = torch.from_numpy(crop).to(device).permute(2, 0, 1).flip(0).float().div(255)[None].contiguous()
    shapes = model.config.shapes
    return Explained(
        source=name, frame=frame.index if named else None, pts=frame.pts, image=frame.image, boxes=people.boxes,
        box_scores=people.scores, number=person, crop=crop, to_crop=to_crop,
        looks=[_look(layer) for layer in trace(model.to(device), rgb)],
        shapes=list(zip(shapes[0::2], shapes[1::2], strict=True)), model=weights.stem,
    )  # fmt: skip


def _look(layer: Any) -> Look:
    """The first crop of a traced layer as numpy."""

    def plain(tensor: Any) -> Any:
        return None if tensor is None else tensor[0].cpu().double().numpy()  # so: Apple's GPUs have no float64

    return Look(**{field.name: plain(getattr(layer, field.name)) for field in dataclasses.fields(Look)})


def joint_of(text: str) -> int | None:
    """The number of the joint that --joint names; None for all.

    Raises: UsageError: unknown, with the nearest names.
    """
    word = text.strip().lower().replace("-", "_").replace(" ", "_")
    if word == "all":
        return None
    if word not in skeleton.INDEX:
        near = difflib.get_close_matches(word, skeleton.NAMES, 3, 0.5) or skeleton.NAMES
        raise UsageError(f"--joint {text}", why="no such joint", fix=", ".join(near))
    return skeleton.INDEX[word]


def layers_of(text: str, count: int) -> list[int]:
    """The layers, from 0, that --layer names: `last`, `all`, or a number from 1.

    Raises: UsageError: neither, or no such layer.
    """
    if text in ("last", "all"):
        return list(range(count)) if text == "all" else [count - 1]
    if not text.isdecimal() or not 1 <= int(text) <= count:
        raise UsageError(f"--layer {text}", why=f"the decoder has layers 1 to {count}", fix="last, all or a number")
    return [int(text) - 1]


def table(seen: Explained, joint: int | None = None) -> str:
    """What each layer moved, as text: a row a joint, px of the picture; then where it ended, and its score.

    Args:
        seen: what was recorded.
        joint: this one alone; all when None.
    """
    count = len(seen.looks)
    x0, y0, x1, y1 = seen.boxes[seen.number].tolist()
    box = f"box {x0:.1f}, {y0:.1f} to {x1:.1f}, {y1:.1f}, score {seen.box_scores[seen.number]:.2f}"
    heads = [f"layer {d + 1}" for d in range(count)]
    last = seen.looks[-1]
    lines = [f"{seen.title}; {box}", "moves in px of the picture, and where they end"]
    more: list[Array] = []
    if last.witness is not None and last.share is not None:
        lines[1] += "; maps: px left to where the witness's maps say; share: of the way there that was gone"
        more = [
            np.linalg.norm(apply(invert(seen.to_crop), seen.in_crop(last.witness)) - seen.xy[-1], axis=-1),
            last.share,
        ]
    heads += ["x", "y", "score", *(["maps", "share"] if more else [])]
    lines.append(f"{'joint':16}" + "".join(f"{head:>9}" for head in heads))
    numbers = list(range(len(skeleton.NAMES))) if joint is None else [joint]
    for k in numbers:
        cells = [f"{move:9.2f}" for move in seen.moves[:, k]] + [f"{v:9.2f}" for v in seen.xy[-1, k]]
        lines.append(f"{skeleton.NAMES[k]:16}" + "".join(cells) + "".join(f"{v[k]:9.2f}" for v in (last.score, *more)))
    if joint is None:
        lines.append(f"{'mean':16}" + "".join(f"{move:9.2f}" for move in seen.moves.mean(1)))
    return "\n".join(lines)
