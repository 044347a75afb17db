"""Person box AP of a detector, through pycocotools: python -m tfpose_rt.tools.box_ap FOLDER.

FOLDER holds `annotations.json` (COCO person_keypoints) and `images/`. Every labelled person counts, with keypoints or
without. The detector answers from a score of 0.01 up.
"""

from __future__ import annotations

import argparse
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
    engine: str = "torch",
    limit: int = 0,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any]:
    """Measure a detector.

    Args:
        folder: a data set as told above.
        detector: name or path.
        det_size: long side of its input, px.
        precision: "fp32", "fp16", "bf16", or "int8" with OpenVINO.
        engine: "torch" or "openvino".
        limit: the first so many images only; 0 = all.
        progress: told after each image.
    Returns: ap, ap50, ap75, ar100 (0..100), images, ms an image, detector, det_size, sha256.
    Raises: InputError: no such data set. WeightsError, UsageError: as `PersonDetector`.
    """
    from tfpose_rt.detect import PersonDetector
    from tfpose_rt.training.data import decode
    from tfpose_rt.training.evaluate import coco_ap

    labels = folder / "annotations.json"
    if not labels.is_file():
        raise InputError(
            f"no data set in {folder}", why="annotations.json is not there", fix="a folder in COCO's layout"
        )
    person = PersonDetector(detector, det_size=det_size, conf=CONF, precision=precision, engine=engine)
    truth = json.loads(labels.read_text(encoding="utf-8"))
    images = sorted(truth["images"], key=lambda image: image["id"])[: limit or None]
    answers: list[dict[str, Any]] = []
    seconds = 0.0
    for done, image in enumerate(images, 1):
        name = image["file_name"]
        try:
            picture = decode((folder / "images" / name).read_bytes(), name)
        except OSError as error:
            raise InputError(f"cannot read {name}", why=error.strerror or "", fix=str(folder / "images")) from error
        start = time.perf_counter()
        found = person.detect([picture])[0]
        seconds += time.perf_counter() - start
        for (x0, y0, x1, y1), score in zip(found.boxes.tolist(), found.scores.tolist(), strict=True):
            box = [x0 + 0.5, y0 + 0.5, x1 - x0, y1 - y0]  # COCO counts from the edge
            answers.append({"image_id": image["id"], "category_id": 1, "bbox": box, "score": score})
        progress(done, len(images))
    chosen = {image["id"] for image in images}
    labelled = [label for label in truth["annotations"] if label["image_id"] in chosen]
    figures = coco_ap({**truth, "images": images, "annotations": labelled}, answers, "bbox")
    return {
        "ap": figures["AP"], "ap50": figures["AP50"], "ap75": figures["AP75"], "ar100": figures["AR"],
        "images": len(images), "ms": 1e3 * seconds / max(len(images), 1),
        "detector": person.name, "det_size": det_size, "precision": precision, "engine": engine,
        "sha256": person.sha256,
    }  # fmt: skip


@exits
def main() -> None:
    """Measure, and write one JSON object to stdout."""
    parser = argparse.ArgumentParser(prog="python -m tfpose_rt.tools.box_ap", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--detector", default="yolo-n")
    parser.add_argument("--det-size", type=int, default=640)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--engine", choices=("torch", "openvino"), default="torch")
    parser.add_argument("--limit", type=int, default=0)
    given = parser.parse_args()
    figures = box_ap(
        given.folder,
        given.detector,
        det_size=given.det_size,
        precision=given.precision,
        engine=given.engine,
        limit=given.limit,
    )
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    sys.exit(main())
