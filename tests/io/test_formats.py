"""COCO results, OpenPose JSON and TRC, against their readers and by hand."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
from known_people import INFO, SUMMARY, header, results
from pycocotools.coco import COCO

from tfpose_rt.errors import UsageError
from tfpose_rt.io.coco import coco_sink
from tfpose_rt.io.openpose import LAYOUTS, OpenPoseSink
from tfpose_rt.io.parts import SinkOptions
from tfpose_rt.io.trc import MARKERS, trc_sink
from tfpose_rt.skeleton import SIGMAS


def write(sink, items=None):
    for result in items if items is not None else results():
        sink.write(result)
    sink.close(SUMMARY)
    return sink


def test_pycocotools_loads_the_results(tmp_path, capsys):
    write(coco_sink(tmp_path / "clip.json", header()))
    images = json.loads((tmp_path / "clip.images.json").read_text())["images"]
    assert [i["id"] for i in images] == [0, 1, 2, 3, 4, 6]
    assert images[2]["pts"] == 0.066667
    truth = COCO()
    truth.dataset = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    truth.createIndex()
    loaded = truth.loadRes(str(tmp_path / "clip.json"))
    assert sorted(a["image_id"] for a in loaded.loadAnns(loaded.getAnnIds())) == [1, 2, 2, 3, 6]
    first = loaded.loadAnns(loaded.getAnnIds(imgIds=[1]))[0]
    assert first["keypoints"][:6] == [101.25, 200.5, 0.5, 102.25, 201.5, 0.51]
    assert len(first["keypoints"]) == 51
    assert first["score"] == pytest.approx(0.8 * 0.58, abs=1e-4)  # mean of 0.50 ... 0.66
    assert first["track_id"] == 1


def test_coco_boxes_count_from_the_edge_and_scores_over_a_fifth_only(tmp_path):
    one = next(r for r in results() if r.frame == 1)
    scores = np.full((1, 17), 0.1, np.float32)
    scores[0, :2] = (0.4, 0.6)
    changed = type(one)(frame=1, poses=type(one.poses)(xy=one.poses.xy, scores=scores, boxes=one.poses.boxes,
                                                        box_scores=one.poses.box_scores))  # fmt: skip
    write(coco_sink(tmp_path / "clip.json", header()), [changed])
    person = json.loads((tmp_path / "clip.json").read_text())[0]
    assert person["bbox"] == [91.5, 190.5, 36.0, 36.0]
    assert person["score"] == 0.4
    assert "track_id" not in person


def test_normalised_places_and_boxes_are_shares_of_the_picture_to_six_decimals(tmp_path):
    """Pictures of 640 x 480 px; person 1 of frame 1: a box from 91, 190 to 127, 226 and a nose at 101.25, 200.5."""
    shares = SinkOptions(normalised=True)
    write(coco_sink(tmp_path / "clip.json", header(), shares))
    person = json.loads((tmp_path / "clip.json").read_text())[0]
    assert person["bbox"] == [0.142969, 0.396875, 0.05625, 0.075]  # 91.5 / 640, 190.5 / 480, 36 / 640, 36 / 480
    assert person["keypoints"][:3] == [0.158984, 0.41875, 0.5]  # 101.75 / 640, 201 / 480
    write(OpenPoseSink(tmp_path / "folder", header(), shares))
    frame = json.loads((tmp_path / "folder" / "clip_one_000000000001_keypoints.json").read_text())
    assert frame["people"][0]["pose_keypoints_2d"][:6] == [0.158984, 0.41875, 0.5, 0.167578, 0.430208, 0.55]
    assert json.loads((tmp_path / "folder" / "layout.json").read_text())["values"] == "x / W, y / H, confidence"
    write(trc_sink(tmp_path / "clip.trc", header(), shares))
    lines = (tmp_path / "clip_px_person1.trc").read_text().split("\n")
    assert lines[6].split("\t")[2:4] == ["0.158984", "0.418750"]
    assert lines[2].split("\t")[4] == "share"
    assert json.loads((tmp_path / "clip.images.json").read_text())["normalised"] is True


def test_a_coco_score_is_the_detectors_times_the_oks_to_be_expected(tmp_path):
    """Errors of twice a joint's falloff times the root of the area, 0.53 x 36 x 36: every OKS is exp(-1 / 2)."""
    one = next(r for r in results() if r.frame == 1)
    far = replace(one.poses, errors=(SIGMAS * np.sqrt(0.53) * 36 * 2).astype(np.float32)[None])  # exp(-1 / 2)
    for options in (SinkOptions(), SinkOptions(normalised=True)):
        write(coco_sink(tmp_path / "clip.json", header(), options, overwrite=True), [replace(one, poses=far)])
        assert json.loads((tmp_path / "clip.json").read_text())[0]["score"] == pytest.approx(
            0.8 * np.exp(-0.5), abs=1e-3
        )


