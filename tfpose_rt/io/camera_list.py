"""Which cameras there are: asked of the system, without opening any, so that no light goes on."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tfpose_rt.errors import InputError, UsageError

log = logging.getLogger(__name__)
PLATFORM: str = sys.platform
SYSFS = Path("/sys/class/video4linux")
NAMES = ("v4l2", "dshow", "msmf", "avfoundation", "gstreamer", "any")
# MSMF takes minutes to open some cameras: DirectShow is tried when it does not answer.
AUTO = {"linux": ("v4l2",), "darwin": ("avfoundation",), "win32": ("msmf", "dshow")}
LISTING_S = 15.0  # s the system may take to list its devices
UTF8 = "[Console]::OutputEncoding = [Text.Encoding]::UTF8"  # PowerShell's pipes speak the console's code page otherwise


@dataclass(frozen=True, slots=True)
class Camera:
    """One device, as the system lists it; nothing is opened to learn this.

    Args:
        index: what `webcam INDEX` takes.
        name: the system's name for it.
        backend: the OpenCV backend it would be opened with.
        path: device file, where there is one.
        sizes: supported (W, H), where the system tells them unasked.
    """

    index: int
    name: str
    backend: str
    path: str = ""
    sizes: tuple[tuple[int, int], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def backends_for(name: str) -> tuple[str, ...]:
    """The backends to try, in order, for what the user asked.

    Raises: UsageError: unknown.
    """
    if name == "auto":
        return AUTO.get(PLATFORM, ("any",))
    if name not in NAMES:
        raise UsageError(f"--backend {name}", why="no such backend", fix=", ".join(("auto", *NAMES)))
    return (name,)


def find_camera(spec: int | str, cameras: list[Camera] | None = None) -> tuple[int, str]:
    """Number and name of the camera meant; the name is "" where the system does not tell.

    Raises: InputError: no camera, or more than one, has that name.
    """
    text = str(spec)
    if not text.startswith("camera:"):
        index = int(text)
        names = {c.index: c.name for c in (list_cameras() if cameras is None else cameras)}
        return index, names.get(index, "")
    name = text.removeprefix("camera:").strip()
    wanted = name.lower()
    found = list_cameras() if cameras is None else cameras
    hits = [c for c in found if c.name.lower() == wanted] or [c for c in found if wanted and wanted in c.name.lower()]
    if len(hits) != 1:
        why = listed(found) if not hits else "it fits " + " and ".join(f"{c.index} ({c.name})" for c in hits)
        many = "more than one" if hits else "no"
        raise InputError(f"{many} camera is called {name!r}", why=why, fix="tfpose-rt cameras")
    return hits[0].index, hits[0].name


def list_cameras(backend: str = "auto") -> list[Camera]:
    """What the system lists; opens no camera, so no light goes on. Empty where it lists none or cannot be asked."""
    used = backends_for(backend)[0]
    if PLATFORM.startswith("linux"):
        return sysfs_cameras(SYSFS, used)
    if PLATFORM == "darwin":
        return profiler_cameras(_output("system_profiler", "SPCameraDataType", "-json"), used)
    if PLATFORM == "win32":
        query = "Get-PnpDevice -Class Camera,Image -PresentOnly | Select-Object FriendlyName | ConvertTo-Json"
        return pnp_cameras(_output("powershell", "-NoProfile", "-Command", f"{UTF8}; {query}"), used)
    return []


def sysfs_cameras(root: Path, backend: str = "v4l2") -> list[Camera]:
    """Linux: devices under /sys/class/video4linux that can capture (a device's further nodes carry metadata)."""
    cameras = []
    for node in sorted(root.glob("video*"), key=lambda p: int(re.sub(r"\D", "", p.name) or 0)):
        index = _text(node / "index")
        if index not in ("", "0"):
            continue
        name = _text(node / "name") or node.name
        cameras.append(Camera(int(node.name.removeprefix("video")), name, backend, f"/dev/{node.name}"))
    return cameras


def profiler_cameras(text: str, backend: str = "avfoundation") -> list[Camera]:
    """macOS: the answer of `system_profiler SPCameraDataType -json`, numbered as OpenCV does: by their unique ids.

    Cameras that are programs are not in it, and shift the numbers.
    """
    try:
        items = json.loads(text).get("SPCameraDataType", [])
    except ValueError:
        return []
    if all("spcamera_unique-id" in item for item in items):
        items = sorted(items, key=lambda item: str(item["spcamera_unique-id"]))
    return [Camera(i, str(item.get("_name", "camera")), backend) for i, item in enumerate(items)]


def pnp_cameras(text: str, backend: str = "msmf") -> list[Camera]:
    """Windows: the answer of Get-PnpDevice as JSON, one object or a list. Numbers are in the order listed: a guess."""
    try:
        items = json.loads(text)
    except ValueError:
        return []
    items = items if isinstance(items, list) else [items]
    return [Camera(i, str(item.get("FriendlyName", "camera")), backend) for i, item in enumerate(items)]


def listed(cameras: list[Camera] | None = None) -> str:
    """What the system lists in a few words, for errors: `this system lists cameras 0 and 1`."""
    numbers = [str(c.index) for c in (list_cameras() if cameras is None else cameras)]
    if not numbers:
        return "this system lists no camera"
    return f"this system lists camera{'s' * (len(numbers) > 1)} " + " and ".join(numbers)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _output(*command: str) -> str:
    try:
        told = subprocess.run(command, capture_output=True, timeout=LISTING_S, check=False).stdout
        return told.decode("utf-8-sig", "replace")  # the system's own code page has no place for some bytes
    except (OSError, subprocess.SubprocessError) as error:
        log.info("cannot list cameras: %s", error)
        return ""
