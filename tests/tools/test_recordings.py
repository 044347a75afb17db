"""convert: every format from every format that holds enough, the numbers unchanged."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_people import header, poses, results

from tfpose_rt.errors import InputError, OutputError, PartialError, UsageError
from tfpose_rt.io.jsonl import JsonlSink, Recording
from tfpose_rt.io.parts import SinkOptions
from tfpose_rt.io.sinks import FORMATS
from tfpose_rt.records import Result
from tfpose_rt.tools.outputs import ENDINGS, plan
from tfpose_rt.tools.reading import open_poses
from tfpose_rt.tools.recordings import convert

SUMMARY = {"complete": True, "ended": "decode_error", "frames": 6, "frames_expected": 7, "frames_with_people": 4,
           "persons": 5, "ids": 2, "captured": 6, "skipped": 0, "gaps": 1, "decode_errors": 1, "duration_s": 0.2,
           "wall_s": 1.0, "fps_mean": 6.0, "latency_ms": None, "exit_code": 7, "files": []}  # fmt: skip


def recording(path, items=None, *, finish=True):
    sink = JsonlSink(path, header(), SinkOptions(numbers_video=True))
    for result in items if items is not None else results():
        sink.write(result)
    if finish:
        sink.close(SUMMARY)
    else:
        sink.abort()
    return path


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_format_has_an_ending():
    assert set(ENDINGS) == set(FORMATS)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_recording_becomes_every_format(tmp_path, name):
    source = recording(tmp_path / "clip.jsonl")
    before = source.read_bytes()
    out = tmp_path / f"out{ENDINGS[name]}"
    assert [(one.path, one.frames) for one in convert(source, [(out, name)])] == [(out, 6)]
    files = [tmp_path / f"out_px_person{who}.trc" for who in (1, 2)] if name == "trc" else [out]
    assert [file.exists() for file in files] == [True] * len(files)
    assert source.read_bytes() == before
    assert not [p for p in tmp_path.iterdir() if p.suffix in (".part", ".new")]


@pytest.mark.parametrize("name", ["jsonl", "csv", "parquet"])
def test_there_and_back_is_the_same_recording(tmp_path, name):
    source = recording(tmp_path / "clip.jsonl")
    there, back = tmp_path / f"there{ENDINGS[name]}", tmp_path / "back.jsonl"
    convert(source, [(there, name)])
    convert(there, [(back, "jsonl")])
    one, two = lines(source), lines(back)
    assert two[0] == one[0]
    frames = [r for r in one if r["type"] == "frame"], [r for r in two if r["type"] == "frame"]
    keys = ("frame", "pts", "persons") if name == "jsonl" else ("frame", "pts")
    assert [[r[k] for k in keys] for r in frames[0]] == [[r[k] for k in keys] for r in frames[1]]
    for a, b in zip(*frames, strict=True):
        for p, q in zip(a["persons"], b["persons"], strict=True):
            for key in ("id", "bbox", "score", "keypoints", "pose_score"):
                assert p[key] == q[key], key
    assert {k: v for k, v in two[-1].items() if k != "files"} == {k: v for k, v in one[-1].items() if k != "files"}


def test_the_numbers_of_a_video_saved_beside_stay_as_they_are(tmp_path):
    """At a constant rate some frames have no picture of their own, and others are further on than their number."""
    frames = [r for r in results() if r.gap is None]
    numbers = [0, None, 1, 5, 6, None]
    sink = JsonlSink(tmp_path / "clip.jsonl", header())
    for result, number in zip(frames, numbers, strict=True):
        sink.write(replace(result, video_frame=number))
    sink.close(SUMMARY)
    convert(tmp_path / "clip.jsonl", [(tmp_path / "back.jsonl", "jsonl")])
    assert [r["video_frame"] for r in lines(tmp_path / "back.jsonl") if r["type"] == "frame"] == numbers


@settings(deadline=None, max_examples=15)
@given(
    people=st.lists(st.lists(st.integers(0, 9), unique=True, max_size=4), min_size=1, max_size=8), track=st.booleans()
)
def test_any_recording_survives_csv_and_parquet(tmp_path_factory, people, track):
    folder = tmp_path_factory.mktemp("round")
    items = [
        Result(frame=i, pts=i / 25, poses=poses(ids, i, i / 25, track=track), seq=i) for i, ids in enumerate(people)
    ]
    source = recording(folder / "clip.jsonl", items)
    convert(source, [(folder / "a.csv", "csv"), (folder / "b.parquet", "parquet")])
    for name in ("a.csv", "b.parquet"):
        back = list(open_poses(folder / name).results)
        assert [r.frame for r in back] == list(range(len(people)))
        assert [r.pts for r in back] == pytest.approx([r.pts for r in items], abs=1e-6)
        for ids, one, two in zip(people, items, back, strict=True):
            for field in ("xy", "scores", "boxes", "box_scores"):
                np.testing.assert_array_equal(getattr(one.poses, field), getattr(two.poses, field), field)
            if track:
                assert two.poses.ids.tolist() == ids
            elif ids:
                assert two.poses.ids is None


def test_an_unfinished_recording_is_read_and_said_to_be_cut(tmp_path, caplog):
    recording(tmp_path / "clip.jsonl", finish=False)
    part = tmp_path / "clip.jsonl.part"
    part.write_bytes(part.read_bytes()[:-10])
    convert(part, [(tmp_path / "a.csv", "csv"), (tmp_path / "a.jsonl", "jsonl")])
    assert "cut short" in caplog.text
    assert sorted(pd.read_csv(tmp_path / "a.csv").frame.unique()) == [0, 1, 2, 3, 4]
    back = Recording(tmp_path / "a.jsonl")
    assert len(list(back)) == 6  # five frames and the gap
    assert back.summary["complete"] is False
    assert back.summary["frames"] == 5


@pytest.mark.parametrize("name", ["jsonl", "csv", "parquet", "coco", "trc"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_unfinished_file_becomes_a_finished_one_of_its_own_name_and_stays(tmp_path, name, overwrite):
    """Its `.part` is both what is read and what the finished file would be called while it grows."""
    suffix = ENDINGS[name]
    sink = FORMATS[name](tmp_path / f"clip{suffix}", header())
    for result in results():
        sink.write(result)
    sink.abort()
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert f"clip{suffix}.part" in before
    assert convert(tmp_path / f"clip{suffix}.part", [(tmp_path / f"clip{suffix}", name)], overwrite=overwrite)
    after = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert {k: after.get(k) for k in before} == before
    made = {"coco": ["clip.images.json", "clip.json"], "csv": ["clip.csv", "clip.meta.json"],
            "trc": ["clip_px_person1.trc", "clip_px_person2.trc"]}.get(name, [f"clip{suffix}"])  # fmt: skip
    assert sorted(set(after) - set(before)) == made
    if name == "jsonl":
        assert [r.frame for r in Recording(tmp_path / "clip.jsonl") if r.gap is None] == [0, 1, 2, 3, 4, 6]
    if name in ("csv", "parquet"):  # the table's very last frame may lack people
        whole = [0, 1, 2, 3, 4] + [6] * (name == "parquet")
        assert [r.frame for r in open_poses(tmp_path / f"clip{suffix}").results] == whole


def test_a_failed_conversion_leaves_an_unfinished_table_and_its_header_alone(tmp_path):
    sink = FORMATS["csv"](tmp_path / "clip.csv", header())
    for result in results():
        sink.write(result)
    sink.abort()
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(PartialError, match="cut short"):
        convert(tmp_path / "clip.csv.part", [(tmp_path / "clip.csv", "csv")], strict=True, overwrite=True)
    with pytest.raises(OutputError, match="is the input"):
        convert(tmp_path / "clip.csv.part", [(tmp_path / "clip.meta.json.part", "jsonl")], overwrite=True)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_strict_refuses_gaps_and_cut_recordings_and_leaves_nothing(tmp_path):
    source = recording(tmp_path / "clip.jsonl")
    with pytest.raises(PartialError, match="gaps"):
        convert(source, [(tmp_path / "a.csv", "csv")], strict=True)
    whole = recording(tmp_path / "w.jsonl", [r for r in results() if r.gap is None], finish=False)
    with pytest.raises(PartialError, match="cut short"):
        convert(whole.with_name("w.jsonl.part"), [(tmp_path / "b_openpose", "openpose")], strict=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.jsonl", "w.jsonl.part"]


def test_what_does_not_hold_enough_is_refused(tmp_path):
    for name, error, text in (
        ("a.trc", UsageError, "boxes"),
        ("a.json", UsageError, "boxes"),
        ("w.safetensors", UsageError, "export"),
        ("a.jsonl", InputError, "cannot read"),
    ):
        with pytest.raises(error, match=text):
            convert(tmp_path / name, [(tmp_path / "out.csv", "csv")])
    source = recording(tmp_path / "clip.jsonl")
    convert(source, [(tmp_path / "t.csv", "csv")])
    (tmp_path / "t.meta.json").unlink()
    with pytest.raises(InputError, match="header"):
        convert(tmp_path / "t.csv", [(tmp_path / "u.jsonl", "jsonl")])
    with pytest.raises(OutputError, match="is the input"):
        convert(source, [(source, "jsonl")], overwrite=True)


def test_outputs_are_named_after_their_sources(tmp_path):
    both = plan(["a/clip.mp4", "b/clip.mp4", "c.mov"], [tmp_path], ["jsonl", "openpose"], tmp_path)
    assert [p.name for p, _ in both[0].data] == ["a_clip.jsonl", "a_clip_openpose"]
    assert both[1].video == tmp_path / "b_clip.mp4"
    assert [p.name for p in both[2].paths] == ["c.jsonl", "c_openpose", "c.mp4"]
    assert plan(["x.mp4"])[0].data == ((Path("tfpose-out/x.jsonl"), "jsonl"),)
    assert plan(["x.mp4"], [Path("y.csv"), Path("-")])[0].data == ((Path("y.csv"), "csv"), (Path("-"), "jsonl"))
    assert plan(["x.mp4"], [Path("y.txt")], ["coco"])[0].data == ((Path("y.txt"), "coco"),)
    assert plan(["rtsp://me:secret@host/cam?token=1"])[0].data[0][0].name == "host_cam.jsonl"


@pytest.mark.parametrize("wrong", [
    (["a", "b"], [Path("x.csv")], [], None), (["a"], [Path("x.mp4")], [], None), (["a"], [], ["xls"], None),
    (["a", "b"], [Path("-")], [], None), (["a"], [Path("x.csv")], ["csv", "coco"], None),
    (["a", "b"], [], [], Path("x.mp4")), (["a"], [], [], Path("x.gif")),
])  # fmt: skip
def test_outputs_that_cannot_be(wrong):
    with pytest.raises(UsageError):
        plan(*wrong)
