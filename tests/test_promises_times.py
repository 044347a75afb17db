"""Counts, times and lengths of whole runs over files: what a methods section says of them is true."""

import csv
import itertools
import json
from fractions import Fraction

import av
import cv2
import numpy as np
import polars as pl
import pytest
from clips import UNEVEN, make, small
from fake_estimator import FakeEstimator
from fakes import SIDE, BlockEstimator, picture
from program import run_program
from test_batch import Quiet, records, run

from tfpose_rt.config import RunConfig, SourceOptions
from tfpose_rt.io.files import FileSource
from tfpose_rt.io.sinks import FORMATS
from tfpose_rt.tools.batch import How, run_batch
from tfpose_rt.tools.outputs import plan


class Blocks(BlockEstimator):
    """White blocks, with all that a header names."""

    device, kernel, precision, score_kind, error_kind = "cpu", "torch", "fp32", "raw", "none"
    engine, engine_reason = "torch", "a stand-in"
    model, detector = {"name": "blocks", "sha256": "00", "input": [192, 256]}, {"name": "blocks", "sha256": "00"}


@pytest.fixture
def program(monkeypatch, capsys, tmp_path):
    """The program in a folder of its own, with a model of known answers: code, stdout, stderr."""
    monkeypatch.setattr("tfpose_rt.estimator.PoseEstimator", FakeEstimator)
    monkeypatch.setattr("tfpose_rt.cli.watch.estimator_rows", lambda _: {"device": "fake"})
    monkeypatch.chdir(tmp_path)
    return lambda *words: run_program(monkeypatch, capsys, *words)


def length(path):
    """Seconds from the first picture to the end of the last, as OpenCV plays it: its times, and one step more."""
    capture, times = cv2.VideoCapture(str(path)), []
    while capture.read()[0]:
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3)
    return times[-1] - times[0] + 1 / capture.get(cv2.CAP_PROP_FPS)


# ---- 3: a saved video is as long as its source


@pytest.mark.parametrize(
    ("name", "codec"), [("o.mp4", "auto"), ("o.mkv", "auto"), ("o.webm", "auto"), ("o.mp4", "mp4v")]
)
@pytest.mark.parametrize(
    ("rate", "stamps"), [(Fraction(30000, 1001), range(16)), (Fraction(240), range(30)), (Fraction(25), UNEVEN)]
)
def test_a_saved_video_is_as_long_as_its_source(program, tmp_path, rate, stamps, name, codec):
    make(tmp_path / "a.mp4", size=(64, 48), rate=rate, stamps=tuple(stamps))
    assert program("video", "a.mp4", "-o", "a.jsonl", "--save-video", name, "--codec", codec, "-q")[0] == 0
    meant = float((max(stamps) + 1) / rate)
    with av.open(name) as container:
        assert container.duration / 1e6 == pytest.approx(meant, abs=1 / rate + 0.002)
    if name != "o.webm":  # whose rate OpenCV guesses
        assert length(name) == pytest.approx(meant, abs=1 / rate + 0.002)


# ---- 5: phone clips stand upright, once


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_a_turned_clip_is_turned_once_and_the_header_says_so(tmp_path, angle):
    """A block at (30, 90) of the upright picture, seen by a model that looks: the joint is there, in W x H upright."""
    place, size = (30, 90), (176, 240)
    make(tmp_path / "a.mp4", size=size, rotation=angle, paint=lambda _, size: picture([place], size), stamps=range(3))
    jobs = plan([str(tmp_path / "a.mp4")], [tmp_path], ["jsonl"], tmp_path / "v.mkv")
    assert run_batch(jobs, Blocks, RunConfig(), How(), Quiet())[0].exit_code == 0
    header, *frames, _ = records(tmp_path / "a.jsonl")
    assert (header["rotation_applied"], header["size"]) == (angle, list(size))
    for frame in frames:
        (person,) = frame["persons"]
        np.testing.assert_allclose(person["keypoints"][0][:2], place, atol=1)
        np.testing.assert_allclose(person["bbox"], [29.5, 89.5, 29.5 + SIDE, 89.5 + SIDE], atol=1)
    capture = cv2.VideoCapture(str(tmp_path / "v.mkv"))  # the saved one stands upright by itself
    shown = capture.read()[1]
    assert shown.shape[:2] == (240, 176)
    assert shown[place[1] + 30, place[0] + 8].min() > 200


# ---- 6: numbers are decode order; the container's count is a hint


def tell(path, count):
    """Have an AVI say that it holds `count` pictures, in both of the places where it does."""
    data = bytearray(path.read_bytes())
    for place, offset in ((data.index(b"avih"), 24), (data.index(b"strh"), 40)):
        data[place + offset : place + offset + 4] = count.to_bytes(4, "little")
    path.write_bytes(data)


@pytest.mark.parametrize("count", [0, 7])
def test_a_container_that_counts_too_few_loses_no_frame(program, tmp_path, count):
    make(tmp_path / "a.avi", codec="mpeg4", ticks=1, size=(144, 96))
    tell(tmp_path / "a.avi", count)
    with av.open("a.avi") as container:
        assert container.streams.video[0].frames == count
    code, _, err = program("video", "a.avi", "-o", "a.jsonl")
    frames = [r for r in records(tmp_path / "a.jsonl") if r["type"] == "frame"]
    assert [f["frame"] for f in frames] == list(range(24))
    assert "wrote a.jsonl (24 frames)" in err
    assert code == 0


