"""doctor's checks of Python and of the libraries: versions that fit one another, and what they can do here."""

from __future__ import annotations

import importlib.metadata as packages
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from tfpose_rt.device import blindness, driver_gpus
from tfpose_rt.shell import install
from tfpose_rt.wording import plural

OPENCV = ("opencv-python", "opencv-contrib-python", "opencv-python-headless", "opencv-contrib-python-headless")
CUPY = ("cupy-cuda13x", "cupy-cuda12x", "cupy-cuda11x", "cupy")


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


def _installed(names: Iterable[str]) -> list[str]:
    found = []
    for name in names:
        try:
            found.append(f"{name}=={packages.version(name)}")
        except packages.PackageNotFoundError:
            continue
    return found


def program_checks() -> Iterable[Check]:
    """Python and this program."""
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


def torch_checks() -> Iterable[Check]:
    """Torch's version and the GPUs it sees; whether torchvision fits it."""
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


def cupy_checks() -> Iterable[Check]:
    """At most one CuPy, for the CUDA that torch is built for."""
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


def engine_checks() -> Iterable[Check]:
    """What runs the networks where there is no GPU."""
    from tfpose_rt.engine import INSTALL, choose_engine, runs

    choice = choose_engine("auto", "cpu", "fp32")
    good = not _installed(["openvino"]) if choice.name == "torch" else runs()
    found = choice.reason if choice.name == "openvino" else f"torch, {choice.reason}; faster without a GPU: {INSTALL}"
    yield Check("engine cpu", "pass" if good else "warn", found, "" if good else f"{INSTALL}, or --engine torch")


def attention_checks() -> Iterable[Check]:
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


def opencv_checks() -> Iterable[Check]:
    """One OpenCV, whether it shows windows and opens network streams."""
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
