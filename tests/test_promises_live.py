"""Live promises: no picture that was never sent, no window needed, no silent CPU, no wait without a word."""

import json
import re
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import small
from fake_estimator import FakeEstimator
from loopback import MjpegServer, h264
from program import program_alone, run_program

sys.path.insert(0, str(Path(__file__).parent / "live"))  # where the live tests' helpers are

import test_session
from stage import StageEstimator
from test_session import FakeScreen, frames_of, records, session

from tfpose_rt import caption
from tfpose_rt.config import RunConfig, SourceOptions
from tfpose_rt.io import cameras
from tfpose_rt.io.synthetic import number_of, pattern
from tfpose_rt.live.metrics import RED, Metrics


class Told(FakeEstimator):
    """Says all that the program prints of a model."""

    device, device_reason, kernel, kernel_reason = "cuda", "a stand-in", "cuda fused", "asked for"
    precision = "bf16"


@pytest.fixture
def program(monkeypatch, capsys, tmp_path):
    return program_alone(monkeypatch, capsys, tmp_path, Told)


# ---- 2: a lost stream


class Witness(StageEstimator):
    """Keeps every picture that the model is shown."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.shown = []

    def poses(self, images, people, box_from=None, *, steady=False):
        self.shown += [image.copy() for image in images]
        return super().poses(images, people, box_from)


@pytest.mark.parametrize("loss", ["unplugged", "stalled", "torn"])
def test_the_model_sees_what_was_sent_once_each_and_nothing_else(tmp_path, monkeypatch, loss):
    """No black picture, none twice, none half: each equals the one that bears its number, whatever the stream does.

    The number of a black picture is 0, and the first that is sent is 0, too: the numbers alone would not tell.
    """
    monkeypatch.setattr(test_session, "StageEstimator", Witness)
    with MjpegServer() as server:
        options, outs = SourceOptions(stall=0.4, open_timeout=3), [(tmp_path / "a.jsonl", None)]
        live = session(tmp_path, server.url, options=options, run={"track_buffer": 0.4}, duration=3.0, outs=outs)

        def lose():
            if loss == "unplugged":
                server.stop()
                time.sleep(0.9)
                server.start()
            else:
                server.mode = "stall" if loss == "stalled" else "cut"
                time.sleep(0.9)
                server.mode = "run"

        threading.Timer(0.8, lose).start()
        summary = live.run()
        sent = set(server.sent)
    numbers = [number_of(image) for image in live.stream.estimator.shown]
    assert len(numbers) > 10
    assert set(numbers) <= sent
    assert (np.diff(numbers) > 0).all()
    apart = [np.abs(p.astype(int) - pattern(number_of(p), (320, 240))).mean() for p in live.stream.estimator.shown]
    assert max(apart) < 6  # JPEG
    lines = records(tmp_path / "a.jsonl")
    assert summary["exit_code"] == 0
    if loss != "torn":  # out for longer than the buffer: a gap, and people whom nobody can vouch for
        place = next(i for i, r in enumerate(lines) if r["type"] == "gap")
        before, after = ({p["id"] for r in part if r["type"] == "frame" for p in r["persons"]}
                         for part in (lines[:place], lines[place:]))  # fmt: skip
        assert before
        assert after  # who they are now; how many ids that takes is the tracker's to say when the machine is slow
        assert not before & after


# ---- 15: the mirror is for the screen


def test_with_the_mirror_on_takes_and_snapshots_are_as_the_camera_saw(tmp_path):
    screen = FakeScreen({2: ["mirror", "metrics", "metrics"], 4: ["record"], 7: ["snapshot"], 15: ["quit"]})
    live = session(tmp_path, screen=screen, record_what="both")
    live.run()
    assert number_of(screen.pictures[-1][:, ::-1].copy()) > number_of(screen.pictures[4][:, ::-1].copy()) > 0
    (recording,) = tmp_path.glob("take_*.jsonl")
    frames = [r for r in records(recording) if r["type"] == "frame"]
    for ending in (".mkv", "_clean.mkv"):
        pictures = frames_of(recording.with_name(recording.stem + ending))[1]
        assert [number_of(p) for p in pictures] == [f["seq"] for f in frames]
    for frame in frames:
        truth = StageEstimator()._walkers(pattern(frame["seq"], (320, 240)))
        found = np.array([person["keypoints"] for person in frame["persons"]])[..., :2]
        np.testing.assert_allclose(np.sort(found, 0), np.sort(truth, 0), atol=0.02)
    told = json.loads(next(tmp_path.glob("snapshot_*.json")).read_text())["frame"]
    for kind in ("clean", "overlay"):
        image = cv2.imread(str(next(tmp_path.glob(f"snapshot_*_{kind}.png"))))
        assert number_of(image) == told["seq"]


# ---- 23: no window, no trouble


def test_without_a_screen_a_live_run_says_so_in_one_line_and_works(program, tmp_path):
    code, out, err = program("webcam", "synthetic:144x96@30", "--max-frames", "4", "-o", "a.jsonl")
    assert (code, out) == (0, "")
    assert [line for line in err.splitlines() if "screen" in line] == [
        "no screen here: going on without a window (`tfpose-rt serve` shows the picture in a browser)"
    ]
    assert len(records(tmp_path / "a.jsonl")) == 6


@pytest.mark.parametrize("words", [["--save-video", "v.mp4"], ["--display", "auto"]])
def test_files_are_done_without_touching_a_window(program, tmp_path, monkeypatch, words):
    def touched(*_):
        raise AssertionError("a window was opened")

    for name in ("imshow", "namedWindow", "waitKey", "resizeWindow", "destroyWindow", "destroyAllWindows"):
        monkeypatch.setattr(cv2, name, touched)
    small(tmp_path / "a.mp4", 6)
    assert program("video", "a.mp4", "-o", "a.jsonl", *words)[0] == 0
    assert len(records(tmp_path / "a.jsonl")) == 8


# ---- 24: what it runs on is seen, and is what was asked for


@pytest.mark.parametrize("command", ["video", "webcam"])
def test_device_and_kernel_are_printed_and_stand_in_the_header(program, tmp_path, command):
    words = ["--frames", "0:2"] if command == "video" else ["--max-frames", "2"]
    code, _, err = program(command, "synthetic:144x96@30", "-o", "a.jsonl", *words)
    assert code == 0
    assert re.search(r"^ *device +cuda \(a stand-in\), \d+ threads?$", err, re.MULTILINE)
    assert re.search(r"^ *attention +cuda fused \(asked for\)$", err, re.MULTILINE)
    header = records(tmp_path / "a.jsonl")[0]
    assert (header["device"], header["kernel"], header["precision"]) == ("cuda", "cuda fused", "bf16")


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--device", "cuda:7"], "--device cuda:7"), (["--kernel", "fused", "--device", "cpu"], "fused")],
)
@pytest.mark.parametrize("command", ["video", "webcam"])
def test_a_device_or_kernel_asked_for_is_had_or_the_code_is_6(monkeypatch, capsys, tmp_path, command, words, said):
    monkeypatch.chdir(tmp_path)
    more = ["--display", "none", "--max-frames", "1"] if command == "webcam" else ["--frames", "0:1"]
    words = [command, "synthetic:64x48@25", "-o", "a.jsonl", "--detector", "none", "--engine", "torch", *more, *words]
    code, out, err = run_program(monkeypatch, capsys, *words)
    assert (code, out) == (6, "")
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert said in line
    assert "try: " in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("asked", "runs", "red"), [("auto", "torch", False), ("cuda fused", "torch", True),
                                                   ("torch", "torch", False)])  # fmt: skip
def test_the_picture_names_device_and_kernel_red_where_it_is_another(tmp_path, asked, runs, red):
    live = session(tmp_path, max_frames=1)
    live.run()
    text, colour = Metrics(live.stream, "cpu", runs, asked).short()
    assert text.endswith("cpu torch")
    assert (colour == RED) is red


# ---- 25: a slow camera


def test_opening_a_slow_camera_is_told_after_two_seconds_with_the_limit_and_how_long_it_took(
    program, tmp_path, monkeypatch
):
    for _ in h264(str(tmp_path / "camera.mp4"), 0.5, format="mp4", live=False):
        pass

    opened = []

    def slow(index, backend):
        time.sleep(0 if opened else 2.3)
        opened.append(index)
        return cv2.VideoCapture(str(tmp_path / "camera.mp4"), cv2.CAP_FFMPEG)

    monkeypatch.setattr(cameras, "open_capture", slow)
    monkeypatch.setattr(cameras, "backends_for", lambda name: ("v4l2",))
    code, _, err = program("webcam", "0", "--display", "none", "--max-frames", "3")
    assert code == 0, err
    assert "still waiting for camera 0 (at most 10 s)" in err
    assert 2.3 <= float(re.search(r"open in (\d+\.?\d*) s", err)[1]) < 9
    assert SourceOptions().open_timeout == RunConfig().source.open_timeout == 10


# ---- section 8: people in the picture


def test_a_clean_take_says_on_the_screen_that_people_are_as_they_are(tmp_path, monkeypatch):
    seen = []
    put = caption.put_text
    for module in ("tfpose_rt.caption", "tfpose_rt.live.window"):
        monkeypatch.setattr(
            f"{module}.put_text", lambda image, text, *a, **k: seen.append(text) or put(image, text, *a, **k)
        )
    for what in ("clean", "overlay"):
        seen.clear()
        folder = tmp_path / what
        folder.mkdir()
        live = session(
            folder, "synthetic:640x480@30", screen=FakeScreen(), record=folder / "v.mkv", record_what=what, max_frames=5
        )
        live.run()
        assert any("as they are" in text for text in seen) is (what == "clean"), seen
