"""A labelled set made here, and what is shown and counted of it."""

import json
import math
import tarfile

import cv2
import numpy as np
import pytest
import torch

from tfpose_rt import skeleton
from tfpose_rt.config import ModelConfig, RunConfig
from tfpose_rt.crop import ENLARGE
from tfpose_rt.errors import InputError, OutputError, UsageError
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.model.weights import save_model
from tfpose_rt.tools.diagnose import GUESSES, diagnose
from tfpose_rt.tools.worst import Look, look, parser, pick, report, run, tile
from tfpose_rt.training.data import Sample
from tfpose_rt.training.validate import Answers

TINY = {"trunk": "resnet18", "channels": 64, "decoder_layers": 1, "size": (64, 96)}
PEOPLE = 7


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small TFPose that has learned nothing."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_model(path, TFPose(ModelConfig(**TINY)).eval(), {})
    return path


def joints(x, y):
    """17 labelled joints of a person of 60 x 120 px at (x, y)."""
    rng = np.random.default_rng(x)
    return np.concatenate((rng.uniform((x, y), (x + 60, y + 120), (17, 2)), np.full((17, 1), 2)), 1).round(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four pictures in COCO's layout, two people on each but the last, who has two labelled joints."""
    home = tmp_path_factory.mktemp("set")
    (home / "images").mkdir()
    annotations = []
    for number in range(PEOPLE):
        image, x = number // 2, 20 + 100 * (number % 2)
        points = joints(x, 30)
        if number == PEOPLE - 1:
            points[2:] = 0
        annotations.append({
            "id": 100 + number, "image_id": image, "category_id": 1, "iscrowd": 0, "area": 4000.0,
            "bbox": [x, 30, 60, 120], "num_keypoints": int((points[:, 2] > 0).sum()),
            "keypoints": points.ravel().tolist(),
        })  # fmt: skip
    images = [{"id": i, "file_name": f"{i}.png", "width": 240, "height": 180} for i in range(4)]
    for image in images:
        cv2.imwrite(str(home / "images" / image["file_name"]), np.full((180, 240, 3), 90, np.uint8))
    (home / "annotations.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]})
    )
    return home


def arguments(folder, weights, out, *more):
    return parser().parse_args([str(folder), "--weights", str(weights), "-o", str(out), "--device", "cpu", *more])


def test_picture_and_figures_of_a_set(folder, weights, tmp_path):
    out, figures = tmp_path / "worst.png", tmp_path / "worst.json"
    said = run(arguments(folder, weights, out, "--count", "6", "--json", str(figures)))
    told = json.loads(figures.read_text())
    rows = told["rows"]
    assert (told["model"], told["data"], told["people"]) == ("tiny", folder.name, PEOPLE)
    assert told["low"] == sum(row["oks"] < 0.5 for row in rows)  # one that learned nothing is right about few
    assert told["low"] >= 5
    medium = told["guesses"]["medium"]
    assert sum(medium[word] for word in GUESSES) == medium["low"] == told["low"]
    assert medium["people"] == PEOPLE
    assert told["shown"] == [row["id"] for row in rows[:6]]
    assert [row["oks"] for row in rows] == sorted(row["oks"] for row in rows)
    assert {row["id"]: row["guesses"] for row in rows}["106"][0] == "few joints"
    image = cv2.imread(str(out))
    assert image.shape[1] == 5 * 256 + 6 * 6  # five columns of 2 : 3
    assert image.shape[0] > 2 * 384
    assert "few joints                 1" in said


def test_what_stands_there_is_replaced_only_when_asked(folder, weights, tmp_path):
    out = tmp_path / "worst.png"
    out.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists"):
        run(arguments(folder, weights, out))
    assert out.read_bytes() == b"mine"
    run(arguments(folder, weights, out, "--overwrite", "--only", "few joints"))
    assert cv2.imread(str(out)).shape[1] < 2 * 256 + 20  # the one person


def test_requests_that_make_no_sense(folder, weights, tmp_path):
    for words in (["--count", "0"], ["--batch", "0"]):
        with pytest.raises(UsageError, match="at least 1"):
            run(arguments(folder, weights, tmp_path / "x.png", *words))
    with pytest.raises(UsageError, match="picture"):
        run(arguments(folder, weights, tmp_path / "x.txt"))
    with pytest.raises(InputError, match="nobody to show"):
        run(arguments(folder, weights, tmp_path / "x.png", "--min-joints", "18"))
    assert not (tmp_path / "x.png").exists()


def test_other_layouts_are_refused(folder, tmp_path):
    path = tmp_path / "mpii.safetensors"
    save_model(path, TFPose(ModelConfig(**TINY, keypoints=16)).eval(), {})
    with pytest.raises(UsageError, match="16 joints"):
        look(folder, RunConfig(weights=str(path), device="cpu"))


def test_people_of_a_packs_crops_are_nobodys_neighbours(weights, tmp_path):
    """Crops of one photograph share its name and not its pixels."""
    blob = cv2.imencode(".webp", np.full((180, 100, 3), 90, np.uint8))[1].tobytes()
    rows = []
    (tmp_path / "crop.webp").write_bytes(blob)
    with tarfile.open(tmp_path / "train-00.tar", "w") as tar:
        for key in ("a", "b"):
            tar.add(tmp_path / "crop.webp", f"{key}.webp")
            rows.append({
                "key": key, "image": "photo", "source": "coco", "box": [20.0, 30.0, 80.0, 150.0],
                "keypoints": joints(20, 30).tolist(), "confidence": [1.0] * 17,
            })  # fmt: skip
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    seen = look(tmp_path, RunConfig(weights=str(weights), device="cpu"))
    assert [(case.rival, case.other) for case in seen.cases] == [(-1, 0), (-1, 0)]
    assert seen.row(seen.cases[0])["rival"] is None


def arm(at):
    """A left forearm from `at`, 40 px long, level; other joints far outside."""
    xy = np.full((17, 2), -999, np.float32)
    xy[skeleton.INDEX["left_elbow"]], xy[skeleton.INDEX["left_wrist"]] = at, (at[0] + 40, at[1])
    return xy


def a_look(*answers):
    """People on a black picture whose left forearm is labelled at (80, 90); their box is 60 x 90 px."""
    weight = np.zeros(17, np.float32)
    weight[[skeleton.INDEX["left_elbow"], skeleton.INDEX["left_wrist"]]] = 1
    samples = [
        Sample(
            str(i), f"{i}.jpg", "made", lambda: np.zeros((200, 200, 3), np.uint8),
            np.array([70, 55, 130, 145], np.float32), arm((80, 90)), weight, 5400.0 * (i + 1),
        )
        for i in range(len(answers))
    ]  # fmt: skip
    xy = np.stack(answers)
    scores, errors = np.zeros((2, *xy.shape[:2]), np.float32)
    said = Answers(xy, scores, errors, np.stack([s.box for s in samples]))
    return Look({"model": "m", "data": "d"}, (192, 256), samples, said, diagnose(xy, samples))


def test_a_tile_shows_the_label_in_white_and_the_answer_in_colour():
    """The crop is `ENLARGE` times the box high, so that 383 px of the tile show 90 px times that of the picture."""
    seen = a_look(arm((80, 110)))
    image = tile(seen, seen.cases[0])
    factor = 383 / (90 * ENLARGE)
    x = round((100 - 100) * factor + 287 / 2)
    label, answer = (round((y - 100) * factor + 383 / 2) for y in (90, 110))
    assert (image[label, x] > 150).all()  # a thin line, between two rows of pixels
    assert np.ptp(image[label, x]) == 0
    assert tuple(image[answer, x]) == skeleton.LEFT_BGR
    assert tuple(image[(label + answer) // 2, x]) == (0, 0, 0)
    assert image.shape[1] == 288
    assert image.shape[0] > 384 + 4 * 17


def test_the_lowest_come_first():
    seen = a_look(arm((80, 96)), arm((80, 300)), arm((80, 90)), arm((80, 200)))
    order = [case.number for case in pick(seen.cases, 3)]
    assert order == [1, 3, 0]
    assert pick(seen.cases, 9, only="lost") == []
    assert pick(seen.cases, 9, joints=3) == []
    assert len(pick(seen.cases, 9, only="few joints", joints=2)) == 4
    assert math.isnan(seen.cases[0].tilt)
    assert seen.row(seen.cases[0])["tilt"] is None


def test_the_table_adds_up():
    seen = a_look(arm((80, 300)), arm((80, 90)))
    lines = {line[:20].strip(): line[20:].split() for line in report(seen).splitlines()}
    assert lines["by area"] == ["medium", "large", "all"]
    assert lines["people"] == ["1", "1", "2"]
    assert lines["OKS < 0.5"] == lines["few joints"] == ["1", "0", "1"]
    assert lines["small (< 64 px)"] == ["0", "0", "0"]
