"""Cameras that give too little: one picture and no more, or none that can be decoded."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from tfpose_rt.config import SourceOptions
from tfpose_rt.errors import InputError
from tfpose_rt.io import cameras
from tfpose_rt.io.camera_list import Camera
from tfpose_rt.io.capture import Grab, Ready
from tfpose_rt.io.live import LiveSource


class Connection:
    """Gives what `read` gives, `count` times."""

    fps, codec, live, finite, duration, errors = 30.0, None, True, False, None, 0
    detail: Mapping[str, Any] = {"backend": "none"}

    def __init__(self, read: Any, count: int = 10_000) -> None:
        self.read, self.count, self.closed = read, count, threading.Event()

    def __iter__(self) -> Iterator[Grab]:
        for _ in range(self.count):
            yield Grab(time.monotonic(), self.read)
            time.sleep(0.01)

    def close(self) -> None:
        self.closed.set()


def test_a_camera_whose_picture_cannot_be_decoded_is_let_go_of() -> None:
    def damaged() -> Any:
        raise ValueError("Secret grey")

    connection = Connection(damaged)
    with pytest.raises(InputError, match=r"^desk did not open: no picture: \*\*\* grey; try: another$"):
        LiveSource(
            "camera", "desk", [lambda: connection], SourceOptions(), fix="another",
            scrub=lambda text: text.replace("Secret", "***"),
        )  # fmt: skip
    assert connection.closed.wait(10)


@pytest.mark.parametrize("count", [1, 4])
def test_a_camera_that_stops_at_once_is_measured_by_what_it_gave(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    read = Ready(np.zeros((48, 64, 3), np.uint8))
    monkeypatch.setattr(cameras, "CameraConnection", lambda *_: Connection(read, count))
    told = cameras.probe(Camera(0, "desk", "v4l2"), SourceOptions(reconnect=0, backend="v4l2", drop=False))
    assert told is not None
    assert told["size"] == [64, 48]
    assert told["fps_measured"] is None if count == 1 else 1 < told["fps_measured"] < 101
