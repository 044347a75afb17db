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


@pytest.mark.parametrize("change", [{"bbox": [10, 20, 0, 16]}, {"image_id": 99}])
def test_a_bad_annotation_is_named(tmp_path, change):
    coco(tmp_path, **change)
    with pytest.raises(InputError, match="7"):
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
