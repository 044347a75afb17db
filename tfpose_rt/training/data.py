"""Keypoint sets to samples: training packs (tar shards and labels.jsonl) and COCO-format folders."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from tfpose_rt.errors import InputError
from tfpose_rt.skeleton import MASK_SHARE

SMALLEST = 32.0**2  # square px of an unlabelled person's box: smaller ones are unlabelled in COCO for being small
BAD = (AttributeError, IndexError, KeyError, TypeError, ValueError)  # what a label of another form raises
FORMAT = "a file like COCO's person_keypoints_val2017.json, without that annotation or with it put right"


@dataclass(frozen=True, slots=True)
class Sample:
    """One person.

    Args:
        key: name of the annotation, for messages.
        image: name of the photograph; people of one photograph share it and stay on one side of a split.
        source: data set.
        read: gives the picture, (H, W, 3) uint8 BGR.
        box: (4,) x0, y0, x1, y1 px of the picture.
        xy: (K, 2) px of the picture.
        weight: (K,) how far the label is trusted, 0 = unknown.
        area: square px; what OKS measures distances against.
        head: px, MPII's head size (0.6 x the head box's diagonal); 0 where no head box is labelled.
    """

    key: str
    image: str
    source: str
    read: Callable[[], npt.NDArray[np.uint8]]
    box: npt.NDArray[np.float32]
    xy: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]
    area: float
    head: float = 0.0


def is_validation(image: str) -> bool:
    """Every twentieth photograph, by its name's SHA-1, is held out for choices and calibration."""
    return int(hashlib.sha1(image.encode()).hexdigest(), 16) % 20 == 0


