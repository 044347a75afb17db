"""What Poses hands on: records and OpenPose frames like those of files, pictures, and supervision's KeyPoints.

supervision is no dependency: two stand-ins have the constructors of its versions 0.27.0 and 0.31.2 and their checks.
"""

import json
import sys
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest
from known_people import SUMMARY, header, poses, results

from tfpose_rt.draw import DrawStyle, draw
from tfpose_rt.errors import UsageError
from tfpose_rt.io.jsonl import JsonlSink
from tfpose_rt.io.openpose import OpenPoseSink

TWO = poses([1, 2], frame=5, pts=0.2)


def test_a_dict_is_the_frame_record_that_a_recording_holds(tmp_path):
    sink = JsonlSink(tmp_path / "clip.jsonl", header())
    for result in results(errors=True, swapped=True):
        sink.write(result)
    sink.close(SUMMARY)
    frames = [r for r in map(json.loads, (tmp_path / "clip.jsonl").read_text().splitlines()) if r["type"] == "frame"]
    told = [r.poses.to_dict() for r in results(errors=True, swapped=True) if r.gap is None]
    assert told == frames
    assert told[2]["persons"][1]["keypoints"][16] == [218.25, 216.5, 0.66]  # 200 + 16 + 0.25 + frame 2
    assert (told[0]["frame"], told[0]["persons"]) == (0, [])


def test_a_dict_is_rounded_unless_asked_and_never_holds_nan():
    third = np.full((1, 17, 2), 1 / 3, np.float32)
    third[0, 4] = np.nan
    one = replace(poses([1], track=False), xy=third)
    assert one.to_dict()["persons"][0]["keypoints"][0][:2] == [0.33, 0.33]
    assert one.to_dict(full_precision=True)["persons"][0]["keypoints"][0][0] == pytest.approx(1 / 3, abs=1e-7)
    assert one.to_dict()["persons"][0]["keypoints"][4][:2] == [None, None]
    assert one.to_dict()["persons"][0]["id"] is None
    json.dumps(one.to_dict(), allow_nan=False)
    with pytest.raises(ValueError, match="pixels"):
        one.normalised().to_dict()


def test_an_openpose_frame_is_the_file_of_that_frame(tmp_path):
    sink = OpenPoseSink(tmp_path / "clip", header())
    for result in results():
        sink.write(result)
    sink.close(SUMMARY)
    for result in results():
        if result.gap is None:
            file = tmp_path / "clip" / f"clip_one_{result.frame:012d}_keypoints.json"
            assert json.loads(file.read_text()) == result.poses.to_openpose()


def test_an_openpose_frame_takes_layouts_thresholds_and_shares():
    for layout, joints in (("coco17", 17), ("coco18", 18), ("body25", 25)):
        assert len(TWO.to_openpose(layout=layout)["people"][0]["pose_keypoints_2d"]) == 3 * joints
    points = TWO.to_openpose(layout="coco17", kpt_thr=0.505)["people"][0]["pose_keypoints_2d"]
    assert points[:6] == [0, 0, 0, 106.25, 201.5, 0.51]  # 100 + 1 + 0.25 + frame 5
    share = TWO.normalised().to_openpose(layout="coco17")["people"][0]["pose_keypoints_2d"]
    assert share[:2] == [round((105.25 + 0.5) / 640, 6), round(201 / 480, 6)]
    assert poses([1], track=False).to_openpose()["people"][0]["person_id"] == [-1]
    with pytest.raises(UsageError, match="body25"):
        TWO.to_openpose(layout="coco19")


def test_people_are_drawn_on_a_copy_where_they_are():
    image = np.zeros((480, 640, 3), np.uint8)
    image.flags.writeable = False
    shown = TWO.draw(image, kpt_thr=0.0, boxes=False, ids=False)
    assert not image.any()
    there = np.argwhere(shown.any(-1))
    assert there.min(0).tolist() >= [190, 95]  # joints lie from 105, 200 to 221, 216
    assert there.max(0)[0] <= 226
    assert shown[200, 105].any()
    np.testing.assert_array_equal(shown, draw(image, TWO, DrawStyle(kpt_thr=0.0, boxes=False, ids=False)))
    assert not TWO.select([]).draw(image).any()


