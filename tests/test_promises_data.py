"""What a person's numbers mean: pixels, names, sides, scores; in every format, and from a picture to the file."""

import json

import cv2
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from clips import make, small
from fake_estimator import FakeEstimator
from known_people import header, results
from program import run_program
from test_batch import Quiet, records, run

from tfpose_rt.config import ModelConfig, RunConfig
from tfpose_rt.estimator import PoseEstimator
from tfpose_rt.io.jsonl import JsonlSink
from tfpose_rt.io.parts import SinkOptions
from tfpose_rt.io.sinks import FORMATS
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.model.weights import save_model
from tfpose_rt.records import Poses
from tfpose_rt.tools.batch import How, run_batch
from tfpose_rt.tools.outputs import plan
from tfpose_rt.tools.recordings import convert
from tfpose_rt.tools.showcase import DEMO_CLIP

# The order of COCO, written out once more.
PARTS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
NAMES = ["nose", *(f"{side}_{part}" for part in PARTS for side in ("left", "right"))]
W, H = 96, 72
RED, LEFT, RIGHT = (10, 20), (70, 40), (33, 41)  # of a nose and two wrists; the person faces us: left is on the right


@pytest.fixture(scope="module")
def estimator():
    """The real one with boxes of whole pictures."""
    return PoseEstimator(RunConfig(detector="none", device="cpu", engine="torch", full_precision=True))


def finder(crops, steady=False):
    """In the network's place: a red dot is the nose; of two green ones the one further right is the left wrist."""
    xy, scores = np.full((len(crops), 17, 2), -0.4), np.full((len(crops), 17), 0.01)  # the others: outside
    size = np.array([crops.shape[2], crops.shape[1]])
    for n, crop in enumerate(crops.astype(int)):
        for channel, joints in ((2, [0]), (1, [9, 10])):
            mask = np.clip(crop[..., channel] - crop[..., 0], 0, 255) * (crop[..., 3 - channel] < 200)
            _, labels = cv2.connectedComponents((mask > 60).astype(np.uint8))
            places = []
            for k in range(1, labels.max() + 1):
                ys, xs = np.nonzero(labels == k)
                weight = mask[ys, xs] / mask[ys, xs].sum()
                places.append([(xs * weight).sum(), (ys * weight).sum()])
            for joint, place in zip(joints, sorted(places, key=lambda p: -p[0]), strict=True):
                xy[n, joint], scores[n, joint] = (np.array(place) + 0.5) / size, 0.9
    return xy, scores, np.ones_like(scores)


def dots(number=0, size=(W, H)):
    image = np.full((size[1], size[0], 3), 60, np.uint8)
    for (x, y), colour in ((RED, (0, 0, 255)), (LEFT, (0, 255, 0)), (RIGHT, (0, 255, 0))):
        image[y - 1 : y + 2, x - 1 : x + 2] = colour
    return image


# ---- 13: pixels, x first, (0, 0) is the middle of the first


@pytest.fixture(scope="module")
def dotted(estimator, tmp_path_factory):
    """A folder with every format of a clip of painted dots, and shares of the picture beside."""
    folder = tmp_path_factory.mktemp("dots")
    make(folder / "a.mkv", codec="ffv1", pix_fmt="bgr0", size=(W, H), paint=dots, stamps=range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimator, "_network", finder)
        how = How(sink=SinkOptions(openpose_layout="coco17"))
        jobs = plan([str(folder / "a.mkv")], [folder], sorted(FORMATS))
        assert run_batch(jobs, lambda: estimator, estimator.run, how, Quiet())[0].exit_code == 0
    convert(folder / "a.jsonl", [(folder / "s.csv", "csv")], options=SinkOptions(normalised=True))
    return folder


def table(rows, joint):
    return rows[f"{NAMES[joint]}_x"][0], rows[f"{NAMES[joint]}_y"][0]


def trc(folder, joint):
    (file,) = folder.glob("*_px_person*.trc")
    cells = file.read_text().splitlines()[5].split("\t")
    return float(cells[2 + 3 * joint]), float(cells[3 + 3 * joint])


def openpose(folder, joint):
    first = sorted((folder / "a_openpose").glob("*_keypoints.json"))[0]
    return json.loads(first.read_text())["people"][0]["pose_keypoints_2d"][3 * joint : 3 * joint + 2]


