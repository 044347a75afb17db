"""--smooth of convert and plot: the filters' own answers in every file, raw points beside them, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files

import jsonschema
import numpy as np
import pandas as pd
import pytest
from known_people import poses, recording
from program import run_program

from tfpose_rt.records import Result
from tfpose_rt.smooth import Smoother
from tfpose_rt.tools.motion import read_motion
from tfpose_rt.tools.smoothing import described, open_smoothed
from tfpose_rt.zero_lag import low_pass

FRAMES = 40


def trembling():
    """Person 1 walks, person 2 stands; both tremble by a pixel. Person 2 is away for the first ten frames."""
    noise = np.random.default_rng(0).normal(0, 1, (FRAMES, 2, 17, 2)).astype(np.float32)
    for i in range(FRAMES):
        found = poses([1, 2] if i >= 10 else [1], i, round(i / 30, 6), errors=True)
        xy = found.xy + noise[i, : len(found)]
        yield Result(frame=i, pts=found.pts, poses=replace(found, xy=xy), seq=i)


@pytest.fixture
def takes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return recording(tmp_path / "k.jsonl", list(trembling()))


def expected(number):
    """(T, K, 2) px, by the filter itself, of one person as the recording has it: to two decimals."""
    seen = [(r.pts, r.poses.xy[r.poses.ids == number][0], r.poses.errors[r.poses.ids == number][0])
            for r in trembling() if number in r.poses.ids]  # fmt: skip
    t, xy, errors = (np.array(column, np.float64) for column in zip(*seen, strict=True))
    return low_pass(t, xy.round(2), errors.round(2), 6.0)


@pytest.mark.parametrize("source", ["k.jsonl", "k.csv", "k.parquet"])
def test_a_table_holds_the_smoothed_points(takes, source, monkeypatch, capsys):
    if source != takes.name:
        assert run_program(monkeypatch, capsys, "convert", "k.jsonl", "-o", source, "-q")[0] == 0
    assert run_program(monkeypatch, capsys, "convert", source, "--smooth", "zero-lag", "-o", "s.csv")[0] == 0
    table = pd.read_csv("s.csv")
    for number in (1, 2):
        rows = table[table["id"] == number]
        found = rows[["left_knee_x", "left_knee_y"]].to_numpy()
        np.testing.assert_allclose(found, expected(number)[:, 13], atol=0.011)
    about = json.loads((takes.parent / "s.meta.json").read_text())
    assert about["field"] == "smooth"
    assert about["header"]["smooth"] == {"name": "zero-lag", "cutoff_hz": 6.0}


def test_a_recording_holds_both(takes, monkeypatch, capsys):
    assert run_program(monkeypatch, capsys, "convert", "k.jsonl", "--smooth", "zero-lag:6", "-o", "s.jsonl")[0] == 0
    both = (takes, takes.with_name("s.jsonl"))
    before, after = ([json.loads(line) for line in path.read_text().splitlines()] for path in both)
    schema = json.loads(files("tfpose_rt.io").joinpath("recording.schema.json").read_text())
    for record in after[:-1]:  # the summary of this recording is a short one
        jsonschema.validate(record, schema)
    for old, new in zip(before[1:-1], after[1:-1], strict=True):
        for one, other in zip(old["persons"], new["persons"], strict=True):
            assert one["keypoints"] == other["keypoints"]
    found = [p["keypoints_smooth"][13][:2] for r in after[1:-1] for p in r["persons"] if p["id"] == 2]
    np.testing.assert_allclose(found, expected(2)[:, 13], atol=0.011)


@pytest.mark.parametrize("word", ["zero-lag", "one-euro"])
@pytest.mark.parametrize("source", ["k.jsonl", "k.csv", "k.parquet"])
def test_a_complete_recording_stays_complete(takes, source, word, monkeypatch, capsys):
    if source != takes.name:
        assert run_program(monkeypatch, capsys, "convert", "k.jsonl", "-o", source, "-q")[0] == 0
    asked = ("convert", source, "--smooth", word, "--strict", "-o", "s.jsonl")
    code, _, err = run_program(monkeypatch, capsys, *asked)
    assert code == 0, err
    assert "cut short" not in err
    last = json.loads(takes.with_name("s.jsonl").read_text().splitlines()[-1])
    assert (last["complete"], last["ended"], last["frames"]) == (True, "eof", FRAMES)


@pytest.mark.parametrize("word", ["zero-lag", "one-euro"])
def test_a_recording_cut_short_is_told(takes, word, monkeypatch, capsys):
    lines = takes.read_text().splitlines(keepends=True)
    takes.write_text("".join(lines[:-1]))
    code, _, err = run_program(monkeypatch, capsys, "convert", "k.jsonl", "--smooth", word, "-o", "s.csv")
    assert code == 0
    assert "k.jsonl was cut short" in err


def test_the_streaming_filter_is_the_one_of_a_run(takes):
    smoother = Smoother.parse("one-euro:0.5,0.02")
    source = open_smoothed(takes, "one-euro:0.5,0.02")
    for made, raw in zip(source.results, open_smoothed(takes).results, strict=True):
        np.testing.assert_array_equal(made.poses.xy_smooth, smoother.update(raw.poses).xy_smooth)
    assert source.header["smooth"] == {"name": "one-euro", "mincut": 0.5, "beta": 0.02}


def test_figures_and_angles_are_of_the_smoothed_points(takes, monkeypatch, capsys):
    motion = read_motion(takes, field="smooth", smooth="zero-lag")
    np.testing.assert_allclose(motion.people[1].xy[:, 13], expected(1)[:, 13], atol=1e-4)
    for more in ([], ["--smooth", "zero-lag"], ["--smooth", "zero-lag", "--field", "raw"]):
        words = ("convert", "k.jsonl", "-f", "angles", "-o", "a.csv", "-y", *more)
        assert run_program(monkeypatch, capsys, *words)[0] == 0
        table = pd.read_csv("a.csv")
        angle = table[table["id"] == 1]["left_knee"].to_numpy()
        if more == []:
            raw = angle
        elif len(more) == 2:
            assert np.std(np.diff(angle, 2)) < 0.5 * np.std(np.diff(raw, 2))
        else:
            np.testing.assert_array_equal(angle, raw)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--smooth", "off"], "zero-lag:HZ"),
        (["--smooth", "median"], "zero-lag:HZ"),
        (["--smooth", "zero-lag:0"], "zero-lag:6"),
        (["--smooth", "one-euro:1"], "one-euro:mincut,beta"),
        (["--field", "smooth"], "--smooth zero-lag"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(takes, monkeypatch, capsys, words, says):
    code, _, err = run_program(monkeypatch, capsys, "convert", "k.jsonl", "-o", "s.csv", *words)
    assert code == 2
    assert says in err
    assert not (takes.parent / "s.csv").exists()


@pytest.mark.parametrize("word", ["zero-lag", "one-euro"])
def test_people_without_ids_cannot_be_followed(tmp_path, monkeypatch, capsys, word):
    monkeypatch.chdir(tmp_path)
    recording(tmp_path / "k.jsonl", [Result(frame=0, poses=poses([1], track=False))])
    code, _, err = run_program(monkeypatch, capsys, "convert", "k.jsonl", "-o", "s.csv", "--smooth", word)
    assert code == 2
    assert "--no-track" in err


def test_a_run_cannot_look_ahead(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, _, err = run_program(monkeypatch, capsys, "video", "synthetic", "--smooth", "zero-lag")
    assert code == 2
    assert "convert RECORDING --smooth zero-lag" in err


def test_captions_say_what_was_done():
    assert described({"name": "zero-lag", "cutoff_hz": 6.0}) == "smoothed points (zero-lag, cutoff 6.0 Hz)"
    assert (
        described({"name": "one-euro", "mincut": 1, "beta": 0.05}) == "smoothed points (one-euro, mincut 1, beta 0.05)"
    )
    assert described(None) == "smoothed points"
