"""export: other runtimes answer as the model does, know what they need to, and nothing is written that does not."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from program import run_program

from tfpose_rt import assets
from tfpose_rt.config import ModelConfig, SourceOptions
from tfpose_rt.errors import OutputError, TfposeError, UsageError, WeightsError
from tfpose_rt.estimator import PoseEstimator
from tfpose_rt.io.sources import open_source
from tfpose_rt.model.backbone import BACKBONES
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.model.weights import load_model, save_model
from tfpose_rt.records import Detections, Frame, frozen
from tfpose_rt.skeleton import NAMES
from tfpose_rt.tools import export as tool
from tfpose_rt.tools.export_check import pictures
from tfpose_rt.tools.export_formats import FORMATS, load_onnxruntime
from tfpose_rt.tools.export_network import open_network
from tfpose_rt.tools.showcase import DEMO_CLIP

ROOT = Path(__file__).parents[2]
# few nodes, for the exporter's time grows with them
TINY = ModelConfig(
    name="tiny", trunk="patches", channels=32, points=1, decoder_layers=1, ffn=1, size=(64, 96), strides=(32,)
)  # fmt: skip


class Patches(torch.nn.Module):
    """A trunk of one convolution, each cell of which sees its own 32 x 32 px."""

    strides, channels = (32,), (8,)

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 32, 32)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [self.conv(images)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A model that is not trained, but whose answers hang on the picture."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "patches", lambda strides: Patches())
        torch.manual_seed(0)
        model = TFPose(TINY).eval()
        for head in model.heads:
            torch.nn.init.normal_(head.last.weight, std=0.3)
        torch.nn.init.normal_(model.start.linear.weight, std=0.05)
        path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
        save_model(path, model, {"licence": "CC0-1.0", "calibrated": "nobody"})
        yield path


@pytest.fixture(scope="module")
def onnx(tiny: Path) -> tool.Exported:
    return tool.export(str(tiny), out=tiny.with_name("tiny.onnx"))


def test_onnx_answers_as_torch_in_pixels(tiny: Path, onnx: tool.Exported) -> None:
    assert onnx.difference is not None
    assert onnx.difference.px < 0.01
    assert (onnx.difference.of, onnx.difference.people) == (8, 8 * 17)
    session = load_onnxruntime().InferenceSession(onnx.files[0])
    images = pictures(open_network(tiny))[:3]
    xy, scores, errors = session.run(None, {"images": images})
    with torch.no_grad():
        places, sure, off = load_model(tiny)[0](torch.from_numpy(images))
    np.testing.assert_allclose(xy, places.numpy() * [64, 96] - 0.5, atol=0.01)
    np.testing.assert_allclose(scores, sure.numpy(), atol=1e-3)
    np.testing.assert_allclose(errors, off.numpy(), atol=0.01)
    assert xy.std(0).max() > 1  # the pictures are not alike, and neither are the answers


def test_onnx_tells_a_stranger_everything_and_nothing_of_this_machine(tiny: Path, onnx: tool.Exported) -> None:
    session = load_onnxruntime().InferenceSession(onnx.files[0])
    (given,), answers = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape, given.type) == ("images", ["batch", 3, 96, 64], "tensor(float)")
    assert [(a.name, a.shape[1:]) for a in answers] == [("keypoints", [17, 2]), ("scores", [17]), ("errors", [17])]
    facts = session.get_modelmeta().custom_metadata_map
    assert facts == dict(onnx.facts)
    assert json.loads(facts["input_size"]) == [64, 96]
    assert json.loads(facts["keypoints"]) == list(NAMES)
    assert [9, 7] in [sorted(edge, reverse=True) for edge in json.loads(facts["skeleton"])]  # left wrist, left elbow
    assert (facts["channel_order"], facts["input_layout"], json.loads(facts["input_range"])) == ("RGB", "NCHW", [0, 1])
    assert (facts["licence"], facts["score_kind"], facts["precision"]) == ("CC0-1.0", "calibrated", "fp32")
    assert facts["weights_sha256"] == assets.sha256(tiny)
    content = onnx.files[0].read_bytes()
    for word in (str(ROOT), str(Path.home()), "site-packages", "stack_trace"):
        assert word.encode() not in content


def test_the_page_about_it_does_what_the_program_does(
    tiny: Path, onnx: tool.Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its code, run as it stands, beside the estimator on the same picture and box."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "tfpose-n.onnx").write_bytes(onnx.files[0].read_bytes())
    source = open_source(str(DEMO_CLIP), SourceOptions(frames=(0, 1)))
    frame = next(f for f in source if isinstance(f, Frame)).image
    source.close()
    small = cv2.resize(frame, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(tmp_path / "photo.jpg"), small)
    box = re.search(r"^box = (.*?)  #", code, re.MULTILINE)
    assert box is not None
    monkeypatch.chdir(tmp_path)
    code = code.replace(box[1], "313.2, 117.2, 336.0, 204.4")
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "1")
    seen: dict[str, object] = {}
    exec(code, seen)  # the document's own lines
    estimator = PoseEstimator(weights=str(tiny), detector="none", device="cpu", engine="torch", full_precision=True)
    person = Detections(frozen([[313.2, 117.2, 336.0, 204.4]]), frozen([1.0]))
    (poses,) = estimator.poses([cv2.imread("photo.jpg")], [person])
    np.testing.assert_allclose(seen["xy"], poses.xy[0], atol=0.02)
    np.testing.assert_allclose(seen["scores"], poses.scores[0], atol=1e-3)
    np.testing.assert_allclose(seen["errors"], poses.errors[0], atol=0.02)
    assert "left_wrist" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["openvino", "torchscript"])
def test_other_formats_answer_as_torch_and_carry_the_same_facts(tiny: Path, tmp_path: Path, name: str) -> None:
    made = tool.export(str(tiny), name, tmp_path / f"tiny{FORMATS[name].suffix}")
    assert made.difference is not None
    assert made.difference.px < 0.01
    assert sorted(tmp_path.iterdir()) == sorted(made.files)
    if name == "torchscript":
        with zipfile.ZipFile(made.files[0]) as archive:
            (kept,) = (name for name in archive.namelist() if name.endswith("/extra/metadata.json"))
            assert json.loads(archive.read(kept)) == dict(made.facts)
    else:
        text = made.files[0].read_text(encoding="utf-8")
        assert f'<weights_sha256 value="{assets.sha256(tiny)}" />' in text
        assert '<layer id="0" name="images"' in text


def test_half_precision_halves_the_weights_and_keeps_places(tiny: Path, tmp_path: Path) -> None:
    bins = []
    for precision in ("fp32", "fp16"):
        made = tool.export(str(tiny), "openvino", tmp_path / f"{precision}.xml", precision=precision, check=False)
        bins.append(made.files[1].stat().st_size)
    assert bins[1] < 0.6 * bins[0]
    half = open_network(tiny, half=True)
    plain = open_network(tiny)
    kinds = {key: value.dtype for key, value in half.network.state_dict().items()}
    assert kinds["model.trunk.conv.weight"] == torch.float16
    assert {kinds["model.calibration"], kinds["model.start.constant"], kinds["size"]} == {torch.float32}
    images = torch.from_numpy(pictures(plain))
    with torch.inference_mode():
        (xy, scores, errors), (want, sure, off) = half.network(images), plain.network(images)
    assert (xy.dtype, scores.dtype, errors.dtype) == (torch.float32,) * 3
    assert (errors - off).abs().max() < 0.5
    assert 0 < (xy - want).abs().max() < 0.5
    assert (scores - sure).abs().max() < 0.01


def test_one_picture_at_a_time(tiny: Path, tmp_path: Path) -> None:
    made = tool.export(str(tiny), out=tmp_path / "one.xml", free="none")
    assert made.facts["free"] == "none"
    run = FORMATS["openvino"].run(made.files[0])
    images = pictures(open_network(tiny))
    assert run(images[:1])[0].shape == (1, 17, 2)
    with pytest.raises(RuntimeError):
        run(images[:2])


def test_a_file_that_answers_differently_is_not_written(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = FORMATS["torchscript"]

    def aside(path: Path):
        run = moved.run(path)
        return lambda images: [run(images)[0] + np.float32(0.11), *run(images)[1:]]

    monkeypatch.setitem(tool.FORMATS, "torchscript", replace(moved, run=aside))
    out = tmp_path / "tiny.torchscript"
    code, _, err = run_program(monkeypatch, capsys, "export", tiny, "-o", out)
    assert (code, list(tmp_path.iterdir())) == (5, [])
    assert "up to 0.11 px" in err
    assert "limit in fp32 is 0.1 px" in err
    code, _, err = run_program(monkeypatch, capsys, "export", tiny, "-o", out, "--no-check")
    assert (code, out.is_file()) == (0, True)
    assert "not looked for" in err
    with pytest.raises(OutputError):
        tool.export(str(tiny), out=out)
    none = [np.full((8, 17, 2), np.nan), *np.zeros((2, 8, 17))]
    nothing = replace(moved, run=lambda path: lambda images: [answer[: len(images)] for answer in none])
    monkeypatch.setitem(tool.FORMATS, "torchscript", nothing)
    with pytest.raises(WeightsError, match="nan px"):
        tool.export(str(tiny), out=out, overwrite=True)


@pytest.mark.parametrize(
    ("words", "expected", "said"),
    [
        ("absent.safetensors", 5, "no weights"),
        ("no-such-name", 5, "no weights are called"),
        ("tiny.safetensors --to caffe", 2, "onnx, openvino, torchscript"),
        ("tiny.safetensors -o tiny.caffe", 2, "not the suffix of any format"),
        ("tiny.safetensors --to onnx -o tiny.xml", 2, "not the suffix of onnx"),
        ("tiny.safetensors --precision bf16", 2, "fp32 or fp16"),
        ("tiny.safetensors --dynamic size", 2, "--dynamic batch"),
        ("tiny.safetensors --dynamic all", 2, "none, batch, size"),
        ("tiny.safetensors --to torchscript --dynamic none", 2, "--dynamic batch"),
        ("yolo-n --det-size 600", 2, "multiple of 32"),
        ("tiny.safetensors -o nowhere/tiny.onnx", 4, "no folder nowhere"),
        ("tiny.safetensors -o there.onnx", 4, "there.onnx exists"),
        ("tiny.safetensors -o there.xml", 4, "there.bin exists"),
    ],
)
def test_a_mistake_is_one_line_and_a_code(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: str, expected: int, said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.safetensors").write_bytes(tiny.read_bytes())
    for name in ("there.onnx", "there.bin"):
        (tmp_path / name).write_text("kept")
    code, out, err = run_program(monkeypatch, capsys, "export", *words.split())
    assert (code, out, err.count("\n")) == (expected, "", 1)
    assert said in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["there.bin", "there.onnx", "tiny.safetensors"]


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("onnx", "onnxscript", "export"), ("onnx", "onnxruntime", "export"), ("openvino", "openvino", "openvino")],
)
def test_a_missing_package_is_named_with_its_extra(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not there
    with pytest.raises(UsageError, match=f"{package} is not installed") as caught:
        tool.export(str(tiny), name, tmp_path / f"x{FORMATS[name].suffix}")
    assert caught.value.fix == f"pip install 'tfpose-rt[{extra}]'"


def test_what_a_runtime_says_is_one_line(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no such operator\nand much more")

    monkeypatch.setitem(tool.FORMATS, "onnx", replace(FORMATS["onnx"], write=refuse))
    with pytest.raises(TfposeError) as caught:
        tool.export(str(tiny), out=tmp_path / "x.onnx")
    assert caught.value.why == "RuntimeError: no such operator"
    assert not list(tmp_path.iterdir())
