"""COCO keypoint results: what pycocotools' `loadRes` takes. For a video `image_id` is the frame's number."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfpose_rt.io.chosen import chosen, decimals
from tfpose_rt.io.parts import ODD, SinkOptions
from tfpose_rt.io.record_json import SCORES, SECONDS
from tfpose_rt.io.spool import Made, SpoolSink, new_name
from tfpose_rt.records import Poses, Result
from tfpose_rt.skeleton import NAMES, person_score

COUNTED = 0.2  # joints above this score count in a person's score


def coco_sink(
    path: Path, header: Mapping[str, Any], options: SinkOptions | None = None, *, overwrite: bool = False
) -> SpoolSink:
    """A sink for `<name>.json`, and `<name>.images.json` with the time of every frame, people or not."""
    return SpoolSink(path, header, options, _build, overwrite=overwrite, files=[path, images_path(path)])


def images_path(path: Path) -> Path:
    """Where the frames of a COCO result file are listed."""
    return path.with_suffix(".images.json")


def _build(path: Path, results: Callable[[], Iterator[Result]], about: Mapping[str, Any], options: SinkOptions) -> Made:
    with (
        new_name(path).open("w", encoding="utf-8", errors=ODD, newline="\n") as people,
        new_name(images_path(path)).open("w", encoding="utf-8", errors=ODD, newline="\n") as images,
    ):
        people.write("[")
        head = {
            "source": about["header"].get("source"),
            "keypoints": list(NAMES),
            "normalised": options.normalised,
            "category": {"id": 1, "name": "person"},
        }
        images.write(json.dumps(head, ensure_ascii=False)[:-1] + ',"images":[')
        between, first = "\n", "\n"
        for result in results():
            if result.poses is None:
                continue
            images.write(first + json.dumps({"id": result.frame, "pts": round(result.pts, SECONDS)}))
            first = ",\n"
            in_px = chosen(result.poses, replace(options, normalised=False))  # scores hang on distances
            for person in coco_people(in_px, result.frame, _worth(in_px), options):
                people.write(between + json.dumps(person))
                between = ",\n"
        people.write("\n]\n")
        images.write("\n]}\n")
    return [(new_name(p), p) for p in (path, images_path(path))]


def coco_people(
    poses: Poses, image_id: int, worth: npt.NDArray[np.float64], options: SinkOptions
) -> list[dict[str, Any]]:
    """One COCO result for each person.

    `bbox` is x, y, w, h with edges counted from the picture's edge (half a pixel more than our centres); `score` is
    the detector's score times the OKS to be expected (`skeleton.person_score`). Where the model gave no errors it is
    the detector's times the mean of the joint scores above 0.2, or 0 where there are none.

    Args:
        poses: in px.
        image_id: COCO's number of the picture.
        worth: (N,) what the skeletons alone are worth, 0..1.
        options: `normalised` applies: points, as `chosen` gives them, and boxes are shares of the picture's sides.
    """
    places, out = decimals(options), []
    sides = np.array(poses.size if options.normalised else (1, 1), np.float64)
    xy = chosen(poses, SinkOptions(normalised=options.normalised)).xy.astype(np.float64)
    for i in range(len(poses)):
        x0, y0, x1, y1 = np.asarray(poses.boxes[i], np.float64)
        scores = None if poses.scores is None else np.asarray(poses.scores[i], np.float64)
        joint_scores = np.ones(len(poses.xy[i])) if scores is None else scores
        points = np.column_stack((np.round(xy[i], places), np.round(joint_scores, SCORES)))
        points[np.isnan(points).any(1)] = 0  # as COCO marks joints that are nowhere; NaN is no JSON
        edges = np.array((x0 + 0.5, y0 + 0.5, x1 - x0, y1 - y0)) / np.tile(sides, 2)
        person = {
            "image_id": image_id,
            "category_id": 1,
            "keypoints": points.ravel().tolist(),
            "score": round(float(poses.box_scores[i] * worth[i]), SCORES),
            "bbox": np.round(edges, places).tolist(),
        }
        if poses.ids is not None:
            person["track_id"] = int(poses.ids[i])
        out.append(person)
    return out


def _worth(poses: Poses) -> npt.NDArray[np.float64]:
    """(N,) what the skeletons alone are worth, 0..1; a joint without a score adds nothing."""
    if poses.scores is None:
        return np.ones(len(poses))
    scores = np.nan_to_num(poses.scores.astype(np.float64))
    if poses.errors is not None:
        errors = poses.errors.astype(np.float64)
        return person_score(scores, np.where(np.isnan(errors), np.inf, errors), poses.boxes)
    counted = scores > COUNTED
    return np.asarray((scores * counted).sum(1) / np.maximum(counted.sum(1), 1))
