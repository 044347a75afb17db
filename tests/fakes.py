"""An estimator with known answers: the i-th bright block of a picture is a person whose joints are known."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tfpose_rt.config import RunConfig
from tfpose_rt.records import Detections, Frame, Gap, Poses, Segment, StreamInfo, frozen

SIDE = 40  # px, of the block that stands for a person


def picture(places: Sequence[tuple[int, int]], size: tuple[int, int] = (320, 240)) -> Any:
    """(H, W, 3) uint8 with a white block at each (x, y) of its top left corner."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    for x, y in places:
        image[y : y + SIDE, x : x + SIDE] = 255
    return image


class BlockEstimator:
    """Finds white blocks by looking; joint k lies at (2 k, k) px of the block. Optionally slow, optionally failing."""

    def __init__(self, run: RunConfig | None = None, *, delay: float = 0.0, fail_at: int = -1) -> None:
        self.run = run or RunConfig()
        self.times = {"detect": 0.0, "crop": 0.0, "pose": 0.0}
        self.delay, self.fail_at = delay, fail_at
        self.calls: list[int] = []  # how many pictures each detection saw
        self.seen = 0

    def detect(self, images: Sequence[Any], *, steady: bool = False) -> list[Detections]:
        self.calls.append(len(images))
        found, most = [self._blocks(image) for image in images], self.run.max_people
        return [Detections(d.boxes[:most], d.scores[:most]) for d in found]

    def detect_all(self, images: Sequence[Any], *, steady: bool = False) -> tuple[list[Detections], list[Any]]:
        self.calls.append(len(images))
        found, most = [self._blocks(image) for image in images], self.run.max_people
        return [Detections(d.boxes[:most], d.scores[:most]) for d in found], [d.boxes[most:] for d in found]

    def _blocks(self, image: Any) -> Detections:
        from scipy.ndimage import find_objects, label

        boxes = [
            [b.start - 0.5, a.start - 0.5, b.stop - 0.5, a.stop - 0.5]
            for a, b in find_objects(label(image[..., 0] > 127)[0])
        ]
        return Detections(frozen(np.array(boxes).reshape(-1, 4)), frozen(np.full(len(boxes), 0.9)))

    def poses(
        self, images: Sequence[Any], people: Sequence[Detections], box_from: Any = None, *, steady: bool = False
    ) -> list[Poses]:
        self.seen += len(images)
        if 0 <= self.fail_at < self.seen:
            raise RuntimeError("the model broke")
        time.sleep(self.delay * len(images))
        k = np.arange(17)
        out = []
        for image, found in zip(images, people, strict=True):
            blocks = self._blocks(image).boxes
            centre = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
            corners = found.boxes[:, None, :2] + 0.5
            if len(blocks):  # like a model, it looks at the picture near the box
                near = [int(np.abs((blocks[:, :2] + blocks[:, 2:]) / 2 - c).sum(1).argmin()) for c in centre]
                corners = blocks[near][:, None, :2] + 0.5
            xy = corners + np.stack((2 * k, k), -1)
            score = 0.8 if len(blocks) else 0.05
            out.append(Poses(
                xy=frozen(xy.reshape(-1, 17, 2)), scores=frozen(np.full((len(found), 17), score)), boxes=found.boxes,
                box_scores=found.scores, size=(image.shape[1], image.shape[0]),
                box_from=(box_from or "detector",) * len(found),
            ))  # fmt: skip
        return out


class ListSource:
    """Items as given; live ones are stamped when they are handed out."""

    def __init__(self, items: Sequence[Any], *, live: bool = False, interval: float = 0.0, ended: str = "eof") -> None:
        self.items, self.live, self.interval, self.ended = items, live, interval, ended
        self.decode_errors = 0
        self.closed = False
        first = next(i for i in items if not isinstance(i, Gap | Segment | BaseException))
        self.info = StreamInfo(
            kind="camera" if live else "file",
            name="list",
            size=(first.shape[1], first.shape[0]),
            fps=30,
            live=live,
            frames=len(items),
        )

    def __iter__(self) -> Iterator[Any]:
        index = 0
        for item in self.items:
            if self.closed:
                return
            if isinstance(item, BaseException):
                raise item
            if isinstance(item, Gap | Segment):
                yield item
                continue
            time.sleep(self.interval)
            yield Frame(
                index=index, pts=index / 30, image=item, seq=index, t_capture=time.monotonic() if self.live else None
            )
            index += 1

    def close(self) -> None:
        self.closed = True
