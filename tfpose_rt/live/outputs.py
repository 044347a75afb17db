"""The files of one live run: data from the first frame to the last, takes, snapshots."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfpose_rt.draw import DrawStyle
from tfpose_rt.errors import OutputError
from tfpose_rt.io.parts import SinkOptions, closing_order, made
from tfpose_rt.io.sinks import Sink, open_sink
from tfpose_rt.io.video import constant_rate
from tfpose_rt.live.plan import Plan
from tfpose_rt.live.snapshot import save_snapshot
from tfpose_rt.live.takes import Takes
from tfpose_rt.pipeline import Stream
from tfpose_rt.records import Event, Gap, Result

DISK_SLOW = 0.5  # s of waiting for the disk from which the hole in the recording is told


class Outputs:
    """What a run writes.

    Args:
        stream: the running stream.
        plan: what to write.
        style: gives the style of overlays when asked.

    Attributes:
        takes: recordings of a part of the run.
    """

    def __init__(self, stream: Stream, plan: Plan, style: Callable[[], DrawStyle]) -> None:
        self._stream, self._plan, self._style = stream, plan, style
        self.takes = Takes(
            stream, plan.header, plan.folder, what=plan.record_what, style=style, overwrite=plan.overwrite
        )
        self._snapshots: list[tuple[str, int]] = []
        self._sinks: list[Sink] = []

    @property
    def files(self) -> list[tuple[str, int]]:
        """Every file of the run with the number of its frames: snapshots, takes, data."""
        return [*self._snapshots, *self.takes.files, *((str(file), count) for file, count in made(self._sinks))]

    def open(self) -> None:
        """Begin the files that hold the whole run. Raises: OutputError: one cannot be written."""
        plan, run = self._plan, self._stream.run
        options = SinkOptions(
            full_precision=run.full_precision,
            numbers_video=plan.record is not None,
            video_rate=None if plan.record is None else constant_rate(plan.record, self._stream.info),
            csv_layout=plan.csv_layout,
            kpt_thr=run.kpt_thr,
        )
        more: dict[str, Any] = {"header": plan.header, "info": self._stream.info, "overwrite": plan.overwrite}
        for path, kind in plan.outs:
            self._sinks.append(open_sink(path, format=kind, options=options, **more))
        if plan.record is not None:
            self.takes.start(plan.record)

    def write(self, result: Result) -> list[str]:
        """Add a result to the data and to the running take.

        Returns: what the user should hear of it, mostly nothing.
        Raises: OutputError: data, or the recording that was asked for from the start, cannot be written.
        """
        began, news = time.perf_counter(), []
        for sink in self._sinks:
            sink.write(result)
        try:
            self.takes.write(result)
        except OutputError as error:
            if self._plan.record is not None:
                raise
            self.takes.abort()  # a take begun by hand; the run goes on
            news.append(str(error))
        spent = time.perf_counter() - began
        self._stream.stats.add("write", spent)
        if spent >= DISK_SLOW:
            gap = Gap(reason="disk_slow", t_start=result.pts, t_end=result.pts + spent, seq_from=result.seq)
            for sink in self._sinks:
                sink.write(Result(gap=gap, pts=result.pts))
            news.append(f"the disk was slow: {spent:.1f} s without a picture")
        return news

    def snapshot(self, result: Result) -> str:
        """Save a frame as pictures and a record; its name. Raises: OutputError: it cannot be written."""
        files = save_snapshot(self._plan.folder, result, self._style(), self._plan.header)
        self._snapshots += [(str(path), 1) for path in files]
        self._stream.mark(Event(kind="snapshot", t=result.pts, detail={"file": files[-1].name}))
        return files[-1].stem

    def close(self, record: dict[str, Any]) -> tuple[dict[str, Any], BaseException | None]:
        """Complete every file that can be completed.

        Args:
            record: the summary of the run, without its files.
        Returns: the summary and the first failure.
        """
        failed: BaseException | None = None

        def told() -> dict[str, Any]:
            return {**record, "files": [Path(name).name for name, _ in self.files]}

        closers: list[Callable[[], Any]] = [lambda: self.takes.stop(record["ended"], record["exit_code"])]
        closers += [lambda sink=sink: sink.close(told()) for sink in closing_order(self._sinks)]  # type: ignore[misc]
        for close in closers:
            try:
                close()
            except Exception as caught:  # noqa: BLE001 - the first is raised by the caller
                failed = failed or caught
        return told(), failed