def test_openpose_names_fields_and_order(tmp_path):
    write(OpenPoseSink(tmp_path / "clip", header()))
    names = sorted(p.name for p in (tmp_path / "clip").iterdir())
    assert names == sorted([f"clip_one_{i:012d}_keypoints.json" for i in (0, 1, 2, 3, 4, 6)] + ["layout.json"])
    text = (tmp_path / "clip" / "clip_one_000000000002_keypoints.json").read_text()
    frame = json.loads(text)
    assert list(frame) == ["version", "people"]
    assert frame["version"] == 1.3
    assert list(frame["people"][0]) == [
        "person_id", "pose_keypoints_2d", "face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d",
        "pose_keypoints_3d", "face_keypoints_3d", "hand_left_keypoints_3d", "hand_right_keypoints_3d"]  # fmt: skip
    assert [p["person_id"] for p in frame["people"]] == [[1], [2]]
    empty = json.loads((tmp_path / "clip" / "clip_one_000000000000_keypoints.json").read_text())
    assert empty == {"version": 1.3, "people": []}


@pytest.mark.parametrize(
    ("kind", "name", "stem"),
    [
        ("camera", "Caméra 內建: №1", "Cam_ra______1"),
        ("url", "rtsp://***@host/Straße 5/вход.sdp?token=***", "____"),
        ("url", "http://host:8080", "host_8080"),
        ("file", "Tänzer 踊り.mp4", "Tänzer_踊り"),
        ("images", "Fotos 写真", "Fotos_写真"),
    ],
)
def test_names_of_cameras_and_addresses_are_plain_and_those_of_files_stay(tmp_path, kind, name, stem):
    source = header(replace(INFO, kind=kind, name=name))
    write(OpenPoseSink(tmp_path / "Übung", source))
    found = {p.name for p in (tmp_path / "Übung").glob("*_keypoints.json")}
    assert found == {f"{stem}_{i:012d}_keypoints.json" for i in (0, 1, 2, 3, 4, 6)}


def points(folder, layout):
    write(OpenPoseSink(folder, header(), SinkOptions(openpose_layout=layout)))
    people = json.loads((folder / "clip_one_000000000001_keypoints.json").read_text())["people"]
    return np.array(people[0]["pose_keypoints_2d"]).reshape(-1, 3)


def test_coco18_has_the_neck_between_the_shoulders_with_the_smaller_score(tmp_path):
    got = points(tmp_path / "a", "coco18")
    assert got.shape == (18, 3)
    assert got[0].tolist() == [101.25, 200.5, 0.5]  # nose
    assert got[1].tolist() == [106.75, 206.0, 0.55]  # between joints 5 and 6
    assert got[2].tolist() == [107.25, 206.5, 0.56]  # right shoulder, COCO joint 6
    assert got[17].tolist() == [104.25, 203.5, 0.53]  # left ear, COCO joint 3


def test_body25_has_a_middle_hip_and_no_feet(tmp_path):
    got = points(tmp_path / "a", "body25")
    assert got.shape == (25, 3)
    assert got[8].tolist() == [112.75, 212.0, 0.61]
    assert not got[19:].any()


def test_coco17_is_our_own_order(tmp_path):
    got = points(tmp_path / "a", "coco17")
    np.testing.assert_allclose(got[:, 0], 101.25 + np.arange(17))


