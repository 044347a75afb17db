"""Person box AP of a detector, through pycocotools: python -m tfpose_rt.tools.box_ap FOLDER.

FOLDER holds `annotations.json` (COCO person_keypoints) and `images/`. Every labelled person counts, with keypoints or
without. The detector answers from a score of 0.01 up.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfpose_rt.errors import InputError
from tfpose_rt.tools.entry import exits

CONF = 0.01


def box_ap(
    folder: Path,
    detector: str | Path = "yolo-n",
    *,
    det_size: int = 640,
    precision: str = "fp32",
    limit: int = 0,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any]:
    """Measure a detector.

    Args:
        folder: a data set as told above.
        detector: name or path.
        det_size: long side of its input, px.
        precision: "fp32", "fp16" or "bf16".
        limit: the first so many images only; 0 = all.
        progress: told after each image.
    Returns: ap, ap50, ap75, ar100 (0..100), images, ms an image, detector, det_size, sha256.
    Raises: InputError: no such data set. WeightsError, UsageError: as `PersonDetector`.
    """
    import cv2
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    from tfpose_rt.detect import PersonDetector

    labels = folder / "annotations.json"
    if not labels.is_file():
        raise InputError(
            f"no data set in {folder}", why="annotations.json is not there", fix="a folder in COCO's layout"
        )
    person = PersonDetector(detector, det_size=det_size, conf=CONF, precision=precision)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(labels))
    images = truth.loadImgs(sorted(truth.getImgIds()))[: limit or None]
    answers: list[dict[str, Any]] = []
    seconds = 0.0
    for done, image in enumerate(images, 1):
        picture = cv2.imread(str(folder / "images" / image["file_name"]))
        if picture is None:
            raise InputError(f"cannot read {image['file_name']}", why="absent or damaged", fix=str(folder / "images"))
        start = time.perf_counter()
        found = person.detect([picture])[0]  # type: ignore[list-item]
        seconds += time.perf_counter() - start
        for (x0, y0, x1, y1), score in zip(found.boxes.tolist(), found.scores.tolist(), strict=True):
            box = [x0 + 0.5, y0 + 0.5, x1 - x0, y1 - y0]  # COCO counts from the edge
            answers.append({"image_id": image["id"], "category_id": 1, "bbox": box, "score": score})
        progress(done, len(images))
    with contextlib.redirect_stdout(io.StringIO()):
        scorer = COCOeval(truth, truth.loadRes(answers), "bbox") if answers else None
        if scorer:
            scorer.params.imgIds = [image["id"] for image in images]
            scorer.evaluate()
            scorer.accumulate()
            scorer.summarize()
    ap, ap50, ap75, ar = [100 * float(scorer.stats[i]) for i in (0, 1, 2, 8)] if scorer else [0.0] * 4
    return {
        "ap": ap, "ap50": ap50, "ap75": ap75, "ar100": ar,
        "images": len(images), "ms": 1e3 * seconds / max(len(images), 1),
        "detector": person.name, "det_size": det_size, "precision": precision, "sha256": person.sha256,
    }  # fmt: skip


@exits
def main() -> None:
    """Measure, and write one JSON object to stdout."""
    parser = argparse.ArgumentParser(prog="python -m tfpose_rt.tools.box_ap", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--detector", default="yolo-n")
    parser.add_argument("--det-size", type=int, default=640)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--limit", type=int, default=0)
    given = parser.parse_args()
    figures = box_ap(
        given.folder, given.detector, det_size=given.det_size, precision=given.precision, limit=given.limit
    )
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    sys.exit(main())
