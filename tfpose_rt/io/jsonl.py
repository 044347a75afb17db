"""The master format, schema tfpose-rt/1: one JSON object a line; see recording.schema.json beside this file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from tfpose_rt.config import RunConfig
from tfpose_rt.errors import InputError, line_of
from tfpose_rt.io.parts import PartFile, Places, SinkOptions
from tfpose_rt.io.record_json import dumps, record_of, result_of, seconds
from tfpose_rt.records import Result, StreamInfo
from tfpose_rt.skeleton import EDGES, NAMES
from tfpose_rt.smooth import Smoother

SCHEMA = "tfpose-rt/1"
T = TypeVar("T")


def build_header(
    info: StreamInfo,
    run: RunConfig,
    *,
    model: Mapping[str, Any] | None = None,
    detector: Mapping[str, Any] | None = None,
    device: str = "cpu",
    engine: str = "torch",
    engine_reason: str = "",
    kernel: str = "torch",
    precision: str = "fp32",
    score_kind: str = "raw",
    error_kind: str = "none",
    args: Mapping[str, Any] | None = None,
    clock_start: str | None = None,
) -> dict[str, Any]:
    """The header record: everything a reader needs to explain the numbers that follow.

    Args:
        info: of the open source; its name is a basename or a masked URL.
        run: settings of the run.
        model: name, sha256, input [w, h].
        detector: name, sha256; conf, iou and every are added from `run`. None: whole-image boxes.
        device: where the model ran.
        engine: torch | openvino: what ran the networks.
        engine_reason: why.
        kernel: fused | torch.
        precision: fp32 | fp16 | bf16 | int8.
        score_kind: calibrated | raw | none.
        error_kind: calibrated (half of the joints lie within) | raw | none.
        args: what the user asked for, secrets already masked.
        clock_start: ISO time of the first frame (live).
    """
    source: dict[str, Any] = {"kind": info.kind, "name": info.name, "sha256": info.sha256, "codec": info.codec,
              "container_frames": info.frames, "duration_s": seconds(info.duration)}  # fmt: skip
    if files := info.detail.get("files"):
        source["files"] = files  # of a sequence of images: that of frame 812 is files[812]
    found = {"name": "none", "sha256": None} if detector is None else dict(detector)
    smooth = Smoother.parse(run.smooth)
    tracker = {"name": "oks-iou", "buffer_s": run.track_buffer} if run.track else None
    return {
        "type": "header",
        "schema": SCHEMA,
        "tool": {"name": "tfpose-rt", "version": tool_version()},
        "created": now_iso(),
        "source": source,
        "size": list(info.size),
        "rotation_applied": info.rotation,
        "fps": {"nominal": seconds(info.fps), "measured": seconds(info.detail.get("fps_measured")),
                "variable": info.variable},
        "time_base": "monotonic" if info.live or info.detail.get("time_base_kind") == "monotonic" else "container",
        "clock_start": clock_start,
        "coords": "pixel-centre,y-down",
        "keypoints": list(NAMES),
        "skeleton": [list(edge) for edge in EDGES],
        "skeleton_base": 0,
        "left_right": "subject",
        "score_kind": score_kind,
        "error_kind": error_kind,
        "model": dict(model or {"name": None, "sha256": None, "input": None}),
        "detector": {**found, "conf": run.conf, "iou": run.iou, "every": run.det_every},
        "tracker": tracker,
        "sides": run.sides if run.track and info.kind != "images" else "model",
        "smooth": None if smooth is None else {"name": "one-euro", "mincut": smooth.mincut, "beta": smooth.beta},
        "device": device,
        "engine": {"name": engine, "reason": engine_reason},
        "kernel": kernel,
        "precision": precision,
        "args": dict(args or {}),
    }  # fmt: skip


def header_of_run(
    info: StreamInfo, run: RunConfig, model: Any, args: Mapping[str, Any], clock_start: str | None = None
) -> dict[str, Any]:
    """`build_header` with what an estimator says of itself."""
    return build_header(
        info, run, model=model.model, detector=model.detector, device=str(model.device), engine=model.engine,
        engine_reason=model.engine_reason, kernel=model.kernel, precision=model.precision,
        score_kind=model.score_kind, error_kind=model.error_kind, args=args, clock_start=clock_start,
    )  # fmt: skip


def tool_version() -> str:
    """The version of this package as installed."""
    try:
        return version("tfpose-rt")
    except PackageNotFoundError:
        return "0"


def now_iso() -> str:
    """This moment as ISO-8601 in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class JsonlSink:
    """Writes a recording, a line for every result, flushed each second to `<name>.part`.

    Args:
        path: final name, or Path("-") for standard output.
        header: the header record.
        options: `full_precision`, `numbers_video`, `video_rate` and `resume` apply.
        overwrite: whether a finished file may be replaced.
    Raises: OutputError: the file cannot be made; from `write` and `close` also when the disk fills up.
    """

    sums_up = True

    def __init__(
        self, path: Path, header: Mapping[str, Any], options: SinkOptions | None = None, *, overwrite: bool = False
    ) -> None:
        self.path, self.written = path, 0
        self.files = [] if str(path) == "-" else [path]
        self._options = options = options or SinkOptions()
        self._clock: float | None = None
        self._video_frames = 0
        self._places = None if options.video_rate is None else Places(options.video_rate)
        self._start: float | None = None  # s, of the video
        keep = None
        if options.resume is not None and str(path) != "-":  # what went to standard output is gone
            keep = self._kept(options.resume.last)
        self._file = PartFile(path, overwrite=overwrite, keep=keep)
        if keep is None:
            self._file.write(dumps(header) + "\n")

    def _kept(self, last: int) -> int:
        """Bytes of an unfinished recording up to frame `last`; counts what they hold."""
        reader = Recording(PartFile.part(self.path))
        keep = reader.offset
        for record in reader.records():  # a summary is there if it was killed between the last line and the renaming
            if record["type"] in ("frame", "gap"):  # a segment or an event belongs to what is behind it
                if record["frame" if record["type"] == "frame" else "seq_from"] > last:
                    break
                keep = reader.offset
            if record["type"] == "frame":
                self.written += 1
                self._video_frames += record.get("video_frame") is not None
        return keep

    def write(self, result: Result) -> None:
        """Add one result."""
        if self._clock is None and result.t_capture is not None:
            self._clock = result.t_capture
        record = record_of(result, video_frame=self._video_frame(result), full_precision=self._options.full_precision,
                           clock=self._clock or 0.0)  # fmt: skip
        self._file.write(dumps(record) + "\n")
        self.written += record["type"] == "frame"

    def _video_frame(self, result: Result) -> int | None:
        """The number of a result's picture in the video saved beside; None where it has none of its own."""
        if not self._options.numbers_video or result.poses is None:
            return result.video_frame
        if self._places is not None:
            self._start = result.pts if self._start is None else self._start
            return self._places.of(result.pts - self._start)
        self._video_frames += 1
        return self._video_frames - 1

    def seal(self, summary: Mapping[str, Any]) -> None:
        """Add the summary and close, without renaming."""
        self._file.write(dumps({"type": "summary", **summary}) + "\n")
        self._file.seal()

    def close(self, summary: Mapping[str, Any]) -> None:
        """Add the summary and give the file its final name."""
        self._file.write(dumps({"type": "summary", **summary}) + "\n")
        self._file.finish()

    def abort(self) -> None:
        """Leave `<name>.part` as it is: it can be read, converted and resumed."""
        self._file.abort()

    def discard(self) -> None:
        """Remove `<name>.part`."""
        self._file.discard()