def test_points_below_the_threshold_are_zero_here_alone_and_the_folder_says_so(tmp_path):
    write(OpenPoseSink(tmp_path / "a", header(), SinkOptions(kpt_thr=0.555)))
    people = json.loads((tmp_path / "a" / "clip_one_000000000001_keypoints.json").read_text())["people"]
    got = np.array(people[0]["pose_keypoints_2d"]).reshape(-1, 3)
    assert not got[0].any()  # nose, 0.50
    assert not got[1].any()  # the neck needs both shoulders; the left has 0.55
    assert got[2].tolist() == [107.25, 206.5, 0.56]
    layout = json.loads((tmp_path / "a" / "layout.json").read_text())
    assert layout["threshold"] == 0.555
    assert tuple(layout["points"]) == LAYOUTS["coco18"]


def test_pose2sim_names(tmp_path):
    write(OpenPoseSink(tmp_path / "a", header(), SinkOptions(openpose_layout="coco17", openpose_naming="pose2sim")))
    assert (tmp_path / "a" / "clip_one_000006.json").exists()


@pytest.mark.parametrize(("naming", "stale", "made"), [
    ("openpose", "clip_one_000000000077_keypoints.json", "clip_one_000000000006_keypoints.json"),
    ("pose2sim", "clip_one_000077.json", "clip_one_000006.json"),
])  # fmt: skip
def test_an_existing_folder_loses_only_the_pose_files_of_this_source(tmp_path, naming, stale, made):
    folder = tmp_path / "a"
    folder.mkdir()
    others = {"notes.txt", "scan_123456.json", "my_clip_one_000006.json", "other_000000000006_keypoints.json",
              "clip_one_00007.json"}  # fmt: skip
    for name in (*others, stale):
        (folder / name).write_text("mine")
    write(OpenPoseSink(folder, header(), SinkOptions(openpose_naming=naming), overwrite=True))
    assert {p.name for p in folder.iterdir() if p.read_text() == "mine"} == others
    assert (folder / made).exists()


def test_a_file_for_each_person_with_a_row_for_each_frame(tmp_path):
    write(trc_sink(tmp_path / "clip.trc", header()))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip_px_person1.trc", "clip_px_person2.trc"]
    lines = (tmp_path / "clip_px_person2.trc").read_text().split("\n")
    assert lines[0] == "PathFileType\t4\t(X/Y/Z)\tclip_px_person2.trc"
    assert lines[1].split("\t")[0] == "DataRate"
    assert lines[2].split("\t") == ["30", "30", "6", "17", "px", "30", "0", "6"]
    assert lines[3].split("\t")[:9] == ["Frame#", "Time", "Nose", "", "", "LEye", "", "", "REye"]
    rows = [line.split("\t") for line in lines[5:-1]]
    assert [r[0] for r in rows] == ["0", "1", "2", "3", "4", "6"]
    assert all(len(r) == 2 + 51 for r in rows)
    assert rows[2][:5] == ["2", "0.066667", "202.25", "200.50", "0"]
    assert set(rows[0][2:]) == {""}
    assert MARKERS[5:8] == ("LShoulder", "RShoulder", "LElbow")


def test_files_of_people_who_are_not_in_it_any_more_go_when_a_trc_is_replaced(tmp_path):
    others = ("clip_px_person2_edited.trc", "clip_px_personal.trc", "clip.trc", "my_clip_px_person3.trc")
    for name in ("clip", "clip_px"):  # either way its files are called clip_px_person<ID>.trc
        for other in others:
            (tmp_path / other).write_text("mine")
        write(trc_sink(tmp_path / f"{name}.trc", header(), overwrite=True))
        only = [replace(r, poses=r.poses.select([1])) for r in results() if r.gap is None]
        write(trc_sink(tmp_path / f"{name}.trc", header(), overwrite=True), only)
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["clip_px_person1.trc", *others])
        write(trc_sink(tmp_path / f"{name}.trc", header(), overwrite=True), [])
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted(others)


def test_trc_says_when_the_rate_varies(tmp_path, caplog):
    about = header()
    about["fps"] = {"nominal": 30.0, "measured": None, "variable": True}
    with caplog.at_level(logging.WARNING):
        write(trc_sink(tmp_path / "clip.trc", about))
    assert "rate varies" in caplog.text
    assert (tmp_path / "clip_px_person1.trc").read_text().split("\n")[2].split("\t")[0] == "25"  # 5 steps in 0.2 s


def test_trc_needs_ids(tmp_path):
    with pytest.raises(UsageError, match="ids"):
        write(trc_sink(tmp_path / "clip.trc", header()), results(track=False))
