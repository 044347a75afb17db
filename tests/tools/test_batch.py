"""Jobs over files: every frame once, nothing lost when a run is killed, and the same records when it is resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import small as clip
from clips import times
from fake_estimator import FakeEstimator, make

from tfpose_rt.config import RunConfig, SourceOptions
from tfpose_rt.draw import DrawStyle
from tfpose_rt.errors import InputError, OutputError, TfposeError
from tfpose_rt.io.jsonl import Recording
from tfpose_rt.io.parts import SinkOptions
from tfpose_rt.io.synthetic import pattern
from tfpose_rt.records import Poses, Result
from tfpose_rt.tools import batch, workers
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
        clip(tmp_path / "a.mp4", 60),
        str(tmp_path / "bad.mp4"),
        str(tmp_path / "none.mp4"),
        clip(tmp_path / "z.mp4", 60),
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


RUNS = {
    "plain": RunConfig(),
    "smooth": RunConfig(smooth="one-euro"),
    "det-every": RunConfig(det_every=3),
    "no-track": RunConfig(track=False),
    "start-stride": RunConfig(source=SourceOptions(start=0.3, stride=3)),
    "frames": RunConfig(source=SourceOptions(frames=(7, 150))),
}


@pytest.mark.parametrize(("name", "keep"), [("plain", 3), ("plain", 94), *((name, 45) for name in RUNS)])
def test_a_resumed_run_ends_with_the_records_of_an_uninterrupted_one(tmp_path, name, keep):
    config = RUNS[name]
    source = clip(tmp_path / "a.mp4", 160)
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    run([source], tmp_path / "whole", config=config)
    whole = (tmp_path / "whole" / "a.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    keep = min(keep, len(lines) - 3)
    part = tmp_path / "cut" / "a.jsonl.part"
    part.write_bytes(b"".join(lines[: keep + 1]) + lines[keep + 1][:-20])
    watcher = Quiet()
    outcome = run([source], tmp_path / "cut", config=config, watcher=watcher, resume=True)[0]
    assert watcher.done == keep
    assert outcome.summary["fps_mean"] == pytest.approx(outcome.fresh / outcome.summary["wall_s"], rel=0.2)
    assert outcome.fresh == watcher.results == len(lines) - 2 - keep
    one, two = records(tmp_path / "whole" / "a.jsonl"), records(tmp_path / "cut" / "a.jsonl")
    assert two[1:-1] == one[1:-1]
    same = [k for k in one[-1] if k not in ("wall_s", "fps_mean")]
    assert {k: one[-1][k] for k in same} == {k: two[-1][k] for k in same}


def test_resuming_over_a_damaged_place_counts_it_once(tmp_path):
    import test_files

    clip(tmp_path / "a.mov", 60, codec="prores_ks", pix_fmt="yuv422p10le")
    test_files.damaged(tmp_path / "a.mov", 33)
    (tmp_path / "cut").mkdir()
    run([str(tmp_path / "a.mov")], tmp_path)
    lines = (tmp_path / "a.jsonl").read_bytes().splitlines(keepends=True)
    for keep in (20, 34, 35, 36, 50):
        (tmp_path / "cut" / "a.jsonl.part").write_bytes(b"".join(lines[: keep + 1]))
        run([str(tmp_path / "a.mov")], tmp_path / "cut", resume=True, overwrite=True)
        one, two = records(tmp_path / "a.jsonl"), records(tmp_path / "cut" / "a.jsonl")
        assert two[1:-1] == one[1:-1], keep
        for key in ("frames", "gaps", "decode_errors", "ended", "exit_code", "persons", "ids"):
            assert two[-1][key] == one[-1][key], (keep, key)


def test_a_change_of_size_is_recorded_once_however_often_a_run_is_resumed(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    sizes = [(144, 96)] * 9 + [(176, 144)] * 15 + [(144, 96)] * 6
    for i, size in enumerate(sizes):
        assert cv2.imwrite(str(folder / f"{i:03}.png"), pattern(i, size))
    run([str(folder)], tmp_path)
    lines = (tmp_path / "a.jsonl").read_bytes().splitlines(keepends=True)
    kinds = [record["type"] for record in records(tmp_path / "a.jsonl")]
    changes = [i for i, kind in enumerate(kinds) if kind == "segment"]
    assert changes == [10, 26]  # of 1 + 30 + 2 + 1 lines
    (tmp_path / "cut").mkdir()
    for keep in (5, 10, 11, 12, 20, 26, 27, 28, 30):  # 11 and 27: the change is there, the frame behind it is not
        (tmp_path / "cut" / "a.jsonl.part").write_bytes(b"".join(lines[:keep]))
        assert run([str(folder)], tmp_path / "cut", resume=True, overwrite=True)[0].exit_code == 0
        one, two = records(tmp_path / "a.jsonl"), records(tmp_path / "cut" / "a.jsonl")
        assert two[1:-1] == one[1:-1], keep


PROGRAM = """
import sys
sys.path[:0] = [{tests!r}, {io!r}]
from pathlib import Path
from test_batch import *
from fake_estimator import FakeEstimator
class Telling(Quiet):
    def result(self, job, result):
        print(result.frame, flush=True)