PLACES = {
    "jsonl": lambda folder, k: records(folder / "a.jsonl")[1]["persons"][0]["keypoints"][k][:2],
    "csv": lambda folder, k: table(pd.read_csv(folder / "a.csv"), k),
    "parquet": lambda folder, k: table(pl.read_parquet(folder / "a.parquet"), k),
    "coco": lambda folder, k: json.loads((folder / "a.json").read_text())[0]["keypoints"][3 * k : 3 * k + 2],
    "openpose": openpose,
    "trc": trc,
}


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_dot_painted_at_10_20_stands_in_the_file_at_10_20(dotted, name):
    for joint, place in ((0, RED), (9, LEFT), (10, RIGHT)):
        np.testing.assert_allclose(PLACES[name](dotted, joint), place, atol=0.15)
    x, y = PLACES[name](dotted, 1)  # an eye outside the picture, and not seen: kept, but for OpenPose
    assert (x, y) == (0, 0) if name == "openpose" else max(x, y) < -30


def test_the_header_says_how_places_are_counted_and_shares_count_from_the_edge(dotted):
    head = records(dotted / "a.jsonl")[0]
    assert (head["coords"], head["left_right"], head["size"]) == ("pixel-centre,y-down", "subject", [W, H])
    assert head["score_kind"] == "calibrated"  # the shipped model's
    x, y = PLACES["jsonl"](dotted, 0)
    shares = pd.read_csv(dotted / "s.csv")
    assert (shares.nose_x[0], shares.nose_y[0]) == pytest.approx(((x + 0.5) / W, (y + 0.5) / H), abs=1e-5)


# ---- 15: left is the person's own


def test_a_mirrored_picture_maps_to_the_other_name_at_w_minus_1_minus_x(estimator, monkeypatch):
    monkeypatch.setattr(estimator, "_network", finder)
    one, other = (estimator.predict(np.ascontiguousarray(p)) for p in (dots(), dots()[:, ::-1]))
    order = [0, *(k + (1 if k % 2 else -1) for k in range(1, 17))]
    seen = [0, 9, 10]
    back = other.xy[0][order] * [-1, 1] + [W - 1, 0]
    np.testing.assert_allclose(back[seen], one.xy[0][seen], atol=0.1)
    np.testing.assert_allclose(one.xy[0][[9, 10]], [LEFT, RIGHT], atol=0.5)


def test_a_mirror_changes_no_number_in_a_file(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("tfpose_rt.estimator.PoseEstimator", FakeEstimator)
    monkeypatch.setattr("tfpose_rt.cli.watch.estimator_rows", lambda _: {})
    monkeypatch.chdir(tmp_path)
    small(tmp_path / "a.mp4", 8)
    for name, more in (("x", []), ("y", ["--mirror"])):
        words = ["video", "a.mp4", "-o", f"{name}.jsonl", "-o", f"{name}.csv", "-q", *more]
        assert run_program(monkeypatch, capsys, *words)[0] == 0
    plain, mirrored = records(tmp_path / "x.jsonl"), records(tmp_path / "y.jsonl")
    assert mirrored[0]["args"]["mirror"] is True
    assert mirrored[1:-1] == plain[1:-1]
    assert sum(len(r["persons"]) for r in plain[1:-1]) > 5
    assert (tmp_path / "y.csv").read_bytes() == (tmp_path / "x.csv").read_bytes()


# ---- 10: no box, nobody


@pytest.mark.parametrize("spec", ["flat", "noise"])
def test_nobody_is_found_where_nobody_is_and_the_model_is_not_asked(monkeypatch, spec):
    """The shipped detector on an empty picture; by itself the model would answer for any box."""
    model = PoseEstimator(RunConfig(device="cpu", engine="torch", det_size=160))
    image = np.full((120, 160, 3), 127, np.uint8)
    if spec == "noise":
        image = np.random.default_rng(0).integers(90, 160, image.shape, np.uint8)

    def asked(*_):
        raise AssertionError("the model was asked")

    monkeypatch.setattr(model, "_network", asked)
    found = model.predict([image, image])
    assert [len(poses) for poses in found] == [0, 0]
    assert found[0].xy.shape == (0, 17, 2)


def test_the_whole_picture_is_a_person_only_where_that_was_asked_for(estimator):
    poses = estimator.predict(np.full((H, W, 3), 127, np.uint8))
    assert (len(poses), poses.box_from) == (1, ("full",))
    assert poses.boxes.tolist() == [[-0.5, -0.5, W - 0.5, H - 0.5]]


# ---- 11: thresholds draw, and change nothing


class Unsure(FakeEstimator):
    """Points of score 0.01 and 0.75 by turns; every third lies outside the picture."""

    def poses(self, images, people, box_from=None, *, steady=False):
        out = []
        for poses in super().poses(images, people, box_from):
            xy, scores = poses.xy.copy(), poses.scores.copy()
            xy[:, ::3] -= [400, 300]
            scores[:, ::2] = 0.01
            out.append(Poses(xy=xy, scores=scores, boxes=poses.boxes, box_scores=poses.box_scores,
                             box_from=poses.box_from, size=poses.size))  # fmt: skip
        return out


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_threshold_moves_no_point_in_any_file_but_openposes(tmp_path, name):
    source, seen = small(tmp_path / "a.mp4", 6), []
    for thr in (0.0, 0.99):
        out = tmp_path / str(thr)
        out.mkdir()
        config = RunConfig(kpt_thr=thr)
        assert run([source], out, [name], config=config, estimator=Unsure(config))[0].exit_code == 0
        files = sorted(p for p in out.rglob("*") if p.is_file() and not p.name.startswith(("layout", "a.meta")))
        texts = [p.read_text() for p in files] if name != "parquet" else pl.read_parquet(files[0]).rows()
        seen.append(records(files[0])[1:-1] if name == "jsonl" else texts)
    if name == "openpose":
        assert any(seen[0] != text for text in seen[1])
        zero = json.loads(seen[1][0])["people"]
        assert zero
        assert not np.array([person["pose_keypoints_2d"] for person in zero]).any()
    else:
        assert seen[0] == seen[1]
    if name == "jsonl":
        points = np.array([p["keypoints"] for r in seen[1] for p in r["persons"]])
        assert len(points) > 5
        assert (points[:, ::3, 0] < 0).all()
        assert (points[:, ::2, 2] == 0.01).all()


# ---- 12: scores


def test_scores_of_the_shipped_model_lie_in_0_to_1_and_are_its_own(estimator):
    """Somebody in the bundled clip, black, and noise; the joints of the first are hardly in doubt."""
    capture = cv2.VideoCapture(str(DEMO_CLIP))
    capture.set(cv2.CAP_PROP_POS_FRAMES, 5)
    person = np.ascontiguousarray(capture.read()[1][288:510, 748:822])
    noise = np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8)
    found = estimator.predict([person, np.zeros((H, W, 3), np.uint8), noise])
    for poses in found:
        assert ((poses.scores >= 0) & (poses.scores <= 1)).all()
        assert len(np.unique(poses.scores)) > 10
    assert np.sort(found[0].scores[0])[-5] > 0.9
    assert estimator.score_kind == "calibrated"


