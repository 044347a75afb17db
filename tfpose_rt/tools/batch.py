"""Many sources, one model: each job's files are complete or left as `.part`; a failing job does not stop the others."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from tfpose_rt.chunks import CHUNK
from tfpose_rt.config import RunConfig
from tfpose_rt.draw import DrawStyle, draw
from tfpose_rt.errors import TfposeError
from tfpose_rt.io.jsonl import header_of_run
from tfpose_rt.io.parts import Sink, SinkOptions, closing_order, made
from tfpose_rt.io.sinks import check_outputs, open_sink
from tfpose_rt.io.sources import open_source
from tfpose_rt.io.urls import mask_text
from tfpose_rt.io.video import constant_rate
from tfpose_rt.pipeline import Stream
from tfpose_rt.records import Image, Result, StreamInfo
from tfpose_rt.stats import require_frames, summary, whole
from tfpose_rt.tools import completed
from tfpose_rt.tools import resume as unfinished
from tfpose_rt.tools.outputs import Job

log = logging.getLogger(__name__)
SEVERITY = (0, 7, 3, 4, 2, 5, 6, 1, 143, 130)  # exit codes from harmless to worst: what a run of many files ends with


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """What holds for every job of a run."""

    overwrite: bool = False
    resume: bool = False  # go on with what a run left that was cut short; what is complete already is skipped
    skip_existing: bool = False
    fail_fast: bool = False
    sound: bool = True  # copy the source's sound into saved videos
    sink: SinkOptions = field(default_factory=SinkOptions)
    style: DrawStyle = field(default_factory=DrawStyle)
    args: Mapping[str, Any] = field(default_factory=dict)  # what the user typed, secrets masked: for the header


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one job ended.

    Args:
        job: what was to be done.
        summary: the summary record; None when the job failed or was skipped, unless what is there ended early.
        error: why it failed.
        skipped: its files were there already.
        files: each file with its number of frames.
        totals: s spent in each stage.
        fresh: frames that this run did; a resumed file holds more.
    """

    job: Job
    summary: Mapping[str, Any] | None = None
    error: TfposeError | None = None
    skipped: bool = False
    files: tuple[tuple[Path, int], ...] = ()
    totals: Mapping[str, float] = field(default_factory=dict)
    fresh: int = 0

    @property
    def exit_code(self) -> int:
        """What this job alone would end the program with."""
        if self.error is not None:
            return self.error.exit_code
        return 0 if self.summary is None else int(self.summary["exit_code"])


class Stop(Exception):  # noqa: N818 - a request, not an error
    """Raised by a watcher whose user has seen enough: files are completed, `ended` is "user"."""


class Watcher(Protocol):
    """Who is told how a run gets on; called on the main thread."""

    def started(self, job: Job, info: StreamInfo, done: int) -> None:
        """A source is open; `done` frames come from an earlier run."""
        ...

    def result(self, job: Job, result: Result) -> None:
        """One result was handed to the files."""
        ...

    def finished(self, outcome: Outcome) -> None:
        """A job ended, well or not."""
        ...


def check(jobs: Sequence[Job], how: How) -> None:
    """Refuse, before the model loads, what could not be written. Raises OutputError, UsageError."""
    inputs = [job.source for job in jobs]
    kept = [job for job in jobs if there(job, how)]
    again = [job for job in kept if _goes_on(completed.ended_early(job), how)]
    if not (how.overwrite or how.resume or how.skip_existing):
        for job in jobs:
            completed.refuse_interrupted(job)
    for todo, overwrite in (([job for job in jobs if job not in kept], how.overwrite), (again, True)):
        paths = [path for job in todo for path in job.paths]
        check_outputs(paths, overwrite, inputs=inputs, resume=how.resume)


def run_batch(
    jobs: Sequence[Job], estimator: Callable[[], Any], run: RunConfig, how: How, watcher: Watcher
) -> list[Outcome]:
    """Do every job in this process, one after the other.

    Args:
        jobs: checked by `check`.
        estimator: gives the one estimator; called once a source is open, so that a missing file is told at once.
        run: settings.
        how: what holds for all of them.
        watcher: is told of progress.
    Returns: how each job that was begun ended, in order.
    Raises: WeightsError, DeviceError: the estimator cannot be had.
    """
    outcomes: list[Outcome] = []
    for job in jobs:
        outcome = run_safely(job, estimator, run, how, watcher)
        outcomes.append(outcome)
        watcher.finished(outcome)
        if (how.fail_fast and outcome.exit_code) or _stopped(outcome):
            break
    return outcomes


def run_safely(job: Job, estimator: Callable[[], Any], run: RunConfig, how: How, watcher: Watcher) -> Outcome:
    """Do one job; whatever goes wrong is its outcome, unless no job could be done at all."""
    try:
        return run_job(job, estimator, run, how, watcher)
    except TfposeError as error:
        if error.exit_code in (5, 6):
            raise
        return Outcome(job=job, error=error)
    except Exception as error:
        if os.environ.get("TFPOSE_DEBUG"):
            raise
        log.debug("%s failed", job.name, exc_info=True)
        why = mask_text(f"{type(error).__name__}: {error}")
        failure = TfposeError(f"{job.name} failed", why=why, fix="--debug")
        failure.__cause__ = error
        return Outcome(job=job, error=failure)


