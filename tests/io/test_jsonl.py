"""The master format: its exact text, its schema, and what a reader does with a file that was cut short."""

import dataclasses
import io
import json
from importlib.resources import files
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpose_rt.config import RunConfig, SourceOptions
from tfpose_rt.errors import InputError
from tfpose_rt.io.jsonl import JsonlSink, Recording, build_header, read_results
from tfpose_rt.io.parts import PartFile, Resume, SinkOptions
from tfpose_rt.io.record_json import dumps, poses_of, record_of, result_of
from tfpose_rt.io.sources import open_source
from tfpose_rt.records import Event, Frame, Gap, Poses, Result, Segment, StreamInfo

INFO = StreamInfo(kind="file", name="clip.mp4", size=(640, 480), fps=30.0, frames=3, duration=0.1, codec="h264")
SUMMARY = {"complete": True, "ended": "eof", "frames": 2, "frames_expected": 3, "frames_with_people": 1, "persons": 1,
           "ids": 1, "captured": 2, "skipped": 0, "gaps": 0, "decode_errors": 0, "duration_s": 0.1, "wall_s": 0.2,
           "fps_mean": 10.0, "latency_ms": None, "exit_code": 0, "files": ["clip.jsonl"]}  # fmt: skip


def header():
    return build_header(INFO, RunConfig(), model={"name": "n", "sha256": "ab", "input": [192, 256]}, device="cpu")


def poses(n=1, frame=0, pts=0.0, *, scores=True, ids=True, smooth=False):
    rng = np.random.default_rng(frame * 100 + n)
    return Poses(
        xy=np.round(rng.uniform(-20, 700, (n, 17, 2)), 2).astype(np.float32),
        scores=np.round(rng.uniform(0, 1, (n, 17)), 4).astype(np.float32) if scores else None,
        boxes=np.round(rng.uniform(0, 640, (n, 4)), 2).astype(np.float32),
        box_scores=np.round(rng.uniform(0, 1, n), 4).astype(np.float32),
        ids=np.arange(n, dtype=np.int64) + 3 if ids else None,
        frame=frame, pts=pts, size=(640, 480), box_from=("detector",) * n, new=np.ones(n, bool),
        xy_smooth=np.round(rng.uniform(0, 640, (n, 17, 2)), 2).astype(np.float32) if smooth else None,
    )  # fmt: skip


def schema():
    return jsonschema.Draft202012Validator(
        json.loads(files("tfpose_rt.io").joinpath("recording.schema.json").read_text())
    )


def test_a_person_is_written_in_the_order_and_with_the_decimals_of_the_format():
    xy = np.zeros((1, 17, 2), np.float32)
    xy[0, 0] = (10.126, 20.0)
    scores = np.full((1, 17), 0.5, np.float32)
    one = Poses(xy=xy, scores=scores, boxes=np.array([[1, 2, 3.456, 4]], np.float32),
                box_scores=np.array([0.87654], np.float32), ids=np.array([7]), new=np.array([True]),
                box_from=("tracker",))  # fmt: skip
    line = dumps(record_of(Result(frame=812, pts=27.0666666667, poses=one, seq=812)))
    start = ('{"type":"frame","frame":812,"seq":812,"skipped":0,"pts":27.066667,"video_frame":null,"persons":[{"id":7,'
             '"bbox":[1.0,2.0,3.46,4.0],"score":0.8765,"box_from":"tracker","pose_score":0.5,'
             '"keypoints":[[10.13,20.0,0.5],[0.0,0.0,0.5],')  # fmt: skip
    assert line.startswith(start)
    assert line.endswith('[0.0,0.0,0.5]],"new":true}]}')


def test_errors_are_written_and_read_and_obey_the_schema():
    one = dataclasses.replace(poses(2, 1, 0.03), errors=np.arange(34, dtype=np.float32).reshape(2, 17) / 4)
    record = record_of(Result(frame=1, pts=0.03, poses=one))
    assert record["persons"][1]["errors"][:3] == [4.25, 4.5, 4.75]
    schema().validate(record)
    np.testing.assert_array_equal(result_of(record, (640, 480)).poses.errors, one.errors)
    assert result_of(record_of(Result(poses=poses(2))), (640, 480)).poses.errors is None