@pytest.mark.parametrize("suffix", ["avi", "mp4"])
def test_a_damaged_tail_is_told_in_numbers_and_is_code_7(program, tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    make(path, codec="mpeg4" if suffix == "avi" else "libx264", ticks=1, stamps=range(100), options={"g": "4"})
    if suffix == "mp4":
        from test_files import faststart

        faststart(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    code, _, err = program("video", path.name, "-o", "a.jsonl")
    *_, last = records(tmp_path / "a.jsonl")
    there = last["frames"]
    assert 5 < there < 95
    assert (code, last["exit_code"], last["complete"], last["ended"]) == (7, 7, False, "early_eof")
    assert last["frames_expected"] == 100
    assert f"{there} of 100" in err
    assert "early_eof: the source stopped before its end" in err


# ---- 7: as many frame records as frames, in every format


def csv_frames(folder):
    with (folder / "a.csv").open(newline="") as file:
        return {int(row["frame"]) for row in csv.DictReader(file)}


def trc_frames(folder):
    """Of every person's file."""
    files = [file.read_text().splitlines() for file in folder.glob("*_px_person*.trc")]
    assert {lines[2].split("\t")[2] for lines in files} == {"8"}  # NumFrames
    return set.intersection(*({int(line.split("\t")[0]) for line in lines[5:] if line} for lines in files))


READERS = {
    "jsonl": lambda folder: {r["frame"] for r in records(folder / "a.jsonl") if r["type"] == "frame"},
    "csv": csv_frames,
    "parquet": lambda folder: set(pl.read_parquet(folder / "a.parquet")["frame"]),
    "coco": lambda folder: {i["id"] for i in json.loads((folder / "a.images.json").read_text())["images"]},
    "openpose": lambda folder: {
        int(p.stem.split("_")[-2])
        for p in (folder / "a_openpose").glob("*_keypoints.json")
        if "people" in json.loads(p.read_text())
    },
    "trc": trc_frames,
}


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_eight_frames_are_eight_records_whoever_is_in_them(tmp_path, name):
    """Nobody at the start, in the middle and at the end: one at 1, two at 4, one at 5."""
    folder, people = tmp_path / "a", {1: [(20, 20)], 4: [(20, 20), (200, 100)], 5: [(200, 100)]}
    folder.mkdir()
    for number in range(8):
        cv2.imwrite(str(folder / f"{number}.png"), picture(people.get(number, [])))
    out = tmp_path / "out"
    out.mkdir()
    jobs = plan([str(folder)], [out], [name])
    (outcome,) = run_batch(jobs, Blocks, RunConfig(), How(), Quiet())
    assert outcome.summary["frames_with_people"] == 3
    assert READERS[name](out) == set(range(8))


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"trc"}))  # a TRC holds somebody, or there is none
def test_a_clip_without_anybody_has_its_frames(tmp_path, name):
    small(tmp_path / "a.mp4", 8)
    jobs = plan([str(tmp_path / "a.mp4")], [tmp_path], [name])

    class Nobody(FakeEstimator):
        def _people(self, number):
            found = super()._people(number)
            return type(found)(found.boxes[:0], found.scores[:0])

    (outcome,) = run_batch(jobs, lambda: Nobody(RunConfig()), RunConfig(), How(), Quiet())
    assert (outcome.exit_code, outcome.summary["persons"]) == (0, 0)
    assert READERS[name](tmp_path) == set(range(8))


# ---- 8: true times


@pytest.mark.parametrize(("suffix", "how"), [
    ("mp4", {"stamps": UNEVEN}), ("mkv", {"stamps": UNEVEN}), ("mp4", {"rate": Fraction(30000, 1001), "offset": 777}),
    ("mp4", {"rate": Fraction(240), "options": {"bf": "3"}}),
])  # fmt: skip
def test_times_are_those_that_another_reader_finds(tmp_path, suffix, how):
    """OpenCV brings an FFmpeg of its own, and no line of ours."""
    make(tmp_path / f"a.{suffix}", size=(64, 48), **how)
    run([str(tmp_path / f"a.{suffix}")], tmp_path)
    ours = [r["pts"] for r in records(tmp_path / "a.jsonl") if r["type"] == "frame"]
    capture, theirs = cv2.VideoCapture(str(tmp_path / f"a.{suffix}")), []
    while capture.read()[0]:
        theirs.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3)
    assert len(ours) == len(theirs) == len(how.get("stamps", range(24)))
    np.testing.assert_allclose(ours, np.array(theirs) - theirs[0], atol=1e-3)


def stamped(path, stamps):
    """A Matroska file whose frames carry these times, in ms, good or bad."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("mjpeg", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuvj420p"
        packets = []
        for number in range(len(stamps)):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * number, np.uint8), format="bgr24")
            frame = frame.reformat(format="yuvj420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            packets += video.encode(frame)
        for packet, stamp in zip(packets + video.encode(None), stamps, strict=True):
            packet.time_base, packet.stream = Fraction(1, 1000), video
            packet.pts = packet.dts = stamp
            out.mux(packet)


def test_a_repeated_time_is_repaired_and_marked_in_the_file(tmp_path):
    stamps = [0, 40, 80, 80, 120, 160, 200, 200, 240]
    stamped(tmp_path / "a.mkv", stamps)
    with av.open(str(tmp_path / "a.mkv")) as container:
        assert [round(f.time * 1e3) for f in container.decode(video=0)] == stamps  # as bad as meant
    source = FileSource(tmp_path / "a.mkv", SourceOptions())
    assert [round(f.image.mean() / 20) for f in source] == list(range(9))
    source.close()
    run([str(tmp_path / "a.mkv")], tmp_path)
    frames = [r for r in records(tmp_path / "a.jsonl") if r["type"] == "frame"]
    assert [f["frame"] for f in frames if f.get("pts_fixed")] == [3, 7]
    assert all(b["pts"] > a["pts"] for a, b in itertools.pairwise(frames))
    good = [i for i in range(9) if i not in (3, 7)]
    assert [frames[i]["pts"] for i in good] == [stamps[i] / 1e3 for i in good]
