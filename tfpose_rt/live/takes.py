"""Recordings made during a live run: what is started and stopped by a key, a request or from the command line."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from tfpose_rt.draw import DrawStyle, draw
from tfpose_rt.io.openpose import plain_name
from tfpose_rt.io.parts import Sink, SinkOptions, closing_order, made
from tfpose_rt.io.sinks import check_outputs, open_sink
from tfpose_rt.io.video import constant_rate
from tfpose_rt.pipeline import Stream
from tfpose_rt.records import Image, Result
from tfpose_rt.stats import Stats, summary

What = Literal["overlay", "clean", "both"]
SUFFIX = ".mkv"  # a killed Matroska file plays up to its last second


class Takes:
    """One take at a time: video as asked for and, for takes started during the run, the poses beside it.

    Args:
        stream: the running stream.
        header: the header record of recordings.
        folder: where takes without a name go.
        what: the picture with the skeletons, without, or both (`<name>_clean`).
        style: gives the style of the overlay when asked; its background holds for clean pictures too.
        overwrite: whether existing files may be replaced.
    """

    def __init__(
        self,
        stream: Stream,
        header: Mapping[str, Any],
        folder: Path,
        *,
        what: What = "overlay",
        style: Callable[[], DrawStyle] = DrawStyle,
        overwrite: bool = False,
    ) -> None:
        self._stream, self._header, self._folder = stream, header, folder
        self._what, self._style, self._overwrite = what, style, overwrite
        self._sinks: list[Sink] = []
        self._stats, self._captured = Stats(), 0
        self._began = 0.0
        self.files: list[tuple[str, int]] = []  # finished files and their frame counts

    @property
    def recording(self) -> Path | None:
        """The file being made, or None."""
        return self._sinks[0].path if self._sinks else None

    @property
    def seconds(self) -> float:
        """Length of the running take, s."""
        return time.monotonic() - self._began if self._sinks else 0.0

    def start(self, path: Path | None = None) -> Path:
        """Begin a take.

        Args:
            path: video file; a new name in the folder, with the poses beside it, when None.
        Returns: the video file's path.
        Raises: OutputError: it cannot be written.
        """
        if self._sinks:
            self.stop()
        named = path is not None
        path = path or new_path(self._folder, "take", SUFFIX)
        clean = path.with_name(f"{path.stem}_clean{path.suffix}") if self._what == "both" else path
        videos: list[tuple[Path, Callable[[Result], Image]]] = []
        if self._what != "clean":
            videos.append((path, self._overlay))
        if self._what != "overlay":
            videos.append((clean, self._clean))
        poses = [] if named else [path.with_suffix(".jsonl")]
        check_outputs([*(p for p, _ in videos), *poses], self._overwrite)
        for target, render in videos:
            self._open(target, SinkOptions(render=render))
        for target in poses:
            self._open(target, SinkOptions(
                numbers_video=True, video_rate=constant_rate(path, self._stream.info),
                full_precision=self._stream.run.full_precision,
            ))  # fmt: skip
        self._stats, self._captured = Stats(), getattr(self._stream.source, "captured", 0)
        self._began = time.monotonic()
        return path

    def write(self, result: Result) -> None:
        """Add a result to the running take, if there is one."""
        if not self._sinks:
            return
        self._stats.count(result)
        for sink in self._sinks:
            sink.write(result)

    def stop(self, ended: str = "user", exit_code: int = 0) -> list[tuple[str, int]]:
        """Complete the running take; `ended` and `exit_code` are those of the run, where its end ends the take too.

        Returns: the files and how many frames each holds; empty without a take.
        Raises: OutputError: one of them could not be completed; the others are.
        """
        sinks, self._sinks = self._sinks, []
        if not sinks:
            return []
        source = self._stream.source
        captured = getattr(source, "captured", self._stats.frames) - self._captured
        part = SimpleNamespace(decode_errors=0, captured=captured)
        about: Any = SimpleNamespace(stats=self._stats, info=self._stream.info, ended=ended, source=part)
        record = summary(about, ended=ended, exit_code=exit_code)
        error = None
        for sink in closing_order(sinks):
            try:
                sink.close(record | {"files": [file.name for file, _ in made(sinks)]})
            except Exception as caught:  # noqa: BLE001 - raised below, once the others are complete
                error = error or caught
        finished = [(str(file), frames) for file, frames in made(sinks)]
        self.files += finished
        if error is not None:
            raise error
        return finished

    def abort(self) -> None:
        """Leave what was written as `.part`."""
        sinks, self._sinks = self._sinks, []
        for sink in sinks:
            sink.abort()

    def _open(self, path: Path, options: SinkOptions) -> None:
        try:
            sink = open_sink(
                path, header=self._header, info=self._stream.info, overwrite=self._overwrite, options=options
            )
        except BaseException:
            self.abort()
            raise
        self._sinks.append(sink)

    def _overlay(self, result: Result) -> Image:
        assert result.image is not None
        assert result.poses is not None
        return draw(result.image, result.poses, dataclasses.replace(self._style(), mirror=False), hide=result.cover)

    def _clean(self, result: Result) -> Image:
        """Nothing drawn, but hidden people stay hidden."""
        assert result.image is not None
        assert result.poses is not None
        return draw(result.image, result.poses, bare(self._style()), hide=result.cover)


def bare(style: DrawStyle) -> DrawStyle:
    """The style's background and nothing on it."""
    return DrawStyle(background=style.background, skeleton=False, points=False, boxes=False, ids=False)


def new_path(folder: Path, word: str, suffix: str) -> Path:
    """A name that is free in `folder`, with its other files (`_clean`, `.jsonl`, `.part`): word_UTC, word_UTC_2, ..."""
    stamp = f"{plain_name(word)}_{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    number = 1
    while True:
        stem = stamp if number == 1 else f"{stamp}_{number}"
        if not any(folder.glob(f"{stem}.*")) and not any(folder.glob(f"{stem}_[a-z]*")):
            return folder / f"{stem}{suffix}"
        number += 1
