"""Files that are there count as a job's only where they are its own: of its source and settings, and all of them."""

import json

import cv2
import pytest
from clips import small as clip
from test_batch import records, run
from test_resume import Interrupting

from tfpose_rt.config import RunConfig, SourceOptions
from tfpose_rt.errors import OutputError, UsageError
from tfpose_rt.io.synthetic import pattern
from tfpose_rt.tools.batch import How, check
from tfpose_rt.tools.outputs import plan

MADE = ["jsonl", "csv", "parquet"]


@pytest.mark.parametrize("how", ["resume", "skip_existing"])
@pytest.mark.parametrize("name", MADE)
def test_the_files_of_another_clip_of_the_same_name_are_not_taken_for_this_ones(tmp_path, how, name):
    one, two = tmp_path / "s01", tmp_path / "s02"
    for folder, frames in ((one, 20), (two, 30)):
        folder.mkdir()
        clip(folder / "walk.mp4", frames)
    run([str(one / "walk.mp4")], tmp_path, [name])
    before = (tmp_path / f"walk.{name}").read_bytes()
    outcomes = run([str(two / "walk.mp4"), str(one / "walk.mp4")], tmp_path, [name], **{how: True})
    assert [(o.skipped, o.exit_code) for o in outcomes] == [
        (False, 0),
        (False, 0),
    ]  # together they have names of their own
    (outcome,) = run([str(two / "walk.mp4")], tmp_path, [name], **{how: True})
    assert isinstance(outcome.error, OutputError)
    assert str(outcome.error).endswith(
        "it holds the people of another file named walk.mp4; try: another -o, or --overwrite"
    )
    assert (tmp_path / f"walk.{name}").read_bytes() == before
    (one / "walk.mp4").rename(tmp_path / "walk.mp4")  # where it lies does not matter
    assert run([str(tmp_path / "walk.mp4")], tmp_path, [name], **{how: True})[0].skipped


def test_a_clip_keeps_the_name_of_its_files_when_others_come_into_the_folder(tmp_path):
    alone = plan([str(tmp_path / "a_1.mp4")], [tmp_path])[0].paths
    more = plan([str(tmp_path / "a 1.mp4"), str(tmp_path / "a_1.mp4")], [tmp_path])
    assert [job.paths[0].name for job in more] == ["a_1_2.jsonl", "a_1.jsonl"]
    assert more[1].paths == alone


@pytest.mark.parametrize("name", MADE)
def test_files_that_other_settings_made_are_told(tmp_path, caplog, name):
    source = clip(tmp_path / "a.mp4", 20)
    run([source], tmp_path, [name], args={"frames": "0:3", "det_every": "1", "track": True})
    now = {"frames": "0:6", "conf": 0.5}
    (outcome,) = run([source], tmp_path, [name], resume=True, args=now)
    assert isinstance(outcome.error, UsageError)
    told = "--frames (0:3, now 0:6); --conf (0.25, now 0.5)"
    assert told in str(outcome.error)
    (outcome,) = run([source], tmp_path, [name], skip_existing=True, args=now)
    assert (outcome.skipped, outcome.exit_code) == (True, 0)
    assert told in caplog.text
    caplog.clear()
    for how in ("resume", "skip_existing"):
        (outcome,) = run([source], tmp_path, [name], args={"frames": "0:3", "det_every": 1}, **{how: True})
        assert outcome.skipped
    assert not caplog.records


def test_a_run_goes_on_with_all_of_its_files_or_not_at_all(tmp_path):
    source = clip(tmp_path / "a.mp4", 60)
    whole = tmp_path / "whole"
    whole.mkdir()
    run([source], whole, ["jsonl", "csv"])
    run([source], tmp_path, ["jsonl", "csv"], watcher=Interrupting())
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    (outcome,) = run([source], tmp_path, ["jsonl"], resume=True)
    assert isinstance(outcome.error, UsageError)
    assert "a.csv and a.meta.json would stay cut short" in str(outcome.error)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before
    # whatever made the recording whole: a table that says it is not is gone on with, and the recording with it
    (tmp_path / "a.jsonl").write_bytes((whole / "a.jsonl").read_bytes())
    (outcome,) = run([source], tmp_path, ["jsonl", "csv"], resume=True)
    assert (outcome.skipped, outcome.exit_code, outcome.summary["frames"]) == (False, 0, 60)
    assert (tmp_path / "a.csv").read_bytes() == (whole / "a.csv").read_bytes()
    assert records(tmp_path / "a.jsonl")[1:-1] == records(whole / "a.jsonl")[1:-1]
    assert json.loads((tmp_path / "a.meta.json").read_text())["summary"]["complete"] is True


def test_who_starts_an_interrupted_run_again_hears_that_it_can_go_on(tmp_path):
    source = clip(tmp_path / "a.mp4", 60)
    run([source], tmp_path, watcher=Interrupting())
    with pytest.raises(OutputError, match="was interrupted there; try: --resume goes on, --overwrite begins"):
        check(plan([source], [tmp_path], ["jsonl"]), How())


@pytest.mark.parametrize(("was", "now"), [({"start": "0:01"}, {"start": "1"}), ({}, {"weights": "tfpose-n"})])
def test_another_spelling_is_no_other_setting(tmp_path, caplog, was, now):
    source = clip(tmp_path / "a.mp4", 20)
    run([source], tmp_path, args=was)
    assert run([source], tmp_path, resume=True, args=now)[0].skipped
    assert not caplog.records


@pytest.mark.parametrize("asked", ["full", "ends"])
def test_a_photograph_is_known_again(tmp_path, asked):
    source = tmp_path / "a.png"
    source.write_bytes(
        cv2.imencode(".png", pattern(0, (144, 96)))[1].tobytes() + bytes(3 << 20)
    )  # longer than its ends
    config = RunConfig(source=SourceOptions(full_hash=asked == "full"))
    run([str(source)], tmp_path, args={"hash": asked}, config=config)
    assert run([str(source)], tmp_path, resume=True, args={"hash": asked}, config=config)[0].skipped
    (tmp_path / "b").mkdir()
    run([str(source)], tmp_path / "b", args={"hash": asked})  # as it was written once, whatever was asked for
    assert run([str(source)], tmp_path / "b", resume=True, args={"hash": asked}, config=config)[0].skipped


def test_a_damaged_end_does_not_hide_whose_a_recording_is(tmp_path):
    one, two = (clip(tmp_path / f"{name}.mp4", frames) for name, frames in (("a", 20), ("b", 30)))
    run([one], tmp_path, ["jsonl"])
    recording = tmp_path / "a.jsonl"
    recording.write_bytes(recording.read_bytes()[:-20])
    recording.rename(tmp_path / "b.jsonl")
    (outcome,) = run([two], tmp_path, ["jsonl"], skip_existing=True)
    assert isinstance(outcome.error, OutputError)
