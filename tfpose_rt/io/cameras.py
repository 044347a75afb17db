"""Cameras through OpenCV: opened in the mode asked for, read as they come."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2

from tfpose_rt import clock
from tfpose_rt.config import SourceOptions
from tfpose_rt.errors import InputError, UsageError
from tfpose_rt.io.camera_list import PLATFORM, Camera, backends_for, find_camera, listed
from tfpose_rt.io.capture import Connect, Grab, Ready
from tfpose_rt.io.live import LiveSource
from tfpose_rt.io.urls import mask_text
from tfpose_rt.records import Frame, Gap

log = logging.getLogger(__name__)
BACKENDS = {
    "v4l2": cv2.CAP_V4L2,
    "dshow": cv2.CAP_DSHOW,
    "msmf": cv2.CAP_MSMF,
    "avfoundation": cv2.CAP_AVFOUNDATION,
    "gstreamer": cv2.CAP_GSTREAMER,
    "any": cv2.CAP_ANY,
}
PERMISSION = {  # systems that ask the user, once, and until then let no program in
    "darwin": "allow the terminal in System Settings > Privacy & Security > Camera, and start again",
    "win32": "allow desktop apps in Settings > Privacy & security > Camera",
}
DRIVER_LAG = 0.5  # s; a driver's stamp is believed when it is at most that much before now


class CameraSource(LiveSource):
    """A camera by number or name.

    Args:
        spec: a number, or `camera:NAME` (part of the name is enough where it fits one camera only).
        options: `backend`, `size`, `fps`, `fourcc`, `rotate`, `reconnect`, `stall` and `open_timeout` apply.
    Raises: UsageError: unknown backend or code. InputError: no such camera, busy, no permission, no picture in time.
    """

    def __init__(self, spec: int | str, options: SourceOptions) -> None:
        backends = backends_for(options.backend)
        if options.fourcc is not None and len(options.fourcc) != 4:
            raise UsageError(f"--fourcc {options.fourcc}", why="it has four characters", fix="--fourcc MJPG")
        index, name = find_camera(spec)
        try:
            super().__init__(
                "camera", f"camera {index}" + (f" ({name})" if name else ""),
                [_opener(index, backend, options) for backend in backends], options, scrub=mask_text,
            )  # fmt: skip
        except InputError as error:
            fix = "; ".join(filter(None, ("tfpose-rt cameras", PERMISSION.get(PLATFORM))))
            raise InputError(error.what, why=f"{_hindrance(index) or error.why}; {listed()}", fix=fix) from error


class CameraConnection:
    """One opened camera.

    Args:
        index: its number.
        backend: a key of BACKENDS.
        options: the mode to ask for; what is granted stands in `detail`.
    Raises: InputError: it cannot be opened.
    """

    def __init__(self, index: int, backend: str, options: SourceOptions) -> None:
        self.live, self.finite = True, False
        self.duration: float | None = None
        self.errors = 0
        quiet()
        self._capture = open_capture(index, BACKENDS[backend])
        if not self._capture.isOpened():
            self._capture.release()
            raise InputError(f"camera {index} did not open", why=f"{backend} could not open it")
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if options.fourcc:  # before the size: it decides which sizes there are
            self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*options.fourcc))
        if options.size:
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, options.size[0])
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, options.size[1])
        if options.fps:
            self._capture.set(cv2.CAP_PROP_FPS, options.fps)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps: float | None = float(fps) if 1 <= fps <= 1000 else None
        self.codec: str | None = _fourcc(self._capture.get(cv2.CAP_PROP_FOURCC))
        size = tuple(int(self._capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        rate = f" at {self.fps:g} fps" if self.fps else ""
        self.detail: Mapping[str, Any] = {
            "backend": self._capture.getBackendName(),
            "granted": f"{size[0]}x{size[1]}{rate} {self.codec or ''}".rstrip(),
            "capture_clock": "driver" if backend == "v4l2" else "arrival",
        }

    def __iter__(self) -> Iterator[Grab]:
        """Pictures as they come; raises OSError when the camera is gone."""
        while self._capture.grab():
            arrived = self._stamp(clock.now())
            fine, image = self._capture.retrieve()
            if not fine or image is None:
                self.errors += 1
                continue
            yield Grab(arrived, Ready(image))  # type: ignore[arg-type]  # OpenCV gives bytes; its stubs say any integer
        raise OSError("the camera gave no more pictures")

    def close(self) -> None:
        """Let go of it: the light goes off."""
        self._capture.release()

    def _stamp(self, now: float) -> float:
        """The driver's own monotonic time of the picture where it gives a believable one, else now."""
        if self.detail["capture_clock"] == "driver":
            driver = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
            if 0 <= now - driver <= DRIVER_LAG:
                return float(driver)
        return now


def open_capture(index: int, backend: int) -> cv2.VideoCapture:
    """OpenCV's capture; the one place where a device is opened."""
    return cv2.VideoCapture(index, backend)


def quiet() -> None:
    """Keep OpenCV's own warnings off the user's terminal: our errors say more."""
    cv2.setLogLevel(0) if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel(0)


def probe(camera: Camera, options: SourceOptions, seconds: float = 1.0) -> dict[str, Any] | None:
    """Open a camera, take pictures for a second, or until they stop coming, and measure; None when it does not open."""
    try:
        source = CameraSource(camera.index, options)
    except InputError as error:
        log.info("%s", error)
        return None
    try:
        times: list[float] = []
        for item in source:
            if isinstance(item, Frame):
                times.append(item.pts)
            if isinstance(item, Gap) or times[-1] >= seconds:
                break
        rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else None
        return {"size": list(source.info.size), "fps_measured": rate and round(rate, 2), **source.info.detail}
    finally:
        source.close()


def _opener(index: int, backend: str, options: SourceOptions) -> Connect:
    return lambda: CameraConnection(index, backend, options)


def _hindrance(index: int) -> str:
    """Why Linux would refuse, where it can be told without opening."""
    device = Path(f"/dev/video{index}")
    if not PLATFORM.startswith("linux"):
        return ""
    if not device.exists():
        return f"there is no {device}"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"no permission for {device} (the group `video` has it)"
    return ""


def _fourcc(value: float) -> str | None:
    text = "".join(chr(int(value) >> shift & 0xFF) for shift in (0, 8, 16, 24)) if value > 0 else ""
    return text.strip() if text.strip() and text.isprintable() else None
