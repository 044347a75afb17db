"""Cameras: listing from what systems answer; capture with OpenCV's own reader on a file in the camera's place."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fake_estimator import FakeEstimator
from loopback import h264

from tfpose_rt.cli.live_options import header_of
from tfpose_rt.config import RunConfig, SourceOptions
from tfpose_rt.errors import InputError, UsageError
from tfpose_rt.io import camera_list, cameras, live
from tfpose_rt.io.camera_list import Camera, find_camera, pnp_cameras, profiler_cameras, sysfs_cameras
from tfpose_rt.io.cameras import CameraSource
from tfpose_rt.io.capture import Grab, Ready, Worker
from tfpose_rt.io.live import LiveSource
from tfpose_rt.io.synthetic import number_of
from tfpose_rt.records import Frame, Gap


class Around:
    """A capture that is spied on; OpenCV's type cannot be subclassed safely."""

    def __init__(self, clip: Path) -> None:
        self.capture = cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.capture, name)


TWO = [Camera(0, "HD Webcam", "v4l2"), Camera(2, "HD Capture", "v4l2")]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "camera.mp4"
    for _ in h264(str(path), 1.0, format="mp4", live=False):
        pass
    return path


@pytest.fixture
def camera(clip: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Every camera is OpenCV reading the clip; the (index, backend) pairs that were opened."""
    opened: list[tuple[int, int]] = []

    def capture(index: int, backend: int) -> cv2.VideoCapture:
        opened.append((index, backend))
        return cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG)

    monkeypatch.setattr(cameras, "open_capture", capture)
    return opened


def test_sysfs_lists_capture_nodes_only_and_opens_nothing(tmp_path: Path) -> None:
    for node, index, name in [("video0", "0", "HD Webcam: HD Webcam"), ("video1", "1", "HD Webcam: HD Webcam"),
                              ("video10", "0", "OBS Virtual Camera"), ("video2", "0", "")]:  # fmt: skip
        (tmp_path / node).mkdir()
        (tmp_path / node / "index").write_text(index + "\n")
        (tmp_path / node / "name").write_text(name + "\n")
    found = sysfs_cameras(tmp_path)
    assert [(c.index, c.name, c.path) for c in found] == [
        (0, "HD Webcam: HD Webcam", "/dev/video0"),
        (2, "video2", "/dev/video2"),
        (10, "OBS Virtual Camera", "/dev/video10"),
    ]
    assert sysfs_cameras(tmp_path / "none") == []


def test_macos_and_windows_answers() -> None:
    mac = json.dumps(
        {"SPCameraDataType": [{"_name": "FaceTime HD Camera", "spcamera_unique-id": "x"}, {"_name": "iPhone"}]}
    )
    assert [(c.index, c.name) for c in profiler_cameras(mac)] == [(0, "FaceTime HD Camera"), (1, "iPhone")]
    assert [c.name for c in pnp_cameras('{"FriendlyName": "Integrated Camera"}')] == ["Integrated Camera"]
    two = '[{"FriendlyName": "Integrated Camera"}, {"FriendlyName": "Logi C920"}]'
    assert [(c.index, c.name) for c in pnp_cameras(two)] == [(0, "Integrated Camera"), (1, "Logi C920")]
    assert profiler_cameras("") == pnp_cameras("") == []


def test_cameras_are_found_by_number_and_by_part_of_the_name() -> None:
    assert find_camera("2", TWO) == (2, "HD Capture")
    assert find_camera(7, TWO) == (7, "")
    assert find_camera("camera:webcam", TWO) == (0, "HD Webcam")
    assert find_camera("camera:HD Capture", TWO) == (2, "HD Capture")
    for text, told in (
        ("camera:HD", "more than one camera is called 'HD': it fits 0"),
        ("camera:Phone", "no camera is called 'Phone'"),
        ("camera:", "no camera is called ''"),
    ):
        with pytest.raises(InputError, match=told):
            find_camera(text, TWO)


def test_frames_come_in_order_with_capture_times(
    camera: list[tuple[int, int]], clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    going = threading.Event()

    class Held(Around):
        """Gives one picture until somebody reads: a run begins with the newest, and this clip comes without delay."""

        given = 0

        def grab(self) -> bool:
            self.given += 1
            return bool(self.capture.grab()) and (self.given == 1 or going.wait(10))

    plain = cameras.open_capture
    monkeypatch.setattr(cameras, "open_capture", lambda index, backend: plain(index, backend) and Held(clip))
    source = CameraSource(0, SourceOptions(reconnect=0))
    assert source.info.kind == "camera"
    assert source.info.size == (320, 240)
    assert source.info.fps == pytest.approx(30)
    assert source.info.detail["granted"].startswith("320x240 at 30 fps")
    assert source.live
    frames = []
    for item in source:
        going.set()
        if isinstance(item, Frame):
            frames.append(item)
    numbers = [number_of(f.image) for f in frames]
    assert np.diff(numbers).min() >= 1
    assert [f.seq for f in frames] == numbers  # the capture counter names the picture
    assert all(abs((f.t_capture or 0) - time.monotonic()) < 5 for f in frames)
    assert camera == [(0, cv2.CAP_V4L2)]
    source.close()


def test_a_camera_that_stops_is_opened_again_and_the_hole_is_told(camera: list[tuple[int, int]]) -> None:
    source = CameraSource(3, SourceOptions(stall=1))
    items = []
    for item in source:
        items.append(item)
        if len([i for i in items if isinstance(i, Gap)]) == 1 and isinstance(item, Frame):
            break
    gap = next(i for i in items if isinstance(i, Gap))
    assert gap.reason == "disconnected"
    assert gap.detail == "the camera gave no more pictures"
    assert len(camera) == 2
    source.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("capture") and t.is_alive()]


class Flickering:
    """A camera that is lost after its first picture; opened again, it goes on until somebody closes it."""

    fps = codec = duration = None
    live, finite, errors = True, False, 0

    def __init__(self, made: list[Flickering]) -> None:
        made.append(self)
        self.detail: dict[str, Any] = {}
        self.pictures, self.on = (1 if len(made) == 1 else 1000), True

    def __iter__(self) -> Iterator[Grab]:
        for _ in range(self.pictures):
            yield Grab(time.monotonic(), Ready(np.zeros((48, 64, 3), np.uint8)))
            time.sleep(0.01)

    def close(self) -> None:
        self.on = False


def test_closing_while_a_lost_camera_is_opened_again_leaves_it_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user leaves in the very moment in which the next attempt begins: the light must go off."""
    made: list[Flickering] = []
    source = LiveSource("camera", "x", [lambda: Flickering(made)], SourceOptions(stall=1))

    def attempt(connect: Any, name: str, depth: int) -> Worker:
        closing = threading.Thread(target=source.close, daemon=True)
        closing.start()
        closing.join(1.5)  # more than it takes to close what there is
        return Worker(connect, name, depth)

    monkeypatch.setattr(live, "Worker", attempt)
    list(source)
    end = time.monotonic() + 4
    while any(camera.on for camera in made) and time.monotonic() < end:
        time.sleep(0.02)
    assert not any(camera.on for camera in made)
    assert source.ended == "limit"


def test_the_mode_asked_for_is_passed_on_and_the_one_granted_is_told(
    monkeypatch: pytest.MonkeyPatch, clip: Path
) -> None:
    asked: list[tuple[int, float]] = []

    class Spy(Around):
        def set(self, prop: int, value: float) -> bool:
            asked.append((prop, value))
            return bool(self.capture.set(prop, value))

    monkeypatch.setattr(cameras, "open_capture", lambda index, backend: Spy(clip))
    source = CameraSource(0, SourceOptions(size=(1280, 720), fps=60, fourcc="MJPG", reconnect=0))
    source.close()
    order = [p for p, _ in asked]
    assert order.index(cv2.CAP_PROP_FOURCC) < order.index(cv2.CAP_PROP_FRAME_WIDTH)
    assert (cv2.CAP_PROP_FRAME_WIDTH, 1280) in asked
    assert (cv2.CAP_PROP_FRAME_HEIGHT, 720) in asked
    assert source.info.size == (320, 240)  # what came, not what was asked for
    assert "320x240" in source.info.detail["granted"]


def test_no_such_camera_names_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cameras, "listed", lambda: camera_list.listed(TWO))
    with pytest.raises(InputError, match=r"camera 99 did not open.*lists cameras 0 and 2.*tfpose-rt cameras") as caught:
        CameraSource("99", SourceOptions())
    assert caught.value.exit_code == 3


