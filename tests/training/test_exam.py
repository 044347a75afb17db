"""Judging a model on whole pictures: who counts, and how often."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from program import run_program
from torch import nn

from tfpose_rt.config import ModelConfig, RunConfig
from tfpose_rt.ops.choice import KernelChoice
from tfpose_rt.records import Detections
from tfpose_rt.training import exam
from tfpose_rt.training.exam import APART, examine, kernels_apart, one_each
from tfpose_rt.training.validate import Answers

MODEL = SimpleNamespace(config=ModelConfig())


def test_a_person_found_twice_counts_once():
    rng = np.random.default_rng(0)
    one, other = rng.uniform((20, 20), (80, 180), (17, 2)), rng.uniform((220, 20), (280, 180), (17, 2))
    boxes = np.float32([[10, 10, 90, 190], [12, 10, 90, 190], [210, 10, 290, 190]])
    sure = np.full((3, 17), 0.8, np.float32)
    said = Answers(np.stack((one, one + 1, other)).astype(np.float32), sure, 1 - sure, boxes)
    picture = np.zeros((200, 300, 3), np.uint8)
    np.testing.assert_array_equal(one_each(said, boxes, [0.6, 0.9, 0.5], picture), [1, 2])


def test_on_a_processor_the_kernels_are_not_compared_and_why_is_said(monkeypatch, capsys, pack):
    """In the JSON and on the screen: nobody is to take silence for agreement."""
    words = ("eval", pack, "--limit", "2", "--device", "cpu")
    code, out, err = run_program(monkeypatch, capsys, *words, "--json")
    assert code == 0, err
    why = "the model runs on cpu; the fused kernel needs a CUDA GPU"
    assert json.loads(out)["fused vs torch"] == {"px": None, "score": None, "crops": 0, "why": why}
    code, out, err = run_program(monkeypatch, capsys, *words)
    assert (code, out) == (0, "")
    (line,) = [line for line in err.splitlines() if line.startswith("  fused vs torch ")]
    assert line.split(maxsplit=3)[3] == f"not measured: {why}"


@pytest.fixture
def kernels(monkeypatch):
    """As if the fused kernel could run: the kernels that were chosen, and what the model says with each of them."""
    chosen, said = [], {}
    monkeypatch.setattr("tfpose_rt.ops.choice.kernel_choice", lambda kernel, *_: KernelChoice("cuda fused", "fits"))
    monkeypatch.setattr("tfpose_rt.ops.choice.select_kernel", lambda kernel, *_: chosen.append(kernel))
    monkeypatch.setattr(exam, "answer", lambda model, samples, *, batch: said[chosen[-1]])
    return chosen, said


def answers(xy, scores):
    return Answers(np.float32(xy), np.float32(scores), np.ones_like(scores, np.float32), np.zeros((len(xy), 4)))


@pytest.mark.parametrize("kernel", ["auto", "fused", "torch"])
def test_the_kernels_are_compared_on_the_same_crops(kernels, kernel):
    chosen, said = kernels
    xy, scores = np.zeros((2, 17, 2)), np.full((2, 17), 0.5)
    said["fused"] = answers(xy, scores)
    xy[1, 3], xy[0, 5], scores[1, 16] = (3, -4), (4.5, 0), 0.25
    said["torch"] = answers(xy, scores)
    told = kernels_apart(MODEL, [None, None], kernel, torch.device("cuda", 0))
    assert told == {"px": 5.0, "score": 0.25, "crops": 2}
    assert chosen == ["fused", "torch", kernel]  # and what was asked for runs the rest


def test_what_was_asked_for_runs_the_rest_whatever_happens(kernels):
    with pytest.raises(KeyError):
        kernels_apart(MODEL, [], "auto", torch.device("cuda", 0))
    assert kernels[0] == ["fused", "auto"]


def test_what_was_measured_is_on_the_screen(monkeypatch, capsys, pack):
    monkeypatch.setattr(exam, "kernels_apart", lambda *_: {"px": 0.00123, "score": 0.0004, "crops": 2})
    code, _, err = run_program(monkeypatch, capsys, "eval", pack, "--limit", "2")
    assert code == 0
    assert "at most 0.0012 px and 0.0004 of a score apart on 2 crops" in err


@pytest.mark.gpu
def test_on_a_gpu_the_kernels_agree(pack):
    told = examine(pack, RunConfig(device="cuda", kernel="fused"), limit=8).facts[APART]
    assert told["crops"] == 8
    assert told["px"] < 0.05


def test_around_the_detectors_boxes_a_person_counts_once_and_by_box_and_joints(monkeypatch, tmp_path):
    """A box found twice gives one result, the surer; a result's score is the box's times the expected OKS."""
    home = tmp_path / "val"
    home.mkdir()
    cv2.imwrite(str(home / "1.png"), np.zeros((200, 300, 3), np.uint8))
    labels = {"images": [{"id": 7, "file_name": "1.png"}, {"id": 8, "file_name": "1.png"}]}
    rng = np.random.default_rng(0)
    one, other = rng.uniform((20, 20), (80, 180), (17, 2)), rng.uniform((220, 20), (280, 180), (17, 2))
    boxes = np.float32([[12, 10, 90, 190], [10, 10, 90, 190], [210, 10, 290, 190]])
    found = [Detections(boxes, np.float32([0.9, 0.6, 0.5])), Detections(np.zeros((0, 4), np.float32), np.zeros(0))]
    asked = []

    def opened(name, **options):
        asked.append((name, options["device"]))
        return SimpleNamespace(detect=lambda images: [found.pop(0)])

    def answered(model, samples, *, flip, batch):
        at = [float(sample.box[0]) for sample in samples]
        xy = np.stack([other if x > 200 else one for x in at]).astype(np.float32)
        return Answers(xy, np.full((len(at), 17), 0.8, np.float32), np.ones((len(at), 17), np.float32), boxes)

    monkeypatch.setattr("tfpose_rt.detect.open_detector", opened)
    monkeypatch.setattr(exam, "answer", answered)
    model = nn.Linear(1, 1)
    model.config = ModelConfig()
    told = list(exam.detected(home, labels, "detector", RunConfig(), model, False, 8))
    assert asked == [("yolo-n", "cpu")]
    assert [row["image_id"] for row in told] == [7, 7]
    for row, xy, trust, box in zip(told, (one, other), (0.9, 0.5), boxes[[0, 2]], strict=True):
        np.testing.assert_allclose(np.reshape(row["keypoints"], (17, 3))[:, :2], xy, atol=0.01)
        alone = Answers(xy[None].astype(np.float32), np.full((1, 17), 0.8), np.ones((1, 17)), box[None])
        assert row["score"] == pytest.approx(trust * alone.people()[0], abs=1e-3)
        assert 0 < row["score"] < trust
