"""PoseEstimator: pictures in, poses out. Detection, crops, TFPose and the way back; no threads, no tracking."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from tfpose_rt.config import RunConfig
from tfpose_rt.device import choose_device, choose_precision, dtype_of, kind_of, set_threads, settle
from tfpose_rt.errors import UsageError, WeightsError
from tfpose_rt.layout import layout
from tfpose_rt.records import BoxFrom, Detections, Float, Image, Poses, frozen
from tfpose_rt.skeleton import FLIP, NAMES
from tfpose_rt.smooth import Smoother

if TYPE_CHECKING:
    from torch import nn

    from tfpose_rt.compiled import Network
    from tfpose_rt.engine import EngineChoice
    from tfpose_rt.pipeline import Stream


log = logging.getLogger(__name__)
Picture = Image | str | Path  # an array, or the path of a file


class PoseEstimator:
    """Finds people and their keypoints in pictures.

    Args:
        run: all settings; or give them by name: `PoseEstimator(weights="default", device="cpu", det_size=416)`.
    Raises: WeightsError, DeviceError, UsageError: what was asked for cannot be used here.

    One estimator is for one thread. Attributes: `device`, `device_reason`, `engine`, `engine_reason`, `kernel`,
    `kernel_reason`, `precision`, `model` and `detector` (what they are, as the recording's header names them),
    `score_kind`, `error_kind`.
    """

    _roi_told = False  # that it reaches beyond the picture

    def __init__(self, run: RunConfig | None = None, **options: Any) -> None:
        if "smooth" in options:
            options["smooth"] = options["smooth"] or "off"  # None, as Python says it
        self.run = dataclasses.replace(run, **options) if run is not None else RunConfig(**options)
        Smoother.parse(self.run.smooth)  # says what is wrong with it now, not when a stream begins
        from tfpose_rt import assets
        from tfpose_rt.model.header import read_header

        weights = assets.resolve(self.run.weights, "pose")
        self.device, self.device_reason = choose_device(self.run.device)
        self.precision = choose_precision(self.run.precision, kind_of(self.device))
        self._config, metadata = read_header(weights)
        joints = self._config.keypoints
        if joints != len(NAMES):
            why = f"it has {joints} joints, and files and overlays hold COCO's {len(NAMES)}"
            raise WeightsError(
                f"{weights.name} cannot be used here", why=why, fix="tfpose-rt eval, which takes any layout"
            )
        self.crop_size = self._config.size
        name, sha256 = weights.stem, assets.sha256(weights)  # as the detector's, and as lists and reports name it
        self.model: dict[str, Any] = {"name": name, "sha256": sha256, "input": list(self.crop_size)}
        engine = self._open_networks(weights)
        self.engine, self.engine_reason = engine.name, engine.reason
        if self.run.threads:  # after ultralytics' import, which changes such settings
            set_threads(self.run.threads)
        self.kernel, self.kernel_reason = self._choose_kernel()
        self.detector = {"name": self._detector.name, "sha256": self._detector.sha256}
        self.score_kind = "calibrated" if metadata.get("calibrated") else "raw"
        self.error_kind = "calibrated" if metadata.get("errors_fitted") else "raw"
        self.times = {"detect": 0.0, "crop": 0.0, "pose": 0.0}  # s, of the last call

    def _open_networks(self, weights: Path) -> EngineChoice:
        """Open the detector, and what runs the pose model beside torch; auto falls back to torch, and says so."""
        from tfpose_rt.engine import EngineChoice, choose_engine, refused

        choice = choose_engine(self.run.engine, kind_of(self.device), self.precision)
        try:
            self._open_with(choice.name, weights)
        except RuntimeError as error:
            if choice.name == "torch":
                raise
            if self.run.engine == "openvino" or self.precision == "int8":  # which torch only emulates
                raise refused(error) from error
            choice = EngineChoice("torch", f"auto: {error}")
            self._open_with(choice.name, weights)
        return choice

    def _open_with(self, engine: str, weights: Path) -> None:
        from tfpose_rt.detect import open_detector

        run = self.run
        self._detector = open_detector(
            run.detector, det_size=run.det_size, conf=run.conf, iou=run.iou, device=self.device,
            precision=self.precision, engine=engine, threads=run.threads,
        )  # fmt: skip
        self._network = self._in_openvino(weights) if engine == "openvino" else self._in_torch(weights)

    def _in_openvino(self, weights: Path) -> Network:
        """The pose model, run by OpenVINO."""
        from tfpose_rt.bounds import bounds_for
        from tfpose_rt.compiled import compile_network

        def build() -> nn.Module:
            from tfpose_rt.model.weights import load_model

            return load_model(weights)[0]

        return compile_network(
            build, self.model["sha256"], size=self.crop_size, precision=self.precision, threads=self.run.threads,
            bounds=bounds_for(weights, self.precision),
        )  # fmt: skip

    def _in_torch(self, weights: Path) -> Network:
        """The pose model, run by torch."""
        import torch

        from tfpose_rt.model.weights import load_model

        kind, dtype = kind_of(self.device), dtype_of(self.precision)
        net = load_model(weights)[0].requires_grad_(False)
        settle(net, self.device, layout(self.device), self.precision)

        def run(pictures: Image, steady: bool = False) -> tuple[Any, ...]:
            with torch.inference_mode(), torch.autocast(kind, dtype, dtype != torch.float32):
                batch = torch.from_numpy(pictures).to(self.device)
                rgb = batch.permute(0, 3, 1, 2).flip(1).float().div_(255).contiguous(memory_format=layout(self.device))
                return tuple(t.float().cpu().numpy() for t in net(rgb))

        return run

    def _choose_kernel(self) -> tuple[str, str]:
        """Which attention runs, and why. Raises: DeviceError: it was asked for and cannot run."""
        if self.engine == "openvino" and self.run.kernel in ("auto", "torch"):
            return "torch", "OpenVINO's own sampling"
        import torch

        from tfpose_rt.ops.choice import select_kernel

        choice = select_kernel(self.run.kernel, torch.device(self.device), self._config)
        return choice.name, choice.reason

    def detect(self, images: Sequence[Image], *, steady: bool = False) -> list[Detections]:
        """The people of each picture, best first, at most `max_people`; within `roi` where one is set.

        `steady`: many more pictures of the same size are to come, as from a video; worth being compiled for.
        """
        began = time.perf_counter()
        found = [self._first(d) for d in self._detect(images, steady)]
        self.times["detect"] = time.perf_counter() - began
        return found

    def detect_all(self, images: Sequence[Image], *, steady: bool = False) -> tuple[list[Detections], list[Float]]:
        """As `detect`, and for each picture the boxes (M, 4) px of all others in it: over `max_people`, outside `roi`.

        With a `roi` the detector runs twice; it finds people in the part and in the whole, so some are in both answers.
        """
        began = time.perf_counter()
        found = self._detect(images, steady)
        others = [d.boxes[self.run.max_people :] for d in found]
        if self.run.roi is not None:
            whole = self._detector.detect(images, steady=steady)
            others = [np.concatenate([o, d.boxes]) for o, d in zip(others, whole, strict=True)]
        self.times["detect"] = time.perf_counter() - began
        return [self._first(d) for d in found], [frozen(boxes) for boxes in others]

    def _first(self, found: Detections) -> Detections:
        most = self.run.max_people
        return found if len(found) <= most else Detections(found.boxes[:most], found.scores[:most])

    def _detect(self, images: Sequence[Image], steady: bool) -> list[Detections]:
        """Everybody, best first; within `roi` where one is set."""
        if self.run.roi is None:
            return self._detector.detect(images, steady=steady)
        x0, y0, x1, y1 = self.run.roi
        for h, w in {image.shape[:2] for image in images}:
            if (x1 > w or y1 > h) and not self._roi_told:
                self._roi_told = True  # once: the pictures of a folder may have many sizes
                log.warning("--roi reaches beyond the picture (%d x %d px): its corners are x0,y0,x1,y1", w, h)
        images = [np.ascontiguousarray(image[y0:y1, x0:x1]) for image in images]
        if any(0 in image.shape for image in images):
            raise UsageError(f"--roi {self.run.roi}", why="it lies outside the picture", fix="x0,y0,x1,y1 in pixels")
        shift = np.array([x0, y0, x0, y0], np.float32)
        part = self._detector.detect(images, steady=steady)
        return [Detections(frozen(d.boxes + shift), d.scores) for d in part]

    def poses(
        self, images: Sequence[Image], people: Sequence[Detections], box_from: BoxFrom | None = None,
        *, steady: bool = False,
    ) -> list[Poses]:  # fmt: skip
        """Keypoints of the people in each picture; crops of several pictures share a batch.

        Args:
            images: (H, W, 3) uint8 BGR each.
            people: boxes and scores for each picture.
            box_from: what to write beside the boxes; the detector's own word by default.
            steady: whether many more crops are to come, as from a video: worth being compiled for.
        Returns: one Poses a picture, without ids; rounded to what files hold (2 decimals px, 4 of scores) unless
            `full_precision`, so that a run replayed from its recording equals the original.
        """
        counts = [len(d) for d in people]
        xy = np.zeros((sum(counts), self._config.keypoints, 2), np.float32)
        scores, errors = np.zeros((2, *xy.shape[:2]), np.float32)
        self.times["crop"] = self.times["pose"] = 0.0
        owners = np.repeat(np.arange(len(images)), counts)
        boxes = np.concatenate([d.boxes for d in people]) if people else np.zeros((0, 4), np.float32)
        for first in range(0, len(owners), self.run.pose_batch):
            part = slice(first, first + self.run.pose_batch)
            xy[part], scores[part], errors[part] = self._regress([images[i] for i in owners[part]], boxes[part], steady)
        ends = np.cumsum(counts)
        word: BoxFrom = box_from or self._detector.box_from
        return [
            self._record(xy[end - n : end], scores[end - n : end], errors[end - n : end], found, word, image)
            for end, n, found, image in zip(ends, counts, people, images, strict=True)
        ]

    @overload
    def predict(self, image: Picture, *, color: str = "bgr") -> Poses: ...  # type: ignore[overload-overlap]  # a str
    @overload
    def predict(self, image: Iterable[Picture], *, color: str = "bgr") -> list[Poses]: ...
    def predict(self, image: Picture | Iterable[Picture], *, color: str = "bgr") -> Poses | list[Poses]:
        """Find the people in one picture, or in each of several; no tracking.

        Args:
            image: (H, W, 3) uint8, or the path of an image file, turned as its EXIF tag says; or a list of such.
            color: channel order of arrays, "bgr" (OpenCV) or "rgb".
        Returns: one Poses, or a list of them for a list.
        Raises: ValueError: not a picture of that kind. InputError: a file that is missing or no image.
        """
        if color not in ("bgr", "rgb"):
            raise ValueError(f'color is "bgr" or "rgb", not {color!r}')
        if isinstance(image, np.ndarray | str | Path) or not isinstance(image, Iterable):
            return self.predict([image], color=color)[0]
        images = [_bgr(picture, color) for picture in image]
        return self.poses(images, self.detect(images))

    def stream(self, source: Any, **options: Any) -> Stream:
        """Iterate over the results of a source.

        Args:
            source: a path, a camera's number, a URL, (image, seconds) pairs, or what `open_source` has opened.
            options: how it is read, fields of `SourceOptions`: `start` and `end` in s, `frames=(a, b)`, `rotate` ...
        Raises: InputError: it cannot be opened. UsageError: options contradict each other, or it is open already.
        """
        from tfpose_rt.pipeline import open_stream

        if options and hasattr(source, "info"):
            raise UsageError(
                f"{', '.join(options)} for an open source", why="it is read as it was opened", fix="open_source"
            )
        run = dataclasses.replace(self.run, source=dataclasses.replace(self.run.source, **options))
        return open_stream(source, self, run)

    def _regress(self, images: list[Image], boxes: npt.NDArray[np.float32], steady: bool) -> tuple[Any, Any, Any]:
        """One batch of crops: boxes (N, 4) -> xy (N, K, 2) px of the pictures, scores (N, K), errors (N, K) px."""
        from tfpose_rt.crop import apply, crop_matrix, fit_box, invert, scale_of, warp
        from tfpose_rt.model.mirror import join_mirrored

        began = time.perf_counter()
        matrices = crop_matrix(fit_box(boxes, self.crop_size, self._config.enlarge), self.crop_size)
        crops = np.stack([warp(image, m, self.crop_size) for image, m in zip(images, matrices, strict=True)])
        between = time.perf_counter()
        if self.run.flip_test:
            both = self._network(np.concatenate((crops, crops[:, :, ::-1])), steady)
            halves = [part[: len(crops)] for part in both], [part[len(crops) :] for part in both]
            points, scores, errors = join_mirrored(*halves, FLIP)
        else:
            points, scores, errors = self._network(crops, steady)
        self.times["crop"] += between - began
        self.times["pose"] += time.perf_counter() - between
        xy = apply(invert(matrices), points * np.array(self.crop_size, np.float64) - 0.5).astype(np.float32)
        return xy, scores, errors / scale_of(matrices)[:, None]

    def _record(self, xy: Any, scores: Any, errors: Any, found: Detections, word: BoxFrom, image: Image) -> Poses:
        boxes, box_scores = found.boxes, found.scores
        if not self.run.full_precision:
            xy, boxes, errors = xy.round(2), boxes.round(2), errors.round(2)
            scores, box_scores = scores.round(4), box_scores.round(4)
        return Poses(
            xy=frozen(xy), scores=frozen(scores), boxes=frozen(boxes), box_scores=frozen(box_scores),
            errors=frozen(errors), box_from=(word,) * len(xy), size=(image.shape[1], image.shape[0]),
        )  # fmt: skip


def _bgr(picture: Picture, color: str) -> Image:
    """A caller's picture as the networks want it."""
    from tfpose_rt.io.images import check_picture, load_image

    if isinstance(picture, str | Path):
        return load_image(Path(picture))
    check_picture(picture)
    return np.ascontiguousarray(picture if color == "bgr" else picture[..., ::-1])