def test_swapped_limbs_are_marked_and_read_back():
    two = dataclasses.replace(poses(2), swapped=np.array([[False, True], [False, False]]))
    record = record_of(Result(poses=two))
    assert [p.get("swapped") for p in record["persons"]] == [["legs"], None]
    schema().validate(record)
    np.testing.assert_array_equal(result_of(record, (640, 480)).poses.swapped, two.swapped)
    assert result_of(record_of(Result(poses=poses(2))), (640, 480)).poses.swapped is None


def test_people_are_taken_with_all_that_is_theirs():
    three = dataclasses.replace(poses(3, smooth=True), errors=np.arange(51, dtype=np.float32).reshape(3, 17))
    for rows in ([2, 0], np.array([2, 0]), np.array([True, False, True])):
        some, order = three.take(rows), [0, 2] if isinstance(rows, np.ndarray) and rows.dtype == bool else [2, 0]
        for name in ("xy", "scores", "boxes", "box_scores", "ids", "new", "xy_smooth", "errors"):
            np.testing.assert_array_equal(getattr(some, name), getattr(three, name)[order])
        assert some.box_from == ("detector",) * 2
        assert not some.xy.flags.writeable
    assert len(three.take([])) == 0
    assert three.take([]).xy.shape == (0, 17, 2)


def test_every_kind_of_record_obeys_the_schema(tmp_path):
    path = tmp_path / "clip.jsonl"
    sink = JsonlSink(path, header(), SinkOptions(numbers_video=True))
    sink.write(Result(frame=0, pts=0.0, poses=poses(0)))
    sink.write(Result(frame=1, pts=0.03, poses=poses(2, 1, 0.03, scores=False, ids=False, smooth=True), pts_fixed=True))
    sink.write(Result(gap=Gap(reason="decode_error", t_start=0.03, t_end=0.1, seq_from=2, seq_to=2, detail="x")))
    sink.write(Result(segment=Segment(size=(320, 240), fps=None)))
    sink.write(Result(event=Event(kind="ids_reset", t=0.1)))
    sink.write(Result(frame=3, pts=0.1, poses=poses(1, 3, 0.1), t_capture=5.5, latency_ms=41.237))
    sink.close(SUMMARY)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        schema().validate(line)
    assert [x["type"] for x in lines] == ["header", "frame", "frame", "gap", "segment", "event", "frame", "summary"]
    assert [x["video_frame"] for x in lines if x["type"] == "frame"] == [0, 1, 2]
    assert lines[2]["pts_fixed"] is True
    assert lines[2]["persons"][0]["pose_score"] is None
    assert (lines[6]["t_capture"], lines[6]["latency_ms"]) == (0.0, 41.24)


@pytest.mark.parametrize("broken", [
    {"type": "frame", "frame": -1, "seq": 0, "skipped": 0, "pts": 0, "video_frame": None, "persons": []},
    {"type": "gap", "reason": "bored", "t_start": 0, "t_end": 1, "seq_from": 0},
    {"type": "header", "schema": "tfpose-rt/1"},
])  # fmt: skip
def test_the_schema_refuses_what_is_wrong(broken):
    with pytest.raises(jsonschema.ValidationError):
        schema().validate(broken)


def test_numbers_that_are_not_finite_become_null():
    odd = poses(1)
    xy = odd.xy.copy()
    xy[0, 3] = (np.nan, np.inf)
    bad = Poses(xy=xy, scores=odd.scores, boxes=odd.boxes, box_scores=odd.box_scores, box_from=odd.box_from)
    line = dumps(record_of(Result(poses=bad)))
    assert json.loads(line, parse_constant=pytest.fail)["persons"][0]["keypoints"][3][:2] == [None, None]


