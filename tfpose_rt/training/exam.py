"""examine(): a model on a labelled set, with true boxes, the detector's, or those of a file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tfpose_rt import assets, skeleton
from tfpose_rt.bounds import bounds_for
from tfpose_rt.compiled import Network, compile_network
from tfpose_rt.config import RunConfig
from tfpose_rt.engine import choose_engine, refused
from tfpose_rt.errors import InputError, UsageError
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.model.weights import load_model
from tfpose_rt.training.data import Sample, decode, find_labels, image_home, is_validation, load
from tfpose_rt.training.evaluate import (
    Reliability,
    coco_ap,
    pck,
    pckh,
    reliability,
    require_pycocotools,
)
from tfpose_rt.training.validate import Answers, answer, crop_figures, distances

APART = "fused vs torch"  # the fact that tells how far apart the two kernels are
TORSO = ("left_shoulder", "right_hip")  # PCK@0.2 measures against this distance


@dataclass(frozen=True, slots=True)
class Exam:
    """The figures, how they came about, and the raw answers."""

    facts: Mapping[str, Any]
    figures: dict[str, float]
    reliability: Reliability
    results: list[dict[str, Any]] = field(default_factory=list)

    def reliability_rows(self) -> list[dict[str, float]]:
        """Ten bins: mean score, share right, count."""
        r = self.reliability
        return [
            {"scored": round(float(s), 4), "right": round(float(t), 4), "count": int(c)}
            for s, t, c in zip(r.scored, r.right, r.count, strict=True)
        ]


def examine(
    folder: Path,
    run: RunConfig,
    *,
    ann: Path | None = None,
    boxes: str = "gt",
    batch: int = 32,
    flip: bool = False,
    limit: int | None = None,
    held_out: bool = False,
) -> Exam:
    """Run the model over a set and count.

    Args:
        folder: COCO images with labels, or a training pack.
        run: weights, device, engine, precision (auto = fp32), kernel; detector settings for boxes = "detector".
        ann: the label file, where it is not in the folder.
        boxes: "gt", "detector", or the path of a COCO results file with `bbox` and `score`.
        batch: crops per forward pass.
        flip: average with the mirrored crop.
        limit: the first so many images only.
        held_out: a pack's validation part only.
    Raises: InputError: no labels. UsageError: boxes of a detector on a pack, which has crops and no pictures.
    """
    from tfpose_rt.device import choose_device
    from tfpose_rt.ops.choice import select_kernel

    require_pycocotools()
    if boxes not in ("gt", "detector") and not Path(boxes).is_file():
        raise UsageError(f"--boxes {boxes}", why="neither gt, detector nor a file", fix="--boxes detector")
    truth = find_labels(folder, ann)
    if truth is None and boxes != "gt":
        raise UsageError(f"--boxes {boxes} on a training pack", why="it holds crops, not pictures", fix="--boxes gt")
    path = assets.resolve(run.weights, "pose")
    device = torch.device(choose_device(run.device)[0])
    precision = "fp32" if run.precision == "auto" else run.precision
    model, engine = open_model(path, run.engine, device, precision)
    kernel = select_kernel(run.kernel, device, model.config).name if engine == "torch" else f"{engine}'s own"
    facts: dict[str, Any] = {
        "model": path.stem, "sha256": assets.sha256(path)[:12], "data": folder.name, "boxes": boxes, "flip": flip,
        "engine": engine, "precision": precision, "kernel": kernel,
    }  # fmt: skip
    samples = [s for s in load(folder, ann) if not held_out or is_validation(s.image)]
    if limit is not None:
        names = list(dict.fromkeys(s.image for s in samples))[:limit]
        samples = [s for s in samples if s.image in set(names)]
    if not samples:
        raise InputError(f"no labelled people in {folder.name}", why="the selection is empty", fix="without --limit")
    said = answer(model, samples, flip=flip, batch=batch)
    figures, right, labelled = count(said, samples)
    graph = reliability(said.scores[labelled], right[labelled])
    figures["calibration error"] = graph.error
    figures |= coverage(said, samples, labelled)
    facts |= {"people": len(samples), APART: kernels_apart(model, samples[:batch], run.kernel, device)}
    if truth is None:  # every crop is a picture of its own
        return Exam(facts, figures, graph)
    labels = json.loads(truth.read_text(encoding="utf-8"))
    if limit is not None or held_out:
        names = list({s.image for s in samples})
        ids = {i["id"] for i in labels["images"] if i["file_name"] in set(names)}
        labels = {**labels, "images": [i for i in labels["images"] if i["id"] in ids],
                  "annotations": [a for a in labels["annotations"] if a["image_id"] in ids]}  # fmt: skip
    image_ids = {i["file_name"]: i["id"] for i in labels["images"]}
    if boxes == "gt":
        results = as_results(said, [image_ids[s.image] for s in samples], said.people())
    else:
        told = dataclasses.replace(run, engine=engine, precision=precision)
        results = list(detected(folder, labels, boxes, told, model, flip, batch))
    ap = coco_ap(labels, results)
    return Exam(facts, {**ap, **{k: v for k, v in figures.items() if not k.startswith("AP")}}, graph, results)


def kernels_apart(model: Any, samples: Sequence[Sample], kernel: str, device: torch.device) -> dict[str, Any]:
    """How far apart the fused kernel's and plain torch's answers to one batch are.

    Args:
        model: on its device.
        samples: the batch.
        kernel: what runs all the rest: auto, fused or torch; it is chosen again at the end.
        device: the model's.
    Returns: `px`, the farthest that a joint is away, px of the picture; `score`, the most that a score differs;
        `crops`, how many there were. Where the fused kernel cannot run, px and score are None, and `why` says why.
    """
    from tfpose_rt.ops.choice import FUSED, kernel_choice, select_kernel

    choice = kernel_choice("auto", device, model.config)
    if choice.name != FUSED:
        return {"px": None, "score": None, "crops": 0, "why": choice.reason}
    said = []
    try:
        for each in ("fused", "torch"):
            select_kernel(each, device)
            said.append(answer(model, samples, batch=len(samples)))
    finally:
        select_kernel(kernel, device, model.config)
    fused, plain = said
    apart = float(np.linalg.norm(fused.xy - plain.xy, axis=-1).max())
    score = float(np.abs(fused.scores - plain.scores).max())
    return {"px": round(apart, 6), "score": round(score, 6), "crops": len(samples)}


class Elsewhere(nn.Module):
    """A TFPose whose answers come from another engine."""

    def __init__(self, model: TFPose, network: Network) -> None:
        super().__init__()
        self.model, self.config, self._network = model, model.config, network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) RGB, whole 255ths as crops are -> keypoints, scores and errors as TFPose gives them."""
        pictures = (images * 255).round().byte().flip(1).permute(0, 2, 3, 1).contiguous()
        return tuple(torch.from_numpy(answer) for answer in self._network(pictures.numpy(), steady=True))


