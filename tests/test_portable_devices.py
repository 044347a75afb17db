"""Cameras and processors of Windows and macOS, shown on any system."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from torch import nn

from tfpose_rt import detect, estimator
from tfpose_rt.config import SourceOptions
from tfpose_rt.errors import InputError
from tfpose_rt.io import camera_list, cameras
from tfpose_rt.io.camera_list import list_cameras, profiler_cameras
from tfpose_rt.layout import layout
from tfpose_rt.tools import bench
from tfpose_rt.tools.explain import _look


def python(*lines, **environment):
    """The words that a new Python prints."""
    return subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=120, check=True,
        env={**os.environ, **environment},
    ).stdout.split()  # fmt: skip


# ---- cameras


def test_a_mac_numbers_cameras_as_opencv_does():
    listed = [("FaceTime HD Camera", "47B4B64B"), ("Anna's iPhone", "1D2E"), ("USB Camera", "0x11000000c45636d")]
    answer = {"SPCameraDataType": [{"_name": name, "spcamera_unique-id": of} for name, of in listed]}
    found = [(camera.index, camera.name) for camera in profiler_cameras(json.dumps(answer))]
    assert found == [(0, "USB Camera"), (1, "Anna's iPhone"), (2, "FaceTime HD Camera")]


def test_windows_names_of_cameras_come_in_utf8(monkeypatch):
    asked = []

    def run(command, **options):
        asked.append(command[-1])
        assert "text" not in options  # by the code page, in which the first byte of ü may be no character at all
        return SimpleNamespace(stdout='﻿[{"FriendlyName": "Kamera für 踊り"}]\r\n'.encode())

    monkeypatch.setattr(camera_list, "PLATFORM", "win32")
    monkeypatch.setattr(camera_list.subprocess, "run", run)
    assert [camera.name for camera in list_cameras()] == ["Kamera für 踊り"]
    assert asked[0].index("OutputEncoding = [Text.Encoding]::UTF8") < asked[0].index("Get-PnpDevice")
    monkeypatch.setattr(camera_list.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=b'"\x81\x8d'))
    assert list_cameras() == []


@pytest.mark.parametrize(("platform", "where"), [("darwin", "System Settings"), ("win32", "desktop apps")])
def test_a_camera_that_does_not_open_may_not_be_allowed_yet(monkeypatch, platform, where):
    closed = SimpleNamespace(isOpened=lambda: False, release=lambda: None)
    monkeypatch.setattr(cameras, "PLATFORM", platform)
    monkeypatch.setattr(cameras, "open_capture", lambda index, backend: closed)
    with pytest.raises(InputError) as caught:
        cameras.CameraSource(0, SourceOptions())
    assert where in caught.value.fix


def test_opencv_is_told_of_windows_slow_cameras_before_it_loads():
    name = "OPENCV_VIDEOIO_MSMF_ENABLE_HW_TRANSFORMS"
    lines = ["import os, sys", "sys.platform = 'win32'", "import tfpose_rt", "assert 'cv2' not in sys.modules",
             f"print(os.environ.get({name!r}))"]  # fmt: skip
    assert python(*lines) == ["0"]
    assert python(*lines, **{name: "1"}) == ["1"]
    assert python(lines[0], *lines[2:]) == ["None"]


# ---- Apple's processors


def test_pictures_lie_otherwise_on_an_apple_gpu():
    assert layout("mps") == layout(torch.device("mps")) == torch.contiguous_format
    assert layout("cpu") == layout("cuda:1") == torch.channels_last


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_both_networks_get_pictures_that_lie_as_their_device_wants(monkeypatch, memory):
    class Network(nn.Conv2d):
        def forward(self, x):
            seen.append((x, self.weight))
            return torch.zeros(len(x), 5, 1), torch.zeros(1)

    class Boxes(Network):
        def forward(self, x):
            return super().forward(x)[0]

    seen = []
    for module in (detect, estimator):
        monkeypatch.setattr(module, "layout", lambda device: {"cpu": memory}[device])
    monkeypatch.setattr(detect, "load_network", lambda path: Boxes(3, 4, 3))
    monkeypatch.setattr("tfpose_rt.model.weights.load_model", lambda path: (Network(3, 4, 3), {}))
    finder, poser = (kind.__new__(kind) for kind in (detect.PersonDetector, estimator.PoseEstimator))
    for one in (finder, poser):
        one.device, one.precision = "cpu", "fp32"
    finder._compiled, finder._path, finder.conf, finder.iou = None, None, 0.25, 0.7
    images = np.zeros((2, 64, 96, 3), np.uint8)
    finder._run(images, False)
    poser._in_torch(None)(images)
    assert len(seen) == 2
    assert all(tensor.is_contiguous(memory_format=memory) for pair in seen for tensor in pair)


@pytest.mark.parametrize("error", [FileNotFoundError, SystemError, RuntimeError, None])
def test_a_machine_that_does_not_tell_its_clock_is_measured_all_the_same(monkeypatch, error):
    def cpu_freq():
        raise error("hw.cpufrequency")

    if error is None:
        monkeypatch.delattr(psutil, "cpu_freq")
    else:
        monkeypatch.setattr(psutil, "cpu_freq", cpu_freq)
    found = bench.machine()
    assert "clock" not in found
    assert found["torch"] == torch.__version__


def test_layers_leave_an_apple_gpu_before_they_become_float64():
    class OnMps:
        """A tensor there: `.double()` is what it cannot."""

        def __init__(self, tensor):
            self._tensor = tensor

        def __getitem__(self, row):
            return OnMps(self._tensor[row])

        def cpu(self):
            return self._tensor

        def double(self):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    parts = ("before", "after", "score", "places", "weights")
    none = dict.fromkeys(("q2q", "witness", "share"))
    seen = _look(SimpleNamespace(**none, **{part: OnMps(torch.ones(2, 3)) for part in parts}))
    assert seen.before.dtype == np.float64
    assert seen.score.tolist() == [1, 1, 1]
