"""What this machine can run, and the remedy for what it cannot. Sends nothing anywhere; the report names nobody."""

from __future__ import annotations

import importlib.metadata as packages
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tfpose_rt.device import blindness, driver_gpus
from tfpose_rt.errors import TfposeError
from tfpose_rt.io.urls import mask, mask_text
from tfpose_rt.shell import install
from tfpose_rt.tools.redact import redact
from tfpose_rt.wording import plural

OPENCV = ("opencv-python", "opencv-contrib-python", "opencv-python-headless", "opencv-contrib-python-headless")
CUPY = ("cupy-cuda13x", "cupy-cuda12x", "cupy-cuda11x", "cupy")
LOW_DISK = 2e9  # bytes; an hour of 1080p overlay video


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the examination.

    Args:
        name: what was looked at.
        state: "pass", "warn" (something will not work, the rest does) or "fail".
        found: what was seen.
        fix: what to do; "" where nothing needs doing.
    """

    name: str
    state: Literal["pass", "warn", "fail"]
    found: str
    fix: str = ""


Examiner = Callable[[], Iterable[Check]]


def examine(examiners: Iterable[tuple[str, Examiner]] | None = None) -> list[Check]:
    """Run every check; one that breaks is a failure of its own, and the others go on."""
    found: list[Check] = []
    for name, examiner in EXAMINERS if examiners is None else examiners:
        try:
            found += list(examiner())
        except Exception as error:  # noqa: BLE001 - reported, and a broken machine is what this is for
            fix = error.fix if isinstance(error, TfposeError) else ""
            told = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            found.append(Check(name, "fail", mask_text(told), fix))
    return found


def report(checks: Iterable[Check]) -> list[dict[str, str]]:
    """The checks as plain data with the user, the machine, the home folder and every address left out."""
    return [{key: redact(str(value)) for key, value in asdict(check).items()} for check in checks]


def _installed(names: Iterable[str]) -> list[str]:
    found = []
    for name in names:
        try:
            found.append(f"{name}=={packages.version(name)}")
        except packages.PackageNotFoundError:
            continue
    return found


def _programs() -> Iterable[Check]:
    version = platform.python_version()
    recent = sys.version_info >= (3, 11)
    yield Check(
        "python",
        "pass" if recent else "fail",
        f"{version}, {platform.platform()}",
        "" if recent else "Python 3.11 or newer",
    )
    ours = _installed(["tfpose-rt"])
    yield Check(
        "tfpose-rt",
        "pass" if ours else "warn",
        f"{ours[0] if ours else 'not installed, run from its folder'}; AGPL-3.0-or-later, as ultralytics is",
        "" if ours else "pip install -e .",
    )


def _torch() -> Iterable[Check]:
    import torch

    release = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    if release < (2, 6):
        yield Check("torch", "fail", torch.__version__, "pip install -U torch torchvision")
        return
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        yield Check("torch", "pass", f"{torch.__version__} ({built}) sees {names}")
    elif gpus := driver_gpus():
        why, fix = blindness()
        found = f"{torch.__version__} ({built}) does not see the driver's {plural(gpus, 'GPU', 'GPUs')}: {why}"
        yield Check("torch", "warn", found, fix)
    else:
        mps = "; Apple GPU usable" if torch.backends.mps.is_available() else "; runs on the CPU"
        yield Check("torch", "pass", f"{torch.__version__} ({built}), no NVIDIA GPU seen{mps}")
    try:
        from torchvision.ops import nms

        nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except Exception as error:  # noqa: BLE001 - a CPU torch beside the index's CUDA torchvision fails with RuntimeError
        yield Check(
            "torchvision", "fail", f"does not fit torch ({str(error).splitlines()[0]})",
            "pip install --force-reinstall torch torchvision, both in one command from one index",
        )  # fmt: skip
    else:
        yield Check("torchvision", "pass", packages.version("torchvision"))


def _cupy() -> Iterable[Check]:
    import torch

    found, cuda = _installed(CUPY), torch.version.cuda
    major = cuda.split(".")[0] if cuda else ""
    wanted = f"cupy-cuda{major}x"
    if len(found) > 1:
        yield Check("cupy", "fail", ", ".join(found), f"pip uninstall all of them, then pip install {wanted}")
    elif not found:
        gpu = torch.cuda.is_available()
        fix = install(f"cuda{major}")
        yield Check("cupy", "warn" if gpu else "pass", "not installed; the torch path is used", fix if gpu else "")
    elif major and not found[0].startswith((wanted, "cupy==")):
        fix = f"pip uninstall {found[0].split('==')[0]}, then pip install {wanted}"
        yield Check("cupy", "fail", f"{found[0]} beside a torch built for CUDA {cuda}", fix)
    else:
        yield Check("cupy", "pass", found[0])


def _engine() -> Iterable[Check]:
    from tfpose_rt.engine import INSTALL, choose_engine, runs

    choice = choose_engine("auto", "cpu", "fp32")
    good = not _installed(["openvino"]) if choice.name == "torch" else runs()
    found = choice.reason if choice.name == "openvino" else f"torch, {choice.reason}; faster without a GPU: {INSTALL}"
    yield Check("engine cpu", "pass" if good else "warn", found, "" if good else f"{INSTALL}, or --engine torch")


def _attention() -> Iterable[Check]:
    """Compile the fused kernel where it can run, and compare every path with the reference on random input."""
    import torch

    from tfpose_rt.ops.choice import FUSED, kernel_choice
    from tfpose_rt.ops.deform_attn import ms_deform_attn, reference

    shapes, rng = (8, 6, 4, 3), torch.Generator().manual_seed(0)
    value = torch.randn(2, 60, 8, 24, generator=rng)
    offsets, logits = torch.randn(2, 17, 8, 2, 4, 2, generator=rng), torch.randn(2, 17, 8, 8, generator=rng)
    ref = torch.rand(2, 17, 1, 2, generator=rng)
    expected = reference(value, offsets, logits, ref, shapes)
    for i in range(-1, torch.cuda.device_count()):
        device = torch.device("cpu" if i < 0 else f"cuda:{i}")
        choice = kernel_choice("auto", device)
        if i >= 0 and choice.name != FUSED:
            reason, _, fix = choice.reason.partition("; try: ")
            yield Check(f"attention {device}", "warn", f"{choice.name}: {reason}", fix)
            continue
        with torch.inference_mode():
            moved = (value.to(device), offsets.to(device), logits.to(device), ref.to(device))
            got = ms_deform_attn(*moved, shapes).cpu()
        error = float((got - expected).norm() / expected.norm())
        same = error < 1e-5
        found = f"{choice.name}, {error:.0e} from the reference"
        yield Check(f"attention {device}", "pass" if same else "fail", found, "" if same else "--kernel torch")


def _opencv() -> Iterable[Check]:
    import cv2

    found = _installed(OPENCV)
    if len(found) > 1:
        fix = "pip uninstall " + " ".join(name.split("==")[0] for name in found) + ", then pip install opencv-python"
        yield Check("opencv", "fail", "installed over one another: " + ", ".join(found), fix)
    else:
        yield Check("opencv", "pass", found[0] if found else f"{cv2.__version__}, not from a wheel")
    information = cv2.getBuildInformation()
    section = re.search(r"^  GUI:\s*(\S*)\n((?:^    .*\n)*)", information, re.MULTILINE)
    kinds = re.findall(r"^\s+(\w+)[^:\n]*:\s+YES", section[2], re.MULTILINE) if section else []
    gui = section[1] if section and section[1] not in ("", "NONE") else ", ".join(kinds)
    screen = sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    if gui and screen:
        yield Check("window", "pass", gui)
    elif not gui:
        yield Check("window", "warn", "this OpenCV shows no windows", "--display none, or pip install opencv-python")
    else:
        yield Check("window", "warn", "no screen here", "--display none, or --display http")
    ffmpeg = bool(re.search(r"FFMPEG:\s+YES", information))
    fix = "" if ffmpeg else "pip install opencv-python"
    yield Check(
        "opencv ffmpeg", "pass" if ffmpeg else "warn", "yes" if ffmpeg else "no: network streams cannot be opened", fix
    )


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
    ("python", _programs), ("torch", _torch), ("cupy", _cupy), ("engine", _engine), ("attention", _attention),
    ("opencv", _opencv), ("video", _videos),
    ("machine", _machine), ("weights", _weights), ("privacy", _privacy),
)  # fmt: skip
