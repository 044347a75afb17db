"""One live run from the first frame to closed files: results to the screen, then to the files, keys to what they do."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from tfpose_rt.errors import OutputError, TfposeError
from tfpose_rt.live.calls import Calls
from tfpose_rt.live.metrics import Metrics
from tfpose_rt.live.outputs import Outputs
from tfpose_rt.live.plan import Plan, Screen
from tfpose_rt.live.view import View, dressed, people
from tfpose_rt.pipeline import Stream
from tfpose_rt.records import Event, Image, Result
from tfpose_rt.stats import summary
from tfpose_rt.wording import plural

log = logging.getLogger(__name__)
IDLE = 0.02  # s between two looks at the keys while nothing comes
GROWING = 8  # waiting frames from which the delay is worth a line
NEWS_S = 2.5  # s that a line of news stays
STATUS_S = 0.5  # s between two reports


class Session:
    """Runs a stream until its source ends, the user has had enough, or a limit is reached.

    Args:
        stream: the running stream; closed at the end.
        plan: what to write.
        metrics: the figures.
        screen: a window, or None.
        on_result: called with every result after the screen has it (the page of `serve`); may be set until `run`.
        on_status: called about twice a second with a line of figures.
        signal_code: the exit code when Ctrl-C or a signal ends the run.
    """

    def __init__(
        self,
        stream: Stream,
        plan: Plan,
        metrics: Metrics,
        screen: Screen | None = None,
        *,
        on_result: Callable[[Result], None] | None = None,
        on_status: Callable[[str], None] | None = None,
        signal_code: Callable[[], int] = lambda: 130,
    ) -> None:
        self.stream, self.plan, self.metrics, self.screen = stream, plan, metrics, screen
        self.view = View(plan.style)
        stream.hiding = self.view.hides_people
        self.outputs = Outputs(stream, plan, lambda: self.view.style)
        self.takes = self.outputs.takes
        self.summary: dict[str, Any] = {}  # once the run has ended
        self.on_result, self._on_status, self._signal_code = on_result, on_status, signal_code
        self._last: Result | None = None  # the newest frame
        self._picture: Image | None = None  # as drawn, without figures
        self._quit, self._told, self._calls = False, 0.0, Calls()

    def run(self) -> dict[str, Any]:
        """Do it.

        Returns: the summary record.
        Raises: TfposeError: of the source, the model or a file, once the other files are complete. KeyboardInterrupt
            is taken as the wish to end: files are completed, `summary` is set, and it is raised again.
        """
        ended: str | None = None
        error: BaseException | None = None
        try:
            self.outputs.open()
            ended = self._loop()
        except KeyboardInterrupt as caught:
            ended, error = "signal", caught
        except Exception as caught:  # noqa: BLE001 - raised below, once the files are complete
            error = caught
        self._calls.close()
        self.stream.close()
        self.summary, failed = self._finish(ended, error)
        if error or failed:
            raise error or failed  # type: ignore[misc]
        return self.summary

    @property
    def files(self) -> list[tuple[str, int]]:
        """Every file of the run with the number of its frames: snapshots, takes, data."""
        return self.outputs.files

    def call(self, function: Callable[[], Any]) -> Future[Any]:
        """Have a function run on this session's thread, between two frames; from any thread."""
        return self._calls.add(function)

    def _loop(self) -> str | None:
        """Until there is a reason to stop; why, or None for the source's own reason."""
        end = None if self.plan.duration is None else time.monotonic() + self.plan.duration
        while not self._quit:
            result = self.stream.take(IDLE)
            if result is not None:
                waiting, error = self._drain(result)
                newest = max((i for i, r in enumerate(waiting) if r.poses is not None), default=-1)
                for i, result in enumerate(waiting):
                    self.metrics.processed(result)
                    self._handle(result, seen=i == newest)  # a slow screen shows the newest; files get all
                if error is not None:
                    raise error
            elif self.stream.finished:
                return None
            elif self.screen is not None:
                self._idle(self.screen)
            self._calls.serve()
            self._status()
            if (end and time.monotonic() >= end) or self._enough():
                return "limit"
        return "user"

    def _enough(self) -> bool:
        return self.plan.max_frames is not None and self.stream.stats.frames >= self.plan.max_frames

    def _drain(self, first: Result) -> tuple[list[Result], Exception | None]:
        """What waits, up to eight results and the limit of frames; and the error behind them, which comes only once."""
        waiting = [first]
        try:
            while len(waiting) < 8 and not self._enough() and (result := self.stream.take(0)) is not None:
                waiting.append(result)
        except Exception as error:  # noqa: BLE001 - raised once what came before it is written
            return waiting, error
        return waiting, None

    def _handle(self, result: Result, *, seen: bool) -> None:
        """Screen first: what is seen must not wait for a disk."""
        if result.poses is not None:
            self._last = result
            self.view.history.add(result.poses)
            if self.screen is not None and seen:
                began = time.perf_counter()
                self._picture = people(self.view, result)
                image = self._dressed(self._picture)
                drawn = time.perf_counter()
                words = self.screen.show(image)
                self.stream.stats.add("draw", drawn - began)
                self.stream.stats.add("show", time.perf_counter() - drawn)
                self._obey(words)
            if seen:
                result = dataclasses.replace(result, latency_ms=self.metrics.shown(result))
        if self.on_result is not None:
            self.on_result(result)
        for news in self.outputs.write(result):
            self._say(news)

    def _idle(self, screen: Screen) -> None:
        """Keep the window alive while nothing comes: keys work, and why nothing comes is told."""
        if self._picture is not None:
            self._obey(screen.show(self._dressed(self._picture)))
        else:
            self._obey(screen.poll())

    def _dressed(self, picture: Image) -> Image:
        path = self.takes.recording
        note = "clean: people as they are" if self.plan.record_what == "clean" else ""
        state = getattr(self.stream.source, "state", "connected")
        if self.stream.paused:
            state = "frozen: Space goes on"
        return dressed(
            picture, self.view, self.metrics, time.monotonic(),
            take=(path, self.takes.seconds, note) if path else None,
            state="" if state in ("connected", "ended") else state,
        )  # fmt: skip

    def _obey(self, words: Sequence[str]) -> None:
        for word in words:
            told = self.view.press(word)
            if told is not None:
                self._say(told)
                self.stream.hiding = self.view.hides_people
                if self._last is not None and self._last.image is not None:
                    self._picture = people(self.view, self._last)
            elif word == "quit":
                self._quit = True
            elif word == "freeze":
                self.stream.pause(not self.stream.paused)
            elif word == "record":
                self.toggle_recording()
            elif word == "snapshot":
                self._snapshot()
            elif word == "forget":
                self.stream.forget_ids()
                self.view.history.clear()
                self._say("ids forgotten: everybody gets a new one")
            elif word == "fullscreen" and self.screen is not None:
                self.screen.toggle_fullscreen()

    def toggle_recording(self) -> str | None:
        """Start or stop a take; the name of the file being made, None when it was stopped or could not be started."""
        now = self._last.pts if self._last is not None else 0.0
        path = self.takes.recording
        try:
            if path is not None:
                saved = self.takes.stop()
                self.stream.mark(Event(kind="record_stop", t=now, detail={"file": path.name}))
                self._say(f"saved {path.name} ({plural(saved[0][1], 'frame')})" if saved else "nothing was recorded")
                return None
            path = self.takes.start()
        except TfposeError as error:  # a take that fails must not end the run
            self._say(str(error))
            log.warning("%s", error)
            return None
        self.stream.mark(Event(kind="record_start", t=now, detail={"file": path.name}))
        return path.name

    def _snapshot(self) -> None:
        if self._last is None:
            return
        try:
            self._say(f"saved {self.outputs.snapshot(self._last)}")
        except OutputError as error:
            self._say(str(error))

    def _say(self, text: str) -> None:
        self.view.message = (text, time.monotonic() + NEWS_S)

    def _status(self) -> None:
        now = time.monotonic()
        if now - self._told >= STATUS_S:
            self._told = now
            if self.stream.waiting > GROWING and not self.stream.run.source.drop:
                self._say(f"the delay grows: {self.stream.waiting} frames wait (without --no-drop the newest wins)")
            state = getattr(self.stream.source, "state", "connected")
            take = self.takes.recording
            recording = f"recording {take.name}" if take else ""
            parts = [self.metrics.short()[0], "" if state == "connected" else state, recording]
            if self._on_status is not None:
                self._on_status(" · ".join(p for p in parts if p))

    def _finish(self, ended: str | None, error: BaseException | None) -> tuple[dict[str, Any], BaseException | None]:
        """Complete every file that can be completed; the summary and the first failure."""
        code = getattr(error, "exit_code", 1) if isinstance(error, Exception) else None
        code = self._signal_code() if ended == "signal" else code
        if isinstance(error, Exception):  # files are valid, and the run did not reach its end
            ended = "source_lost"
        done = self.outputs.close(summary(self.stream, ended=ended, exit_code=code))
        if self.screen is not None:
            with contextlib.suppress(Exception):
                self.screen.close()
        return done