@settings(deadline=None, max_examples=40)
@given(n=st.integers(0, 4), frame=st.integers(0, 10**6), scores=st.booleans(), ids=st.booleans(), smooth=st.booleans())
def test_poses_come_back_bit_for_bit(n, frame, scores, ids, smooth):
    before = poses(n, frame, 1.5, scores=scores, ids=ids, smooth=smooth)
    record = json.loads(dumps(record_of(Result(frame=frame, pts=1.5, poses=before))))
    after = poses_of(record["persons"], frame=frame, pts=1.5, size=(640, 480))
    for name in ("xy", "scores", "boxes", "box_scores", "ids", "xy_smooth"):
        a, b = getattr(before, name), getattr(after, name)
        if n == 0 and name in ("scores", "ids", "xy_smooth"):
            continue  # nothing to tell "absent" from "none"
        assert (a is None) == (b is None), name
        if a is not None:
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype


def written(path, frames=5):
    sink = JsonlSink(path, header())
    for i in range(frames):
        sink.write(Result(frame=i, pts=i / 30, poses=poses(i % 3, i, i / 30), seq=i))
    return sink


def test_it_is_a_part_until_it_is_complete(tmp_path):
    path = tmp_path / "clip.jsonl"
    sink = written(path)
    assert not path.exists()
    sink.close(SUMMARY)
    assert path.exists()
    assert not (tmp_path / "clip.jsonl.part").exists()


@pytest.mark.parametrize("cut", [1, 2, 60])
def test_a_last_line_that_was_cut_off_is_left_out(tmp_path, cut):
    path = tmp_path / "clip.jsonl"
    sink = written(path)
    sink.abort()
    part = tmp_path / "clip.jsonl.part"
    part.write_bytes(part.read_bytes()[:-cut])
    recording = Recording(part)
    assert [r.frame for r in recording] == [0, 1, 2, 3]
    assert recording.summary is None


def test_damage_in_the_middle_is_an_error_with_its_line(tmp_path):
    path = tmp_path / "clip.jsonl"
    written(path).close(SUMMARY)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], "{broken\n", *lines[4:]]))
    with pytest.raises(InputError, match="line 4"):
        list(read_results(path))


def _without_joints(record):
    del record["persons"][0]["keypoints"]


def _too_few_joints(record):
    del record["persons"][0]["keypoints"][3]


@pytest.mark.parametrize("damage", [
    _without_joints, _too_few_joints, lambda r: r.update(persons=None), lambda r: r.update(persons=["me"]),
    lambda r: r.pop("pts"), lambda r: r["persons"][0].update(bbox=["a", 1, 2, 3]), lambda r: r.update(type="gap"),
    lambda r: r.update(type="segment", size=[1]), lambda r: r.update(pts="later"), lambda r: r.update(frame=None),
    lambda r: r.update(skipped="a few"), lambda r: r["persons"][0].update(id="x"),
    lambda r: r.update(type="gap", reason="stalled", t_start="now", t_end=1, seq_from=1),
])  # fmt: skip
def test_a_record_that_lacks_what_it_must_hold_is_an_error_with_its_line(tmp_path, damage):
    path = tmp_path / "clip.jsonl"
    written(path).close(SUMMARY)
    lines = path.read_text().splitlines()
    record = json.loads(lines[2])  # frame 1, with a person
    damage(record)
    path.write_text("\n".join([*lines[:2], json.dumps(record), *lines[3:]]) + "\n")
    with pytest.raises(InputError, match="line 3"):
        list(read_results(path))


def test_a_header_without_a_size_is_an_error_with_its_line(tmp_path):
    path = tmp_path / "clip.jsonl"
    written(path).close(SUMMARY)
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(json.loads(first) | {"size": None}), *rest]) + "\n")
    with pytest.raises(InputError, match="line 1"):
        list(read_results(path))


def test_standard_output_has_the_bytes_of_a_file_whatever_the_system_is_used_to(monkeypatch):
    written_to = io.BytesIO()
    windows = io.TextIOWrapper(written_to, encoding="cp1252", errors="strict", newline="\r\n")
    monkeypatch.setattr("sys.stdout", windows)
    file = PartFile(Path("-"))
    file.write('{"name":"Šárka Жук"}\n')
    file.finish()
    assert written_to.getvalue() == '{"name":"Šárka Жук"}\n'.encode()


