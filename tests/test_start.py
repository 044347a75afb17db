"""What happens before the first picture: with OpenVINO it needs no torch, whose import takes longer than all else."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from tfpose_rt import compiled, device

needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")
HEAVY = ("torch", "ultralytics", "torchvision", "scipy")
RUN = """
import sys
from tfpose_rt.estimator import PoseEstimator
picture = __import__("cv2").VideoCapture(sys.argv[1]).read()[1]
for device in sys.argv[2].split():
    estimator = PoseEstimator(engine="openvino", device=device, det_size=320)
    people = estimator.predict(picture)
    heavy = [name for name in sys.argv[3:] if name in sys.modules]
    print(len(people), estimator.device, estimator.kernel_reason, heavy)
"""


@needs_openvino
def test_networks_that_are_converted_need_neither_torch_nor_ultralytics() -> None:
    from tfpose_rt.estimator import PoseEstimator

    asked = ["cpu"] if device._may_have_gpu() else ["auto", "cpu"]  # torch has to say whether there is a GPU
    PoseEstimator(engine="openvino", device="cpu", det_size=320)  # converts them, where nothing has yet
    clip = Path(device.__file__).parent / "clips" / "demo.mp4"
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(clip), " ".join(asked), *HEAVY], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout == "1 cpu OpenVINO's own sampling []\n" * len(asked)


@needs_openvino
def test_what_compiling_made_is_taken_up_and_made_anew_where_it_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "cache_dir", lambda: tmp_path)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 24, 32, 3), np.uint8)

    def taken_up() -> bool:
        fast: Any = compiled.compile_network(lambda: nn.Conv2d(3, 4, 3).eval(), "a" * 64, size=(32, 24), threads=1)
        answers.append(fast(pictures)[0])
        return bool(fast._open[()]._request.get_compiled_model().get_property("LOADED_FROM_CACHE"))

    answers: list[Any] = []
    assert [taken_up(), taken_up()] == [False, True]
    (blob,) = tmp_path.glob("*/f32/*.blob")
    blob.write_bytes(blob.read_bytes()[: blob.stat().st_size // 2])
    assert [taken_up(), taken_up()] == [False, True]
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])


def test_without_a_drivers_library_there_is_no_gpu_and_torch_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(device, "_may_have_gpu", lambda: False)
    assert device.choose_device("auto") == ("cpu", "auto: no CUDA device")
    assert device.choose_device("cpu") == ("cpu", "asked for")
    assert "torch" not in sys.modules


def test_where_there_may_be_a_gpu_torch_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a stand-in")
    assert device.choose_device("auto") == ("cuda", "auto: a stand-in")  # torch is loaded here: it knows best
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(device, "_may_have_gpu", lambda: True)
    assert device.choose_device("auto") == ("cuda", "auto: a stand-in")


def test_threads_asked_for_are_those_of_the_outer_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torch, and as many as torch takes: test_threads sees that."""
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setenv("OMP_NUM_THREADS", "7,2")  # of the outer loops, and of those within
    assert device.usual_threads() == 7


def test_threads_asked_for_are_opencvs_too() -> None:
    before = torch.get_num_threads(), cv2.getNumThreads()
    try:
        device.set_threads(1)
        assert (torch.get_num_threads(), cv2.getNumThreads(), device.usual_threads()) == (1, 1, 1)
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def test_suppression_takes_boxes_without_area() -> None:
    from tfpose_rt.detect import suppress

    boxes = np.array([[5, 5, 5, 5], [5, 5, 5, 5], [0, 0, 10, 10]], np.float32)
    assert suppress(boxes, np.array([0.5, 0.9, 0.9], np.float32), 0.7).tolist() == [1, 2, 0]
