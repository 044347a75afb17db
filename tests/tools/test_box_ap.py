from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tfpose_rt import detect
from tfpose_rt.errors import InputError
from tfpose_rt.records import Detections, frozen
from tfpose_rt.tools.box_ap import box_ap

# COCO's own convention: x, y of the left upper edge, width, height.
TRUTH = {1: [[10, 20, 30, 60]], 2: [[5, 5, 40, 40], [60, 10, 20, 50]], 3: []}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    boxes = [(image, box) for image, found in TRUTH.items() for box in found]
    labels = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 100, "height": 90} for i in TRUTH],
        "annotations": [
            {"id": n, "image_id": image, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for n, (image, box) in enumerate(boxes, 1)
        ],
        "categories": [{"id": 1, "name": "person"}],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(labels))
    for i in TRUTH:
        cv2.imwrite(str(tmp_path / "images" / f"{i}.png"), np.full((90, 100, 3), i, np.uint8))
    return tmp_path


def answer_with(boxes: dict[int, list[list[float]]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the network's place taken by these boxes (x0, y0, x1, y1, pixel centres); the image's grey is its number."""

    def found(self: object, images: list[np.ndarray]) -> list[Detections]:
        mine = [boxes[int(image[0, 0, 0])] for image in images]
        return [Detections(frozen(np.reshape(b, (-1, 4))), frozen(np.full(len(b), 0.9))) for b in mine]

    monkeypatch.setattr(detect.PersonDetector, "detect", found)


def edges(shift: float = 0.0) -> dict[int, list[list[float]]]:
    """The labels as exact boxes between pixel centres, moved right by `shift`."""
    return {
        i: [[x - 0.5 + shift, y - 0.5, x + w - 0.5 + shift, y + h - 0.5] for x, y, w, h in b] for i, b in TRUTH.items()
    }


def test_exact_boxes_score_a_hundred(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(edges(), monkeypatch)
    figures = box_ap(folder)
    assert figures["ap"] == pytest.approx(100)
    assert figures["images"] == 3
    assert figures["detector"] == "yolo26n"


def test_boxes_moved_by_a_fifth_score_what_their_overlap_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 4 px off 20, 30 and 40 wide: IoU 16/24 = 0.667, 26/34 = 0.765, 36/44 = 0.818: all over 0.5, two over 0.75.
    answer_with(edges(4), monkeypatch)
    figures = box_ap(folder)
    assert figures["ap50"] == pytest.approx(100)
    assert 50 < figures["ap75"] < 100


def test_nothing_found_scores_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with({i: [] for i in TRUTH}, monkeypatch)
    assert box_ap(folder)["ap"] == 0


def test_no_data_set_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no data set"):
        box_ap(tmp_path)