def test_opencv_says_nothing_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError):
        CameraSource("99", SourceOptions())
    assert capfd.readouterr() == ("", "")


def test_a_backend_that_hangs_is_left_and_the_next_one_used(
    monkeypatch: pytest.MonkeyPatch, clip: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(cameras, "backends_for", lambda name: ("msmf", "dshow"))
    release = threading.Event()

    def capture(index: int, backend: int) -> Any:
        if backend == cv2.CAP_MSMF:
            release.wait(20)
        return cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG)

    monkeypatch.setattr(cameras, "open_capture", capture)
    start = time.monotonic()
    source = CameraSource(0, SourceOptions(open_timeout=2.3))
    assert 2.2 < time.monotonic() - start < 4
    assert any("still waiting for camera 0" in m for m in caplog.messages)
    assert source.info.detail["opened_in_s"] == pytest.approx(2.3, abs=0.8)
    release.set()
    source.close()


def test_pictures_that_cannot_be_fetched_are_counted(monkeypatch: pytest.MonkeyPatch, clip: Path) -> None:
    class Torn(Around):
        count = 0

        def retrieve(self) -> Any:
            self.count += 1
            return (False, None) if self.count % 3 == 0 else self.capture.retrieve()

    monkeypatch.setattr(cameras, "open_capture", lambda index, backend: Torn(clip))
    source = CameraSource(0, SourceOptions(reconnect=0))
    frames = [f for f in source if isinstance(f, Frame)]
    assert source.decode_errors == 10
    assert not any(number_of(f.image) % 3 == 2 for f in frames)
    source.close()


