"""What is seen of a run over files while it works and when it ends: bars, a window, the table of what failed."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from tfpose_rt.cli.show import estimator_rows, print_error, print_summary, print_table, printable, progress_bar, say
from tfpose_rt.interrupts import SIGNALS, exit_code
from tfpose_rt.wording import plural, rate

if TYPE_CHECKING:
    from tfpose_rt.config import RunConfig
    from tfpose_rt.draw import DrawStyle
    from tfpose_rt.records import Result, StreamInfo
    from tfpose_rt.tools.batch import Outcome
    from tfpose_rt.tools.outputs import Job


class Watch:
    """Shows progress: a bar for the file, one for all files, and a window where asked for.

    Args:
        jobs: all of them.
        progress: bars, where stderr is a terminal.
        quiet: say nothing before the end.
        display: none, window, or auto: a window where there is a screen.
        style: how people are drawn there.
    """

    def __init__(
        self, jobs: Sequence[Job], *, progress: bool, quiet: bool, display: str, style: DrawStyle | None = None
    ) -> None:
        self._quiet, self._many = quiet, len(jobs) > 1
        self._bars = progress_bar(progress and not quiet)
        self._all = self._bars.add_task("all files", total=len(jobs), rate="") if self._many else None
        self._tasks: dict[str, Any] = {}
        self._began: dict[str, float] = {}
        self._window = screening(display, style)
        self._latest = ""  # the source whose name was told last

    def __enter__(self) -> Watch:
        """Show the bars."""
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bars and the window away."""
        self._bars.stop()
        if self._window is not None:
            self._window.close()

    def estimator(self, run: RunConfig) -> Callable[[], Any]:
        """A function that loads the model the first time it is called, and says what it runs on."""
        made: list[Any] = []

        def get() -> Any:
            if not made:
                from tfpose_rt.estimator import PoseEstimator

                made.append(PoseEstimator(run))
                if not self._quiet:
                    print_table(estimator_rows(made[0]))
            return made[0]

        return get

    def started(self, job: Job, info: StreamInfo, done: int) -> None:
        """A source is open."""
        if not self._quiet:
            about = [f"{info.size[0]}x{info.size[1]}", info.codec or info.kind]
            about += (
                [] if info.fps is None else [f"{info.fps:.5g} fps" + (" nominal, it varies" if info.variable else "")]
            )
            about += [] if info.duration is None else [f"{info.duration:.2f} s"]
            about += [f"turned by {info.rotation}"] if info.rotation else []
            about += [f"going on behind {plural(done, 'frame')}"] if done else []
            say(f"{info.name}: {', '.join(about)}")
        self._latest = job.source
        self._tasks[job.source] = self._bars.add_task(printable(info.name), total=info.frames, completed=done, rate="")
        self._began[job.source] = time.monotonic()

    def result(self, job: Job, result: Result) -> None:
        """One result was handed to the files."""
        if result.poses is None:
            return
        self.advance(job, 1)
        if self._window is not None and result.image is not None:
            self._window.show(result)

    def advance(self, job: Job, frames: int) -> None:
        """Some frames are done."""
        task = self._tasks.get(job.source)
        if task is None:
            return
        self._bars.advance(task, frames)
        spent = time.monotonic() - self._began[job.source]
        done = self._bars.tasks[self._bars.task_ids.index(task)].completed
        self._bars.update(task, rate=f"{rate(done / spent)} fps" if spent else "")

    def finished(self, outcome: Outcome) -> None:
        """A job ended."""
        task = self._tasks.pop(outcome.job.source, None)
        if task is not None:
            self._bars.remove_task(task)
        if self._all is not None:
            self._bars.advance(self._all)
        if outcome.error is not None:
            print_error(outcome.error)
        elif outcome.skipped and not self._quiet:
            say(f"{outcome.job.name}: skipped, its files are there")
        elif outcome.summary is not None and not self._quiet:
            share = outcome.summary["frames"] / max(outcome.fresh, 1)  # means are over what this run did alone
            if outcome.job.source != self._latest:  # with --jobs others have begun since
                say(f"{_short(outcome.job)}:")
                self._latest = outcome.job.source
            print_summary(outcome.summary, {stage: s * share for stage, s in outcome.totals.items()}, [])


class Screening:
    """A window for files: shows each frame as it is done; q, Esc or closing it ends the run."""

    def __init__(self, style: DrawStyle | None = None) -> None:
        self._style = style
        self._window: Any = None

    def show(self, result: Result) -> None:
        """Draw and show one frame. Raises Stop when the user has seen enough."""
        from tfpose_rt.draw import draw
        from tfpose_rt.live.window import Window
        from tfpose_rt.tools.batch import Stop

        assert result.image is not None
        image = result.image
        if result.poses is not None:
            image = draw(image, result.poses, self._style, hide=result.cover)
        if self._window is None:
            self._window = Window("tfpose-rt", (image.shape[1], image.shape[0]))
        if "quit" in self._window.show(image):
            raise Stop

    def close(self) -> None:
        """Take it away."""
        if self._window is not None:
            self._window.close()


def screening(display: str, style: DrawStyle | None = None) -> Screening | None:
    """What --display asks for: a window, or None.

    Raises: UsageError: an unknown word. DeviceError: a window was asked for, and there is no screen.
    """
    from tfpose_rt.errors import DeviceError, UsageError

    if display not in ("none", "window", "auto"):
        raise UsageError(f"--display {display}", why="unknown", fix="none, window or auto")
    if display == "none":
        return None
    from tfpose_rt.live.window import has_screen

    if has_screen():
        return Screening(style)
    if display == "window":
        raise DeviceError("no window", why="this machine has no screen for one", fix="--display none")
    return None


class Interruption:
    """Which signal ended the run, as an exit code; 0 for none."""

    code = 0


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Ctrl-C (130), SIGTERM and Ctrl-Break (143) complete the files; a second one stops at once."""
    told = Interruption()

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        told.code = exit_code(number)
        raise KeyboardInterrupt(told.code)

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def show_outcomes(outcomes: Sequence[Outcome], total: int, *, quiet: bool) -> None:
    """The last lines: what failed, where there were several (`total`), and every file with its count."""
    failed = [o for o in outcomes if o.exit_code]
    if total > 1 and not quiet:
        say(f"{len(outcomes) - len(failed)} of {plural(total, 'file')} complete")
        for outcome in failed:
            why = outcome.error.what if outcome.error is not None else f"ended: {(outcome.summary or {})['ended']}"
            say(f"  {_short(outcome.job)}: {why} (code {outcome.exit_code})")
    for outcome in outcomes:
        for path, count in outcome.files:
            if str(path) != "-":
                say(f"wrote {path} ({plural(count, 'frame')})")


def _short(job: Job) -> str:
    """A file by its name alone, an address whole: its last part may be the same for every camera."""
    return job.name if "://" in job.name else Path(job.name).name