def open_model(path: Path, engine: str, device: torch.device, precision: str = "fp32") -> tuple[Any, str]:
    """A model on a device, and the name of the engine that runs it; torch runs it in float32 alone.

    Raises: DeviceError: openvino was asked for and cannot be used.
    """
    model, choice = load_model(path)[0].to(device), choose_engine(engine, device.type, precision)
    if choice.name == "torch" and precision != "fp32":
        raise UsageError(f"--precision {precision}", why="torch is examined in fp32", fix="--engine openvino")
    if choice.name == "torch":
        return model, choice.name
    try:
        network = compile_network(
            lambda: load_model(path)[0], assets.sha256(path), size=model.config.size, precision=precision,
            bounds=bounds_for(path, precision),
        )  # fmt: skip
    except RuntimeError as error:
        if engine == "openvino" or precision != "fp32":
            raise refused(error) from error
        return model, "torch"
    return Elsewhere(model, network), choice.name


def count(
    said: Answers, samples: Sequence[Sample]
) -> tuple[dict[str, float], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """AP on crops, mean OKS and PCK@0.2 (PCKh@0.5 for MPII), with the masks (N, K) of right and of labelled joints."""
    truth = np.stack([s.xy for s in samples])
    figures, right, labelled = crop_figures(said, samples)
    if said.xy.shape[1] == len(skeleton.MPII_NAMES):
        groups = pckh(said.xy, truth, labelled, np.array([s.head for s in samples]))
        return {f"PCKh@0.5 {name}": value for name, value in groups.items()}, right, labelled
    a, b = (skeleton.INDEX[name] for name in TORSO)
    torso = np.linalg.norm(truth[:, a] - truth[:, b], axis=-1) * (labelled[:, a] & labelled[:, b])
    each, figures["PCK@0.2"] = pck(said.xy, truth, labelled, torso, 0.2)
    for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
        pair = [skeleton.INDEX[f"{side}_{name}"] for side in ("left", "right")]
        if labelled[:, pair].any():
            figures[f"PCK@0.2 {name}"] = float(np.nanmean(each[pair]))
    return figures, right, labelled


def coverage(said: Answers, samples: Sequence[Sample], labelled: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Percentage of the labelled joints (N, K) within their stated errors (half is meant to be), and twice that."""
    far, stated = distances(said, samples)[labelled], said.errors[labelled]
    return {"within stated error": 100 * float((far <= stated).mean()),
            "within twice that": 100 * float((far <= 2 * stated).mean())}  # fmt: skip


def as_results(said: Answers, image_ids: Sequence[int], people: npt.NDArray[Any]) -> list[dict[str, Any]]:
    """COCO results rows."""
    return [
        {
            "image_id": int(i), "category_id": 1, "score": round(float(p), 5),
            "keypoints": np.concatenate((xy, s[:, None]), -1).round(3).ravel().tolist(),
        }
        for xy, s, i, p in zip(said.xy, said.scores, image_ids, people, strict=True)
    ]  # fmt: skip


def one_each(said: Answers, boxes: Any, trust: Any, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Rows of different people: a second skeleton on the same person is left out, as it is in videos."""
    from tfpose_rt.likeness import distinct
    from tfpose_rt.records import Poses, frozen

    poses = Poses(
        xy=frozen(said.xy), scores=frozen(said.scores), boxes=frozen(np.asarray(boxes, np.float32)),
        box_scores=frozen(np.asarray(trust, np.float32)), size=(picture.shape[1], picture.shape[0]),
    )  # fmt: skip
    return distinct(poses)


def detected(
    folder: Path, labels: Mapping[str, Any], boxes: str, run: RunConfig, model: Any, flip: bool, batch: int
) -> Iterator[dict[str, Any]]:
    """Results around the boxes of the detector, or of a COCO results file, picture by picture."""
    told: dict[int, list[Any]] | None = None
    if boxes != "detector":
        told = {}
        for row in json.loads(Path(boxes).read_text(encoding="utf-8")):
            if "bbox" not in row:
                raise InputError(
                    f"--boxes {boxes}", why="its results have no bbox", fix="a detector's results, or --results"
                )
            x, y, w, h = row["bbox"]
            told.setdefault(row["image_id"], []).append([x - 0.5, y - 0.5, x + w - 0.5, y + h - 0.5, row["score"]])
    else:
        from tfpose_rt.detect import open_detector

        device = str(next(model.parameters()).device)
        try:
            finder = open_detector(
                run.detector, det_size=run.det_size, conf=run.conf, iou=run.iou, device=device, engine=run.engine,
                precision=run.precision,
            )  # fmt: skip
        except RuntimeError as error:
            if run.engine == "torch":
                raise
            raise refused(error) from error  # under auto too: no figure comes from two engines
    home = image_home(folder)
    for image in labels["images"]:
        path = home(image["file_name"])
        if path is None:
            raise InputError(f"image {image['file_name']} is missing", why=f"not in {folder.name}", fix="fetch it")
        picture = decode(path.read_bytes(), path.name)
        if told is None:
            found = finder.detect([picture])[0]
            around, trust = np.array(found.boxes), np.array(found.scores)
        else:
            rows = np.array(told.get(image["id"], []), np.float32).reshape(-1, 5)
            around, trust = rows[:, :4], rows[:, 4]
        around, trust = around[:100], trust[:100]
        if not len(around):
            continue
        blank = np.zeros((model.config.keypoints, 2), np.float32)
        rows_ = [Sample("", image["file_name"], "", lambda p=picture: p, b, blank, blank[:, 0], 1.0) for b in around]  # type: ignore[misc]
        said = answer(model, rows_, flip=flip, batch=batch)
        kept = one_each(said, around, trust, picture)
        said = said.part(kept)
        yield from as_results(said, [image["id"]] * len(kept), said.people() * trust[kept])
