"""People in a frame: YOLO26n's layers through ultralytics; letterbox, head and suppression are ours, and pinned.

Pinned: the picture is scaled to fit `det_size` on its long side (bilinear, both ways, never stretched), and padded with
grey 114 on both sides to the next multiple of 32; RGB, 0..1. The one-to-many head answers, and overlapping boxes are
suppressed at IoU 0.7. An anchor counts as a person by its person score alone, whatever else it might be. Boxes leave in
pixels of the frame with (0, 0) in the CENTRE of the first pixel, so the frame covers -0.5 .. W - 0.5.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from tfpose_rt import assets, likeness
from tfpose_rt.config import PRECISIONS
from tfpose_rt.device import dtype_of
from tfpose_rt.errors import UsageError, WeightsError
from tfpose_rt.layout import layout
from tfpose_rt.likeness import Rows
from tfpose_rt.records import BoxFrom, Detections, Float, Image, frozen

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tfpose_rt.compiled import Network

STRIDE = 32
GREY = 114
MAX_BOXES = 300  # kept after suppression
MIN_SIDE = 1.0  # px; a box that is thinner holds nobody, and no crop can be cut from it
EXAMPLE = (640, 320)  # px, W and H that OpenVINO's network is made with; it takes others, so one serves every det_size


class Detector(Protocol):
    """What the estimator asks of whatever finds people."""

    @property
    def name(self) -> str:
        """What it is called in the files."""
        ...

    @property
    def sha256(self) -> str | None:
        """Of its weights; None where it has none."""
        ...

    @property
    def box_from(self) -> BoxFrom:
        """What its boxes are marked with."""
        ...

    def detect(self, images: Sequence[Image], *, steady: bool = False) -> list[Detections]:
        """The people of each frame; `steady`: many more of the same size are to come, as from a video."""
        ...


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How one frame sits in the network's input.

    Args:
        size: W, H of the input, multiples of 32.
        inner: W, H of the scaled frame inside it.
        left: columns of padding before the frame.
        top: rows of padding above the frame.
        scale: input px per frame px, x and y (they differ by the rounding of `inner`).
    """

    size: tuple[int, int]
    inner: tuple[int, int]
    left: int
    top: int
    scale: tuple[float, float]

    @classmethod
    def fit(cls, width: int, height: int, det_size: int) -> Letterbox:
        """The letterbox of a frame of this size."""
        ratio = min(det_size / width, det_size / height)
        w, h = max(round(width * ratio), 1), max(round(height * ratio), 1)
        padded_w, padded_h = -(-w // STRIDE) * STRIDE, -(-h // STRIDE) * STRIDE
        return cls((padded_w, padded_h), (w, h), (padded_w - w) // 2, (padded_h - h) // 2, (w / width, h / height))

    def apply(self, image: Image) -> Image:
        """(H, W, 3) frame -> (size[1], size[0], 3) input, the same channel order."""
        if image.shape[1::-1] != self.inner:
            image = np.asarray(cv2.resize(image, self.inner, interpolation=cv2.INTER_LINEAR), np.uint8)
        out: Image = np.full((self.size[1], self.size[0], 3), GREY, np.uint8)
        out[self.top : self.top + self.inner[1], self.left : self.left + self.inner[0]] = image
        return out

    def back(self, boxes: Float, width: int, height: int) -> Float:
        """(N, 4) boxes of the input, edge convention -> of the frame, pixel centres, clipped to the frame."""
        shift = np.array([self.left, self.top] * 2, boxes.dtype)
        limit = np.array([width, height] * 2, boxes.dtype)
        edges = (boxes - shift) / np.array(self.scale * 2, boxes.dtype)
        placed: Float = np.minimum(edges.clip(0), limit) - boxes.dtype.type(0.5)
        return placed


class PersonDetector:
    """Finds people with any detection, pose or segmentation network of ultralytics that knows the class "person".

    Args:
        weights: a name of the store, or a path to a .safetensors file (its architecture beside it, as .json) or a .pt.
        det_size: long side of the network's input, px; a multiple of 32.
        conf: least person score, 0..1.
        iou: boxes that overlap a better one by more are dropped.
        device: where the network runs, as torch names it.
        precision: "fp32", "fp16", "bf16" or, by OpenVINO, "int8"; scores and boxes are always decoded in float32.
        engine: "torch", or "openvino" on the CPU.
        threads: of OpenVINO; 0 = as many as torch uses.
    Raises:
        UsageError: a value out of range.
        WeightsError: absent, damaged, or a network that finds no people.
        RuntimeError: OpenVINO does not take the network.
    """

    box_from: BoxFrom = "detector"

    def __init__(
        self,
        weights: str | Path = "yolo-n",
        *,
        det_size: int = 640,
        conf: float = 0.25,
        iou: float = 0.7,
        device: str = "cpu",
        precision: str = "fp32",
        engine: str = "torch",
        threads: int = 0,
    ) -> None:
        if det_size < STRIDE or det_size % STRIDE:
            near = max(round(det_size / STRIDE), 1) * STRIDE
            raise UsageError(f"--det-size {det_size}", why=f"not a multiple of {STRIDE}", fix=f"--det-size {near}")
        if not 0 <= conf <= 1 or not 0 < iou <= 1:
            raise UsageError(f"--conf {conf} --iou {iou}", why="both lie in 0..1", fix="--conf 0.25 --iou 0.7")
        if precision not in PRECISIONS:
            raise UsageError(f"--precision {precision}", why="unknown", fix=", ".join(PRECISIONS))
        if precision == "int8" and engine != "openvino":
            raise UsageError("--precision int8", why=f"{engine} has none", fix="--engine openvino")
        path = assets.resolve(weights, "detector")
        self.name, self.sha256 = path.stem, assets.sha256(path)
        self.det_size, self.conf, self.iou = det_size, conf, iou
        self.device, self.precision = device, precision
        self._path = path
        self._compiled: Network | None = None
        if engine == "openvino":
            from tfpose_rt.bounds import bounds_for
            from tfpose_rt.compiled import compile_network

            self._compiled = compile_network(
                lambda: load_network(path), self.sha256, size=EXAMPLE, any_size=True, precision=precision,
                threads=threads, bounds=bounds_for(path, precision),
            )  # fmt: skip
        else:
            _ = self.network  # errors now

    @cached_property
    def network(self) -> nn.Module:
        """The network in torch, (B, 3, H, W) RGB 0..1 -> (B, 5, A); built when first asked for."""
        network, dtype = load_network(self._path).requires_grad_(False), dtype_of(self.precision)
        moved: nn.Module = network.to(self.device, dtype, memory_format=layout(self.device))  # type: ignore[call-overload]
        return moved

    def detect(self, images: Sequence[Image], *, steady: bool = False) -> list[Detections]:
        """Find the people of each frame.

        Args:
            images: (H, W, 3) uint8 BGR each; sizes may differ.
            steady: whether many more of this size are to come, as from a video: worth being compiled for.
        Returns: for each frame, boxes in its pixels (pixel centres), best first, at most 300.
        Raises: ValueError: an image of another shape or type.
        """
        for image in images:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
                raise ValueError(f"an image is (H, W, 3) uint8, not {image.shape} {image.dtype}")
        boxed = [Letterbox.fit(image.shape[1], image.shape[0], self.det_size) for image in images]
        found: list[Detections] = [Detections(frozen(np.zeros((0, 4))), frozen(np.zeros(0)))] * len(images)
        for size in dict.fromkeys(box.size for box in boxed):
            batch = [i for i, box in enumerate(boxed) if box.size == size]
            answers = self._run(np.stack([boxed[i].apply(images[i]) for i in batch]), steady)
            for i, (boxes, scores) in zip(batch, answers, strict=True):
                found[i] = self._to_frame(boxes, scores, boxed[i], images[i])
        return found

    def _run(self, inputs: Image, steady: bool) -> list[tuple[Float, Float]]:
        """(B, H, W, 3) uint8 BGR -> boxes (N, 4), edge convention of the input, and scores (N,), float32, per frame."""
        if self._compiled is not None:
            return [self._suppress(frame) for frame in self._compiled(inputs, steady)[0]]
        import torch

        with torch.inference_mode():
            # A view in RGB order: the bytes already lie as channels_last wants them.
            x = torch.from_numpy(inputs).to(self.device).permute(0, 3, 1, 2).flip(1)
            x = (x.float() / 255).to(dtype_of(self.precision)).contiguous(memory_format=layout(self.device))
            return [self._suppress(frame) for frame in self.network(x).float().cpu().numpy()]

    def _suppress(self, decoded: Float) -> tuple[Float, Float]:
        """(5, A) of one frame: x0, y0, x1, y1, person score -> the boxes that are left and their scores, best first."""
        decoded = decoded[:, decoded[4] > self.conf]
        boxes, scores = decoded[:4].T, decoded[4]
        kept = suppress(boxes, scores, self.iou)
        return boxes[kept], scores[kept]

    @staticmethod
    def _to_frame(boxes: Float, scores: Float, box: Letterbox, image: Image) -> Detections:
        boxes = box.back(boxes, image.shape[1], image.shape[0])
        large = (boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE).all(1)
        return Detections(frozen(boxes[large]), frozen(scores[large]))


class WholeFrame:
    """No detector: the whole frame is one box. For pictures known to hold one person."""

    name = "none"
    sha256: str | None = None
    box_from: BoxFrom = "full"

    def detect(self, images: Sequence[Image], *, steady: bool = False) -> list[Detections]:
        """One box a frame, -0.5 .. W - 0.5, with score 1."""
        return [
            Detections(frozen([[-0.5, -0.5, image.shape[1] - 0.5, image.shape[0] - 0.5]]), frozen([1.0]))
            for image in images
        ]


def open_detector(weights: str | Path, **options: Any) -> Detector:
    """The detector behind a --detector value: "none", a name or a path; `options` as for `PersonDetector`."""
    return WholeFrame() if str(weights) == "none" else PersonDetector(weights, **options)


def suppress(boxes: Float, scores: Float, iou: float, most: int = MAX_BOXES) -> Rows:
    """Which of (N, 4) boxes stay when each drops the worse ones it overlaps by more than `iou`: indices, best first.

    Greedy, as torchvision's: of `most` at the most, the first of equals before the others.
    """
    kept: list[int] = []
    order = np.argsort(-scores, kind="stable")
    while len(order) and len(kept) < most:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        order = rest[likeness.iou(boxes[None, best], boxes[rest])[0] <= iou]
    return np.array(kept, np.int64)


def load_network(path: Path) -> nn.Module:
    """Weights -> a network that maps (B, 3, H, W) RGB 0..1 to (B, 5, A): box corners and person score; eval, float32.

    Raises: WeightsError: damaged, not of a detector, or without a class "person".
    """
    from tfpose_rt import yolo

    if path.suffix == ".pt":
        checkpoint = yolo.read_pt(path)
        task, architecture, names, state = checkpoint.task, checkpoint.architecture, checkpoint.names, checkpoint.state
    else:
        task, architecture, names, state = _read_safetensors(path)
    person = person_class(names, path.name)
    return yolo.person_network(yolo.build(architecture, state, task=task), person)


def person_class(names: Mapping[int, str], file: str) -> int:
    """The number of the class "person"; a network of a single class is taken to know people."""
    for number, name in names.items():
        if name == "person" or len(names) == 1:
            return number
    raise WeightsError(f"{file} finds no people", why='none of its classes is "person"', fix="--detector yolo-n")


def _read_safetensors(path: Path) -> tuple[str, dict[str, Any], dict[int, str], dict[str, Tensor]]:
    from safetensors.torch import load_file

    assets.metadata(path)  # says what is wrong with a damaged file
    beside = path.with_suffix(".json")
    if not beside.is_file():
        raise WeightsError(
            f"{path.name} is no detector", why=f"{beside.name} is not beside it", fix="--detector yolo-n, or a .pt file"
        )
    try:
        told = json.loads(beside.read_text(encoding="utf-8"))
        names = {int(number): str(name) for number, name in told["names"].items()}
        return str(told["task"]), dict(told["architecture"]), names, load_file(path)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"cannot read {beside.name}", why=str(error), fix="tfpose-rt weights verify") from error