run([{source!r}], Path({out!r}), {formats!r}, {video}, estimator=FakeEstimator(seconds=0.05), watcher=Telling())
"""


def killed(source, out, formats, *, video, frames):
    """Run in a child process and kill -9 it about `frames` frames in; the last frame done a second before that."""
    here = Path(__file__).parent
    text = PROGRAM.format(
        tests=str(here), io=str(here.parent / "io"), source=source, out=str(out), formats=formats,
        video=f"Path({str(out)!r})" if video else None,
    )  # fmt: skip
    told = []
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            told.append((time.monotonic(), int(line)))
            if told[-1][1] >= frames:
                break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    return max((frame for when, frame in told if when < told[-1][0] - 1.3), default=0)


@pytest.mark.parametrize(("frames", "formats", "video"), [
    (300, ["jsonl", "csv"], False),
    pytest.param(2000, ["jsonl", "csv", "parquet", "coco", "openpose", "trc"], True, marks=pytest.mark.slow),
])  # fmt: skip
def test_kill_9_loses_at_most_the_last_second_and_all_files_go_on_together(tmp_path, frames, formats, video):
    source = clip(tmp_path / "a.mp4", frames, sounds=("aac",))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    run([source], whole, formats, whole if video else None)
    safe = killed(source, cut, formats, video=video, frames=frames * 2 // 3)
    assert not (cut / "a.jsonl").exists()
    kept = [r.frame for r in Recording(cut / "a.jsonl.part")]
    assert kept == list(range(len(kept)))
    assert 0 < safe <= kept[-1]
    watcher = Quiet()
    run([source], cut, formats, cut if video else None, resume=True, watcher=watcher)
    assert watcher.done > frames // 4
    assert records(cut / "a.jsonl")[1:-1] == records(whole / "a.jsonl")[1:-1]
    assert (cut / "a.csv").read_bytes() == (whole / "a.csv").read_bytes()
    if video:
        for name in ("a.json", "a.images.json", "a_px_person0.trc"):
            assert (cut / name).read_bytes() == (whole / name).read_bytes(), name
        one = {p.name: p.read_bytes() for p in (whole / "a_openpose").glob("*_keypoints.json")}
        assert {p.name: p.read_bytes() for p in (cut / "a_openpose").glob("*_keypoints.json")} == one
        np.testing.assert_allclose(times(cut / "a.mp4"), times(whole / "a.mp4"), atol=1e-6)


@pytest.mark.parametrize("keep", [(40, 25), (25, 40)])
def test_every_file_goes_on_behind_the_last_frame_that_all_of_them_hold(tmp_path, keep):
    source = clip(tmp_path / "a.mp4", 60)
    formats = ["jsonl", "coco"]
    run([source], tmp_path, formats)
    lines = (tmp_path / "a.jsonl").read_bytes().splitlines(keepends=True)
    cut = tmp_path / "cut"
    cut.mkdir()
    for name, frames in zip(("a.jsonl.part", "a.json.part"), keep, strict=True):
        (cut / name).write_bytes(b"".join(lines[: frames + 1]))
    watcher = Quiet()
    assert run([source], cut, formats, resume=True, watcher=watcher)[0].exit_code == 0
    assert watcher.done == 25
    assert records(cut / "a.jsonl")[1:-1] == records(tmp_path / "a.jsonl")[1:-1]
    images = json.loads((cut / "a.images.json").read_text())["images"]
    assert [image["id"] for image in images] == list(range(60))
    assert (cut / "a.json").read_bytes() == (tmp_path / "a.json").read_bytes()


def test_damage_to_an_unfinished_file_is_told_and_nothing_is_begun_again(tmp_path):
    source = clip(tmp_path / "a.mp4", 160)
    run([source], tmp_path, ["jsonl"])
    run([source], tmp_path, ["csv"], sink=SinkOptions(csv_layout="long"))
    lines = (tmp_path / "a.jsonl").read_bytes().splitlines(keepends=True)
    meta = (tmp_path / "a.meta.json").read_bytes()
    rows = (tmp_path / "a.csv").read_bytes()
    holed = b"".join((*lines[:20], b"\0" * 50 + b"\n", *lines[21:50]))
    whole = b"".join(lines[:155])
    cases: list[tuple[dict[str, bytes], str]] = [
        ({"a.jsonl.part": holed}, "a.jsonl.part is damaged: line 21"),
        ({"a.csv.part": rows, "a.meta.json.part": meta}, "a.csv.part is not a wide table"),
        ({"a.jsonl.part": whole, "a.csv.part": rows[: rows.index(b"\n", 2000)] + b"\n\0\0\n"}, "a.csv.part is damaged"),
        ({"a.jsonl.part": whole, "a.csv.part": b"frame,pts_s\n"}, "a.csv.part holds none of the 154 frames"),
    ]
    for number, (files, text) in enumerate(cases):
        cut = tmp_path / str(number)
        cut.mkdir()
        for name, content in files.items():
            (cut / name).write_bytes(content)
        formats = [name for name in ("jsonl", "csv") if f"a.{name}.part" in files]
        outcome = run([source], cut, formats, resume=True)[0]
        assert isinstance(outcome.error, OutputError), text
        assert text in str(outcome.error)
        assert outcome.error.fix == "--overwrite"
        assert {p.name: p.read_bytes() for p in cut.iterdir()} == files, text


def test_a_csv_alone_can_be_resumed(tmp_path):
    source = clip(tmp_path / "a.mp4", 120)
    (tmp_path / "cut").mkdir()
    run([source], tmp_path, ["csv"])
    whole = (tmp_path / "a.csv").read_bytes()
    run([source], tmp_path / "cut", ["csv"], watcher=Quiet(stop_at=70))
    (tmp_path / "cut" / "a.csv").rename(tmp_path / "cut" / "a.csv.part")
    (tmp_path / "cut" / "a.meta.json").rename(tmp_path / "cut" / "a.meta.json.part")
    run([source], tmp_path / "cut", ["csv"], resume=True)
    assert (tmp_path / "cut" / "a.csv").read_bytes() == whole


def test_what_cannot_be_resumed_is_refused(tmp_path):
    source = clip(tmp_path / "a.mp4", 40)
    (tmp_path / "a.jsonl.part").write_text("")
    outcome = run([source], tmp_path, ["jsonl", "csv"], resume=True)[0]
    assert isinstance(outcome.error, OutputError)
    assert "a.csv.part is gone" in str(outcome.error)
    assert run([source], tmp_path, resume=True)[0].exit_code == 0  # empty: begins again


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
    result = Result(image=image, poses=nobody, hidden=np.array([[20, 10, 60, 80]], np.float32))
    drawn = batch._drawn(result, DrawStyle(background="blur-people"))
    assert np.abs(drawn[20:70, 25:55].astype(int) - image[20:70, 25:55]).mean() > 20
    np.testing.assert_array_equal(drawn[:, 110:], image[:, 110:])


def test_a_full_disk_is_an_output_error_and_what_is_there_can_be_resumed(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root for a small file system")
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "none", str(small)], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        source = clip(tmp_path / "a.mp4", 160)
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


def test_processes_do_the_same_as_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    sources = [clip(tmp_path / f"{name}.mp4", 40) for name in "abc"]
    (tmp_path / "bad.mp4").write_text("no")
    sources.insert(1, str(tmp_path / "bad.mp4"))
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
    run(sources, tmp_path / "one")
    watcher = Quiet()
    jobs = plan(sources, [tmp_path / "many"])
    outcomes = workers.run_workers(jobs, RunConfig(), How(), watcher, jobs_at_once=2, make=make)
    assert [o.exit_code for o in outcomes] == [0, 3, 0, 0]
    assert sorted(watcher.names) == ["a.mp4", "b.mp4", "c.mp4"]
    for name in "abc":
        one, many = records(tmp_path / "one" / f"{name}.jsonl"), records(tmp_path / "many" / f"{name}.jsonl")
        assert one[1:-1] == many[1:-1]


SHARED = """
import json, os, sys
sys.path[:0] = [{tests!r}, {io!r}]
from pathlib import Path
from test_batch import *
from fake_estimator import make
from tfpose_rt.cli.watch import interruptible
class Telling(Quiet):
    def advance(self, job, frames):
        print("frames", flush=True)
