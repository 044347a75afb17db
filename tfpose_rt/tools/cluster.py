"""--cluster ray: files spread over the machines of a Ray cluster; a lost worker's file goes on from its last record.

Sources and outputs must be visible under the same paths on every machine (a shared file system). Ray's own usage
reports are switched off before it is imported.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tfpose_rt.config import RunConfig
from tfpose_rt.errors import TfposeError, UsageError
from tfpose_rt.io.urls import mask_text
from tfpose_rt.shell import install
from tfpose_rt.tools.batch import How, Outcome, run_safely
from tfpose_rt.tools.outputs import Job
from tfpose_rt.tools.workers import ManyWatcher, Reporter, make_estimator

TRIES = 4  # of one file: the first, and three after lost workers
POLL = 0.3  # s

_worker: dict[Any, Any] = {}  # of a worker process: its model, kept from file to file


def run_cluster(
    jobs: Sequence[Job],
    run: RunConfig,
    how: How,
    watcher: ManyWatcher,
    *,
    engine: str = "ray",
    make: Any = make_estimator,
) -> list[Outcome]:
    """Do every job on the cluster that RAY_ADDRESS names, or that runs here, or on a new one of this machine alone.

    Args:
        jobs: checked by `batch.check`.
        run: settings; `threads` is what one worker takes of the CPUs. Where the cluster has GPUs, each takes one.
        how: what holds for all jobs.
        watcher: is told of progress.
        engine: "ray".
        make: makes an estimator from the settings; importable by name on every machine.
    Returns: an outcome for every job that was begun, in the order of `jobs`.
    Raises: UsageError: another engine, or Ray is not installed.
    """
    if engine != "ray":
        raise UsageError(f"--cluster {engine}", why="no such engine", fix="--cluster ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise UsageError("--cluster ray", why="Ray is not installed", fix=install("ray")) from error
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        return _Cluster(ray, jobs, run, how, watcher, make).work()
    finally:
        if started:
            ray.shutdown()


class _Cluster:
    """Hands out the files and gathers how they ended."""

    def __init__(
        self, ray: Any, jobs: Sequence[Job], run: RunConfig, how: How, watcher: ManyWatcher, make: Any
    ) -> None:
        from ray.util.queue import Queue  # type: ignore[import-not-found,unused-ignore]

        self._ray, self._jobs, self._how, self._watcher = ray, [absolute(job) for job in jobs], how, watcher
        gpus = ray.cluster_resources().get("GPU", 0) >= 1 and run.device in ("auto", "cuda")
        cpus = run.threads or (1 if gpus else 2)
        cpus = min(cpus, int(max(node["Resources"].get("CPU", 1) for node in ray.nodes() if node["Alive"])))
        self._progress = Queue(actor_options={"num_cpus": 0})
        self._task = ray.remote(num_cpus=cpus, num_gpus=int(gpus), max_retries=0)(_do)
        self._settings = ray.put((replace(run, threads=0 if gpus else cpus), make))
        self._tries = dict.fromkeys(self._jobs, 0)

    def work(self) -> list[Outcome]:
        """Do every job."""
        outcomes: dict[Job, Outcome] = {}
        waiting = {self._submit(job): job for job in self._jobs}
        try:
            while waiting:
                done, _ = self._ray.wait(list(waiting), timeout=POLL)
                self._pass_on()
                for reference in done:
                    job = waiting.pop(reference)
                    outcome = self._outcome(reference, job)
                    if outcome is None:
                        waiting[self._submit(job)] = job
                        continue
                    outcomes[job] = outcome
                    self._watcher.finished(outcome)
                    if self._how.fail_fast and outcome.exit_code:
                        self._cancel(waiting)
                        waiting = {}
        except KeyboardInterrupt:
            self._cancel(waiting)  # each completes its files, as Ctrl-C does on one machine
            done, _ = self._ray.wait(list(waiting), num_returns=len(waiting), timeout=30.0) if waiting else ([], [])
            late = {waiting[r]: self._outcome(r, waiting[r]) for r in done}
            outcomes |= {job: outcome for job, outcome in late.items() if outcome is not None}
        self._progress.shutdown()
        return [outcomes[job] for job in self._jobs if job in outcomes]

    def _submit(self, job: Job) -> Any:
        again = self._tries[job] > 0
        self._tries[job] += 1
        how = replace(self._how, resume=True) if again else self._how
        return self._task.remote(job, how, self._settings, self._progress)

    def _outcome(self, reference: Any, job: Job) -> Outcome | None:
        """How a job ended; None when its worker was lost and it is to be tried again."""
        lost = (self._ray.exceptions.WorkerCrashedError, self._ray.exceptions.NodeDiedError,
                self._ray.exceptions.OutOfMemoryError)  # fmt: skip
        try:
            outcome: Outcome = self._ray.get(reference)
            return outcome
        except lost as error:
            if self._tries[job] < TRIES:
                return None
            failure = TfposeError(f"{job.name} lost its worker {TRIES} times", why=type(error).__name__, fix="--resume")
        except self._ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, TfposeError):
                failure = cause
            else:
                text = mask_text(str(error).strip().splitlines()[-1])
                failure = TfposeError(f"{job.name} failed on its worker", why=text, fix="--resume")
        return Outcome(job=job, error=failure)

    def _cancel(self, waiting: dict[Any, Job]) -> None:
        for reference in waiting:
            with suppress(self._ray.exceptions.RayError):
                self._ray.cancel(reference)

    def _pass_on(self) -> None:
        while not self._progress.empty():
            what, job, value = self._progress.get()
            if what == "started":
                self._watcher.started(job, *value)
            else:
                self._watcher.advance(job, value)


def absolute(job: Job) -> Job:
    """The same job with paths that mean the same on every machine."""
    source = str(Path(job.source).absolute()) if Path(job.source).exists() else job.source
    data = tuple((path.absolute(), name) for path, name in job.data if str(path) != "-")
    if len(data) != len(job.data):
        raise UsageError("-o - on a cluster", why="standard output is on one machine", fix="a folder")
    video, stills = (None if path is None else path.absolute() for path in (job.video, job.stills))
    return Job(source, data, video, job.folders, stills)


def _do(job: Job, how: How, settings: tuple[RunConfig, Any], progress: Any) -> Outcome:
    """One file, on a worker."""
    run, make = settings

    def estimator() -> Any:
        if run not in _worker:
            _worker.clear()
            _worker[run] = make(run)
        return _worker[run]

    return run_safely(job, estimator, run, how, Reporter(progress.put))
