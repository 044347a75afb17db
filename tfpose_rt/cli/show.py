"""What people see on stderr: errors, plans, progress, summaries. stdout carries data only."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfpose_rt.cli.journal import LOGGER, note, open_journal
from tfpose_rt.shell import system_libraries
from tfpose_rt.wording import plural, rate

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from tfpose_rt.errors import TfposeError

_console: Console | None = None


def console() -> Console:
    """The console on stderr; obeys NO_COLOR and knows whether it is a terminal."""
    global _console
    if _console is None:
        from rich.console import Console

        _console = Console(stderr=True, highlight=False, soft_wrap=True)
    return _console


def say(text: str, style: str | None = None) -> None:
    """One plain line; markup and control characters in names are shown, not obeyed. It goes to --log-file, too."""
    _print(text, style)
    note(text)


def _print(text: str, style: str | None = None) -> None:
    console().print(printable(text), markup=False, emoji=False, style=style)


def printable(text: str) -> str:
    """The text without control characters: a file's name may hold some, which no terminal is to obey."""
    return "".join(c if c.isprintable() else "?" for c in text)


def print_error(error: TfposeError) -> None:
    """What, why, what to do: one line."""
    _print(f"error: {error}", "red" if console().is_terminal else None)
    note(f"error: {error}", logging.ERROR)


def unexpected(error: Exception) -> TfposeError:
    """An error that nobody foresaw, as one of ours: its kind, the first line it says, and what can be done."""
    from tfpose_rt.errors import TfposeError, line_of
    from tfpose_rt.io.urls import mask_text

    if remedy := system_libraries(error):
        return TfposeError("OpenCV cannot be loaded", why=line_of(error), fix=remedy)
    fix = "tfpose-rt doctor; --debug shows where it broke: please report that, with doctor --export-report FILE"
    why = mask_text(line_of(error)) if str(error).strip() else ""
    return TfposeError(f"unexpected {type(error).__name__}", why=why, fix=fix)


def print_traceback(error: BaseException, *, shown: bool = True) -> None:
    """Where an error comes from, as Python tells it: no local values, and no secrets of addresses.

    Args:
        error: of any kind.
        shown: on stderr too, not in --log-file alone.
    """
    import traceback

    from tfpose_rt.io.urls import mask_text

    for line in mask_text("".join(traceback.format_exception(error))).splitlines():
        if shown:
            _print(line)
        note(line, logging.DEBUG)


class Lines(logging.Handler):
    """Messages of the library as lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show one."""
        _print(record.getMessage())
        if record.exc_info and record.exc_info[1] and self.level <= logging.DEBUG:
            print_traceback(record.exc_info[1])


def show_log(verbose: int, quiet: bool, file: Path | None = None) -> None:
    """Warnings of the library as lines on stderr; -v adds what it does, -vv everything, tracebacks too.

    Args:
        verbose: how often -v was given.
        quiet: errors alone.
        file: gets all of it, whatever stderr gets.
    Raises: OutputError: the file cannot be written, or is no log.
    """
    lines = next((handler for handler in LOGGER.handlers if isinstance(handler, Lines)), None) or Lines()
    lines.setLevel(logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)])
    LOGGER.addHandler(lines)  # once, however often
    LOGGER.propagate = False
    open_journal(file)
    LOGGER.setLevel(lines.level if file is None else logging.DEBUG)


def debugging() -> bool:
    """Whether -vv was given."""
    return any(isinstance(handler, Lines) and handler.level <= logging.DEBUG for handler in LOGGER.handlers)


def print_table(rows: Mapping[str, Any]) -> None:
    """Two aligned columns."""
    width = max(map(len, rows), default=0)
    for name, value in rows.items():
        say(f"  {name:<{width}}  {value}")


def progress_bar(visible: bool = True) -> Progress:
    """A bar with rate and time left; nothing at all where stderr is no terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console(),
        disable=not (visible and sys.stderr.isatty()),
    )


def estimator_rows(estimator: Any) -> dict[str, str]:
    """Device, engine, attention path, precision, model and detector, each with its reason."""
    from tfpose_rt.device import kind_of, usual_threads
    from tfpose_rt.engine import quickest

    model, detector, run = estimator.model, estimator.detector, estimator.run
    own = estimator.engine == "torch"  # another engine has its own sampling, whatever kernel torch would take
    every = {0: "as needed", 1: "on every frame"}.get(run.det_every, f"every {run.det_every} frames")
    looks = f"{detector['name']} at {run.det_size}, {every}"
    quicker = quickest(run.precision, kind_of(estimator.device), estimator.engine)
    hint = "" if quicker in ("auto", estimator.precision) else f" (auto: exact; --precision {quicker} is quicker here)"
    return {
        "device": f"{estimator.device} ({estimator.device_reason}), {plural(run.threads or usual_threads(), 'thread')}",
        "engine": f"{estimator.engine} ({estimator.engine_reason})",
        "attention": f"{estimator.kernel} ({estimator.kernel_reason})" if own else estimator.kernel_reason,
        "precision": estimator.precision + hint,
        "model": f"{model['name']} {model['input'][0]}x{model['input'][1]}, scores {estimator.score_kind}",
        "detector": "none: the whole picture is one box" if detector["name"] == "none" else looks,
    }


def print_summary(record: Mapping[str, Any], totals: Mapping[str, float], files: Iterable[tuple[str, int]]) -> None:
    """The end of a run: counts, speed, where the time went, and each file with its record count."""
    expected = record.get("frames_expected")
    frames = record["frames"]
    rows = {
        "frames": f"{frames} of {expected}" if expected else str(frames),
        "with people": f"{plural(record['frames_with_people'], 'frame')}, {plural(record['persons'], 'pose')}, "
        + plural(record["ids"], "id"),
        "speed": f"{rate(record['fps_mean'] or 0)} fps, {record['wall_s']:.1f} s",
    }
    if record["decode_errors"] or record["gaps"]:
        errors = plural(record["decode_errors"], "undecodable frame")
        rows["missing"] = f"{errors}, {plural(record['gaps'], 'gap')}"
    if record.get("skipped"):
        rows["passed over"] = f"{record['skipped']} of {record['captured']} captured"
    if record.get("latency_ms"):
        rows["latency"] = "p50 {p50:.0f} ms, p95 {p95:.0f} ms, max {max:.0f} ms".format(**record["latency_ms"])
    if frames and totals:
        rows["stages"] = ", ".join(f"{name} {1e3 * spent / frames:.1f} ms" for name, spent in totals.items())
    if not record["complete"]:
        reasons = {"decode_error": "damaged frames are missing", "signal": "interrupted"}
        rows["ended"] = f"{record['ended']}: {reasons.get(record['ended'], 'the source stopped before its end')}"
    print_table(rows)
    for name, count in files:
        say(f"wrote {name} ({plural(count, 'record')})")
