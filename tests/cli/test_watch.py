from types import SimpleNamespace

import pytest

from tfpose_rt.cli.show import estimator_rows, print_summary
from tfpose_rt.cli.watch import Watch, screening
from tfpose_rt.config import RunConfig
from tfpose_rt.errors import DeviceError, UsageError
from tfpose_rt.records import StreamInfo
from tfpose_rt.tools.batch import Outcome
from tfpose_rt.tools.outputs import Job


def test_without_a_screen_a_window_is_an_error_only_when_asked_for(monkeypatch):
    monkeypatch.setattr("tfpose_rt.live.window.has_screen", lambda: False)
    assert screening("none") is None
    assert screening("auto") is None
    with pytest.raises(DeviceError, match="screen"):
        screening("window")
    with pytest.raises(UsageError):
        screening("hologram")


@pytest.mark.parametrize(("variable", "told"), [(False, "30 fps, 2.00 s"), (True, "30 fps nominal, it varies, 2.00 s")])
def test_a_rate_that_varies_is_told_as_what_it_is(capsys, variable, told):
    """It is the rate that the file names; a mean it is not."""
    info = StreamInfo(kind="file", name="a.mp4", size=(64, 48), codec="h264", fps=30, duration=2.0, variable=variable)
    job = Job("a.mp4", ())
    with Watch([job], progress=False, quiet=False, display="none") as watch:
        watch.started(job, info, 1)
    assert capsys.readouterr().err == f"a.mp4: 64x48, h264, {told}, going on behind 1 frame\n"


def rows_of(detector: str, run: RunConfig, precision: str = "fp32") -> dict[str, str]:
    """What is told of an estimator that OpenVINO runs on the CPU."""
    found = SimpleNamespace(
        model={"name": "mine", "input": [192, 256]}, detector={"name": detector}, run=run, device="cpu",
        device_reason="asked for", engine="openvino", engine_reason="asked for", kernel="torch",
        kernel_reason="OpenVINO's own sampling", precision=precision, score_kind="calibrated",
    )  # fmt: skip
    return estimator_rows(found)


@pytest.mark.parametrize(
    ("detector", "every", "told"),
    [
        ("none", 1, "none: the whole picture is one box"),
        ("yolo26n", 1, "yolo26n at 640, on every frame"),
        ("yolo26n", 4, "yolo26n at 640, every 4 frames"),
        ("yolo26n", 0, "yolo26n at 640, as needed"),
    ],
)
def test_the_detector_is_told_in_words(detector, every, told):
    rows = rows_of(detector, RunConfig(det_every=every))
    assert rows["detector"] == told
    assert rows["precision"].partition(" ")[0] == "fp32"
    assert rows["attention"] == "OpenVINO's own sampling"
    assert rows["model"].startswith("mine 192x256")


@pytest.mark.parametrize(
    ("asked", "taken", "told"),
    [
        ("auto", "fp32", "fp32 (auto: exact; --precision bf16 is quicker here)"),
        ("auto", "bf16", "bf16"),
        ("fp32", "fp32", "fp32"),
    ],
)
def test_a_quicker_precision_is_told_where_nobody_asked_for_one(monkeypatch, asked, taken, told):
    monkeypatch.setattr("tfpose_rt.engine._obstacle", lambda device, precision: None)
    assert rows_of("none", RunConfig(precision=asked), taken)["precision"] == told


def test_the_end_counts_in_plain_words(capsys):
    record = {
        "frames": 1, "frames_expected": 2, "frames_with_people": 1, "persons": 1, "ids": 1, "fps_mean": 0.0431,
        "wall_s": 23.2, "decode_errors": 1, "gaps": 1, "complete": False, "ended": "decode_error",
    }  # fmt: skip
    print_summary(record, {}, [("a.csv", 1)])
    rows = [" ".join(line.split()) for line in capsys.readouterr().err.splitlines()]
    assert rows == [
        "frames 1 of 2",
        "with people 1 frame, 1 pose, 1 id",
        "speed 0.043 fps, 23.2 s",
        "missing 1 undecodable frame, 1 gap",
        "ended decode_error: damaged frames are missing",
        "wrote a.csv (1 record)",
    ]


def test_with_several_clips_at_once_each_summary_bears_its_name(capsys):
    jobs = [Job(f"/clips/{name}.mp4", ()) for name in "abc"]
    record = {
        "frames": 1, "frames_expected": 1, "frames_with_people": 1, "persons": 1, "ids": 1, "fps_mean": 1, "wall_s": 1,
        "decode_errors": 0, "gaps": 0, "complete": True, "ended": "eof", "exit_code": 0,
    }  # fmt: skip
    with Watch(jobs, progress=False, quiet=False, display="none") as watch:
        for job in jobs[:2]:
            watch.started(job, StreamInfo(kind="file", name=job.name[7:], size=(64, 48)), 0)
        watch.finished(Outcome(job=jobs[0], summary=record, fresh=1))
        watch.finished(Outcome(job=jobs[1], summary=record, fresh=1))
        watch.started(jobs[2], StreamInfo(kind="file", name="c.mp4", size=(64, 48)), 0)
        watch.finished(Outcome(job=jobs[2], summary=record, fresh=1))
    said = [line.split(":")[0] for line in capsys.readouterr().err.splitlines() if ".mp4" in line]
    assert said == ["a.mp4", "b.mp4", "a.mp4", "b.mp4", "c.mp4"]
