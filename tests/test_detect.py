from __future__ import annotations

import hashlib
import json
import os
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpose_rt import assets, yolo
from tfpose_rt.detect import Letterbox, PersonDetector, WholeFrame, load_network, open_detector, person_class, suppress
from tfpose_rt.errors import UsageError, WeightsError

SIDE = st.integers(8, 3000)


def picture(width: int = 333, height: int = 250, seed: int = 3) -> np.ndarray:
    """Blurred noise with a few upright blobs: enough for faint boxes, nothing anybody has drawn."""
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(rng.integers(0, 255, (height, width, 3), dtype=np.uint8), (0, 0), 5)
    for x in range(60, width, 90):
        cv2.ellipse(image, (x, height // 2), (22, height // 3), 0, 0, 360, rng.integers(0, 255, 3).tolist(), -1)
        cv2.circle(image, (x, height // 8), 16, (140, 170, 220), -1)
    return image


@pytest.fixture(scope="module")
def detector() -> PersonDetector:
    return PersonDetector(conf=1e-5)


@given(width=SIDE, height=SIDE)
@settings(deadline=None, max_examples=60)
def test_letterbox_carries_corners_of_the_frame_onto_corners_of_its_place(width: int, height: int) -> None:
    box = Letterbox.fit(width, height, 640)
    x0, y0 = box.left, box.top
    placed = np.array([[x0, y0, x0 + box.inner[0], y0 + box.inner[1]]], np.float64)
    expected = [[-0.5, -0.5, width - 0.5, height - 0.5]]
    np.testing.assert_allclose(box.back(placed, width, height), expected, atol=1e-6)
    assert max(box.inner) == 640
    assert box.size[0] % 32 == box.size[1] % 32 == 0


def test_letterbox_by_hand() -> None:
    box = Letterbox.fit(1280, 720, 640)
    assert (box.size, box.inner, box.left, box.top, box.scale) == ((640, 384), (640, 360), 0, 12, (0.5, 0.5))
    # 2 px into the padded picture from its top edge is row -20 of the frame: clipped to its edge.
    back = box.back(np.array([[10.0, 2.0, 20.0, 112.0]]), 1280, 720)
    assert back.tolist() == [[19.5, -0.5, 39.5, 199.5]]


def test_padding_is_grey_114() -> None:
    out = Letterbox.fit(640, 400, 640).apply(np.zeros((400, 640, 3), np.uint8))
    assert out.shape == (416, 640, 3)
    assert (out[:8] == 114).all()
    assert (out[8:408] == 0).all()
    assert (out[408:] == 114).all()


def people() -> np.ndarray:
    """A frame of the bundled clip."""
    capture = cv2.VideoCapture(str(Path(assets.__file__).parent / "clips/demo.mp4"))
    capture.set(cv2.CAP_PROP_POS_FRAMES, 20)
    return np.asarray(capture.read()[1], np.uint8)


# Sizes at which ultralytics' own way back to the frame is exact: at others it is up to half a pixel off.
PICTURES = {"clip": people, **{f"{w}x{h}": partial(picture, w, h) for w, h in ((320, 240), (240, 320), (800, 100))}}


@pytest.mark.parametrize("name", PICTURES)
def test_boxes_equal_ultralytics_own_letterbox_head_and_suppression(detector: PersonDetector, name: str) -> None:
    tasks = yolo.load()
    from ultralytics.data.augment import LetterBox
    from ultralytics.utils.nms import non_max_suppression
    from ultralytics.utils.ops import scale_boxes

    image = PICTURES[name]()
    told = json.loads((assets.ROOT / "weights/yolo26n.json").read_text())
    from safetensors.torch import load_file

    theirs = tasks.DetectionModel(dict(told["architecture"]), verbose=False)
    theirs.load_state_dict({k: v.float() for k, v in load_file(assets.ROOT / "weights/yolo26n.safetensors").items()})
    boxed = LetterBox((640, 640), auto=True, stride=32)(image=image)
    x = torch.from_numpy(boxed[..., ::-1].transpose(2, 0, 1).copy())[None].float() / 255
    theirs = theirs.eval().fuse(verbose=False)
    with torch.inference_mode():
        decoded = theirs(x)[0]
    persons = torch.cat([decoded[:, :4], decoded[:, 4:5]], 1)  # class 0 of COCO
    expected = non_max_suppression(persons, 1e-5, 0.7, nc=1)[0]
    boxes = scale_boxes(x.shape[2:], expected[:, :4], image.shape[:2]).numpy() - 0.5
    found = detector.detect([image])[0]
    large = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(1)
    assert large.sum() >= 3  # else this says nothing
    np.testing.assert_allclose(found.boxes, boxes[large], atol=0.02)
    np.testing.assert_allclose(found.scores, expected[:, 4].numpy()[large], atol=1e-4)


def test_people_of_the_bundled_clip_are_found() -> None:
    image = people()
    found = PersonDetector().detect([image])[0]
    assert len(found) >= 1
    assert found.scores[0] > 0.7
    x0, y0, x1, y1 = found.boxes.T
    assert (x0 >= -0.5).all()
    assert (y0 >= -0.5).all()
    assert (x1 <= image.shape[1] - 0.5).all()
    assert (y1 <= image.shape[0] - 0.5).all()
    assert (y1 - y0 > x1 - x0).any()  # somebody stands or walks


@pytest.mark.parametrize("count", [0, 1, 2, 400])
def test_suppression_is_torchvisions(count: int) -> None:
    from torchvision.ops import nms

    random = torch.Generator().manual_seed(count)
    corner, side = torch.rand(count, 2, generator=random) * 300, torch.rand(count, 2, generator=random) * 200 + 1
    boxes, scores = torch.cat([corner, corner + side], 1), torch.rand(count, generator=random)
    for iou in (0.3, 0.7, 1.0):
        assert suppress(boxes.numpy(), scores.numpy(), iou, count).tolist() == nms(boxes, scores, iou).tolist()


def test_a_batch_of_mixed_sizes_answers_as_each_frame_alone(detector: PersonDetector) -> None:
    images = [picture(333, 250, 1), picture(250, 333, 2), picture(333, 250, 4)]
    for together, image in zip(detector.detect(images), images, strict=True):
        alone = detector.detect([image])[0]
        assert len(alone) >= 3  # else this says nothing
        np.testing.assert_allclose(together.boxes, alone.boxes, atol=0.02)


def test_nobody_gives_no_boxes_of_the_right_shape() -> None:
    found = PersonDetector().detect([np.full((120, 160, 3), 127, np.uint8)])[0]
    assert found.boxes.shape == (0, 4)
    assert found.scores.shape == (0,)
    assert PersonDetector().detect([]) == []


def test_records_are_read_only(detector: PersonDetector) -> None:
    found = detector.detect([picture()])[0]
    with pytest.raises(ValueError, match="read-only"):
        found.boxes[0] = 0


def test_whole_frame_is_one_box() -> None:
    found = open_detector("none").detect([np.zeros((48, 64, 3), np.uint8)])[0]
    assert found.boxes.tolist() == [[-0.5, -0.5, 63.5, 47.5]]
    assert found.scores.tolist() == [1.0]
    assert WholeFrame().box_from == "full"


@pytest.mark.parametrize(
    "options", [{"det_size": 600}, {"det_size": 0}, {"conf": 1.5}, {"iou": 0.0}, {"precision": "x"}]
)
def test_values_out_of_range_are_usage_errors(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        PersonDetector(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (0, 4, 3)])
def test_images_of_another_shape_are_refused(detector: PersonDetector, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="uint8"):
        detector.detect([np.zeros(shape, np.uint8)])


def test_the_person_class_is_found_by_name() -> None:
    assert person_class({0: "dog", 7: "person"}, "x") == 7
    assert person_class({0: "athlete"}, "x") == 0
    with pytest.raises(WeightsError, match="finds no people"):
        person_class({0: "dog", 1: "cat"}, "x")


def test_damaged_and_foreign_weights_say_so(tmp_path: Path) -> None:
    whole = (assets.ROOT / "weights/yolo26n.safetensors").read_bytes()
    told = (assets.ROOT / "weights/yolo26n.json").read_text()
    short, alone, text, other = (tmp_path / f"{n}.safetensors" for n in ("short", "alone", "text", "other"))
    short.write_bytes(whole[:100_000])
    alone.write_bytes(whole)
    text.write_text("not weights")
    for path in (short, text):
        path.with_suffix(".json").write_text(told)
    other.write_bytes(whole)
    other.with_suffix(".json").write_text(told.replace('"scale": "n"', '"scale": "s"'))
    for path, words in [
        (short, "whole safetensors"), (text, "whole safetensors"), (alone, "not beside it"), (other, "do not fit"),
        (tmp_path / "absent.pt", "no such file"),
    ]:  # fmt: skip
        with pytest.raises(WeightsError, match=words) as caught:
            PersonDetector(path)
        assert "\n" not in str(caught.value)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "owned",))

    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match=r"cannot read evil\.pt"):
        PersonDetector(tmp_path / "evil.pt")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("name", ["yolo11n-pose.yaml", "yolov8n-seg.yaml", "yolo26n.yaml"])
@pytest.mark.parametrize("end_to_end", [False, True])
def test_other_heads_decode_as_ultralytics_does(name: str, end_to_end: bool) -> None:
    """With bins for the sides or without, with joints or masks beside the boxes; random weights."""
    tasks = yolo.load()
    task = {"pose": "pose", "seg": "segment"}.get(name[:-5].split("-")[-1], "detect")
    told = tasks.yaml_model_load(name)
    torch.manual_seed(1)
    theirs = getattr(tasks, yolo.TASKS[task])(dict(told), verbose=False).eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.2)
    state = {key: tensor.clone() for key, tensor in theirs.state_dict().items()}
    ours = yolo.person_network(yolo.build(told, state, task=task), 0, end_to_end=end_to_end)
    two_heads = told.get("end2end", False)
    x = torch.rand(2, 3, 96, 64)
    with torch.inference_mode():
        raw = theirs(x)[1]
        head = theirs.model[-1]
        raw = raw["one2one" if end_to_end else "one2many"] if two_heads else raw
        head.xyxy = True
        boxes, scores = head._get_decode_boxes(raw), raw["scores"][:, :1].sigmoid()
        np.testing.assert_allclose(ours(x).numpy(), torch.cat([boxes, scores], 1).numpy(), atol=2e-3, rtol=1e-4)