def test_probing_measures_the_rate(camera: list[tuple[int, int]]) -> None:
    told = cameras.probe(TWO[0], SourceOptions(reconnect=0), seconds=0.05)
    assert told is not None
    assert told["size"] == [320, 240]
    assert told["fps_measured"] > 0


class Steady(Flickering):
    """Says 30 fps and delivers 12.5, by the times of its pictures."""

    fps = 30.0  # type: ignore[assignment]

    def __iter__(self) -> Iterator[Grab]:
        start = time.monotonic()
        for i in range(40):
            yield Grab(start + 0.08 * i, Ready(np.zeros((48, 64, 3), np.uint8)))
            time.sleep(0.002)


def test_a_recordings_header_has_the_rate_that_a_camera_really_delivers() -> None:
    made: list[Flickering] = []
    source = LiveSource("camera", "x", [lambda: Steady(made)], SourceOptions(reconnect=0))
    end = time.monotonic() + 20
    while made[0].on and time.monotonic() < end:
        time.sleep(0.01)
    header = header_of(source, RunConfig(), FakeEstimator(), {})
    assert header["fps"] == {"nominal": 30.0, "measured": 12.5, "variable": False}
    source.close()


def test_a_rate_is_not_told_by_a_picture_or_two() -> None:
    made: list[Flickering] = []
    source = LiveSource("camera", "x", [lambda: Flickering(made)], SourceOptions(reconnect=0))
    assert header_of(source, RunConfig(), FakeEstimator(), {})["fps"]["measured"] is None
    source.close()


@pytest.mark.parametrize("options", [SourceOptions(backend="v4l3"), SourceOptions(fourcc="MJPEG")])
def test_settings_that_make_no_sense(options: SourceOptions) -> None:
    with pytest.raises(UsageError):
        CameraSource(0, options)
