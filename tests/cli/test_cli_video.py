"""`video` and `convert` as typed: flags, exit codes, what is on stdout, what a signal leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from clips import small as clip
from fake_estimator import FakeEstimator
from loopback import free_port
from program import run_program

from tfpose_rt.cli.video import frame_range, seconds
from tfpose_rt.errors import UsageError


@pytest.fixture
def program(monkeypatch, capsys, tmp_path):
    """Run the program in a folder of its own, with a model of known answers: code, stdout, stderr."""
    monkeypatch.setattr("tfpose_rt.estimator.PoseEstimator", FakeEstimator)
    monkeypatch.setattr("tfpose_rt.cli.watch.estimator_rows", lambda _: {"device": "fake"})
    monkeypatch.chdir(tmp_path)

    def run(*words):
        return run_program(monkeypatch, capsys, *words)

    return run


def test_the_plainest_call_writes_a_recording_and_names_it_last(program, tmp_path):
    clip(tmp_path / "a.mp4", 50)
    code, out, err = program("video", "a.mp4")
    assert (code, out) == (0, "")
    assert err.splitlines()[-1] == "wrote tfpose-out/a.jsonl (50 frames)"
    assert "a.mp4: 144x96, h264, 25 fps, 2.00 s" in err
    assert "50 of 50" in err
    lines = (tmp_path / "tfpose-out" / "a.jsonl").read_text().splitlines()
    assert len(lines) == 52
    assert json.loads(lines[0])["args"] == {}


def test_the_recording_and_the_last_lines_name_the_files_that_are_there(program, tmp_path):
    """Whatever stands first, and a file of a suffix that tells nothing: the people are known only at the end."""
    clip(tmp_path / "a.mp4", 50)
    words = ("-o", "k.jsonl", "-o", "k.trc", "-o", "k.csv", "--save-video", "k.mkv")
    code, _, err = program("video", "a.mp4", *words)
    assert code == 0
    there = {p.name for p in tmp_path.iterdir()} - {"a.mp4"}
    assert {"k_px_person0.trc", "k.meta.json"} < there
    last = json.loads((tmp_path / "k.jsonl").read_text().splitlines()[-1])
    assert sorted(last["files"]) == sorted(there)
    assert json.loads((tmp_path / "k.meta.json").read_text())["summary"]["files"] == last["files"]
    assert {line for line in err.splitlines() if "wrote" in line} == {f"wrote {name} (50 frames)" for name in there}
    assert program("convert", "k.jsonl", "-f", "jsonl,trc", "-o", "c")[0] == 0
    last = json.loads((tmp_path / "c" / "k.jsonl").read_text().splitlines()[-1])
    assert sorted(last["files"]) == sorted(p.name for p in (tmp_path / "c").iterdir())


def test_data_alone_on_stdout(program, tmp_path):
    clip(tmp_path / "a.mp4", 10)
    code, out, _ = program("video", "a.mp4", "-o", "-", "-q")
    assert code == 0
    records = [json.loads(line) for line in out.splitlines()]
    assert [r["type"] for r in records] == ["header", *["frame"] * 10, "summary"]


def test_several_outputs_a_part_and_what_was_asked_is_in_the_header(program, tmp_path):
    clip(tmp_path / "a.mp4", 50)
    code, _, err = program("video", "a.mp4", "-o", "x.jsonl", "-o", "y.csv", "--save-video", "z.mp4", "--start", "0.4",
                           "--end", "0:01.2", "--stride", "2", "--conf", "0.4", "--no-track", "--no-audio")  # fmt: skip
    assert code == 0
    records = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert [r["frame"] for r in records[1:-1]] == list(range(10, 30, 2))
    assert records[0]["args"]["conf"] == 0.4
    assert records[0]["detector"]["conf"] == 0.4
    assert records[0]["tracker"] is None
    assert records[1]["persons"][0]["id"] is None
    assert [line.split(" (")[0] for line in err.splitlines() if line.startswith("wrote")] == [
        "wrote x.jsonl", "wrote y.csv", "wrote y.meta.json", "wrote z.mp4"]  # fmt: skip


def test_a_mirror_is_for_the_window_alone_and_paths_stay_out_of_the_header(program, tmp_path):
    clip(tmp_path / "a.mp4", 10)
    weights = tmp_path / "mine.safetensors"
    assert program("video", "a.mp4", "-o", "x.jsonl", "--save-video", "x.mkv", "--weights", weights)[0] == 0
    assert program("video", "a.mp4", "-o", "y.jsonl", "--save-video", "y.mkv", "--mirror")[0] == 0
    assert (tmp_path / "x.mkv").stat().st_size == (tmp_path / "y.mkv").stat().st_size
    np.testing.assert_array_equal(first_picture(tmp_path / "x.mkv"), first_picture(tmp_path / "y.mkv"))
    header = json.loads((tmp_path / "x.jsonl").read_text().splitlines()[0])
    assert header["args"]["weights"] == "mine.safetensors"


def first_picture(path):
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="bgr24")


def test_dry_run_opens_nothing(program, tmp_path):
    clip(tmp_path / "a.mp4", 50)
    code, out, _ = program("video", "a.mp4", "-f", "csv,trc", "--dry-run")
    assert code == 0
    assert json.loads(out)["jobs"] == [{"source": "a.mp4", "outputs": ["tfpose-out/a.csv", "tfpose-out/a.trc"]}]
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_the_password_of_a_camera_is_in_no_plan_and_in_no_line(program, tmp_path):
    addresses = [f"rtsp://me:hunter2@127.0.0.1:{free_port()}/{name}?token=hunter2" for name in "ab"]
    code, out, err = program("video", *addresses, "--dry-run")
    assert code == 0
    assert [job["source"].rpartition("/")[2] for job in json.loads(out)["jobs"]] == ["a?token=***", "b?token=***"]
    assert "hunter2" not in out + err
    code, out, err = program("video", *addresses, "-vv")
    assert code == 3
    assert "0 of 2 files complete" in err
    assert err.count("rtsp://***@127.0.0.1") >= 4  # two errors, two lines of the table
    assert "hunter2" not in out + err
    (tmp_path / "tfpose-out").mkdir()
    for job in json.loads(program("video", *addresses, "--dry-run")[1])["jobs"]:
        Path(job["outputs"][0]).touch()
    code, out, err = program("video", *addresses, "--skip-existing")
    assert code == 0
    assert err.count("skipped") == 2
    assert "hunter2" not in out + err


@pytest.mark.parametrize(("words", "expected", "text"), [
    (["none.mp4"], 3, "does not exist"),
    (["text.mp4"], 3, "cannot read text.mp4"),
    (["a.mp4", "-o", "no/such/x.csv"], 4, "no folder"),
    (["a.mp4", "-o", "text.mp4"], 2, "--save-video"),
    (["a.mp4", "--save-video", "a.mp4"], 4, "is the input"),
    (["a.mp4", "-o", "there.csv"], 4, "exists"),
    (["a.mp4", "-f", "xls"], 2, "trc, angles, mot, summary"),
    (["a.mp4", "-f", "csv", "-o", "-"], 2, "standard output is JSONL, not csv"),
    (["a.mp4", "text.mp4", "-o", "-"], 2, "one source, not 2"),
    (["a.mp4", "--codec", "theora", "--save-video", "x.mp4"], 2, "--codec theora"),
    (["a.mp4", "--start", "abc"], 2, "not a time"),
    (["a.mp4", "--start", "90"], 3, "no frame of a.mp4"),
    (["a.mp4", "--frames", "0:2", "--start", "0.1"], 3, "no frame of a.mp4 lies in the part asked for"),
    (["a.mp4", "--rotate", "45"], 2, "unknown angle"),
    (["a.mp4", "--display", "tv"], 2, "--display tv"),
    (["a.mp4", "--cluster", "slurm"], 2, "no such engine"),
    (["nothing*.mp4"], 3, "names no video"),
    (["a.mp4", "b.mp4", "--codec", "theora"], 2, "--codec theora"),
    (["a.mp4", "--codec", "h264", "--save-video", "x.webm"], 2, "WebM"),
    (["a.mp4", "--openpose-layout", "coco19"], 2, "--openpose-layout coco19"),
    (["a.mp4", "--csv-layout", "lng"], 2, "--csv-layout lng"),
    (["a.mp4", "--hash", "foo"], 2, "--hash foo"),
    (["a.mp4", "--jobs", "-3"], 2, "--jobs -3"),
    (["a.mp4", "b.mp4", "--stride", "0", "--dry-run"], 2, "--stride 0"),
    (["a.mp4", "-o", "x.xyz"], 2, "no format has .xyz"),
    (["a.mp4", "-o", "nodir/x.jsonl"], 4, "mkdir -p nodir"),
])  # fmt: skip
def test_each_mistake_is_one_line_with_its_code_and_leaves_nothing(
    program, monkeypatch, tmp_path, words, expected, text
):
    clip(tmp_path / "a.mp4", 5)
    (tmp_path / "text.mp4").write_text("hello\n" * 20)
    (tmp_path / "there.csv").write_text("mine")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    if expected == 2:
        monkeypatch.setattr("tfpose_rt.estimator.PoseEstimator", unwanted)
    code, out, err = program("video", *words)
    assert (code, out) == (expected, "")
    wrong = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(wrong) == 1
    assert text in wrong[0]
    assert "Traceback" not in err
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def unwanted(run):
    raise AssertionError("the model was loaded")


def test_ctrl_c_while_the_model_loads_is_130_and_leaves_nothing(program, monkeypatch, tmp_path):
    def slow(run):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("tfpose_rt.estimator.PoseEstimator", slow)
    clip(tmp_path / "a.mp4", 5)
    code, _, err = program("video", "a.mp4")
    assert code == 130
    assert "Traceback" not in err
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_several_files_one_of_them_bad(program, tmp_path):
    clip(tmp_path / "a.mp4", 10)
    clip(tmp_path / "b.mp4", 10)
    (tmp_path / "bad.mp4").write_text("no")
    code, _, err = program("video", ".", "-o", "out")
    assert code == 3
    assert "2 of 3 files complete" in err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.jsonl", "b.jsonl"]
    assert program("video", ".", "-o", "out")[0] == 4
    code, _, err = program("video", ".", "-o", "out", "--skip-existing")
    assert code == 3
    assert err.count("skipped") == 2


def test_convert_as_typed(program, tmp_path):
    clip(tmp_path / "a.mp4", 10)
    program("video", "a.mp4", "-o", "a.jsonl")
    code, _, err = program("convert", "a.jsonl", "-f", "csv,openpose,coco", "-o", "c")
    assert code == 0
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == [
        "a.csv", "a.images.json", "a.json", "a.meta.json", "a_openpose"]  # fmt: skip
    assert "wrote c/a.csv (10 frames)" in err
    assert program("convert", "a.jsonl", "-o", "plain")[0] == 0
    assert sorted(p.name for p in (tmp_path / "plain").iterdir()) == ["a.csv", "a.meta.json"]
    assert program("convert", "a.jsonl")[0] == 0
    assert (tmp_path / "tfpose-out" / "a.csv").exists()
    for words, expected in (
        (["a.jsonl"], 4), (["none.jsonl", "-y"], 3), (["w.safetensors", "-y"], 2), (["a.jsonl", "-y", "--ids", "x"], 2),
        (["a.jsonl", "-y", "--fill", "zero"], 2), (["a.jsonl", "-o", "x.mp4"], 2),
    ):  # fmt: skip
        assert program("convert", *words)[0] == expected, words


@pytest.mark.parametrize(("text", "value"), [("83.5", 83.5), ("1:23.5", 83.5), ("0:01:23.5", 83.5), ("", None)])
def test_times(text, value):
    assert seconds(text, "--start") == value


@pytest.mark.parametrize("text", ["x", "1:2:3:4", "-5", "1:75", "1:-2", "nan", "inf"])
def test_times_that_are_none(text):
    with pytest.raises(UsageError):
        seconds(text, "--start")


def test_frame_ranges():
    assert (frame_range("3:9"), frame_range(":9"), frame_range("7")) == ((3, 9), (0, 9), (7, 8))
    assert frame_range("3:")[1] > 10**12
    with pytest.raises(UsageError):
        frame_range("a:b")


PROGRAM = """
import sys
sys.path[:0] = [{tools!r}, {io!r}]
import tfpose_rt.estimator, tfpose_rt.cli.watch
from fake_estimator import FakeEstimator
tfpose_rt.estimator.PoseEstimator = lambda run: FakeEstimator(run, seconds=0.05)
tfpose_rt.cli.watch.estimator_rows = lambda _: {{}}
sys.argv = ["tfpose-rt", "video", "a.mp4", "-o", "a.jsonl", "--save-video", "a.mkv"]
from tfpose_rt.cli import main
main()
"""


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_completes_the_files(tmp_path, number, expected):
    clip(tmp_path / "a.mp4", 400)  # 20 s
    tests = Path(__file__).parents[1]
    text = PROGRAM.format(tools=str(tests / "tools"), io=str(tests / "io"))
    environment = os.environ | {"PYTHONPATH": str(tests.parent)}
    with subprocess.Popen(
        [sys.executable, "-c", text], cwd=tmp_path, env=environment, stderr=subprocess.PIPE
    ) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (tmp_path / "a.mkv.part").exists():
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(number)
        seen = process.stderr.read().decode()
        process.wait(30)
    assert process.returncode == expected, seen
    assert "Traceback" not in seen
    assert seen.splitlines()[-1] == "to go on: the same command with --resume"
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert (lines[-1]["ended"], lines[-1]["complete"], lines[-1]["exit_code"]) == ("signal", False, expected)
    assert lines[-1]["frames"] == len(lines) - 2 > 0
    assert (tmp_path / "a.mkv").exists()
    assert not list(tmp_path.glob("*.part"))
