"""--jobs: several files at once on a machine without a GPU, each in a process with a model of its own."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any, Protocol

from tfpose_rt.config import RunConfig
from tfpose_rt.errors import TfposeError
from tfpose_rt.records import Result, StreamInfo
from tfpose_rt.tools.batch import How, Outcome, Watcher, run_safely
from tfpose_rt.tools.outputs import Job

TELL = 0.2  # s between two words of progress


class ManyWatcher(Watcher, Protocol):
    """A watcher that also takes progress by count, for results that stay in another process."""

    def advance(self, job: Job, frames: int) -> None:
        """Some frames are done."""
        ...


class Reporter:
    """Passes a job's progress on to another process, a few times a second.

    Args:
        put: takes (what, job, value); called with "started" and (info, frames done before), or "frames" and a count.
    """

    def __init__(self, put: Any) -> None:
        self._put, self._frames, self._told = put, 0, time.monotonic()

    def started(self, job: Job, info: StreamInfo, done: int) -> None:
        """A source is open."""
        self._put(("started", job, (info, done)))

    def result(self, job: Job, result: Result) -> None:
        """One result was handed to the files."""
        self._frames += result.poses is not None
        if time.monotonic() - self._told >= TELL:
            self._put(("frames", job, self._frames))
            self._frames, self._told = 0, time.monotonic()

    def finished(self, outcome: Outcome) -> None:
        """The outcome itself travels another way."""


_worker: dict[str, Any] = {}  # of a worker process: its model, made at its first job


def _start(run: RunConfig, how: How, progress: Any, make: Any) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a worker that is told to end completes its files
    _worker.update(run=run, how=how, progress=progress, make=make)


def _estimator() -> Any:
    if "estimator" not in _worker:
        _worker["estimator"] = _worker["make"](_worker["run"])
    return _worker["estimator"]


def _do(job: Job) -> Outcome:
    return run_safely(job, _estimator, _worker["run"], _worker["how"], Reporter(_worker["progress"].put))


def make_estimator(run: RunConfig) -> Any:
    """The ordinary estimator; imported where it is made."""
    from tfpose_rt.estimator import PoseEstimator

    return PoseEstimator(run)


def run_workers(
    jobs: Sequence[Job],
    run: RunConfig,
    how: How,
    watcher: ManyWatcher,
    *,
    jobs_at_once: int,
    make: Any = make_estimator,
) -> list[Outcome]:
    """Do every job, several at once; a worker that dies fails its own file, not the others.

    Args:
        jobs: checked by `batch.check`.
        run: settings; the threads are shared out among the processes.
        how: what holds for all jobs.
        watcher: is told of progress.
        jobs_at_once: processes.
        make: makes an estimator from the settings; importable by name.
    Returns: an outcome for every job that was begun, in the order of `jobs`.
    """
    threads = run.threads or max((os.cpu_count() or 1) // jobs_at_once, 1)
    outcomes: dict[Job, Outcome] = {}
    left = list(jobs)
    while left:
        crew = _Crew(left, replace(run, threads=threads), how, watcher, jobs_at_once, make)
        outcomes |= crew.work()
        left = [] if crew.ended else [job for job in left if job not in outcomes]
    return [outcomes[job] for job in jobs if job in outcomes]


class _Crew:
    """One pool of processes; it ends when all is done, when it is told to, or when one of them dies."""

    def __init__(
        self, jobs: Sequence[Job], run: RunConfig, how: How, watcher: ManyWatcher, count: int, make: Any
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._how, self._watcher, self._progress = how, watcher, context.Queue()
        self._begun: set[Job] = set()
        self.ended = False  # nothing more is to be done
        self._pool = ProcessPoolExecutor(min(count, len(jobs)), context, _start, (run, how, self._progress, make))
        self._waiting: dict[Future[Outcome], Job] = {self._pool.submit(_do, job): job for job in jobs}

    def work(self) -> dict[Job, Outcome]:
        """Do what can be done."""
        outcomes: dict[Job, Outcome] = {}
        try:
            while self._waiting:
                done, _ = wait(self._waiting, TELL, FIRST_COMPLETED)
                self._pass_on()
                for future in done:
                    job = self._waiting.pop(future)
                    outcome = None if future.cancelled() else self._outcome(future, job)
                    if outcome is not None:
                        outcomes[job] = outcome
                        self._watcher.finished(outcome)
                        self._end_if(self._how.fail_fast and bool(outcome.exit_code))
        except KeyboardInterrupt:
            self._end_if(True)
            self._pool.shutdown(wait=True, cancel_futures=True)  # Ctrl-C reached the workers too: they complete files
            late = {job: self._outcome(f, job) for f, job in self._waiting.items() if f.done() and not f.cancelled()}
            outcomes |= {job: outcome for job, outcome in late.items() if outcome is not None}
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
        if not outcomes:
            self.ended = True  # a pool that dies before its first file would only die again
        return outcomes

    def _end_if(self, end: bool) -> None:
        if end:
            self.ended = True
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _outcome(self, future: Future[Outcome], job: Job) -> Outcome | None:
        """How a job ended; None for one that was not begun when another's worker died."""
        error = future.exception()
        if error is None:
            return future.result()
        if isinstance(error, BrokenProcessPool):
            self._pass_on()
            if job not in self._begun:
                return None
            error = TfposeError(f"the worker of {job.source} died", why="killed, or out of memory", fix="--resume")
        elif not isinstance(error, TfposeError):
            error = TfposeError(f"{job.source} failed", why=f"{type(error).__name__}: {error}", fix="--resume")
        return Outcome(job=job, error=error)

    def _pass_on(self) -> None:
        while True:
            try:
                what, job, value = self._progress.get_nowait()
            except queue.Empty:
                return
            if what == "started":
                self._begun.add(job)
                self._watcher.started(job, *value)
            else:
                self._watcher.advance(job, value)
