"""OpenVINO beside torch: the same answers, chosen aloud, converted once. Skipped where it is not installed."""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch

from tfpose_rt import cli, compiled, engine
from tfpose_rt.cli.eval import evaluate
from tfpose_rt.config import ModelConfig, RunConfig, SourceOptions
from tfpose_rt.errors import DeviceError, UsageError
from tfpose_rt.estimator import PoseEstimator
from tfpose_rt.io.sources import open_source
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.model.weights import save_model
from tfpose_rt.records import Detections, Frame
from tfpose_rt.tools.showcase import DEMO_CLIP
from tfpose_rt.training.data import load
from tfpose_rt.training.exam import examine, open_model
from tfpose_rt.training.validate import answer

needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")


@needs_openvino
def test_auto_takes_it_on_the_cpu_only() -> None:
    assert engine.choose_engine("auto", "cpu", "fp32").name == "openvino"
    assert engine.choose_engine("torch", "cpu", "fp32") == engine.EngineChoice("torch", "asked for")
    gpu = engine.choose_engine("auto", "cuda", "fp16")
    assert gpu == engine.EngineChoice("torch", "auto: the networks run on cuda")
    with pytest.raises(DeviceError, match="run on cuda; try: --device cpu"):
        engine.choose_engine("openvino", "cuda", "fp16")


def test_without_the_package_auto_says_so_and_openvino_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "openvino", None)  # as if it were not there
    assert engine.choose_engine("auto", "cpu", "fp32") == engine.EngineChoice(
        "torch", "auto: OpenVINO is not installed"
    )
    with pytest.raises(DeviceError) as caught:
        engine.choose_engine("openvino", "cpu", "fp32")
    assert caught.value.fix == 'pip install "tfpose-rt[openvino]"'
    with pytest.raises(UsageError):
        engine.choose_engine("onnx", "cpu", "fp32")


@needs_openvino
def test_eval_gives_the_same_answers_and_says_whose_they_are(
    pack: Path, tmp_path: Path, tiny_trunk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "cache_dir", lambda: tmp_path / "cache")
    torch.manual_seed(0)
    path = tmp_path / "tiny.safetensors"
    tiny = TFPose(ModelConfig(trunk=tiny_trunk, channels=64, decoder_layers=1, size=(64, 96))).eval()
    for parameter in tiny.parameters():  # as made, it answers the middle of any picture
        parameter.data += 0.05 * torch.randn_like(parameter)
    save_model(path, tiny, {})
    assert inspect.signature(evaluate).parameters["engine"].default == "torch"  # as the published figures
    samples, cpu, said = load(pack)[:8], torch.device("cpu"), []
    for name in ("torch", "openvino"):
        found = examine(pack, RunConfig(weights=str(path), device="cpu", engine=name), limit=8)
        assert found.facts["engine"] == name
        said.append(answer(open_model(path, name, cpu)[0], samples, flip=True))
    assert np.ptp(said[0].xy, axis=0).max() > 1  # px: the answers do depend on the picture
    np.testing.assert_allclose(said[1].xy, said[0].xy, atol=0.01)
    np.testing.assert_allclose(said[1].scores, said[0].scores, atol=1e-4)
    np.testing.assert_allclose(said[1].errors, said[0].errors, atol=0.01)


def bundled(first: int) -> list[Any]:
    """Every thirtieth frame of the bundled clip, from that one on."""
    source = open_source(str(DEMO_CLIP), SourceOptions(frames=(first, 150), stride=30))
    images = [item.image for item in source if isinstance(item, Frame)]
    source.close()
    return images


@pytest.fixture(scope="module")
def pair() -> tuple[PoseEstimator, PoseEstimator]:
    made = [PoseEstimator(device="cpu", engine=name, full_precision=True) for name in ("openvino", "torch")]
    return made[0], made[1]


@needs_openvino
def test_the_bundled_clip_gives_the_same_people(pair: tuple[PoseEstimator, PoseEstimator]) -> None:
    fast, plain = pair
    assert (fast.engine, plain.engine) == ("openvino", "torch")
    images = bundled(0)
    images.append(np.ascontiguousarray(np.rot90(images[0])))  # a portrait input
    people = [fast.detect([image])[0] for image in images]
    expected = [plain.detect([image])[0] for image in images]
    for got, want in zip(people, expected, strict=True):
        np.testing.assert_allclose(got.boxes, want.boxes, atol=0.01)
        np.testing.assert_allclose(got.scores, want.scores, atol=1e-3)
    # the same boxes for both, for a crop's grey values jump by one where its box moves by a thousandth of a pixel
    poses = [model.poses(images, expected) for model in pair]
    assert sum(map(len, poses[0])) >= 5
    for got, want in zip(*poses, strict=True):
        np.testing.assert_allclose(got.xy, want.xy, atol=0.01)
        np.testing.assert_allclose(got.scores, want.scores, atol=1e-3)
        np.testing.assert_allclose(got.errors, want.errors, atol=0.01)
    whole = [model.predict(images[0]) for model in pair]
    np.testing.assert_allclose(whole[0].xy, whole[1].xy, atol=0.1)