def test_a_pt_whose_file_tells_another_number_of_classes(tmp_path: Path) -> None:
    """As yolo11n-pose.pt does: its YAML says 80, its head has one."""
    tasks = yolo.load()
    model = tasks.PoseModel("yolo11n-pose.yaml", nc=1, data_kpt_shape=(17, 3), verbose=False)
    model.yaml["nc"] = 80
    model.names = {0: "person"}
    torch.save({"model": model, "version": "8.4.0"}, tmp_path / "own.pt")
    checkpoint = yolo.read_pt(tmp_path / "own.pt")
    assert (checkpoint.task, checkpoint.names, checkpoint.made_by) == ("pose", {0: "person"}, "8.4.0")
    found = PersonDetector(tmp_path / "own.pt", conf=0.0, det_size=96).detect([picture(64, 96)])[0]
    assert found.boxes.shape[1] == 4


@pytest.mark.slow
def test_the_shipped_network_answers_as_the_original_pt_through_ultralytics() -> None:
    data = Path(os.environ["TFPOSE_DATA"])
    original = data / "models/yolo26n.pt"
    assert hashlib.sha256(original.read_bytes()).hexdigest().startswith("9b09cc8bf347")
    images = [cv2.imread(str(p)) for p in sorted((data / "data/pose-dev/images").iterdir())[:12]]
    ours = PersonDetector(conf=0.25)
    rebuilt, read = load_network(assets.resolve("yolo-n")), load_network(original)
    x = torch.rand(1, 3, 320, 416, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(rebuilt(x), read(x))
    yolo.load()
    from ultralytics import YOLO

    theirs = YOLO(str(original))
    people = 0
    for image in images:
        found = ours.detect([image])[0]
        answer = theirs.predict(image, imgsz=640, conf=0.25, iou=0.7, classes=[0], verbose=False, device="cpu")[0].boxes
        # Theirs drops an anchor where another class is likelier than a person; ours keeps it.
        boxes, scores = answer.xyxy.numpy() - 0.5, answer.conf.numpy()
        for box, score in zip(boxes, scores, strict=True):
            gap = np.abs(found.boxes - box).max(1) + np.abs(found.scores - score)
            assert gap.min() < 0.05
        assert 0 <= len(found) - len(boxes) <= 1
        people += len(boxes)
    assert people > 20


@pytest.mark.slow
def test_box_ap_is_that_of_the_start_weights() -> None:
    from tfpose_rt.tools.box_ap import box_ap

    assert box_ap(Path(os.environ["TFPOSE_DATA"]) / "data/pose-dev")["ap"] == pytest.approx(51.9, abs=0.5)