def run_job(job: Job, estimator: Callable[[], Any], run: RunConfig, how: How, watcher: Watcher) -> Outcome:
    """Do one job to its end; Ctrl-C completes its files with what there is.

    Raises: TfposeError: the files are left as `.part`, or not made at all where there was nothing to put in.
    """
    if there(job, how):
        differ = completed.require_own(job, how.args, strict=how.resume)
        if differ:
            log.warning("%s: what is there was made with other settings: %s", job.name, "; ".join(differ))
        told = completed.ended_early(job)
        if told is None or not _goes_on(told, how):
            return _skipped(job, told)
        completed.require_all(job, told)
        how = _reopened(job, how)
    earlier = unfinished.find(job) if how.resume else None
    last = -1 if earlier is None else earlier.resume.last
    source = open_source(job.source, replace(run.source, skip_to=(last + 1) // CHUNK * CHUNK))
    try:
        model = estimator()
        if earlier is not None:
            unfinished.require_same(job, earlier, header_of_run(source.info, run, model, how.args))
        before = unfinished.Before(earlier, source.info)
        stream = Stream(source, model, run, replay=before.poses(), after=last)
    except BaseException:
        source.close()
        raise
    expected = source.info.frames if whole(run.source) else None
    watcher.started(job, replace(source.info, frames=expected), before.stats.frames)
    sinks: list[Sink] = []
    try:
        with stream:
            ended = code = None
            try:
                for result in before.fresh(stream):
                    sinks = sinks or _open_sinks(job, source.info, model, run, how, earlier)
                    for sink in sinks:
                        sink.write(result)
                    watcher.result(job, result)
            except KeyboardInterrupt as signal:
                ended, code = "signal", signal_code(signal)
            except Stop:
                ended = "user"
            fresh, rate = stream.stats.frames, stream.stats.frames / max(stream.stats.wall, 1e-9)
            stream.stats.absorb(before.stats)
            if ended is None:
                require_frames(stream)
            sinks = sinks or _open_sinks(job, source.info, model, run, how, earlier)
            record = summary(stream, ended=ended, exit_code=code, more_errors=before.stats.errors)
            record["fps_mean"] = round(rate, 3)
            for sink in closing_order(sinks):
                record["files"] = [file.name for file, _ in made(sinks)]
                sink.close(record)
            record["files"] = [file.name for file, _ in made(sinks)]
    except BaseException:
        for sink in sinks:
            sink.abort()
        raise
    return Outcome(job=job, summary=record, files=tuple(made(sinks)), totals=dict(stream.stats.totals), fresh=fresh)


def signal_code(interrupt: KeyboardInterrupt) -> int:
    """The exit code that an interruption stands for: the one it carries, else Ctrl-C's."""
    return int(interrupt.args[0]) if interrupt.args else 130


def worst(outcomes: Sequence[Outcome]) -> int:
    """The exit code of a whole run."""
    return max((o.exit_code for o in outcomes), key=SEVERITY.index, default=0)


def there(job: Job, how: How) -> bool:
    """Whether a job's files are all there and that counts: with --skip-existing, and with --resume."""
    return (how.skip_existing or how.resume) and completed.finished(job)


def _goes_on(told: Mapping[str, Any] | None, how: How) -> bool:
    return how.resume and told is not None and told.get("ended") == "signal"


def _reopened(job: Job, how: How) -> How:
    """How to go on with a job whose files were completed when a signal ended it."""
    left = unfinished.reopen(job, how.sink.codec)
    if left:
        log.warning("%s was cut short, and %s cannot be continued: done again from the start", job.name, left)
    return replace(how, overwrite=True, resume=not left)


def _skipped(job: Job, told: Mapping[str, Any] | None) -> Outcome:
    """The outcome of a job whose files are there; where they ended early it keeps their exit code."""
    if told is None:
        return Outcome(job=job, skipped=True)
    ended, code = told.get("ended"), told.get("exit_code") or 7
    fix = "--resume goes on" if ended == "signal" else "--overwrite does it again"
    log.warning("%s: what is there ended early (%s, code %s); %s", job.name, ended, code, fix)
    return Outcome(
        job=job, skipped=True, summary={**told, "ended": ended, "exit_code": code if code in SEVERITY else 1}
    )


def _stopped(outcome: Outcome) -> bool:
    if outcome.skipped or outcome.summary is None:
        return False
    return outcome.summary["ended"] in ("signal", "user")


def _open_sinks(
    job: Job, info: StreamInfo, model: Any, run: RunConfig, how: How, earlier: unfinished.Unfinished | None
) -> list[Sink]:
    header = header_of_run(info, run, model, how.args)
    sound = Path(job.source) if how.sound and info.kind == "file" else None
    options = replace(
        how.sink,
        full_precision=run.full_precision,
        kpt_thr=run.kpt_thr,
        numbers_video=job.video is not None,
        video_rate=None if job.video is None else constant_rate(job.video, info, how.sink.codec),
        audio=sound,
        render=lambda result: _drawn(result, how.style),
        resume=None if earlier is None else earlier.resume,
    )
    sinks: list[Sink] = []
    try:
        for path, name in job.data:
            sinks.append(
                open_sink(path, format=name, header=header, info=info, overwrite=how.overwrite, options=options)
            )
        for path in job.drawn:
            kind = "stills" if path == job.stills else "video"
            sinks.append(
                open_sink(path, format=kind, header=header, info=info, overwrite=how.overwrite, options=options)
            )
    except BaseException:
        for sink in sinks:
            if earlier is None:
                sink.discard()
            else:
                sink.abort()
        raise
    return sinks


def _drawn(result: Result, style: DrawStyle) -> Image:
    assert result.image is not None
    return result.image if result.poses is None else draw(result.image, result.poses, style, hide=result.cover)
