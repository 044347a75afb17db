"""stream(): source -> reader thread -> estimator thread -> whoever iterates. Tracking and smoothing live here.

Files: every frame, in order, read ahead through a short queue. Live sources: the newest frame, and what was passed
over is counted. One thread touches the model; each hand-over is bounded; an error reaches whoever iterates.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Protocol

import numpy as np

from tfpose_rt import clock
from tfpose_rt.chunks import Chunks, Item
from tfpose_rt.config import RunConfig
from tfpose_rt.follow import Follower
from tfpose_rt.io.sources import Source, open_source
from tfpose_rt.mailbox import Mailbox, slots
from tfpose_rt.records import Detections, Event, Float, Frame, Gap, Poses, Result, Segment, StreamInfo
from tfpose_rt.stats import Stats

AHEAD = 8  # decoded frames that may wait for the model
QUEUE = 64  # frames of a live source that may wait where none is to be passed over
READY = 4  # results that may wait for whoever iterates


class Estimator(Protocol):
    """What the pipeline asks of whatever finds poses (PoseEstimator, or a fake with known answers)."""

    run: RunConfig
    times: dict[str, float]

    def detect(self, images: list[Any], *, steady: bool = False) -> list[Detections]:
        """The people of each picture; `steady`: many more of the same size are to come."""

    def detect_all(self, images: list[Any], *, steady: bool = False) -> tuple[list[Detections], list[Float]]:
        """As `detect`, and the boxes (M, 4) px of all others in each picture."""

    def poses(
        self, images: list[Any], people: list[Detections], box_from: Any = None, *, steady: bool = False
    ) -> list[Poses]:
        """Their keypoints."""


class Stream:
    """Results of one source, in order; a context manager and an iterator. Closing frees the source and the threads.

    Args:
        source: an open source.
        estimator: what finds the poses.
        run: tracking, smoothing, detector interval; the estimator's own settings by default.
        replay: poses of an unfinished recording, in order: they bring all memories to where it ended.
        after: index of the last frame of that recording; only later frames are handed out. The source must start at
            a multiple of CHUNK at or before it.

    Attributes:
        hiding: whether pictures of this run are made with blurred people: then everybody is looked for on every frame.
            What is followed stays as it would be. May be set from any thread.
    """

    def __init__(
        self, source: Source, estimator: Estimator, run: RunConfig | None = None, *,
        replay: Iterable[Poses] = (), after: int = -1,
    ) -> None:  # fmt: skip
        self.source, self.estimator, self.run = source, estimator, run or estimator.run
        self.info: StreamInfo = source.info
        self.stats = Stats()
        self.ended = "user"
        stride = 1 if source.live or self.info.kind == "pairs" else self.run.source.stride  # those count what they give
        self._shapes: set[tuple[int, ...]] = set()  # of the pictures so far
        self.follower = Follower(self.run, stills=self.info.kind == "images", stride=stride)
        self._after = after
        self.hiding = self.run.background == "blur-people"
        self._paused, self._lock = threading.Event(), threading.Lock()
        self._events: deque[Event] = deque()
        self._forget = self._interrupted = False
        self._pts = 0.0  # s, of the last frame or gap handed on
        for poses in replay:
            self.follower.update(poses)
        picture = 3 * self.info.size[0] * self.info.size[1]  # bytes
        waiting = slots(picture, AHEAD) if not source.live else 1 if self.run.source.drop else QUEUE
        self._frames: Mailbox[Item] = Mailbox(waiting)
        self._results: Mailbox[Result] = Mailbox(2 if source.live else slots(picture, READY))
        self._chunks = Chunks(
            self._frames, live=source.live, alone=source.live or self.run.det_every != 1, paused=self._paused,
            ended=lambda: self._results.closed,
        )  # fmt: skip
        self._threads = [
            threading.Thread(target=self._read, name="read frames", daemon=True),
            threading.Thread(target=self._work, name="find poses", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Result]:
        """Every result until the source ends or the stream is closed.

        Raises: whatever the source or the model raised, once all results before it are read.
        """
        while (result := self.take()) is not None:
            yield result

    def take(self, timeout: float | None = None) -> Result | None:
        """The next result; None when the stream has ended, or (see `finished`) when the time (s) was too short.

        Raises: whatever the source or the model raised, once all results before it are read.
        """
        if (taken := self._results.get(timeout)) is None:
            return None
        result = taken.item
        self.stats.count(result)
        if result.t_capture is not None:
            result = dataclasses.replace(result, latency_ms=(clock.now() - result.t_capture) * 1e3)
        return result

    @property
    def finished(self) -> bool:
        """Whether `take` will give nothing more."""
        return self._results.closed and not len(self._results)

    @property
    def waiting(self) -> int:
        """Frames and results that wait between the threads."""
        return len(self._frames) + len(self._results)

    def close(self) -> None:
        """End the run: threads stop, the source is released. Safe to call twice."""
        self._frames.close()
        self._results.close()
        self.source.close()
        for thread in self._threads:
            thread.join(5.0)

    def pause(self, on: bool) -> None:
        """Freeze the model; frames that arrive meanwhile are passed over, and a gap says so afterwards."""
        (self._paused.set if on else self._paused.clear)()

    @property
    def paused(self) -> bool:
        """Whether the model is frozen."""
        return self._paused.is_set()

    def forget_ids(self) -> None:
        """Give everybody a new id from the next frame on; an `ids_reset` event marks the place."""
        with self._lock:
            self._forget = True

    def mark(self, event: Event) -> None:
        """Put an event (a recording started, a snapshot) into the results, in its place in time."""
        with self._lock:
            self._events.append(event)

    def _read(self) -> None:
        """Reader thread: source to mailbox; the end of the source, or its error, travels the same way."""
        error: BaseException | None = None
        try:
            for item in self.source:
                if not self._frames.put(item, keep=not isinstance(item, Frame)):
                    return
            self.ended = self.source.ended
        except BaseException as caught:  # noqa: BLE001 - handed over, sys.exit() in a caller's own source too
            error = caught
        self._frames.close(error)

    def _work(self) -> None:
        """Model thread: frames to results."""
        error: BaseException | None = None
        try:
            for chunk, seconds in self._chunks:
                for result in self._process(chunk, seconds):
                    if not self._results.put(result, keep=result.poses is None):
                        return
            for result in self._marked(None):  # what was marked after the last frame
                self._results.put(result, keep=True)
        except BaseException as caught:  # noqa: BLE001 - handed over, never lost on the thread
            error = caught
        self._results.close(error)

    def _process(self, chunk: list[Item], waited: float) -> Iterator[Result]:
        frames = [item for item in chunk if isinstance(item, Frame)]
        found = iter(self._find(frames, waited))
        for item in chunk:
            yield from self._marked(item)
            if not isinstance(item, Frame):
                self._interrupted = True
            if isinstance(item, Gap):
                self._pts = max(self._pts, item.t_start)
                yield Result(gap=item, pts=item.t_start)
            elif isinstance(item, Segment):
                yield Result(segment=item, pts=self._pts)
            elif isinstance(item, Frame):
                poses, timings, everybody = next(found)
                self._pts = item.pts
                if item.index <= self._after:
                    continue  # already in the recording; here only because its batch is shared
                began, timings["track"] = time.perf_counter(), 0.0
                look = partial(self._look, item, timings)
                poses = self.follower.update(dataclasses.replace(poses, frame=item.index, pts=item.pts), look)
                timings["track"] += time.perf_counter() - began
                for stage, spent in timings.items():
                    self.stats.add(stage, spent)
                yield Result(
                    frame=item.index, pts=item.pts, image=item.image, poses=poses, seq=item.seq, skipped=item.skipped,
                    pts_fixed=item.pts_fixed, t_capture=item.t_capture, timings=timings,
                    hidden=self.follower.hidden(poses, everybody), searched=everybody is not None,
                )  # fmt: skip

    @property
    def _steady(self) -> bool:
        """Whether many more pictures of the same size are to come: of a source of one size so far, no photographs."""
        return self.info.kind != "images" and len(self._shapes) == 1

    def _look(self, frame: Frame, timings: dict[str, float], people: Detections) -> Poses:
        """The poses in boxes of a frame that the detector has seen; their time goes to the model's stages."""
        found = self.estimator.poses([frame.image], [people], "tracker", steady=self._steady)[0]
        for stage in ("crop", "pose"):
            timings[stage] = timings.get(stage, 0.0) + self.estimator.times[stage]
            timings["track"] -= self.estimator.times[stage]
        return found

    def _marked(self, item: Item | None) -> Iterator[Result]:
        """Events that waited for a place among the results."""
        with self._lock:
            waiting, self._events = self._events, deque()
            forget, self._forget = self._forget, False
        pts = item.pts if isinstance(item, Frame) else self._pts
        if forget:
            self.follower.reset()
            waiting.append(Event(kind="ids_reset", t=pts))
        yield from (Result(event=event, pts=event.t) for event in waiting)

    def _find(self, frames: list[Frame], waited: float) -> list[tuple[Poses, dict[str, float], Float | None]]:
        """Detection (or carried boxes) and poses of one chunk; with each the boxes of everybody, where looked for."""
        if not frames:
            return []
        if self._interrupted and frames[0].index > self._after:  # else the recording went on behind it
            self.follower.interrupt()
        self._interrupted = False
        images, carried = [frame.image for frame in frames], self.follower.carried(frames[0])
        self._shapes.update(image.shape for image in images)
        everybody: list[Float | None] = [None] * len(frames)
        self.estimator.times["detect"] = 0.0
        if self.hiding:
            people, others = self.estimator.detect_all(images, steady=self._steady)
            everybody = [np.concatenate([d.boxes, boxes]) for d, boxes in zip(people, others, strict=True)]
        elif carried is None:
            people = self.estimator.detect(images, steady=self._steady)
        if carried is None:
            poses = self.estimator.poses(images, people, steady=self._steady)
        else:
            poses = self.estimator.poses(images, [carried], "tracker", steady=self._steady)
        share = {stage: spent / len(frames) for stage, spent in {"capture": waited, **self.estimator.times}.items()}
        return [(p, dict(share), boxes) for p, boxes in zip(poses, everybody, strict=True)]


def open_stream(source: Any, estimator: Any, run: RunConfig) -> Stream:
    """A stream over whatever `source` is: a path, glob, URL, camera number, Source, or (image, seconds) pairs."""
    opened = source if hasattr(source, "info") else open_source(source, run.source)
    return Stream(opened, estimator, run)
