"""Another program's keypoints are counted as ours are, and rows that make no sense are told by name."""

import json

import cv2
import numpy as np
import pytest
from program import run_program

from tfpose_rt import skeleton
from tfpose_rt.config import RunConfig
from tfpose_rt.errors import InputError, UsageError
from tfpose_rt.training.exam import examine
from tfpose_rt.training.peers import score


def person(number, image, shift=0.0):
    """An upright person of 17 labelled joints, shoulders to hips 60 px."""
    rng = np.random.default_rng(number)
    xy = rng.uniform((40, 40), (110, 190), (17, 2)).round(1) + np.array([shift, 0])
    xy[skeleton.INDEX["left_shoulder"]], xy[skeleton.INDEX["right_hip"]] = (60 + shift, 60), (60 + shift, 120)
    points = np.concatenate((xy, np.full((17, 1), 2)), 1)
    return {
        "id": number, "image_id": image, "category_id": 1, "iscrowd": 0, "bbox": [30 + shift, 30, 90, 170],
        "area": 8000.0, "num_keypoints": 17, "keypoints": points.ravel().tolist(),
    }  # fmt: skip


def labelled_set(folder, people):
    (folder / "images").mkdir()
    images = sorted({row["image_id"] for row in people})
    for image in images:
        cv2.imwrite(str(folder / "images" / f"{image}.png"), np.full((220, 320, 3), 90, np.uint8))
    labels = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 320, "height": 220} for i in images],
        "annotations": people, "categories": [{"id": 1, "name": "person"}],
    }  # fmt: skip
    (folder / "annotations.json").write_text(json.dumps(labels))
    return folder


@pytest.fixture
def four(tmp_path):
    """Four people, each on a picture of their own."""
    return labelled_set(tmp_path, [person(10 + n, n) for n in range(4)])


@pytest.fixture
def pair(tmp_path):
    """Two people on one picture."""
    return labelled_set(tmp_path, [person(10, 0), person(11, 0, shift=150)])


def row(label, **more):
    return {"image_id": label["image_id"], "score": 0.9, "keypoints": moved(label), **more}


def moved(label, dx=0.0, joints=range(17), trust=0.8):
    points = np.reshape(label["keypoints"], (17, 3)).astype(float)
    points[list(joints), 0] += dx
    points[:, 2] = trust
    return points.ravel().tolist()


def people(folder):
    return json.loads((folder / "annotations.json").read_text())["annotations"]


def told(folder, rows):
    file = folder / "said.json"
    file.write_text(json.dumps(rows))
    return file


def test_answers_on_the_spot_are_a_hundred_whoever_gave_them(four):
    exam = score(four, told(four, [row(label) for label in people(four)]))
    assert exam.figures["AP"] == exam.figures["PCK@0.2"] == exam.figures["OKS"] == pytest.approx(100)
    assert exam.figures["calibration error"] == pytest.approx(0.2)  # all right, all said to be so in 8 of 10 cases
    assert (exam.facts["rows"], exam.facts["people"], exam.facts["answered"]) == (4, 4, 4)


def test_each_person_without_an_answer_is_a_miss_of_every_joint_and_bends_no_calibration(four):
    exam = score(four, told(four, [row(label) for label in people(four)[:3]]))
    assert (exam.figures["PCK@0.2"], exam.figures["OKS"]) == pytest.approx((75, 75))
    assert exam.figures["AR"] == pytest.approx(75)
    assert exam.figures["PCK@0.2 wrist"] == pytest.approx(75)
    assert exam.figures["calibration error"] == pytest.approx(0.2)
    assert exam.facts["answered"] == 3


def test_a_joint_counts_within_a_fifth_of_the_distance_from_left_shoulder_to_right_hip(four):
    wrists, ankles = [9, 10], [15, 16]
    said = []
    for label in people(four):  # 60 px, so 12 are the limit
        points = np.reshape(moved(label, 11.9, wrists), (17, 3))
        points[ankles, 0] += 12.1
        said.append(row(label, keypoints=points.ravel().tolist()))
    figures = score(four, told(four, said)).figures
    assert (figures["PCK@0.2 wrist"], figures["PCK@0.2 ankle"], figures["PCK@0.2 knee"]) == (100, 0, 100)


def test_the_plain_object_of_people_says_the_same_as_results(four):
    labels = people(four)
    plain = {str(a["id"]): np.reshape(moved(a, 5), (17, 3)).tolist() for a in labels[:3]} | {str(labels[3]["id"]): None}
    rows = [row(a, keypoints=moved(a, 5), score=0.8) for a in labels[:3]]
    assert score(four, told(four, plain)).figures == score(four, told(four, rows)).figures


def test_of_two_people_on_a_picture_each_row_answers_for_the_one_it_names(pair):
    one, other = people(pair)
    named = [row(other, ann_id=other["id"]), row(one, ann_id=one["id"])]
    assert score(pair, told(pair, named)).figures["PCK@0.2"] == pytest.approx(100)
    swapped = [row(other, ann_id=one["id"]), row(one, ann_id=other["id"])]
    assert score(pair, told(pair, swapped)).figures["PCK@0.2"] == 0


