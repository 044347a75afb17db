"""The figures of a live run: rates, latency, what was passed over; as lines for the picture, the page and the terminal.

Latency has one definition: the moment a frame reached the screen (or, without one, was handed to its last reader)
minus the moment its capture returned, both on the monotonic clock. It is measured per frame, never as 1 / fps.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import numpy as np

from tfpose_rt import clock
from tfpose_rt.caption import WHITE, Colour
from tfpose_rt.pipeline import Stream
from tfpose_rt.records import Result
from tfpose_rt.wording import plural, rate

RED: Colour = (90, 90, 255)
SPAN = 120  # frames that rates and percentiles look back on
RECENT = 4.0  # s that a rate is taken over, where enough happens in them
SETTLED = 1.0  # s from which on a count of captured frames tells a rate
SLOW_MS = 150.0  # latency p95 from which the figure is red
STAGES = ("capture", "detect", "crop", "pose", "track", "draw", "show", "write")


class Metrics:
    """Counts and times of one run; one writer, any reader.

    Args:
        stream: the running stream.
        device: where the model runs, such as "cuda".
        kernel: the attention path in use.
        asked: the attention path asked for: red in the picture when another one runs.
        engine: what runs the networks; told in place of the kernel where it is not torch.
    """

    def __init__(
        self,
        stream: Stream,
        device: str = "cpu",
        kernel: str = "torch",
        asked: str = "auto",
        engine: str = "torch",
    ) -> None:
        self._stream, self._device, self._kernel, self._engine = stream, device, kernel, engine
        self._surprise = asked not in ("auto", kernel)
        self._shown: deque[float] = deque(maxlen=SPAN)  # s, monotonic
        self._done: deque[float] = deque(maxlen=SPAN)
        self._captured: deque[tuple[float, int]] = deque(maxlen=SPAN)
        self._latency: deque[float] = deque(maxlen=SPAN)  # ms
        self._memory = (0.0, 0.0)  # s, MiB
        self.shown_frames = 0
        self.people = 0
        self.reconnects = 0

    def processed(self, result: Result) -> None:
        """Count a result as it comes out of the pipeline."""
        now = time.monotonic()
        if result.gap is not None:
            self.reconnects += result.gap.attempts > 0
        if result.poses is not None:
            self._done.append(now)
            self.people = len(result.poses)
        captured = getattr(self._stream.source, "captured", None)
        if captured is not None and (not self._captured or now - self._captured[-1][0] > 0.02):
            self._captured.append((now, captured))

    def shown(self, result: Result) -> float | None:
        """Take note that the frame is on the screen; its latency in ms, None for a source that is not live."""
        now = time.monotonic()
        self.shown_frames += 1
        self._shown.append(now)
        if result.t_capture is None:
            return None
        latency = (clock.now() - result.t_capture) * 1e3
        self._latency.append(latency)
        self._stream.stats.latency.append(latency)
        return latency

    @property
    def fps(self) -> float:
        """Frames shown a second."""
        return _rate(self._shown)

    @property
    def camera_fps(self) -> float:
        """Frames captured a second, until now: over the last seconds, or longer where results are rarer."""
        now, known = time.monotonic(), list(self._captured)
        settled = [look for look in known if now - look[0] >= SETTLED] or known[:1]
        recent = [look for look in settled if now - look[0] <= RECENT] or settled[-1:]
        if not recent or now <= recent[0][0]:
            return 0.0
        began, count = recent[0]
        return float(self._stream.source.captured - count) / (now - began)  # type: ignore[attr-defined]

    def percentiles(self) -> tuple[float, float]:
        """Latency p50 and p95 of the last frames, ms; 0, 0 before the first."""
        values = list(self._latency)
        return (float(np.percentile(values, 50)), float(np.percentile(values, 95))) if values else (0.0, 0.0)

    def short(self) -> tuple[str, Colour]:
        """One line: fps, latency of the frame before, people, where it runs."""
        _, p95 = self.percentiles()
        latency = f" · {self._latency[-1]:.0f} ms" if self._latency else ""
        people = plural(self.people, "person", "people")
        runs = self._kernel if self._engine == "torch" else self._engine
        text = f"{rate(self.fps)} fps{latency} · {people} · {self._device} {runs}"
        return text, RED if p95 > SLOW_MS or self._surprise else WHITE

    def full(self) -> list[tuple[str, Colour]]:
        """The short line and all the rest."""
        stats, (p50, p95) = self._stream.stats, self.percentiles()
        every = 1 if self._stream.hiding else self._stream.run.det_every
        stages = [f"{s} {1e3 * float(np.mean(stats.recent[s])):.1f}" for s in STAGES if stats.recent.get(s)]
        half = (len(stages) + 1) // 2
        lines: list[tuple[str, Colour]] = [
            self.short(),
            (
                f"camera {rate(self.camera_fps)} · processed {rate(_rate(self._done))} · shown {rate(self.fps)} fps",
                WHITE,
            ),
            (f"latency p50 {p50:.0f} · p95 {p95:.0f} ms", RED if p95 > SLOW_MS else WHITE),
            (f"passed over {stats.skipped} · waiting {self._stream.waiting}", WHITE),
            (
                "detector on every frame"
                if every == 1
                else f"detector every {every} frames"
                if every
                else "detector when needed",
                WHITE,
            ),
            *((f"{' · '.join(part)} ms", WHITE) for part in (stages[:half], stages[half:]) if part),
            (f"memory {self.memory_mib():.0f} MiB · reconnects {self.reconnects}", WHITE),
        ]
        return lines

    def numbers(self) -> dict[str, Any]:
        """The same as plain values, for the page and for scripts."""
        p50, p95 = self.percentiles()
        stats = self._stream.stats
        return {
            "fps": round(self.fps, 3),
            "camera_fps": round(self.camera_fps, 3),
            "processed_fps": round(_rate(self._done), 3),
            "latency_ms": {
                "now": round(self._latency[-1], 1) if self._latency else None,
                "p50": round(p50, 1),
                "p95": round(p95, 1),
            },
            "people": self.people,
            "frames": stats.frames,
            "captured": getattr(self._stream.source, "captured", stats.frames),
            "passed_over": stats.skipped,
            "shown": self.shown_frames,
            "gaps": stats.gaps,
            "reconnects": self.reconnects,
            "device": self._device,
            "kernel": self._kernel,
            "engine": self._engine,
            "state": getattr(self._stream.source, "state", "connected"),
            "memory_mib": round(self.memory_mib(), 1),
        }

    def memory_mib(self) -> float:
        """Memory of this process, MiB, at most a second old."""
        now = time.monotonic()
        if now - self._memory[0] > 1:
            import psutil

            self._memory = (now, psutil.Process().memory_info().rss / 2**20)
        return self._memory[1]


def _rate(times: deque[float]) -> float:
    """Events a second, over the last seconds; where they are rarer, by the last two, as long as the next is not due."""
    kept, now = list(times), time.monotonic()
    recent = [t for t in kept if t > now - RECENT]
    recent = kept[-2:] if len(recent) < 3 else recent
    if len(recent) < 2 or recent[-1] <= recent[0]:
        return 0.0
    step = (recent[-1] - recent[0]) / (len(recent) - 1)
    return 1 / step if now - recent[-1] < max(RECENT, 2 * step) else 0.0
