"""What this machine can run, and the remedy for what it cannot. Sends nothing anywhere; the report names nobody."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from tfpose_rt.errors import TfposeError
from tfpose_rt.io.urls import mask, mask_text
from tfpose_rt.shell import system_libraries
from tfpose_rt.tools.doctor_libraries import (
    Check,
    Examiner,
    attention_checks,
    cupy_checks,
    engine_checks,
    opencv_checks,
    program_checks,
    torch_checks,
)
from tfpose_rt.tools.redact import redact

LOW_DISK = 2e9  # bytes; an hour of 1080p overlay video


def examine(examiners: Iterable[tuple[str, Examiner]] | None = None) -> list[Check]:
    """Run every check; one that breaks is a failure of its own, and the others go on."""
    found: list[Check] = []
    for name, examiner in EXAMINERS if examiners is None else examiners:
        try:
            found += list(examiner())
        except Exception as error:  # noqa: BLE001 - reported, and a broken machine is what this is for
            fix = error.fix if isinstance(error, TfposeError) else system_libraries(error)
            told = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            found.append(Check(name, "fail", mask_text(told), fix))
    return found


def report(checks: Iterable[Check]) -> list[dict[str, str]]:
    """The checks as plain data with the user, the machine, the home folder and every address left out."""
    return [{key: redact(str(value)) for key, value in asdict(check).items()} for check in checks]


def _videos() -> Iterable[Check]:
    """Write and read back ten frames in each container; lossy codecs may move a grey value by a few steps."""
    import numpy as np

    from tfpose_rt.io.files import FileSource
    from tfpose_rt.io.video import CONTAINERS, VideoSink
    from tfpose_rt.records import Frame, Result, StreamInfo

    good: list[str] = []
    with tempfile.TemporaryDirectory(prefix="tfpose-rt-", ignore_cleanup_errors=True) as folder:
        for suffix in CONTAINERS:
            path = Path(folder) / f"check{suffix}"
            try:
                sink = VideoSink(path, StreamInfo(kind="synthetic", name="check", size=(64, 48), fps=25.0))
                for i in range(10):
                    sink.write(Result(frame=i, pts=i / 25, image=np.full((48, 64, 3), 20 * i + 20, np.uint8)))
                sink.close({})
                source = FileSource(path)
                seen = [float(frame.image.mean()) for frame in source if isinstance(frame, Frame)]
                source.close()
            except TfposeError as error:
                yield Check(f"video {suffix}", "warn", error.what, error.fix or "pip install -U av")
                continue
            if len(seen) == 10 and all(abs(grey - 20 * i - 20) < 6 for i, grey in enumerate(seen)):
                good.append(suffix)
            else:
                yield Check(f"video {suffix}", "fail", f"{len(seen)} of 10 frames came back", "pip install -U av")
    yield Check("video files", "pass" if good else "fail", "written and read back: " + " ".join(good))


def _machine() -> Iterable[Check]:
    import cv2
    import torch

    cores = os.cpu_count() or 1
    threads = torch.get_num_threads()
    limit = os.environ.get("OMP_NUM_THREADS")
    held = f", OMP_NUM_THREADS={limit}" if limit else ""
    slow = threads == 1 and cores > 1
    found = f"torch {threads}, OpenCV {cv2.getNumThreads()}, {cores} logical cores{held}"
    yield Check(
        "threads", "warn" if slow else "pass", found, f"unset OMP_NUM_THREADS, or --threads {cores}" if slow else ""
    )
    for name, folder in (("disk here", Path.cwd()), ("disk for temporary files", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free
        fix = "" if free > LOW_DISK else "make room"
        yield Check(name, "pass" if free > LOW_DISK else "warn", f"{free / 1e9:.1f} GB free", fix)


def _weights() -> Iterable[Check]:
    from tfpose_rt import assets

    for entry in assets.entries():
        fault = assets.verify(entry)
        fix = f"tfpose-rt weights {'fetch' if entry.url else 'verify'} {entry.name}" if fault else ""
        absent = bool(fault and entry.url and not entry.path.is_file())  # not fetched is no fault
        yield Check(
            f"weights {entry.name}", "warn" if absent else "fail" if fault else "pass", fault or entry.sha256[:12], fix
        )


def _privacy() -> Iterable[Check]:
    from tfpose_rt import engine, yolo

    wrong = yolo.open_switches() + ["OpenVINO's reports"] * engine.reports()
    yield Check(
        "privacy", "fail" if wrong else "pass",
        "still on: " + ", ".join(wrong) if wrong else "no telemetry, update check, download or installation",
        "start tfpose-rt before other code imports ultralytics or openvino" if wrong else "",
    )  # fmt: skip


def camera(spec: str) -> Examiner:
    """A check that opens one camera, takes one frame and closes it: only where the user names it."""

    def look() -> Iterable[Check]:
        from tfpose_rt.io.sources import open_source
        from tfpose_rt.records import Frame

        source = open_source(spec)
        try:
            frame = next((item for item in source if isinstance(item, Frame)), None)
        finally:
            source.close()
        size = "no frame" if frame is None else f"{frame.image.shape[1]}x{frame.image.shape[0]}"
        yield Check(
            f"camera {mask(spec)}",
            "fail" if frame is None else "pass",
            size,
            "tfpose-rt cameras" if frame is None else "",
        )

    return look


EXAMINERS: tuple[tuple[str, Examiner], ...] = (
    ("python", program_checks), ("torch", torch_checks), ("cupy", cupy_checks), ("engine", engine_checks),
    ("attention", attention_checks), ("opencv", opencv_checks), ("video", _videos), ("machine", _machine),
    ("weights", _weights), ("privacy", _privacy),
)  # fmt: skip