def decode(blob: bytes, key: str) -> npt.NDArray[np.uint8]:
    """Bytes of a picture -> (H, W, 3) uint8 BGR.

    Raises: InputError: not a picture.
    """
    image = cv2.imdecode(np.frombuffer(blob, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(f"{key} does not decode", why="its bytes are not a picture", fix="fetch the data set again")
    return image  # type: ignore[return-value]


def load(folder: Path, ann: Path | None = None, *, unlabelled: int = 0) -> list[Sample]:
    """All labelled people of a training pack (`labels.jsonl`) or a COCO-format folder.

    Args:
        folder: the pack, or where the pictures are.
        ann: COCO label file, where it is not in the folder.
        unlabelled: joints of a teacher: people without a labelled joint come too, each with so many of weight 0, where
            their box is at least `SMALLEST`. 0: they are left out.
    Raises: InputError: neither is there, or an annotation makes no sense (the message gives file and id).
    """
    if (folder / "labels.jsonl").is_file():
        return _load_pack(folder, unlabelled)
    ann = find_labels(folder, ann)
    if ann is None or not ann.is_file():
        raise InputError(
            f"no keypoint labels in {folder.name}",
            why="neither labels.jsonl nor annotations.json is there",
            fix="--ann FILE for a COCO keypoint file",
        )
    return _load_coco(folder, ann, unlabelled)


def find_labels(folder: Path, ann: Path | None = None) -> Path | None:
    """The COCO label file of a folder: `ann`, or what lies in the usual places; None for a training pack."""
    if ann is not None or (folder / "labels.jsonl").is_file():
        return ann
    usual = [folder / "annotations.json", *sorted((folder / "annotations").glob("person_keypoints*.json"))]
    return next((path for path in usual if path.is_file()), None)


def image_home(folder: Path) -> Callable[[str], Path | None]:
    """A function from a picture's file name to where it lies: `images`, the folder itself, or a folder in it."""
    homes = [folder / "images", folder, *sorted(p for p in folder.iterdir() if p.is_dir())]
    return lambda name: next((home / name for home in homes if (home / name).is_file()), None)


def _load_pack(folder: Path, unlabelled: int) -> list[Sample]:
    blobs: dict[str, bytes] = {}
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                handle = tar.extractfile(member)
                if handle is not None:
                    blobs[Path(member.name).stem] = handle.read()
    samples = []
    for number, line in enumerate((folder / "labels.jsonl").read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            key = row["key"]
            points = np.array(row["keypoints"], np.float32)
            weight = np.array(row["confidence"], np.float32) * (points[:, 2] > 0)
            box = np.array(row["box"], np.float32).reshape(4)
            if key not in blobs or not (weight.any() or (unlabelled and _large(*(box[2:] - box[:2])))):
                continue
            samples.append(_sample(key, row["image"], row["source"], blobs[key], box, points[:, :2], weight, None))
        except BAD as error:
            raise InputError(f"labels.jsonl line {number}", why=_reason(error), fix="see the pack's README") from error
    return samples


def _large(width: float, height: float) -> bool:
    return min(width, height) > 0 and width * height >= SMALLEST


def _sample(
    key: str, image: str, source: str, blob: bytes | Path, box: Any, xy: Any, weight: Any, area: float | None
) -> Sample:
    sides = box[2:] - box[:2]
    if not (np.isfinite(box).all() and np.isfinite(xy).all()):
        raise ValueError("a coordinate is not a number")
    if (sides <= 0).any():
        raise ValueError("its box has no area")

    def read() -> npt.NDArray[np.uint8]:
        return decode(blob if isinstance(blob, bytes) else blob.read_bytes(), key)

    return Sample(key, image, source, read, box, xy, weight, area or float(sides.prod()) * MASK_SHARE)


def _load_coco(folder: Path, ann: Path, unlabelled: int) -> list[Sample]:
    try:
        labels = json.loads(ann.read_text(encoding="utf-8"))
        names = {image["id"]: image["file_name"] for image in labels["images"]}
        people = {c["id"] for c in labels.get("categories", []) if c["name"] == "person"} or {1}
        rows = list(labels["annotations"])
    except BAD as error:
        raise InputError(ann.name, why=_reason(error), fix=FORMAT) from error
    home, samples = image_home(folder), []
    for number, row in enumerate(rows, 1):
        try:
            sample = _from_coco(row, names, people, home, ann.stem, unlabelled)
        except (*BAD, FileNotFoundError) as error:
            which = row["id"] if isinstance(row, dict) and "id" in row else f"number {number} of the list, without id"
            fix = f"put it into {folder.name}/images" if isinstance(error, FileNotFoundError) else FORMAT
            raise InputError(f"{ann.name}: annotation {which}", why=_reason(error), fix=fix) from error
        samples += [] if sample is None else [sample]
    return samples


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return str(error)
    return f"it has no {error}" if isinstance(error, KeyError) else f"not a label: {error}"


def _from_coco(
    row: Any, names: dict[Any, str], people: set[Any], home: Callable[[str], Path | None], source: str, unlabelled: int
) -> Sample | None:
    """One annotation; None where it is a crowd, or has no labelled joint and none is asked for.

    Raises: one of BAD: it makes no sense. FileNotFoundError: its picture is not there.
    """
    points = np.array(row.get("keypoints", []), np.float32)
    if row.get("iscrowd"):
        return None
    if not points[2::3].any():
        if not (unlabelled and row.get("category_id") in people and _large(*row["bbox"][2:])):
            return None
        points = np.zeros(3 * unlabelled, np.float32)
    name = names.get(row["image_id"])
    path = home(name) if name else None
    if name is None or path is None:
        raise FileNotFoundError(f"image {name or row['image_id']} is missing")
    x, y, w, h = row["bbox"]
    box = np.array([x, y, x + w, y + h], np.float32) - 0.5  # COCO's boxes are edges, our pixels are centres
    points = points.reshape(-1, 3)
    weight = (points[:, 2] > 0).astype(np.float32)
    sample = _sample(str(row["id"]), name, source, path, box, points[:, :2], weight, row.get("area"))
    if "head_box" in row:  # x0, y0, x1, y1, an addition to COCO's format that conversions of MPII carry
        x0, y0, x1, y1 = row["head_box"]
        sample = replace(sample, head=0.6 * float(np.hypot(x1 - x0, y1 - y0)))
    return sample