class Recording:
    """A recording on disk, finished or cut short; iterate to get its results.

    Args:
        path: a .jsonl file or its .part; a last line that was cut off is left out.

    Attributes:
        header: the header record.
        summary: the summary record once everything was read; None means that the run was cut short.
        offset: bytes up to the end of the last record handed out.
    Raises: InputError: no such file, not a recording, of a later schema, or with a damaged line in the middle.
    """

    def __init__(self, path: str | Path) -> None:
        self.path, self.offset, self._line = (path := Path(path)), 0, 0
        self.summary: dict[str, Any] | None = None
        first = next(self._lines(0), {})
        if first.get("type") != "header" or not str(first.get("schema", "")).startswith("tfpose-rt/"):
            raise self._stranger()
        if first["schema"].split("/")[1].split(".")[0] != "1":
            raise InputError(f"{path.name} has schema {first['schema']}", why=f"this version reads {SCHEMA}",
                             fix="a newer tfpose-rt")  # fmt: skip
        self.header = first
        self._start = self.offset

    def records(self) -> Iterator[dict[str, Any]]:
        """Every record after the header, the summary included; types this version does not know are left out."""
        for record in self._lines(self._start):
            if record.get("type") == "summary":
                self.summary = record
            if record.get("type") in ("frame", "gap", "segment", "event", "summary"):
                yield record

    def __iter__(self) -> Iterator[Result]:
        """Every frame, gap, segment and event as a `Result` without image."""
        size = self._understood(_size_of, self.header)
        for record in self.records():
            if record["type"] == "summary":
                continue
            result = self._understood(result_of, record, size)
            size = size if result.segment is None else result.segment.size
            yield result

    def _understood(self, read: Callable[..., T], *record: Any) -> T:
        """What the line just read says. Raises InputError: it is JSON, but not what such a record holds."""
        try:
            return read(*record)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            why = f"line {self._line} is no such record: {line_of(error)}"
            raise InputError(f"{self.path.name} is damaged", why=why, fix="a backup") from error

    def _stranger(self) -> InputError:
        return InputError(
            f"{self.path.name} is not a recording", why="its first line is not a header", fix="a .jsonl file"
        )

    def _lines(self, start: int) -> Iterator[dict[str, Any]]:
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                self.offset = start
                for number, line in enumerate(file, 2 if start else 1):  # the header is line 1
                    try:
                        record = json.loads(line) if line.endswith(b"\n") else None
                    except ValueError:
                        record = None
                    if not isinstance(record, dict):
                        if number == 1:
                            raise self._stranger()
                        if not file.read(1):
                            return  # cut off while it was being written
                        raise InputError(
                            f"{self.path.name} is damaged", why=f"line {number} is not JSON", fix="a backup"
                        )
                    self.offset, self._line = self.offset + len(line), number
                    yield record
        except OSError as error:
            part = PartFile.part(self.path)
            fix = f"the unfinished {part.name}" if part.exists() else "check the path"
            raise InputError(f"cannot read {self.path.name}", why=error.strerror or str(error), fix=fix) from error


def _size_of(header: Mapping[str, Any]) -> tuple[int, int]:
    width, height = header["size"]
    return int(width), int(height)


def read_results(path: str | Path) -> Iterator[Result]:
    """Results of a JSONL recording one by one, without images; see `Recording` for its header and summary."""
    return iter(Recording(path))
