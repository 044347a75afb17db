"""People on a stage: an estimator whose walkers follow from the number written in the test picture."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from test_track import BODY

from tfpose_rt.config import RunConfig
from tfpose_rt.io.synthetic import number_of
from tfpose_rt.records import Detections, Poses, frozen


class StageEstimator:
    """`people` walkers side by side; each call of `poses` takes `delay` s."""

    device, kernel, precision, score_kind, error_kind = "cpu", "torch", "fp32", "raw", "none"
    engine, engine_reason = "torch", "a stand-in"

    def __init__(self, run: RunConfig | None = None, *, people: int = 2, delay: float = 0.0) -> None:
        self.run = run or RunConfig()
        self.people, self.delay = people, delay
        self.model = {"name": "stage", "sha256": "0" * 64, "input": [192, 256]}
        self.detector = {"name": "stage", "sha256": "0" * 64}
        self.times = {"detect": 0.0, "crop": 0.0, "pose": 0.0}
        self.numbers: list[int] = []  # of the pictures seen

    def _walkers(self, image: Any) -> np.ndarray:
        """(N, 17, 2) px."""
        h, w = image.shape[:2]
        number = number_of(image)
        out = []
        for k in range(self.people):
            swing = np.sin(number / 6 + k)
            body = BODY * 0.75 * h + [w * (k + 0.5 + 0.12 * swing) / self.people, 0.14 * h]
            body[[9, 16], 0] += 0.08 * h * swing
            body[[10, 15], 0] -= 0.08 * h * swing
            out.append(body)
        return np.array(out, np.float32).reshape(-1, 17, 2)

    def detect(self, images: Sequence[Any], *, steady: bool = False) -> list[Detections]:
        out = []
        for image in images:
            xy = self._walkers(image)
            pad = 0.03 * image.shape[0]
            boxes = np.concatenate([xy.min(1) - 2 * pad, xy.max(1) + pad], 1)
            out.append(Detections(frozen(boxes.round(2)), frozen(np.full(len(boxes), 0.9))))
        return out

    def detect_all(self, images: Sequence[Any], *, steady: bool = False) -> tuple[list[Detections], list[Any]]:
        return self.detect(images), [np.zeros((0, 4), np.float32)] * len(images)

    def poses(
        self, images: Sequence[Any], people: Sequence[Detections], box_from: Any = None, *, steady: bool = False
    ) -> list[Poses]:
        began = time.perf_counter()
        out = []
        for image, found in zip(images, people, strict=True):
            self.numbers.append(number_of(image))
            xy = self._walkers(image)[: len(found)].round(2)
            out.append(
                Poses(
                    xy=frozen(xy),
                    scores=frozen(np.full(xy.shape[:2], 0.9)),
                    boxes=found.boxes,
                    box_scores=found.scores,
                    size=(image.shape[1], image.shape[0]),
                    box_from=(box_from or "detector",) * len(xy),
                )
            )
        if self.delay:
            time.sleep(self.delay)
        self.times["pose"] = time.perf_counter() - began
        return out