with interruptible() as told:
    jobs = plan({sources!r}, [Path({out!r})])
    outcomes = workers.run_workers(jobs, RunConfig(), How(), Telling(), jobs_at_once=2, make=make)
print(json.dumps([told.code, sorted(o.exit_code for o in outcomes)]))
"""


def sharing(sources, out, *, stderr):
    """A program that does `sources` in two worker processes, all in a process group of their own."""
    out.mkdir()
    here = Path(__file__).parent
    text = SHARED.format(tests=str(here), io=str(here.parent / "io"), sources=sources, out=str(out))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "FAKE_SECONDS": "0.1"}
    return subprocess.Popen(
        [sys.executable, "-c", text], env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=stderr,
    )  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
@pytest.mark.parametrize(("number", "everybody"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_a_signal_completes_the_files_of_all_processes_and_begins_no_more(tmp_path, number, everybody):
    sources = [clip(tmp_path / f"{name}.mp4", 300) for name in "abcde"]  # 30 s each
    with sharing(sources, tmp_path / "out", stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == "frames\n"
        (os.killpg if everybody else os.kill)(process.pid, number)
        seen, wrong = process.communicate(timeout=60)
    assert wrong == ""
    code, ended = json.loads(seen.splitlines()[-1])
    assert code == 128 + number
    assert ended
    assert set(ended) == {code}
    made = sorted((tmp_path / "out").iterdir())
    assert [path.suffix for path in made] == [".jsonl"] * len(ended)
    for path in made:
        last = records(path)[-1]
        assert (last["ended"], last["exit_code"], last["complete"]) == ("signal", code, False)
        assert last["frames"] == len(records(path)) - 2


def gone(group, seconds):
    """Whether nobody of a process group is left within so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.2)
    return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no process groups there")