def test_rows_that_do_not_say_whom_they_mean_have_an_ap_and_nothing_else(pair):
    exam = score(pair, told(pair, [row(label) for label in people(pair)]))
    assert exam.figures["AP"] == pytest.approx(100)
    assert not [name for name in exam.figures if name.startswith(("PCK", "OKS", "calibration"))]
    assert exam.facts["answered"] is None


def test_of_several_answers_the_highest_score_counts(four):
    labels = people(four)
    wrong = [row(a, keypoints=moved(a, 90), score=0.5) for a in labels]
    right = [row(a, score=0.6) for a in labels]
    assert score(four, told(four, right + wrong)).figures["PCK@0.2"] == pytest.approx(100)
    assert score(four, told(four, [{**r, "score": 0.4} for r in right] + wrong)).figures["PCK@0.2"] == 0


def test_scores_beyond_one_are_no_probabilities_and_their_calibration_is_not_told(four):
    rows = [row(a, keypoints=moved(a, trust=7.5)) for a in people(four)]
    figures = score(four, told(four, rows)).figures
    assert "calibration error" not in figures
    assert figures["PCK@0.2"] == pytest.approx(100)


def test_our_own_results_score_as_eval_scored_them(four):
    """The same code on both ways: what `--dump` writes comes back with the same AP and, but for rounding, the rest."""
    ours = examine(four, RunConfig(device="cpu", engine="torch"))
    again = score(four, told(four, ours.results))
    for name in ("AP", "AR", "PCK@0.2", "PCK@0.2 hip"):
        assert again.figures[name] == pytest.approx(ours.figures[name], abs=1e-9), name
    assert again.figures["OKS"] == pytest.approx(ours.figures["OKS"], abs=0.01)
    assert 0 < again.figures["OKS"] < 100


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"image_id": 0, "score": 1, "bbox": [0, 0, 1, 1]}], "row 1: it has no 'keypoints'"),
        ([{"image_id": 99, "score": 1, "keypoints": [0] * 51}], "row 1: there is no image 99"),
        ([{"image_id": 0, "score": 1, "keypoints": [0] * 50}], "row 1: cannot reshape"),
        ([{"image_id": 0, "score": 1, "keypoints": [0] * 51, "ann_id": 11}], "image 0 has no annotation 11"),
        ([{"image_id": 0, "score": 1, "keypoints": [float("nan")] * 51}], "a coordinate or score is not a number"),
        ({"99": [[0, 0, 1]] * 17}, "person 99: there is no annotation 99"),
        ({"nose": None}, "person nose: invalid literal"),
        (3, "it is a int"),
    ],
)
def test_a_row_that_makes_no_sense_is_told(four, rows, message):
    with pytest.raises(InputError, match=r"said\.json") as caught:
        score(four, told(four, rows))
    assert message in str(caught.value)


def test_a_file_that_is_no_json_is_told(four):
    (four / "said.json").write_text("PK")
    with pytest.raises(InputError, match=r"cannot read said\.json"):
        score(four, four / "said.json")
    with pytest.raises(InputError, match=r"cannot read away\.json"):
        score(four, four / "away.json")


def test_a_training_pack_has_no_images_to_name(pack, tmp_path):
    with pytest.raises(UsageError, match="no image ids"):
        score(pack, told(tmp_path, []))


def test_no_row_at_all_is_nothing_right(four):
    exam = score(four, told(four, []))
    assert exam.figures["AP"] == exam.figures["PCK@0.2"] == exam.figures["OKS"] == 0
    assert exam.facts["answered"] == 0


def test_eval_counts_a_file_and_runs_no_model(monkeypatch, capsys, four):
    file = told(four, [row(label) for label in people(four)])
    monkeypatch.setattr("tfpose_rt.training.exam.open_model", lambda *_: pytest.fail("a model was opened"))
    code, out, err = run_program(monkeypatch, capsys, "eval", four, "--results", file, "--json")
    assert code == 0, err
    figures = json.loads(out)
    assert (figures["model"], figures["people"], figures["AP"]) == ("said", 4, pytest.approx(100))
    code, _, err = run_program(monkeypatch, capsys, "eval", four, "--results", file)
    assert code == 0
    assert "PCK@0.2 ankle" in err


@pytest.mark.parametrize("words", [("--boxes", "detector"), ("--flip-test",), ("--limit", "2"), ("--held-out",)])
def test_what_only_a_model_can_do_is_refused_beside_results(monkeypatch, capsys, four, words):
    file = told(four, [])
    code, _, err = run_program(monkeypatch, capsys, "eval", four, "--results", file, *words)
    assert code == 2
    assert f"{words[0]} with --results: no model runs" in err


def test_no_reliability_plot_of_what_says_nothing_about_its_reliability(monkeypatch, capsys, pair):
    file = told(pair, [row(label) for label in people(pair)])
    code, _, err = run_program(monkeypatch, capsys, "eval", pair, "--results", file, "--reliability", pair / "r.png")
    assert code == 3
    assert "do not say whom they mean" in err
    assert not (pair / "r.png").exists()