@needs_openvino
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_person_of_a_video_has_the_same_pose_in_every_batch(precision: str) -> None:
    """Resumed runs meet batches of other sizes; they equal the original to the bit because kernels do."""
    together, alone = (
        PoseEstimator(device="cpu", engine="openvino", precision=precision, full_precision=True) for _ in "ab"
    )
    images = bundled(0)[:4]
    people = together.detect(images, steady=True)
    for image, found in zip(images, people, strict=True):
        (again,) = alone.detect([image], steady=True)
        np.testing.assert_array_equal(again.boxes, found.boxes)
        np.testing.assert_array_equal(again.scores, found.scores)
    assert 5 <= sum(map(len, people)) <= 8
    for image, found, poses in zip(images, people, together.poses(images, people, steady=True), strict=True):
        for i in range(len(found)):
            only = Detections(found.boxes[i : i + 1], found.scores[i : i + 1])
            (one,) = alone.poses([image], [only], steady=True)
            for name in ("xy", "scores", "errors"):
                np.testing.assert_array_equal(getattr(one, name)[0], getattr(poses, name)[i])


def test_live_pictures_get_bfloat16_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_obstacle", lambda device, precision: None if device == "cpu" else ("on a GPU", "-"))
    assert engine.quickest("auto", "cpu", "auto") == "bf16"
    assert engine.quickest("fp32", "cpu", "auto") == "fp32"  # asked for
    assert engine.quickest("auto", "cpu", "torch") == "auto"
    assert engine.quickest("auto", "cuda", "auto") == "auto"
    monkeypatch.setattr(engine, "_obstacle", lambda device, precision: ("this processor has no bf16", "-"))
    assert engine.quickest("auto", "cpu", "openvino") == "auto"


def test_auto_falls_back_and_says_so_and_openvino_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise RuntimeError("OpenVINO does not take this network: of lead")

    monkeypatch.setattr(engine, "_obstacle", lambda *_: None)
    monkeypatch.setattr(engine.packages, "version", lambda _: "1")
    monkeypatch.setattr(compiled, "compile_network", refuse)
    model = PoseEstimator(device="cpu", detector="none", engine="auto")
    assert model.engine == "torch"
    assert model.engine_reason == "auto: OpenVINO does not take this network: of lead"
    assert model.kernel_reason.startswith("the model runs on cpu")
    assert len(model.predict(np.zeros((64, 48, 3), np.uint8))) == 1
    with pytest.raises(DeviceError, match=r"of lead; try: --engine torch"):
        PoseEstimator(device="cpu", detector="none", engine="openvino")


def test_the_recording_names_the_engine(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["video", "synthetic:160x120@25", "--frames", "0:1", "--detector", "none", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["tfpose-rt", *words, "--engine", "torch", "-o", "-"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    header = json.loads(capsys.readouterr().out.splitlines()[0])
    assert header["engine"] == {"name": "torch", "reason": "asked for"}
    schema = json.loads((Path(engine.__file__).parent / "io" / "recording.schema.json").read_text())
    jsonschema.validate(header, schema)


@pytest.mark.parametrize("command", ["video", "webcam", "serve", "bench pipeline"])
def test_a_wrong_engine_is_one_line(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["tfpose-rt", *command.split(), "synthetic:160x120@25", "--engine", "onnx"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "--engine onnx: unknown; try: --engine auto, torch or openvino" in capsys.readouterr().err


@needs_openvino
def test_eight_bits_find_the_same_people_nearly_there(pair: tuple[PoseEstimator, PoseEstimator]) -> None:
    plain, rounded = pair[0], PoseEstimator(device="cpu", precision="int8", full_precision=True)
    assert (rounded.precision, rounded.engine) == ("int8", "openvino")
    images = bundled(15)
    expected = [plain.detect([image])[0] for image in images]
    for image, want in zip(images, expected, strict=True):
        got = rounded.detect([image])[0]
        for box in want.boxes[want.scores > 0.5]:
            assert np.abs(got.boxes - box).max(1).min() < 12  # px of 960
    rough, exact = rounded.poses(images, expected), plain.poses(images, expected)
    near, there = (np.concatenate([p.xy for p in poses]) for poses in (rough, exact))
    sure = np.concatenate([p.scores for p in exact]) > 0.8
    apart = np.linalg.norm(near - there, axis=-1)[sure]
    assert len(apart) > 50
    assert 0.01 < np.median(apart) < 2  # px: it is another computation, and a close one
    assert np.quantile(apart, 0.95) < 8


def test_eight_bits_are_openvinos_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError, match="--precision int8 cannot be used: torch emulates it, slowly"):
        engine.choose_engine("torch", "cpu", "int8")
    with pytest.raises(DeviceError, match="the networks run on cuda; try: --device cpu"):
        engine.choose_engine("auto", "cuda", "int8")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(DeviceError) as caught:
        engine.choose_engine("auto", "cpu", "int8")  # nothing else can do it: no silent float32
    assert caught.value.fix == 'pip install "tfpose-rt[openvino]"'
    assert caught.value.exit_code == 6