def test_workers_end_when_their_parent_was_killed(tmp_path):
    sources = [clip(tmp_path / f"{name}.mp4", 2000) for name in "ab"]
    with sharing(sources, tmp_path / "out", stderr=subprocess.DEVNULL) as process:
        assert process.stdout.readline() == "frames\n"
        process.kill()
        process.wait()
        assert gone(process.pid, 30)
    ends = [records(path)[-1] for path in (tmp_path / "out").iterdir()]
    assert ends
    assert {(last["ended"], last["exit_code"]) for last in ends} == {("signal", 128 + signal.SIGTERM)}


@pytest.mark.slow
def test_a_worker_that_dies_fails_its_file_alone(tmp_path, monkeypatch):
    from fake_estimator import make_dying

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("FAKE_MARK", str(tmp_path / "mark"))
    sources = [clip(tmp_path / f"{name}.mp4", 60) for name in "abc"]
    jobs = plan(sources, [tmp_path])
    outcomes = workers.run_workers(jobs, RunConfig(), How(), Quiet(), jobs_at_once=1, make=make_dying)
    assert sorted(o.exit_code for o in outcomes) == [0, 0, 1]
    died = next(o for o in outcomes if o.exit_code)
    assert isinstance(died.error, TfposeError)
    assert "died" in str(died.error)
    again = workers.run_workers([died.job], RunConfig(), How(resume=True), Quiet(), jobs_at_once=1, make=make_dying)
    assert again[0].summary["frames"] == 60


def test_the_parts_of_a_format_follow_the_flags(tmp_path):
    source = clip(tmp_path / "a.mp4", 20)
    run([source], tmp_path, ["csv"], sink=SinkOptions(csv_layout="long"))
    assert (tmp_path / "a.csv").read_text().startswith("frame,pts_s,id,keypoint,x,y,score\n")
