"""Jobs over files: every frame once, nothing lost when a run is killed, and the same records when it is resumed."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from clips import small as clip
from clips import times
from fake_estimator import FakeEstimator

from tfpose_rt.config import RunConfig, SourceOptions
from tfpose_rt.draw import DrawStyle
from tfpose_rt.errors import InputError, OutputError
from tfpose_rt.io.jsonl import Recording
from tfpose_rt.io.parts import SinkOptions
from tfpose_rt.records import Poses, Result
from tfpose_rt.tools import batch
from tfpose_rt.tools.batch import How, Stop, check, run_batch, worst
from tfpose_rt.tools.outputs import plan

SIZE = (144, 96)


class Quiet:
    """A watcher that counts."""

    def __init__(self, stop_at=None):
        self.names, self.outcomes, self.results, self.done, self.stop_at = [], [], 0, 0, stop_at

    def started(self, job, info, done):
        self.names.append(info.name)
        self.done = done

    def result(self, job, result):
        self.results += result.poses is not None
        if self.results == self.stop_at:
            raise Stop

    def advance(self, job, frames):
        self.results += frames

    def finished(self, outcome):
        self.outcomes.append(outcome)


def run(sources, out, formats=("jsonl",), video=None, *, config=None, estimator=None, watcher=None, **how):
    jobs = plan(sources, [out], list(formats), video)
    how = How(**how)
    check(jobs, how)
    config = config or RunConfig()
    model = estimator or FakeEstimator(config)
    return run_batch(jobs, lambda: model, config, how, watcher or Quiet())


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_frame_of_every_file_in_every_format_from_one_model(tmp_path):
    sources = [clip(tmp_path / "a.mp4", 60), clip(tmp_path / "b.mkv", 30), "synthetic:144x96@30"]
    out = tmp_path / "out"
    out.mkdir()
    made = []
    config = RunConfig(source=SourceOptions(end=1.2))
    jobs = plan(sources, [out], ["jsonl", "csv", "parquet", "coco", "openpose", "trc"], out)
    outcomes = run_batch(jobs, lambda: made.append(1) or FakeEstimator(config), config, How(), Quiet())
    assert [o.summary["frames"] for o in outcomes] == [30, 30, 36]
    assert [o.exit_code for o in outcomes] == [0, 0, 0]
    assert len(made) == 3  # asked once a job; a caller caches
    frames = [r for r in records(out / "a.jsonl") if r["type"] == "frame"]
    assert [f["frame"] for f in frames] == list(range(30))
    assert [f["video_frame"] for f in frames] == list(range(30))
    np.testing.assert_allclose([f["pts"] for f in frames], np.arange(30) / 25, atol=1e-6)
    assert len(times(out / "a.mp4")) == 30
    assert len(list((out / "a_openpose").glob("*_keypoints.json"))) == 30
    assert not [p for p in out.rglob("*") if p.suffix in (".part", ".new", ".old")]
    assert {p.name for p, _ in outcomes[0].files} >= {"a.jsonl", "a.csv", "a.meta.json", "a.parquet", "a.mp4"}


def test_a_failing_file_does_not_stop_the_others_and_the_worst_code_wins(tmp_path):
    (tmp_path / "bad.mp4").write_text("not a video")
    sources = [
        clip(tmp_path / "a.mp4", 20),
        str(tmp_path / "bad.mp4"),
        str(tmp_path / "none.mp4"),
        clip(tmp_path / "z.mp4", 20),
    ]
    watcher = Quiet()
    outcomes = run(sources, tmp_path, watcher=watcher)
    assert [o.exit_code for o in outcomes] == [0, 3, 3, 0]
    assert worst(outcomes) == 3
    assert isinstance(outcomes[1].error, InputError)
    assert not list(tmp_path.glob("bad.jsonl*"))
    assert not list(tmp_path.glob("none.jsonl*"))
    assert watcher.outcomes == outcomes
    outcomes = run(sources, tmp_path, overwrite=True, fail_fast=True)
    assert [o.exit_code for o in outcomes] == [0, 3]


def test_a_missing_file_is_told_before_the_model_loads(tmp_path):
    def load():
        raise AssertionError("the model was loaded")

    jobs = plan([str(tmp_path / "none.mp4")], [tmp_path])
    assert run_batch(jobs, load, RunConfig(), How(), Quiet())[0].exit_code == 3


def test_a_model_that_raises_leaves_the_part_and_the_others_go_on(tmp_path):
    sources = [clip(tmp_path / "a.mp4", 60), clip(tmp_path / "b.mp4", 20)]
    (tmp_path / "v").mkdir()
    outcomes = run(sources, tmp_path, video=tmp_path / "v", estimator=FakeEstimator(fail_at=40))
    assert [o.exit_code for o in outcomes] == [1, 0]
    assert "the model broke" in str(outcomes[0].error)
    assert (tmp_path / "a.jsonl.part").exists()
    assert not (tmp_path / "a.jsonl").exists()
    kept = [r.frame for r in Recording(tmp_path / "a.jsonl.part")]
    assert kept == list(range(40))
    outcomes = run(sources[:1], tmp_path, video=tmp_path / "v", resume=True)
    assert outcomes[0].exit_code == 0
    assert outcomes[0].summary["frames"] == 60


def test_an_undecodable_frame_is_recorded_and_the_code_is_7(tmp_path):
    import test_files

    clip(tmp_path / "a.mov", 60, codec="prores_ks", pix_fmt="yuv422p10le")
    test_files.damaged(tmp_path / "a.mov", 33)
    outcomes = run([str(tmp_path / "a.mov")], tmp_path)
    assert outcomes[0].exit_code == 7
    kinds = [(r["type"], r.get("frame", r.get("seq_from"))) for r in records(tmp_path / "a.jsonl")[1:-1]]
    assert kinds == [*(("frame", i) for i in range(33)), ("gap", 33), *(("frame", i) for i in range(34, 60))]
    last = records(tmp_path / "a.jsonl")[-1]
    assert (last["complete"], last["ended"], last["decode_errors"], last["gaps"]) == (False, "decode_error", 1, 1)
    part = RunConfig(source=SourceOptions(frames=(20, 50)))
    outcomes = run([str(tmp_path / "a.mov")], tmp_path, overwrite=True, config=part)
    last = records(tmp_path / "a.jsonl")[-1]
    assert outcomes[0].exit_code == last["exit_code"] == 7
    assert (last["complete"], last["ended"], last["frames"]) == (False, "decode_error", 29)
    assert last["frames_expected"] is None  # the file's count is not that of a part


def test_existing_files_are_refused_skipped_or_replaced(tmp_path):
    sources = [clip(tmp_path / "a.mp4", 20), clip(tmp_path / "b.mp4", 20)]
    run(sources[:1], tmp_path)
    with pytest.raises(OutputError, match="exists"):
        run(sources, tmp_path)
    outcomes = run(sources, tmp_path, skip_existing=True)
    assert [o.skipped for o in outcomes] == [True, False]
    assert worst(outcomes) == 0
    assert [o.summary["frames"] for o in run(sources, tmp_path, overwrite=True)] == [20, 20]
    (tmp_path / "b.jsonl").rename(tmp_path / "b.jsonl.part")
    outcomes = run(sources, tmp_path, resume=True)  # a run of many files that was cut short in its second
    assert [o.skipped for o in outcomes] == [True, False]
    assert len(records(tmp_path / "b.jsonl")) == 22


def test_a_user_who_has_seen_enough_and_ctrl_c_complete_the_files(tmp_path):
    source = clip(tmp_path / "a.mp4", 100)
    outcomes = run([source, clip(tmp_path / "b.mp4", 60)], tmp_path, watcher=Quiet(stop_at=30))
    assert [(o.summary["ended"], o.exit_code) for o in outcomes] == [("user", 0)]  # the whole run ends

    class Interrupting(Quiet):
        def result(self, job, result):
            super().result(job, result)
            if self.results == 40:
                raise KeyboardInterrupt

    outcomes = run([source, clip(tmp_path / "b.mp4", 60)], tmp_path, overwrite=True, watcher=Interrupting())
    assert len(outcomes) == 1
    assert outcomes[0].exit_code == 130
    last = records(tmp_path / "a.jsonl")[-1]
    assert (last["complete"], last["ended"], last["frames"]) == (False, "signal", 40)


def test_a_crash_is_raised_as_it_is_for_who_debugs(tmp_path, monkeypatch):
    monkeypatch.setenv("TFPOSE_DEBUG", "1")
    with pytest.raises(RuntimeError, match="the model broke"):
        run([clip(tmp_path / "a.mp4", 60)], tmp_path, estimator=FakeEstimator(fail_at=5))


def test_a_format_that_cannot_be_opened_leaves_nothing_of_the_others(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    source = clip(tmp_path / "a.mp4", 20)
    for _ in range(2):  # the first try does not block the second
        outcome = run([source], tmp_path, ["openpose", "csv", "parquet"])[0]
        assert "polars" in str(outcome.error)
        assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_a_failure_tells_no_password(tmp_path, monkeypatch):
    def broken(source, options):
        raise RuntimeError(f"no answer from {source}")

    monkeypatch.setattr(batch, "open_source", broken)
    outcome = run(["rtsp://me:hunter2@cam.local/x"], tmp_path)[0]
    assert str(outcome.error).startswith("rtsp://***@cam.local/x failed: RuntimeError: no answer from rtsp://***@cam")
    (tmp_path / "cam.local_x.jsonl.part").write_text("")
    outcome = run(["rtsp://me:hunter2@cam.local/x"], tmp_path, ["jsonl", "csv"], resume=True)[0]
    assert str(outcome.error).startswith("cannot resume rtsp://***@cam.local/x: ")


def test_who_is_remembered_but_not_found_is_blurred_in_saved_videos():
    image = np.random.default_rng(0).integers(0, 255, (96, 144, 3), np.uint8)
    nobody = Poses(xy=np.zeros((0, 17, 2), np.float32), scores=None, boxes=np.zeros((0, 4), np.float32),
                   box_scores=np.zeros(0, np.float32), size=SIZE)  # fmt: skip
    result = Result(image=image, poses=nobody, hidden=np.array([[20, 10, 60, 80]], np.float32), searched=True)
    drawn = batch._drawn(result, DrawStyle(background="blur-people"))
    assert np.abs(drawn[20:70, 25:55].astype(int) - image[20:70, 25:55]).mean() > 20
    np.testing.assert_array_equal(drawn[:, 110:], image[:, 110:])
    unsearched = batch._drawn(dataclasses.replace(result, searched=False), DrawStyle(background="blur-people"))
    assert np.abs(unsearched[20:70, 115:140].astype(int) - image[20:70, 115:140]).mean() > 20


def test_a_full_disk_is_an_output_error_and_what_is_there_can_be_resumed(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root for a small file system")
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "none", str(small)], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        source = clip(tmp_path / "a.mp4", 80)
        for formats, video in ((["jsonl"], None), ([], small), (["csv"], None)):
            outcome = run([source], small if not video else tmp_path, formats or ["jsonl"], video, overwrite=True)[0]
            assert outcome.exit_code == 4, (formats, outcome)
            assert "no space" in str(outcome.error).lower()
            assert "\n" not in str(outcome.error)
            assert not list(small.glob("a.*[!t]")) or all(p.name.endswith((".part", ".json")) for p in small.iterdir())
            for file in small.iterdir():
                file.unlink()
        part = run([source], small, overwrite=True)[0]
        assert part.exit_code == 4
        kept = [r.frame for r in Recording(small / "a.jsonl.part")]
        assert kept == list(range(len(kept)))
        assert kept
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_an_output_removed_while_running_is_an_output_error(tmp_path, monkeypatch):
    from tfpose_rt.io import parts

    monkeypatch.setattr(parts, "FLUSH", 0.0)
    source = clip(tmp_path / "a.mp4", 200)

    class Removing(Quiet):
        def result(self, job, result):
            super().result(job, result)
            if self.results == 50:
                (tmp_path / "a.jsonl.part").unlink()

    outcome = run([source], tmp_path, watcher=Removing())[0]
    assert outcome.exit_code == 4
    assert "removed" in str(outcome.error)
    assert not list(tmp_path.glob("a.jsonl*"))


def test_the_parts_of_a_format_follow_the_flags(tmp_path):
    source = clip(tmp_path / "a.mp4", 20)
    run([source], tmp_path, ["csv"], sink=SinkOptions(csv_layout="long"))
    assert (tmp_path / "a.csv").read_text().startswith("frame,pts_s,id,keypoint,x,y,score,swapped\n")
