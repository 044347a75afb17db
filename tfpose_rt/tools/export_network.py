"""What `export` writes: a network with plain inputs and outputs, and all that a stranger's program must know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tfpose_rt import assets, detect
from tfpose_rt.crop import FILL
from tfpose_rt.io.jsonl import tool_version
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.model.weights import load_model
from tfpose_rt.skeleton import EDGES, MPII_NAMES, NAMES

INPUT = "images"
POSE_OUTPUTS = ("keypoints", "scores", "errors")
SCORES = {
    "calibrated": "share of joints scored so that lie within OKS 0.5 of the truth, on the held-out set: {on}",
    "raw": "0..1, higher is surer; not calibrated",
}
ERRORS = {
    "calibrated": "half of such joints lie within this distance of the place people would mark",
    "raw": "larger for joints that are further off; not fitted",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exportable:
    """A network ready to be written.

    Args:
        kind: "pose" or "detector".
        network: eval, on the CPU: (B, 3, H, W) float32 RGB in 0..1 -> a tuple of float32 tensors, named by `outputs`.
        size: W, H of its input, px.
        outputs: names of the tensors it answers with; places first, in px of the input.
        facts: the metadata: strings, numbers, lists and tables, as JSON holds them.
    """

    kind: str
    network: nn.Module
    size: tuple[int, int]
    outputs: tuple[str, ...]
    facts: Mapping[str, Any]


class PoseNetwork(nn.Module):
    """A TFPose in pixels of the crop: `images` -> keypoints (B, K, 2) px, scores (B, K), errors (B, K) px; float32.

    Args:
        model: in eval mode, float32; changed where `half`.
        half: compute in float16, except for what says where something is.
    """

    size: Tensor

    def __init__(self, model: TFPose, half: bool = False) -> None:
        super().__init__()
        self.model, self.half_precision = model, half
        self.register_buffer("size", torch.tensor(model.config.size, dtype=torch.float32))
        if half:
            centres, calibration, start = model.centres, model.calibration, model.start.constant.data
            model.half()
            model.centres, model.calibration, model.start.constant.data = centres, calibration, start

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W) RGB in 0..1 -> x and y in px of the crop, pixel centres; scores in 0..1; errors in px."""
        places, scores, errors = self.model(images.half() if self.half_precision else images)
        return places.float() * self.size - 0.5, scores.float(), errors.float()


class BoxNetwork(nn.Module):
    """A person detector: `images` -> boxes (B, 5, A): x0, y0, x1, y1 in px of the input (edges), score; float32."""

    def __init__(self, network: nn.Module, half: bool = False) -> None:
        super().__init__()
        self.network, self.half_precision = network.half() if half else network, half

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """(B, 3, H, W) RGB in 0..1 -> the boxes of all A anchors, before suppression."""
        return (self.network(images.half() if self.half_precision else images),)


def is_pose(path: Path) -> bool:
    """Whether a weights file is a TFPose, by the configuration it carries.

    Raises: WeightsError: no weights file.
    """
    return path.suffix != ".pt" and "config" in assets.metadata(path)


def open_network(path: Path, *, half: bool = False, det_size: int = 640) -> Exportable:
    """Read weights as a network for export.

    Args:
        path: of a TFPose or a detector, as `assets.resolve` gives it; a .pt is read with the restricted loader.
        half: compute in float16; inputs and outputs stay float32.
        det_size: side of a detector's square input, px.
    Raises: WeightsError: damaged, or neither.
    """
    if not is_pose(path):
        network = BoxNetwork(detect.load_network(path), half).eval().requires_grad_(False)
        facts = _facts("detector", path, {}, (det_size, det_size)) | _box_facts()
        return Exportable(
            kind="detector", network=network, size=(det_size, det_size), outputs=("boxes",), facts=facts
        )  # fmt: skip
    model, told = load_model(path)
    size, joints, name = model.config.size, model.config.keypoints, model.config.name
    facts = _facts("pose", path, told, size) | {"name": name} | _pose_facts(joints, model.config.enlarge, told)
    pose = PoseNetwork(model, half).eval().requires_grad_(False)
    return Exportable(kind="pose", network=pose, size=size, outputs=POSE_OUTPUTS, facts=facts)


def _facts(kind: str, path: Path, told: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """What holds of every exported network: where it comes from, and what its input is."""
    digest = assets.sha256(path)
    entry = next((entry for entry in assets.entries() if entry.sha256 == digest), None)
    return {
        "format": "tfpose-rt/export-1",
        "made_by": f"tfpose-rt {tool_version()}",
        "kind": kind,
        "name": entry.name if entry else path.stem,
        "weights": path.name,
        "weights_sha256": digest,
        "licence": entry.licence if entry else told.get("licence", "unknown"),
        "origin": entry.origin if entry else told.get("origin", "unknown"),
        "input_name": INPUT,
        "input_layout": "NCHW",
        "input_dtype": "float32",
        "input_size": list(size),  # W, H
        "channel_order": "RGB",
        "input_range": [0, 1],
        "normalisation": "bytes / 255 and nothing else; a mean and a deviation, if any, are inside the network",
    }


def _pose_facts(joints: int, enlarge: float, told: Mapping[str, Any]) -> dict[str, Any]:
    names = {len(NAMES): NAMES, len(MPII_NAMES): MPII_NAMES}.get(joints, tuple(f"joint_{k}" for k in range(joints)))
    kind = "calibrated" if told.get("calibrated") else "raw"
    fitted = "calibrated" if told.get("errors_fitted") else "raw"
    return {
        "crop": {
            "enlarge": enlarge,
            "shape": "the box is enlarged about its centre on both axes, then grown to (W - 1) / (H - 1)",
            "lengths": "between pixel centres: box corners lie on the centres of the crop's outermost pixels",
            "fill_rgb": list(FILL[::-1]),
        },
        "outputs": {
            "keypoints": f"(batch, {joints}, 2) float32: x, y",
            "scores": f"(batch, {joints}) float32: {SCORES[kind].format(on=told.get('calibrated'))}",
            "errors": f"(batch, {joints}) float32: px of the crop, {ERRORS[fitted]}",
        },
        "coordinates": "px of the crop, (0, 0) is the centre of its top-left pixel, x right, y down",
        "keypoints": list(names),
        "left_right": "subject",
        "skeleton": [list(edge) for edge in EDGES] if names is NAMES else [],
        "skeleton_base": 0,
        "score_kind": kind,
        "error_kind": fitted,
    }


def _box_facts() -> dict[str, Any]:
    return {
        "letterbox": {"fill_rgb": [detect.GREY] * 3, "multiple_of": detect.STRIDE, "stretch": False},
        "outputs": {"boxes": "(batch, 5, anchors) float32: x0, y0, x1, y1, person score in 0..1; not suppressed yet"},
        "coordinates": "px of the input between its edges: it covers 0..W, x right, y down",
        "classes": ["person"],
        "least_score": 0.25,
        "suppression_iou": 0.7,
        "score_kind": "raw",
    }
