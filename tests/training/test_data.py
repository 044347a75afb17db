import json

import cv2
import numpy as np
import pytest

from tfpose_rt.errors import InputError
from tfpose_rt.training.data import is_validation, load


def coco(folder, **changes):
    (folder / "images").mkdir()
    cv2.imwrite(str(folder / "images" / "a.jpg"), np.zeros((50, 40, 3), np.uint8))
    row = {"id": 7, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [10, 20, 8, 16], "area": 60.0,
           "keypoints": [12, 25, 2] + [0, 0, 0] * 16, "num_keypoints": 1, **changes}  # fmt: skip
    (folder / "annotations.json").write_text(json.dumps({
        "images": [{"id": 1, "file_name": "a.jpg", "width": 40, "height": 50}],
        "annotations": [row], "categories": [{"id": 1, "name": "person"}],
    }))  # fmt: skip


def test_a_coco_folder_by_hand(tmp_path):
    coco(tmp_path)
    (sample,) = load(tmp_path)
    np.testing.assert_array_equal(sample.box, [9.5, 19.5, 17.5, 35.5])  # COCO's boxes are edges
    np.testing.assert_array_equal(sample.xy[0], [12, 25])
    assert sample.weight.tolist() == [1] + [0] * 16
    assert sample.area == 60
    assert sample.read().shape == (50, 40, 3)


def test_a_pack(pack):
    samples = load(pack)
    assert len(samples) == 40
    assert samples[0].area == pytest.approx(60 * 90 * 0.53)


LABELLED = [12, 25, 2] + [0, 0, 0] * 16


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"bbox": None}, "not a label"),
        ({"bbox": [10, None, 8, 16]}, "not a label"),
        ({"bbox": [10, 20, 8]}, "not a label"),
        ({"bbox": [10, 20, 0, 16]}, "no area"),
        ({"bbox": [10, 20, float("nan"), 16]}, "not a number"),
        ({"keypoints": LABELLED[:50]}, "50"),
        ({"keypoints": [None, *LABELLED[1:]]}, "not a number"),
        ({"keypoints": "none"}, "not a label"),
        ({"image_id": 99}, "image 99 is missing"),
    ],
)
def test_a_bad_annotation_is_told_by_file_and_id(tmp_path, change, why):
    coco(tmp_path, **change)
    with pytest.raises(InputError, match=rf"^annotations\.json: annotation 7: .*{why}"):
        load(tmp_path)


@pytest.mark.parametrize("field", ["bbox", "image_id", "id"])
def test_an_annotation_without_a_field_is_told(tmp_path, field):
    coco(tmp_path)
    labels = json.loads((tmp_path / "annotations.json").read_text())
    del labels["annotations"][0][field]
    (tmp_path / "annotations.json").write_text(json.dumps(labels))
    which = "number 1" if field == "id" else "7"
    with pytest.raises(InputError, match=rf"^annotations\.json: annotation {which}.*: it has no '{field}'"):
        load(tmp_path)


@pytest.mark.parametrize("row", [None, [], 3])
def test_an_annotation_that_is_no_table_is_told_by_its_place(tmp_path, row):
    coco(tmp_path)
    labels = json.loads((tmp_path / "annotations.json").read_text())
    labels["annotations"].append(row)
    (tmp_path / "annotations.json").write_text(json.dumps(labels))
    with pytest.raises(InputError, match=r"^annotations\.json: annotation number 2"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["{}", "[]", "null", "{", "", '{"images": [{}], "annotations": []}', "\xff"])
def test_a_file_that_holds_no_labels_is_named(tmp_path, text):
    (tmp_path / "annotations.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"^annotations\.json: "):
        load(tmp_path)


@pytest.mark.parametrize("change", [{"box": None}, {"box": [1, 2, 3]}, {"box": [9, 9, 5, 5]}, {"keypoints": [1.0]}])
def test_a_bad_label_of_a_pack_is_named(tmp_path, pack, change):
    lines = (pack / "labels.jsonl").read_text().splitlines()
    lines[4] = json.dumps(json.loads(lines[4]) | change)
    for shard in pack.glob("*.tar"):
        (tmp_path / shard.name).write_bytes(shard.read_bytes())
    (tmp_path / "labels.jsonl").write_text("\n".join(lines))
    with pytest.raises(InputError, match="line 5: "):
        load(tmp_path)


def test_a_bad_line_of_a_pack_is_named(tmp_path):
    (tmp_path / "labels.jsonl").write_text('{"key": "a"}\n')
    with pytest.raises(InputError, match="line 1"):
        load(tmp_path)


def test_no_labels(tmp_path):
    with pytest.raises(InputError, match="--ann"):
        load(tmp_path)


def test_the_split_is_by_photograph_and_about_a_twentieth():
    share = np.mean([is_validation(f"photo{i}") for i in range(4000)])
    assert 0.04 < share < 0.06
    # sha1("a") = 86f7e437faa5a7fce15d1ddcb9eaeaea377667b8, whose last byte 0xb8 = 184 decides nothing alone
    assert is_validation("a") == (int("86f7e437faa5a7fce15d1ddcb9eaeaea377667b8", 16) % 20 == 0)
