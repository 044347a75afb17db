"""--resume: whatever ended a run, its files go on together and end with the records of an uninterrupted one."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import small as clip
from clips import times
from test_batch import Quiet, records, run

from tfpose_rt.config import RunConfig, SourceOptions
from tfpose_rt.errors import OutputError
from tfpose_rt.io.jsonl import Recording
from tfpose_rt.io.parts import SinkOptions
from tfpose_rt.io.synthetic import pattern
from tfpose_rt.tools.batch import worst

RUNS = {
    "plain": RunConfig(),
    "smooth": RunConfig(smooth="one-euro"),
    "det-every": RunConfig(det_every=3),
    "auto": RunConfig(det_every=0),
    "no-track": RunConfig(track=False),
    "start-stride": RunConfig(source=SourceOptions(start=0.3, stride=3)),
    "frames": RunConfig(source=SourceOptions(frames=(7, 70))),
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The recording of a run of RUNS from the first frame to the last, made once.

    Of 75 frames: the second person is away from 43 to 57, the third from 26 to 45, and the first, who came at 10, from
    60 to 69.
    """

    @functools.cache
    def recording(name):
        folder = tmp_path_factory.mktemp(name)
        run([clip(folder / "a.mp4", 75)], folder, config=RUNS[name])
        return folder / "a.jsonl"

    return recording


CUTS = [("plain", 3), ("plain", 64), ("auto", 47), *((name, 12 if name == "start-stride" else 45) for name in RUNS)]


@pytest.mark.parametrize(("name", "keep"), CUTS)
def test_a_resumed_run_ends_with_the_records_of_an_uninterrupted_one(tmp_path, uninterrupted, name, keep):
    config, whole = RUNS[name], uninterrupted(name)
    source = clip(tmp_path / "a.mp4", 75)
    (tmp_path / "cut").mkdir()
    lines = whole.read_bytes().splitlines(keepends=True)
    part = tmp_path / "cut" / "a.jsonl.part"
    part.write_bytes(b"".join(lines[: keep + 1]) + lines[keep + 1][:-20])
    watcher = Quiet()
    outcome = run([source], tmp_path / "cut", config=config, watcher=watcher, resume=True)[0]
    assert watcher.done == keep
    assert outcome.summary["fps_mean"] == pytest.approx(outcome.fresh / outcome.summary["wall_s"], rel=0.2)
    assert outcome.fresh == watcher.results == len(lines) - 2 - keep
    one, two = records(whole), records(tmp_path / "cut" / "a.jsonl")
    assert two[1:-1] == one[1:-1]
    same = [k for k in one[-1] if k not in ("wall_s", "fps_mean")]
    assert {k: one[-1][k] for k in same} == {k: two[-1][k] for k in same}


