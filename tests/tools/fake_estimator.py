"""An estimator with known answers: people who walk, found where they are; no model."""

import os
import time

import numpy as np

from tfpose_rt.config import RunConfig
from tfpose_rt.io.synthetic import number_of
from tfpose_rt.records import Detections, Poses


class FakeEstimator:
    """Person p walks at its own speed and is away for a while every so often; everything follows from the frame."""

    device, kernel, precision, score_kind, error_kind = "cpu", "torch", "fp32", "raw", "none"
    engine, engine_reason = "torch", "a stand-in"
    device_reason = kernel_reason = "a stand-in"

    def __init__(self, run=None, *, fail_at=None, seconds=0.0):
        self.model = {"name": "fake", "sha256": "00", "input": [192, 256]}
        self.detector = {"name": "fake", "sha256": "00"}
        self.run, self.times = run or RunConfig(), {"detect": 0.0, "crop": 0.0, "pose": 0.0}
        self.fail_at, self.seconds = fail_at, seconds

    def detect(self, images, *, steady=False):
        time.sleep(self.seconds)
        return [self._people(number_of(image)) for image in images]

    def _people(self, number):
        if number == self.fail_at:
            raise RuntimeError("the model broke")
        away = [p for p in range(3) if (number + 17 * p) % 60 < 10 + 5 * p]
        x = np.array([20 + 40 * p + 10 * np.sin(number / (9 + p)) for p in range(3) if p not in away])
        boxes = np.column_stack((x, np.full(len(x), 10.0), x + 24, np.full(len(x), 70.0))).reshape(-1, 4)
        return Detections(boxes.round(2).astype(np.float32), np.full(len(x), 0.9, np.float32))

    def poses(self, images, people, box_from=None, *, steady=False):
        out = []
        for image, found in zip(images, people, strict=True):
            noise = np.random.default_rng(number_of(image)).normal(0, 0.5, (len(found), 17, 2))
            spread = np.stack(np.meshgrid(np.linspace(0.2, 0.8, 2), np.linspace(0.1, 0.9, 9)), -1).reshape(-1, 2)[:17]
            size = found.boxes[:, 2:] - found.boxes[:, :2]
            xy = found.boxes[:, None, :2] + spread * size[:, None] + noise
            out.append(Poses(
                xy=xy.round(2).astype(np.float32), scores=np.full((len(found), 17), 0.7512, np.float32),
                boxes=found.boxes.round(2), box_scores=found.scores, box_from=(box_from or "detector",) * len(found),
                size=(image.shape[1], image.shape[0]),
            ))  # fmt: skip
        return out


def make(run):
    """For worker processes."""
    return FakeEstimator(run, seconds=float(os.environ.get("FAKE_SECONDS", "0")))


def make_dying(run):
    """A model whose process is killed at frame 30 of any source but the first time only, if FAKE_MARK is a file."""
    return Dying(run)


class Dying(FakeEstimator):
    def _people(self, number):
        mark = os.environ["FAKE_MARK"]
        if number == 30 and not os.path.exists(mark):  # noqa: PTH110
            with open(mark, "w"):  # noqa: PTH123
                pass
            os.kill(os.getpid(), 9)
        time.sleep(0.005)
        return super()._people(number)
