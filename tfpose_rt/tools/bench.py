"""bench: how fast the whole pipeline is here: frames a second, stage times, latency, memory. Nothing is sent anywhere.

The stages are those of every run; the estimator alone is wrapped, to ask for a given number of people.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfpose_rt.config import RunConfig
from tfpose_rt.draw import DrawStyle, draw
from tfpose_rt.io.paced import PacedSource
from tfpose_rt.io.record_json import dumps, record_of
from tfpose_rt.io.sources import Source, open_source
from tfpose_rt.live.metrics import Metrics
from tfpose_rt.pipeline import Stream
from tfpose_rt.records import Detections, Float, Frame, Gap, Poses, Segment, frozen


@dataclass(frozen=True, slots=True)
class Round:
    """One number of people, measured.

    Args:
        people: asked for; None = as found.
        fps: frames a second over the measured time.
        stages: name -> p50, p95, max, ms.
        latency: the same from capture to drawn, ms; None unless live.
        memory: resident MiB at the start and at the end.
    """

    people: int | None
    frames: int
    fps: float
    stages: dict[str, dict[str, float]]
    latency: dict[str, float] | None
    memory: tuple[float, float]


class Crowd:
    """An estimator that detects as ever, and then hands on exactly `people` boxes: the found ones, again and again."""

    def __init__(self, estimator: Any, people: int) -> None:
        self._estimator, self._people = estimator, people
        self.run: RunConfig = estimator.run
        self.times: dict[str, float] = estimator.times

    def detect(self, images: list[Any], *, steady: bool = False) -> list[Detections]:
        """The detector's work, and boxes for the asked number of people."""
        found = self._estimator.detect(images, steady=steady)
        return [self._fill(d, image) for d, image in zip(found, images, strict=True)]

    def detect_all(self, images: list[Any], *, steady: bool = False) -> tuple[list[Detections], list[Float]]:
        """As `detect`; nobody else is there."""
        return self.detect(images, steady=steady), [frozen(np.zeros((0, 4)))] * len(images)

    def poses(
        self, images: list[Any], people: list[Detections], box_from: Any = None, *, steady: bool = False
    ) -> list[Poses]:
        """The model's work."""
        out: list[Poses] = self._estimator.poses(images, people, box_from, steady=steady)
        return out

    def _fill(self, found: Detections, image: Any) -> Detections:
        h, w = image.shape[:2]
        some = found.boxes if len(found) else np.array([[w * 0.3, h * 0.1, w * 0.6, h * 0.9]], np.float32)
        rows = np.arange(self._people) % len(some)
        # some px aside: nobody is twice in one place
        aside = (np.arange(self._people) // len(some))[:, None] * np.array([7, 3, 7, 3])
        return Detections(frozen(some[rows] + aside), frozen(np.full(self._people, 0.9)))


class Looped:
    """A file played over and over until `seconds` have passed; frames count on."""

    live = False

    def __init__(self, spec: str, seconds: float, run: RunConfig) -> None:
        self._spec, self._run = spec, run
        self._end = time.monotonic() + seconds
        self._now: Source = open_source(spec, run.source)
        self.info = dataclasses.replace(self._now.info, frames=None)
        self.ended, self.decode_errors = "limit", 0

    def __iter__(self) -> Iterator[Frame | Gap | Segment]:
        index, offset = 0, 0.0
        while True:
            last = offset
            for item in self._now:
                if time.monotonic() > self._end:
                    return
                if isinstance(item, Frame):
                    last = offset + item.pts
                    yield dataclasses.replace(item, index=index, pts=last)
                    index += 1
            self._now.close()
            self._now = open_source(self._spec, self._run.source)
            offset = last + 1 / (self.info.fps or 30.0)

    def close(self) -> None:
        """Let go of the file."""
        self._now.close()


def measure(
    spec: str, estimator: Any, people: Sequence[int], *, seconds: float = 20.0, warmup: float = 3.0, live: bool = False
) -> Iterator[Round]:
    """Run the pipeline on a source once for each number of people (as found, where none is named).

    Args:
        spec: any file source; it is repeated.
        estimator: a PoseEstimator.
        people: numbers of people, or empty.
        seconds: s measured, each.
        warmup: s before that, not measured.
        live: play the source at its own speed and let the newest frame win, as a camera would.
    """
    for count in people or (None,):
        asked = estimator if count is None else Crowd(estimator, count)
        yield _round(spec, asked, count, seconds, warmup, live)


def _round(spec: str, estimator: Any, people: int | None, seconds: float, warmup: float, live: bool) -> Round:
    run: RunConfig = estimator.run
    style = DrawStyle(kpt_thr=run.kpt_thr)
    source: Any = Looped(spec, warmup + seconds, run)
    if live:
        source = PacedSource(source, run.source)
    times: dict[str, list[float]] = {}
    start, before, frames = time.monotonic(), resident(), 0
    measured_from = start
    with Stream(source, estimator, run) as stream:
        metrics = Metrics(stream)
        for result in stream:
            if result.poses is None or result.image is None:
                continue
            began = time.perf_counter()
            draw(result.image, result.poses, style)
            drawn = time.perf_counter()
            dumps(record_of(result))
            spent = {**result.timings, "draw": drawn - began, "write": time.perf_counter() - drawn}
            metrics.shown(result)
            if time.monotonic() - start < warmup:
                stream.stats.latency.clear()
                before, measured_from = resident(), time.monotonic()
                continue
            frames += 1
            for stage, value in spent.items():
                times.setdefault(stage, []).append(value * 1e3)
        wall = max(time.monotonic() - measured_from, 1e-9)
        latency = stream.stats.percentiles(stream.stats.latency)
        stages = {name: stream.stats.percentiles(values) or {} for name, values in times.items()}
    return Round(people, frames, frames / wall, stages, latency, (before, resident()))


def resident() -> float:
    """Resident memory of this process, MiB."""
    import psutil

    return float(psutil.Process().memory_info().rss) / 2**20


def machine() -> dict[str, str]:
    """What the figures belong to; clocks are those of this moment, before anything ran."""
    import psutil
    import torch

    found = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    clock = None
    with suppress(AttributeError, OSError, RuntimeError, SystemError):  # not told on every system, nor of every Mac
        clock = psutil.cpu_freq()
    if clock is not None and clock.current:
        found["clock"] = f"{clock.current:.0f} MHz" + (f" of {clock.max:.0f}" if clock.max else "")
    return found


def _processor() -> str:
    """Its name; Linux tells it in a file alone."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