def test_what_cannot_be_drawn_is_refused():
    image = np.zeros((480, 640, 3), np.uint8)
    for wrong in (image[::2], image[..., 0], image.astype(float), "photo.jpg"):
        with pytest.raises(ValueError, match="picture"):
            TWO.draw(wrong)
    with pytest.raises(ValueError, match="pixels"):
        TWO.normalised().draw(image)
    with pytest.raises(TypeError, match="color"):
        TWO.draw(image, color="red")
    assert replace(TWO, size=(0, 0)).draw(image[:240]).shape == (240, 640, 3)


@dataclass
class KeyPoints27:
    """The constructor of supervision 0.27.0."""

    xy: np.ndarray
    class_id: np.ndarray | None = None
    confidence: np.ndarray | None = None
    data: dict = field(default_factory=dict)

    def __post_init__(self):
        check(self.xy, self.class_id, self.confidence, self.data)

    @classmethod
    def empty(cls):
        return cls(xy=np.empty((0, 0, 2), np.float32))


class KeyPoints31:
    """The constructor of supervision 0.31.2; `confidence` is what 0.32 takes away."""

    def __init__(self, xy, class_id=None, keypoint_confidence=None, detection_confidence=None, visible=None, data=None,
                 *, confidence=None):  # fmt: skip
        assert confidence is None, "deprecated"
        self.xy, self.class_id, self.visible = xy, class_id, visible
        self.keypoint_confidence, self.detection_confidence = keypoint_confidence, detection_confidence
        self.data = data if data is not None else {}
        check(xy, class_id, keypoint_confidence, self.data)
        assert visible is None or (visible.shape == xy.shape[:2] and visible.dtype == bool)
        assert detection_confidence is None or detection_confidence.shape == (len(xy),)

    empty = classmethod(KeyPoints27.empty.__func__)


def check(xy, class_id, confidence, data):
    """What both versions ask of what they are given."""
    n = len(xy)
    assert isinstance(xy, np.ndarray)
    assert xy.ndim == 3
    assert xy.shape[2] == 2
    assert class_id is None or (isinstance(class_id, np.ndarray) and class_id.shape == (n,))
    assert confidence is None or confidence.shape == xy.shape[:2]
    assert all(len(value) == n for value in data.values())


@pytest.fixture(params=[KeyPoints27, KeyPoints31])
def kind(request, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(KeyPoints=request.param))
    return request.param


def scores_of(points):
    return points.confidence if isinstance(points, KeyPoints27) else points.keypoint_confidence


def test_key_points_of_either_version_hold_everybody(kind):
    points = TWO.to_supervision(kpt_thr=0.55)
    assert isinstance(points, kind)
    np.testing.assert_array_equal(points.xy, TWO.xy)
    np.testing.assert_allclose(scores_of(points)[1], 0.5 + np.arange(17) / 100, atol=1e-6)
    assert points.class_id.tolist() == [0, 0]
    assert {k: v.tolist() for k, v in points.data.items()} == {
        "tracker_id": [1, 2], "class_name": ["person", "person"], "xyxy": [[95, 190, 131, 226], [195, 190, 231, 226]],
    }  # fmt: skip
    points.xy[:] = 0  # theirs to change
    assert TWO.xy.all()
    if kind is KeyPoints31:
        np.testing.assert_allclose(points.detection_confidence, 0.8)
        assert points.visible.tolist() == [[k >= 5 for k in range(17)]] * 2


def test_key_points_without_scores_without_ids_and_of_nobody(kind):
    plain = poses([4], scores=False, track=False).to_supervision()
    assert scores_of(plain) is None
    assert sorted(plain.data) == ["class_name", "xyxy"]
    nobody = poses([]).to_supervision()
    assert isinstance(nobody, kind)
    assert nobody.xy.shape == (0, 0, 2)
    if kind is KeyPoints31:
        assert plain.visible is None


def test_supervision_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UsageError, match="pip install supervision"):
        TWO.to_supervision()