@pytest.mark.parametrize(("text", "told"), [
    (b"", "not a recording"), (b"hello\n", "not a recording"), (b"hello\nworld\n", "not a recording"),
    (b"[1]\n[2]\n", "not a recording"), (b"\x00\x00 ftypmp42\n\xff\n", "not a recording"),
    (b'{"type":"head', "not a rec"),
    (b'{"type":"frame"}\n', "not a recording"), (b'{"type":"header","schema":"tfpose-rt/2"}\n', "a newer tfpose-rt"),
])  # fmt: skip
def test_what_is_not_a_recording_of_this_schema_is_refused(tmp_path, text, told):
    path = tmp_path / "x.jsonl"
    path.write_bytes(text)
    with pytest.raises(InputError, match=told):
        Recording(path)


def test_poses_that_are_read_cannot_be_changed(tmp_path):
    sink = JsonlSink(tmp_path / "clip.jsonl", header())
    sink.write(Result(poses=dataclasses.replace(poses(2, smooth=True), errors=np.ones((2, 17)))))
    sink.close(SUMMARY)
    found = next(iter(read_results(tmp_path / "clip.jsonl"))).poses
    for name in ("xy", "scores", "boxes", "box_scores", "ids", "new", "xy_smooth", "errors"):
        assert not getattr(found, name).flags.writeable, name


def test_the_header_tells_how_points_were_smoothed():
    told = [build_header(INFO, RunConfig(smooth=word))["smooth"] for word in ("off", "one-euro", "one-euro:2,0.1")]
    assert told == [
        None,
        {"name": "one-euro", "mincut": 1.0, "beta": 0.05},
        {"name": "one-euro", "mincut": 2.0, "beta": 0.1},
    ]


def test_unknown_fields_and_records_are_ignored(tmp_path):
    path = tmp_path / "clip.jsonl"
    written(path, 2).close(SUMMARY)
    lines = path.read_text().splitlines()
    frame = json.loads(lines[1]) | {"weather": "fine"}
    path.write_text("\n".join([lines[0], json.dumps(frame), '{"type":"mood"}', *lines[2:]]) + "\n")
    assert [r.frame for r in Recording(path)] == [0, 1]


def test_resuming_keeps_frames_up_to_the_one_named_and_goes_on(tmp_path):
    path = tmp_path / "clip.jsonl"
    written(path, 5).abort()
    sink = JsonlSink(path, header(), SinkOptions(resume=Resume(last=2, frames=3, first_pts=0.0)))
    assert sink.written == 3
    for i in (3, 4):
        sink.write(Result(frame=i, pts=i / 30, poses=poses(i % 3, i, i / 30), seq=i))
    sink.close(SUMMARY)
    resumed = path.read_text().splitlines()[1:]
    whole = tmp_path / "whole.jsonl"
    written(whole, 5).close(SUMMARY)
    assert resumed == whole.read_text().splitlines()[1:]


def test_the_header_names_the_photographs_of_a_folder(tmp_path):
    names = ["b2.png", "b10.png", "a.jpg"]
    for name in names:
        (tmp_path / name).write_bytes(cv2.imencode(Path(name).suffix, np.zeros((8, 6, 3), np.uint8))[1].tobytes())
    source = open_source(str(tmp_path), SourceOptions(frames=(1, 2)))
    told = build_header(source.info, RunConfig(), device="cpu")
    frames = [item.index for item in source if isinstance(item, Frame)]
    source.close()
    assert told["source"]["files"] == ["a.jpg", "b2.png", "b10.png"]  # in their natural order
    assert [told["source"]["files"][i] for i in frames] == ["b2.png"]  # frame 1 stays frame 1
    jsonschema.validate(told, json.loads(files("tfpose_rt.io").joinpath("recording.schema.json").read_text()))
    one = open_source(str(tmp_path / "a.jpg"), SourceOptions())
    assert "files" not in build_header(one.info, RunConfig(), device="cpu")["source"]  # its name says it