def test_resuming_over_a_damaged_place_counts_it_once(tmp_path):
    import test_files

    clip(tmp_path / "a.mov", 40, codec="prores_ks", pix_fmt="yuv422p10le")
    test_files.damaged(tmp_path / "a.mov", 20)
    (tmp_path / "cut").mkdir()
    run([str(tmp_path / "a.mov")], tmp_path)
    lines = (tmp_path / "a.jsonl").read_bytes().splitlines(keepends=True)
    for keep in (10, 21, 22, 23, 32):
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
run([{source!r}], Path({out!r}), {formats!r}, {video}, estimator=FakeEstimator(seconds=0.1), watcher=Telling())
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
    (150, ["jsonl", "csv"], False),
    pytest.param(2000, ["jsonl", "csv", "parquet", "coco", "openpose", "trc"], True, marks=pytest.mark.slow),
])  # fmt: skip
def test_kill_9_loses_at_most_the_last_second_and_all_files_go_on_together(tmp_path, frames, formats, video):
    source = clip(tmp_path / "a.mp4", frames, sounds=("aac",))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    run([source], whole, formats, whole if video else None)
    safe = killed(source, cut, formats, video=video, frames=frames // 2)
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
    source = clip(tmp_path / "a.mp4", 60, rate=Fraction(10))  # 6 s: too many to do them again
    run([source], tmp_path, ["jsonl"])
    run([source], tmp_path, ["csv"], sink=SinkOptions(csv_layout="long"))
    lines = (tmp_path / "a.jsonl").read_bytes().splitlines(keepends=True)
    meta = (tmp_path / "a.meta.json").read_bytes()
    rows = (tmp_path / "a.csv").read_bytes()
    holed = b"".join((*lines[:20], b"\0" * 50 + b"\n", *lines[21:50]))
    whole = b"".join(lines[:55])
    cases: list[tuple[dict[str, bytes], str]] = [
        ({"a.jsonl.part": holed}, "a.jsonl.part is damaged: line 21"),
        ({"a.csv.part": rows, "a.meta.json.part": meta}, "a.csv.part is not a wide table"),
        ({"a.jsonl.part": whole, "a.csv.part": rows[: rows.index(b"\n", 2000)] + b"\n\0\0\n"}, "a.csv.part is damaged"),
        ({"a.jsonl.part": whole, "a.csv.part": b"frame,pts_s\n"}, "a.csv.part holds none of the 54 frames"),
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
    source = clip(tmp_path / "a.mp4", 60)
    (tmp_path / "cut").mkdir()
    run([source], tmp_path, ["csv"])
    whole = (tmp_path / "a.csv").read_bytes()
    run([source], tmp_path / "cut", ["csv"], watcher=Quiet(stop_at=35))
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


class Interrupting(Quiet):
    """Ctrl-C at a frame."""

    def result(self, job, result):
        super().result(job, result)
        if self.results == 40:
            raise KeyboardInterrupt


ALL = ["jsonl", "csv", "parquet", "coco", "openpose", "trc"]


@pytest.mark.parametrize(("formats", "video"), [(["jsonl"], False), (["csv"], False), (ALL, True)])
def test_what_ctrl_c_completed_goes_on_as_if_it_had_been_killed(tmp_path, formats, video):
    source = clip(tmp_path / "a.mp4", 60, sounds=("aac",))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    run([source], whole, formats, whole if video else None)
    assert run([source], cut, formats, cut if video else None, watcher=Interrupting())[0].exit_code == 130
    watcher = Quiet()
    outcome = run([source], cut, formats, cut if video else None, watcher=watcher, resume=True)[0]
    assert (outcome.exit_code, outcome.skipped) == (0, False)
    done = 39 if "csv" in formats else 40  # the last frame of a table may lack people
    assert (watcher.done, watcher.results) == (done, 60 - done)
    assert {p.name for p in cut.iterdir()} == {p.name for p in whole.iterdir()}
    for name in {"a.csv", "a.json", "a.images.json", "a_px_person0.trc"} & {p.name for p in whole.iterdir()}:
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name
    if "jsonl" in formats:
        assert records(cut / "a.jsonl")[1:-1] == records(whole / "a.jsonl")[1:-1]
        assert records(cut / "a.jsonl")[-1]["complete"] is True
    if video:
        one = {p.name: p.read_bytes() for p in (whole / "a_openpose").glob("*_keypoints.json")}
        assert {p.name: p.read_bytes() for p in (cut / "a_openpose").glob("*_keypoints.json")} == one
        np.testing.assert_allclose(times(cut / "a.mp4"), times(whole / "a.mp4"), atol=1e-6)
    assert run([source], cut, formats, cut if video else None, resume=True)[0].skipped


def test_what_cannot_be_opened_again_is_done_from_the_start_and_says_so(tmp_path, caplog):
    source = clip(tmp_path / "a.mp4", 60)
    assert run([source], tmp_path, ["parquet"], watcher=Interrupting())[0].exit_code == 130
    watcher = Quiet()
    assert run([source], tmp_path, ["parquet"], resume=True, watcher=watcher)[0].summary["frames"] == 60
    assert (watcher.done, watcher.results) == (0, 60)
    assert [r.getMessage() for r in caplog.records] == [
        f"{source} was cut short, and a.parquet cannot be continued: done again from the start"
    ]


def test_a_folder_of_several_sources_poses_is_not_continued(tmp_path):
    """Frames of the other source that lie behind the last one kept would be taken for this one's."""
    source = clip(tmp_path / "a.mp4", 60)
    formats = ["jsonl", "openpose"]
    assert run([source], tmp_path, formats, watcher=Interrupting())[0].exit_code == 130
    other = tmp_path / "a_openpose" / "b_000000000099_keypoints.json"
    other.write_text("{}")
    assert run([source], tmp_path, formats, resume=True)[0].exit_code == 0
    assert other.read_text() == "{}"
    assert len(list((tmp_path / "a_openpose").glob("a_*_keypoints.json"))) == 60


def test_a_run_cut_short_is_not_done_for_who_skips_what_is_there(tmp_path, caplog):
    sources = [clip(tmp_path / "a.mp4", 60), clip(tmp_path / "b.mp4", 20)]
    assert len(run(sources, tmp_path, watcher=Interrupting())) == 1
    outcomes = run(sources, tmp_path, skip_existing=True)
    assert [(o.skipped, o.exit_code) for o in outcomes] == [(True, 130), (False, 0)]
    assert worst(outcomes) == 130
    (line,) = (r.getMessage() for r in caplog.records)
    assert line == f"{sources[0]}: what is there ended early (signal, code 130); --resume goes on"


@pytest.mark.parametrize("how", ["resume", "skip_existing"])
@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
def test_a_damaged_clip_keeps_its_code_when_it_is_skipped(tmp_path, caplog, how, format):
    import test_files

    clip(tmp_path / "a.mov", 60, codec="prores_ks", pix_fmt="yuv422p10le")
    test_files.damaged(tmp_path / "a.mov", 33)
    sources = [str(tmp_path / "a.mov"), clip(tmp_path / "b.mp4", 20)]
    assert worst(run(sources, tmp_path, [format])) == 7
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    caplog.clear()
    outcomes = run(sources, tmp_path, [format], **{how: True})
    assert [(o.skipped, o.exit_code) for o in outcomes] == [(True, 7), (True, 0)]
    assert worst(outcomes) == 7
    (line,) = (r.getMessage() for r in caplog.records)
    assert line.endswith("a.mov: what is there ended early (decode_error, code 7); --overwrite does it again")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
