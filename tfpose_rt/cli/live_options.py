"""What `webcam` and `serve` share: options of cameras and streams, and the way from them to a running stream."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfpose_rt.cli.options import DISPLAY, INPUT, OUTPUT, RUN, _option, parse_numbers
from tfpose_rt.errors import UsageError
from tfpose_rt.shell import make_folder

if TYPE_CHECKING:
    from tfpose_rt.config import RunConfig, SourceOptions
    from tfpose_rt.draw import DrawStyle
    from tfpose_rt.estimator import PoseEstimator
    from tfpose_rt.io.sources import Source
    from tfpose_rt.live.metrics import Metrics
    from tfpose_rt.pipeline import Stream
    from tfpose_rt.tools.outputs import Job

LiveSourceName = Annotated[
    str, typer.Argument(help="Camera number or camera:NAME, rtsp://, http(s)://, udp:// or tcp:// address, or a file.")
]
Size = Annotated[str | None, _option(INPUT, "--size", help="WxH asked of the camera; what it granted is printed.")]
Fps = Annotated[float | None, _option(INPUT, "--fps", help="Rate asked of the camera.")]
Fourcc = Annotated[
    str | None, _option(INPUT, "--fourcc", help="Pixel format asked of the camera, such as MJPG; or auto.")
]
Backend = Annotated[str, _option(INPUT, "--backend", help="auto, v4l2, dshow, msmf, avfoundation, gstreamer or any.")]
Reconnect = Annotated[int, _option(INPUT, "--reconnect", help="Attempts after a loss; 0 = none, -1 = for ever.")]
Stall = Annotated[float, _option(INPUT, "--stall", help="Seconds without a picture that count as a loss.")]
OpenTimeout = Annotated[float, _option(INPUT, "--open-timeout", help="Seconds that opening may take.")]
Credentials = Annotated[
    Path | None, _option(INPUT, "--credentials", help="File with user:password, readable by you alone.", dir_okay=False)
]
Drop = Annotated[
    bool, _option(INPUT, "--drop/--no-drop", help="Newest frame wins; or queue up to 64, and the delay may grow.")
]
RecordWhat = Annotated[str, _option(OUTPUT, "--record-what", help="overlay, clean or both.")]
Duration = Annotated[float | None, _option(RUN, "--duration", help="End after so many seconds.")]
MaxFrames = Annotated[int | None, _option(RUN, "--max-frames", help="End after so many processed frames.", min=1)]
LiveDisplay = Annotated[str, _option(DISPLAY, "--display", help="auto, window, none or http.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """What is asked of a camera or stream, and how losses are met."""

    size: Size = None
    fps: Fps = None
    fourcc: Fourcc = None
    backend: Backend = "auto"
    reconnect: Reconnect = 10
    stall: Stall = 3.0
    open_timeout: OpenTimeout = 10.0
    credentials: Credentials = None
    drop: Drop = True


def source_options(camera: Camera, rotate: str, *, duration: float | None, record_what: str) -> SourceOptions:
    """The options of a live source, from a command's parameters.

    Raises: UsageError: a value that makes no sense.
    """
    from tfpose_rt.config import SourceOptions
    from tfpose_rt.io.camera_list import backends_for
    from tfpose_rt.io.sources import checked

    rules = (
        ("reconnect", camera.reconnect, camera.reconnect >= -1, "-1 = for ever", "10"),
        ("stall", camera.stall, camera.stall > 0, "seconds", "3"),
        ("open-timeout", camera.open_timeout, camera.open_timeout > 0, "seconds", "10"),
        ("fourcc", camera.fourcc, camera.fourcc is None or len(camera.fourcc) == 4, "it has four characters", "MJPG"),
        ("duration", duration, duration is None or duration > 0, "seconds", "60"),
        ("record-what", record_what, record_what in ("overlay", "clean", "both"), "unknown", "overlay"),
    )
    for name, value, fine, why, fix in rules:
        if not fine:
            raise UsageError(f"--{name} {value}", why=why, fix=f"--{name} {fix}")
    size = parse_numbers(camera.size, 2, "--size", "1280x720") if camera.size else None
    credentials = None if camera.credentials is None else str(camera.credentials)
    asked = {f.name: getattr(camera, f.name) for f in dataclasses.fields(camera)}
    asked |= {"size": (size[0], size[1]) if size else None, "credentials": credentials}
    asked["fourcc"] = None if camera.fourcc == "auto" else camera.fourcc
    backends_for(camera.backend)  # for its complaint alone
    return checked(SourceOptions(rotate=rotate, **asked))


def open_live(spec: str, options: SourceOptions) -> Source:
    """A live source; a file or test pattern is played as if a camera saw it."""
    from tfpose_rt.io.paced import PacedSource
    from tfpose_rt.io.sources import open_source

    if spec.startswith("synthetic") and options.end is None:
        options = dataclasses.replace(options, end=86400.0)  # a test pattern goes on until it is stopped
    source = open_source(spec, options)
    return source if source.info.live else PacedSource(source, options)


def quick_model(run: RunConfig) -> PoseEstimator:
    """The estimator for live pictures: where no precision was asked for, in the quickest."""
    from tfpose_rt.device import choose_device, kind_of
    from tfpose_rt.engine import quickest
    from tfpose_rt.estimator import PoseEstimator

    precision = quickest(run.precision, kind_of(choose_device(run.device)[0]), run.engine)
    model = PoseEstimator(dataclasses.replace(run, precision=precision))
    if precision != run.precision and model.engine == "torch":
        model = PoseEstimator(run)  # that precision was for OpenVINO, which has refused a network
    return model


def open_model(run: RunConfig, size: tuple[int, int]) -> PoseEstimator:
    """The estimator, quick and warm: the first frame is not to wait for caches, kernels and memory."""
    import numpy as np

    from tfpose_rt.records import Detections, frozen

    model = quick_model(run)
    blank = np.zeros((size[1], size[0], 3), np.uint8)
    model.detect([blank], steady=True)
    whole = Detections(frozen([[0, 0, size[0] - 1, size[1] - 1]]), frozen([1.0]))
    model.poses([blank], [whole], steady=True)
    return model


def header_of(source: Source, run: RunConfig, model: Any, args: Mapping[str, Any]) -> dict[str, Any]:
    """The header record of recordings of this run, with the rate at which pictures have come in so far."""
    from tfpose_rt.io.jsonl import header_of_run, now_iso

    rate = getattr(source, "rate", None)
    detail = source.info.detail if rate is None else {**source.info.detail, "fps_measured": round(rate, 3)}
    return header_of_run(dataclasses.replace(source.info, detail=detail), run, model, args, now_iso())


def metrics_of(stream: Stream, model: Any) -> Metrics:
    """The figures of a run."""
    from tfpose_rt.live.metrics import Metrics

    return Metrics(stream, str(model.device), model.kernel, stream.run.kernel, model.engine)


def recorded(record: Path | None) -> Path | None:
    """The video that --record means: the file named, or a new one, take_<UTC>.mkv, in the folder named.

    Raises: UsageError: the name is no video's. OutputError: this machine has no encoder for such a file.
    """
    if record is None:
        return None
    from tfpose_rt.io.sinks import VIDEO_SUFFIXES
    from tfpose_rt.io.video import constant_rate
    from tfpose_rt.records import StreamInfo

    if record.suffix.lower() not in VIDEO_SUFFIXES:
        if record.is_dir():
            from tfpose_rt.live.takes import SUFFIX, new_path

            return new_path(record, "take", SUFFIX)
        if not record.suffix:
            hidden = record.name.startswith(".")
            fix = "--record take.mkv" if hidden else f"{make_folder(record)}, or --record {record}.mkv"
            raise UsageError(f"--record {record}", why="neither a folder nor a video's name", fix=fix)
        known = ", ".join(sorted(VIDEO_SUFFIXES - {".mkv"}))
        fix = f"--record {record.stem}.mkv ({known} will do, too)"
        raise UsageError(f"--record {record}", why=f"no video has the suffix {record.suffix}", fix=fix)
    constant_rate(record, StreamInfo(kind="camera", name="", size=(0, 0)))  # for its complaint alone
    return record


def data_files(out: Sequence[Path], format: str, record: Path | None) -> Job:
    """What -o and -f mean, as for `video`: files, or folders for new ones, take_<UTC>.jsonl; none without -o.

    Args:
        out: files, folders and "-".
        format: names of formats, comma between; "" is the suffix's, and JSONL in a folder.
        record: as `recorded` gives it; new files take its name, so that they lie beside it as a take's do.
    Raises: UsageError: no such format, a format without -o, or a video.
    """
    from tfpose_rt.io.sinks import VIDEO_SUFFIXES
    from tfpose_rt.live.takes import SUFFIX, new_path
    from tfpose_rt.tools.derived import DERIVED, formats_of
    from tfpose_rt.tools.outputs import Job, plan

    for path in out:
        if path.suffix.lower() in VIDEO_SUFFIXES:
            raise UsageError(f"-o {path}", why="-o is for data", fix=f"--record {path}")
    if not out:
        if format:
            raise UsageError(f"-f {format} without -o", why="nothing is kept unless asked", fix=f"-f {format} -o takes")
        return Job("", ())
    names = formats_of(format.split(","))
    for name in names:
        if name in DERIVED:
            fix = f"-f jsonl, and tfpose-rt convert -f {name} when it has ended"
            raise UsageError(f"-f {name} of a live run", why="it is made of a whole recording", fix=fix)
    folder = next((path for path in out if not path.suffix or path.is_dir()), Path())
    video = record or new_path(folder, "take", SUFFIX)
    return plan([video.name], out, names)[0]


def check_weights(run: RunConfig) -> None:
    """Raises: WeightsError: what was asked for is not there, or of another kind; told before a camera is opened."""
    from tfpose_rt import assets

    assets.resolve(run.weights, "pose")
    if run.detector != "none":
        assets.resolve(run.detector, "detector")


def check_files(source: str, out: Sequence[Path], record: Path | None, what: str, overwrite: bool) -> None:
    """Refuse, before a camera is opened or a model loaded, files that could not be written.

    Args:
        source: as it was typed; if it is a file, nothing may be written over it.
        out: data files; "-" is standard output.
        record: as `recorded` gives it.
        what: overlay, clean or both.
        overwrite: whether finished files may be replaced.
    Raises: OutputError: it exists, its folder is missing, it is the source. UsageError: one name twice.
    """
    from tfpose_rt.io.sinks import check_outputs

    check_outputs(outputs(out, record, what), overwrite, inputs=[source])


def outputs(out: Sequence[Path], record: Path | None, what: str) -> list[Path]:
    """Every file that a live run makes from its first frame on; `both` puts a clean video beside the overlay."""
    videos = [] if record is None else [record]
    if record is not None and what == "both":
        videos.append(record.with_name(f"{record.stem}_clean{record.suffix}"))
    return [*out, *videos]


def style_of(run: RunConfig) -> DrawStyle:
    """How people are drawn, as the user asked for it."""
    from tfpose_rt.draw import DrawStyle

    return DrawStyle(kpt_thr=run.kpt_thr, background=run.background, mirror=run.mirror)  # type: ignore[arg-type]


def tell_source(source: Source) -> None:
    """Name, backend, size and rate that were granted."""
    from tfpose_rt.cli.show import say

    info = source.info
    about = [f"{info.size[0]}x{info.size[1]}"]
    about += [info.codec] if info.codec else []
    about += [f"{info.fps:.4g} fps nominal"] if info.fps else []
    about += [f"backend {info.detail['backend']}"] if "backend" in info.detail else []
    about += [f"granted {info.detail['granted']}"] if "granted" in info.detail else []
    about += [f"open in {info.detail['opened_in_s']} s"] if "opened_in_s" in info.detail else []
    say(f"{info.name}: {', '.join(about)}")
