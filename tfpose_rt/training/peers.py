"""score(): keypoints that another program found in a labelled set, counted by the code that counts ours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfpose_rt import assets
from tfpose_rt.errors import InputError, UsageError
from tfpose_rt.training.data import BAD, find_labels, load
from tfpose_rt.training.evaluate import coco_ap, reliability, require_pycocotools
from tfpose_rt.training.exam import Exam, count
from tfpose_rt.training.validate import Answers

FAR = 1e6  # px: where the joints of people lie who have no answer, so that each is a miss
FORM = "COCO results, or a JSON object of annotation ids with lists of [x, y, score] (docs/peers.md)"


def score(folder: Path, file: Path, *, ann: Path | None = None) -> Exam:
    """Count another program's answers.

    AP takes every row. OKS, PCK and calibration need to know whom a row is about: the labelled person whose annotation
    id is its `ann_id`, or the one labelled person of its picture; of several rows the highest score answers. They are
    left out where the rows do not say it. A person without an answer is a miss, and in no bin of the calibration.

    Args:
        folder: COCO images with labels.
        file: COCO results with `keypoints`, or an object {annotation id: K x [x, y, score], or null}, where a person's
            score is the joints' mean. Pixels; (0, 0) is the centre of the first one.
        ann: the label file, where it is not in the folder.
    Raises: InputError: no labels, or a row that makes no sense (the message tells which). UsageError: a training pack.
    """
    require_pycocotools()
    truth = find_labels(folder, ann)
    if truth is None and (folder / "labels.jsonl").is_file():
        raise UsageError("--results on a training pack", why="it has no image ids", fix="a folder in COCO's layout")
    samples = load(folder, ann)
    assert truth is not None  # or load() would have said so
    if not samples:
        raise InputError(f"no labelled people in {folder.name}", why="no annotation has keypoints", fix="--ann FILE")
    labels = json.loads(truth.read_text(encoding="utf-8"))
    joints = len(samples[0].xy)
    rows = read_rows(file, labels, joints)
    chosen = assign(rows, labels, [int(sample.key) for sample in samples])
    facts = {
        "model": file.stem, "sha256": assets.sha256(file)[:12], "data": folder.name, "rows": len(rows),
        "people": len(samples), "answered": None if chosen is None else sum(row is not None for row in chosen),
    }  # fmt: skip
    figures, graph = coco_ap(labels, rows), reliability(np.zeros(0), np.zeros(0))
    if chosen is None:
        return Exam(facts, figures, graph)
    said = answers(chosen, joints)
    counted, right, labelled = count(said, samples)
    figures |= {name: value for name, value in counted.items() if not name.startswith("AP")}
    answered = labelled & np.array([row is not None for row in chosen])[:, None]
    if answered.any() and all(0 <= score <= 1 for row in chosen if row for score in row["keypoints"][2::3]):
        graph = reliability(said.scores[answered], right[answered])
        figures["calibration error"] = graph.error
    return Exam(facts, figures, graph)


def read_rows(file: Path, labels: Mapping[str, Any], joints: int) -> list[dict[str, Any]]:
    """The rows of a file, as COCO results, perhaps with `ann_id`; see `score` for the two forms.

    Raises: InputError: it is neither, or a row makes no sense.
    """
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"cannot read {file.name}", why=str(error), fix=FORM) from error
    pictures = {image["id"] for image in labels["images"]}
    home = {label["id"]: label["image_id"] for label in labels["annotations"]}
    if not isinstance(told, list | dict):
        raise InputError(f"{file.name} holds no rows", why=f"it is a {type(told).__name__}", fix=FORM)
    plain = isinstance(told, dict)  # an object of people, not a list of rows
    entries: list[Any] = list(told.items()) if isinstance(told, dict) else told
    rows = []
    for number, entry in enumerate(entries, 1):
        try:
            row = _named(entry, home) if plain else _listed(entry, home)
            if row is None:
                continue
            points = np.array(row["keypoints"], np.float64).reshape(joints, 3)
            if row["image_id"] not in pictures:
                raise ValueError(f"there is no image {row['image_id']}")
            row["score"] = float(points[:, 2].mean() if row["score"] is None else row["score"])
            if not (np.isfinite(points).all() and np.isfinite(row["score"])):
                raise ValueError("a coordinate or score is not a number")
        except BAD as error:
            which = f"person {entry[0]}" if plain else f"row {number}"
            why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{file.name}: {which}", why=why, fix=FORM) from error
        rows.append({**row, "category_id": 1, "keypoints": points.ravel().tolist()})
    return rows


def _listed(row: Any, home: Mapping[int, int]) -> dict[str, Any]:
    """A row of COCO results."""
    kept = {name: row[name] for name in ("image_id", "score", "keypoints")}
    if "ann_id" in row:
        if home.get(row["ann_id"]) != row["image_id"]:
            raise ValueError(f"image {row['image_id']} has no annotation {row['ann_id']}")
        kept["ann_id"] = row["ann_id"]
    return kept


def _named(entry: tuple[str, Any], home: Mapping[int, int]) -> dict[str, Any] | None:
    """An entry of the object; None where there is no answer."""
    name, points = entry
    if int(name) not in home:
        raise ValueError(f"there is no annotation {name}")
    if points is None:
        return None
    return {"image_id": home[int(name)], "score": None, "keypoints": points, "ann_id": int(name)}


def assign(
    rows: Sequence[dict[str, Any]], labels: Mapping[str, Any], people: Sequence[int]
) -> list[dict[str, Any] | None] | None:
    """The row that answers for each of the people, annotation ids; None where some rows do not say whom they mean."""
    home = {label["id"]: label["image_id"] for label in labels["annotations"]}
    alone: dict[int, int | None] = {}  # the one person of a picture
    for person in people:
        alone[home[person]] = None if home[person] in alone else person
    best: dict[int, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["score"]):
        meant = row["ann_id"] if "ann_id" in row else alone.get(row["image_id"], -1)
        if meant is None:
            return None
        best[meant] = row
    return [best.get(person) for person in people]


def answers(chosen: Sequence[Mapping[str, Any] | None], joints: int) -> Answers:
    """Rows as `count` takes them, N people; scores are cut to 0..1, and errors, which nobody states, are 0."""
    blank = [FAR, FAR, 0.0] * joints
    points: npt.NDArray[np.float32] = np.array(
        [blank if row is None else row["keypoints"] for row in chosen], np.float32
    ).reshape(-1, joints, 3)
    nothing = np.zeros(points.shape[:2], np.float32)
    boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (len(points), 1))
    return Answers(points[..., :2], points[..., 2].clip(0, 1), nothing, boxes)
