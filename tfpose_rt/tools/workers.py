"""--jobs: several files at once on a machine without a GPU, each in a process with a model of its own."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import FrameType
from typing import Any, Protocol

from tfpose_rt import interrupts
from tfpose_rt.config import RunConfig
from tfpose_rt.errors import TfposeError
from tfpose_rt.interrupts import SIGNALS, exit_code
from tfpose_rt.io.urls import mask_text
from tfpose_rt.records import Result, StreamInfo
from tfpose_rt.tools.batch import How, Outcome, Watcher, run_safely, signal_code
from tfpose_rt.tools.outputs import Job

TELL = 0.2  # s between two words of progress
MOST = 61 if sys.platform == "win32" else sys.maxsize  # processes that one pool can wait for
GRACE = 5.0  # s for the frame in hand, once nobody is left to wait for it


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
    _worker.update(run=run, how=how, progress=progress, make=make, told=0)
    threading.Thread(target=_follow_parent, daemon=True).start()
    for number in SIGNALS:
        signal.signal(number, _told_to_end)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _follow_parent() -> None:
    """A parent that was killed can tell nobody: end behind the frame in hand, or soon where there is none."""
    parent = multiprocessing.parent_process()
    if parent is None:  # called in the parent itself
        return
    parent.join()
    _worker["told"] = _worker["told"] or 128 + signal.SIGTERM
    time.sleep(GRACE)
    os._exit(128 + signal.SIGTERM)


def _told_to_end(number: int, _: FrameType | None) -> None:
    """Once is enough, and terminal and parent may both say it: noted here, heeded behind the next frame."""
    _worker["told"] = _worker["told"] or exit_code(number)


class _Obedient(Reporter):
    """Ends a job behind a frame that is in every file, once its worker has been told to end."""

    def result(self, job: Job, result: Result) -> None:
        super().result(job, result)
        if _worker["told"]:
            raise KeyboardInterrupt(_worker["told"])


@contextmanager
def _signals_held() -> Iterator[None]:
    """Signals wait, here and in the processes started meanwhile, which are not ready for one until `_start`."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _estimator() -> Any:
    if "estimator" not in _worker:
        _worker["estimator"] = _worker["make"](_worker["run"])
    return _worker["estimator"]


def _do(job: Job) -> Outcome | None:
    """One job, in a worker; None where it was not begun because the worker has been told to end."""
    if _worker["told"]:
        return None
    return run_safely(job, _estimator, _worker["run"], _worker["how"], _Obedient(_worker["progress"].put))


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
        count = min(count, len(jobs), MOST)
        self._pool = ProcessPoolExecutor(count, context, _start, (run, how, self._progress, make))
        self._jobs, self._others = jobs, set(multiprocessing.active_children())
        self._waiting: dict[Future[Outcome | None], Job] = {}

    def work(self) -> dict[Job, Outcome]:
        """Do what can be done."""
        outcomes: dict[Job, Outcome] = {}
        try:
            with interrupts.deferred() as heed:
                with _signals_held():
                    self._waiting = {self._pool.submit(_do, job): job for job in self._jobs}
                while self._waiting:
                    heed()
                    wait(self._waiting, TELL, FIRST_COMPLETED)
                    self._pass_on()
                    for future in [f for f in self._waiting if f.done()]:  # `wait` is not told of what was cancelled
                        job = self._waiting.pop(future)
                        outcome = None if future.cancelled() else self._outcome(future, job)
                        if outcome is not None:
                            outcomes[job] = outcome
                            self._watcher.finished(outcome)
                            self._end_if(self._how.fail_fast and bool(outcome.exit_code))
                heed()
        except KeyboardInterrupt as interrupt:
            self._tell(signal_code(interrupt) - 128)
            self._pass_on()
            for future, job in self._waiting.items():
                outcome = self._outcome(future, job) if future.done() and not future.cancelled() else None
                if outcome is not None:
                    outcomes[job] = outcome
                    self._watcher.finished(outcome)
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
        if not outcomes:
            self.ended = True  # a pool that dies before its first file would only die again
        return outcomes

    def _end_if(self, end: bool) -> None:
        if end:
            self.ended = True
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _tell(self, number: int) -> None:
        """Have the workers complete the files under way, and wait for them; a second signal ends them at once."""
        self.ended = True
        ours = set(multiprocessing.active_children()) - self._others
        try:
            if sys.platform != "win32":  # there the console tells everybody
                for pid in (process.pid for process in ours if process.pid is not None):
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)
            self._pool.shutdown(wait=True, cancel_futures=True)
        except KeyboardInterrupt:
            for process in ours:
                process.kill()
            raise

    def _outcome(self, future: Future[Outcome | None], job: Job) -> Outcome | None:
        """How a job ended; None for one that was not begun when another's worker died."""
        error = future.exception()
        if error is None:
            return future.result()
        if isinstance(error, BrokenProcessPool):
            self._pass_on()
            if job not in self._begun:
                return None
            error = TfposeError(f"the worker of {job.name} died", why="killed, or out of memory", fix="--resume")
        elif not isinstance(error, TfposeError):
            if os.environ.get("TFPOSE_DEBUG"):
                raise error
            why = mask_text(f"{type(error).__name__}: {error}")
            error = TfposeError(f"{job.name} failed", why=why, fix="--resume")
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