def test_what_a_model_does_not_say_is_null_and_the_header_tells(tmp_path):
    sink = JsonlSink(tmp_path / "a.jsonl", header(score_kind="none"))
    for result in results(scores=False):
        sink.write(result)
    sink.close({})
    head, *rest = records(tmp_path / "a.jsonl")
    people = [p for r in rest if r["type"] == "frame" for p in r["persons"]]
    assert head["score_kind"] == "none"
    assert {point[2] for p in people for point in p["keypoints"]} == {None}
    assert {p["pose_score"] for p in people} == {None}


def test_eval_tells_how_far_scores_can_be_believed(monkeypatch, capsys, tmp_path, pack, tiny_trunk):
    torch.manual_seed(0)
    model = TFPose(ModelConfig(trunk=tiny_trunk, channels=64, encoder_layers=0, decoder_layers=1, size=(64, 96)))
    save_model(tmp_path / "w.safetensors", model, {}, torch.float32)
    words = ["eval", pack, "--weights", tmp_path / "w.safetensors", "--limit", "12", "--device", "cpu", "--json"]
    code, out, err = run_program(monkeypatch, capsys, *words)
    assert code == 0, err
    told = json.loads(out)
    rows = told["reliability"]
    assert len(rows) == 10
    assert sum(row["count"] for row in rows) == 12 * 17  # every joint of the pack is labelled
    assert all(0 <= row[key] <= 1 for row in rows if row["count"] for key in ("scored", "right"))
    gap = sum(row["count"] * abs(row["scored"] - row["right"]) for row in rows if row["count"]) / (12 * 17)
    assert told["calibration error"] == pytest.approx(gap, abs=2e-4)


# ---- 14: names


MARKERS = "Nose LEye REye LEar REar LShoulder RShoulder LElbow RElbow LWrist RWrist LHip RHip LKnee RKnee LAnkle RAnkle"
NAMED = {
    "jsonl": lambda folder: records(folder / "a.jsonl")[0]["keypoints"],
    "csv": lambda folder: [c[:-2] for c in pd.read_csv(folder / "a.csv").columns if c.endswith("_x")],
    "parquet": lambda folder: [c[:-2] for c in pl.read_parquet(folder / "a.parquet").columns if c.endswith("_x")],
    "coco": lambda folder: json.loads((folder / "a.images.json").read_text())["keypoints"],
    "openpose": lambda folder: json.loads((folder / "a_openpose" / "layout.json").read_text())["points"],
    "trc": lambda folder: [
        NAMES[MARKERS.split().index(cell)]
        for cell in next(folder.glob("*.trc")).read_text().splitlines()[3].split("\t")[2:]
        if cell
    ],
}


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_names_its_joints(dotted, name):
    assert NAMED[name](dotted) == NAMES
