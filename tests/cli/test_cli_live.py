"""`webcam`, `serve` and `cameras` as programs: what they print, write and exit with, each in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import pytest
from fake_estimator import FakeEstimator
from loopback import MjpegServer, free_port
from typer.testing import CliRunner

from tfpose_rt.cli import app
from tfpose_rt.errors import OutputError, TfposeError, UsageError
from tfpose_rt.live import serve

CANARY = "canary-93be-pw"


def tfpose(*arguments: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return subprocess.run(
        [sys.executable, "-m", "tfpose_rt", *arguments],
        cwd=folder, env={**environment, "COLUMNS": "200", "NO_COLOR": "1", **environ}, capture_output=True, text=True,
        timeout=170, check=False,
    )  # fmt: skip


def test_a_camera_that_is_not_there_is_code_3_with_those_that_are(tmp_path: Path) -> None:
    done = tfpose("webcam", "99", folder=tmp_path)
    assert done.returncode == 3
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "camera 99 did not open" in done.stderr
    assert "this system lists" in done.stderr
    assert "tfpose-rt cameras" in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_address_that_is_refused_is_code_3_without_its_password(tmp_path: Path) -> None:
    done = tfpose("webcam", f"http://u:{CANARY}@127.0.0.1:{free_port()}/x?token={CANARY}", "-vv", folder=tmp_path)
    assert done.returncode == 3
    assert "connection refused" in done.stderr
    assert "http://***@127.0.0.1" in done.stderr
    assert CANARY not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--size", "big"], 2, "not 2 whole numbers"),
        (["--stall", "0"], 2, "--stall"),
        (["--reconnect", "-2"], 2, "for ever"),
        (["--display", "hologram"], 2, "auto, window, none or http"),
        (["--record-what", "dreams"], 2, "overlay"),
        (["--nonsense"], 2, "nonsense"),
        (["-o", "missing/a.jsonl"], 4, "missing"),
        (["-o", "there.jsonl"], 4, "--overwrite"),
        (["--record", "there.mkv"], 4, "--overwrite"),
        (["--record", "a.txt"], 2, "try: --record a.mkv"),
        (["--record", "a.avi"], 2, "no video has the suffix .avi"),
        (["--record", "a.jsonl"], 2, "no video has the suffix .jsonl"),
        (["--record", "nowhere/"], 2, "try: mkdir -p nowhere, or --record nowhere.mkv"),
        (["--record", ".mkv"], 2, "neither a folder nor"),
        (["--record", "missing/a.mkv"], 4, "no folder missing"),
        (["--record", "a.mkv", "-o", "a.mkv"], 2, "try: --record a.mkv"),
        (["-o", "a.xlsx"], 2, ".jsonl, .csv"),
        (["-f", "csv"], 2, "-f csv without -o"),
        (["-f", "xls", "-o", "takes"], 2, "unknown format"),
        (["-f", "csv,angles", "-o", "takes"], 2, "-f angles of a live run: it is made of a whole recording"),
        (["-f", "csv", "-o", "-"], 2, "standard output"),
        (["-o", "missing/takes"], 4, "mkdir -p missing/takes"),
        (["-o", "there.jsonl/takes"], 4, "there.jsonl"),
        (["--record", "new.mkv", "--record-what", "both"], 4, "new_clean.mkv"),
        (["--display", "window"], 6, "no screen"),
        (["--display", "none", "-w", "absent.safetensors"], 5, "no such file"),
        (["--display", "none", "--detector", "yolo-x"], 5, "no weights are called"),
        (["--display", "none", "--weights", "yolo-n"], 5, "yolo-n is a detector, not a pose model"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISPLAY", raising=False)
    for name in ("there.jsonl", "there.mkv", "new_clean.mkv"):
        (tmp_path / name).write_text("mine")
    done = CliRunner().invoke(app, ["webcam", "99", *arguments])
    error = done.exception
    assert (error.exit_code if isinstance(error, TfposeError) else done.exit_code) == code
    assert words in f"{error} {done.output}"
    assert {p.read_text() for p in tmp_path.iterdir()} == {"mine"}


def test_auto_is_no_pixel_format() -> None:
    for words, asked in ((["--fourcc", "auto"], None), (["--fourcc", "MJPG"], "MJPG"), ([], None)):
        plan = json.loads(CliRunner().invoke(app, ["webcam", "99", "--dry-run", *words]).stdout)
        assert plan["source"].get("fourcc") == asked


@pytest.mark.parametrize("words", [["-o", "clip.csv"], ["--record", "clip.mkv"]])
def test_nothing_is_written_over_what_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(words[1]).write_text("mine")
    error = CliRunner().invoke(app, ["webcam", words[1], *words, "--overwrite"]).exception
    assert isinstance(error, OutputError)
    assert "is the input" in str(error)
    assert Path(words[1]).read_text() == "mine"


def test_a_video_without_its_encoder_is_refused_before_anything_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfpose_rt.io.av_writer.has_encoder", lambda name: False)
    error = CliRunner().invoke(app, ["webcam", "99", "--record", "a.mkv"]).exception
    assert isinstance(error, OutputError)
    assert "libx264" in str(error)


def test_a_folder_to_record_into_gets_a_new_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "takes").mkdir()
    done = CliRunner().invoke(app, ["webcam", "99", "--dry-run", "--record", "takes"])
    (name,) = json.loads(done.stdout)["jobs"][0]["outputs"]
    assert re.fullmatch(r"takes/take_\d{8}T\d{6}Z\.mkv", name)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-o", "day"], ["day/TAKE.jsonl"]),
        (["-o", "there"], ["there/TAKE.jsonl"]),
        (["-o", "there.v1"], ["there.v1/TAKE.jsonl"]),
        (["-o", "day", "-f", "openpose,trc"], ["day/TAKE_openpose", "day/TAKE.trc"]),
        (["-o", "there", "--record", "there"], ["there/TAKE.jsonl", "there/TAKE.mkv"]),
        (["-o", "day", "--record", "my.first.mp4"], ["day/my.first.jsonl", "my.first.mp4"]),
        (["-o", "day", "-o", "k.csv", "-o", "-"], ["day/TAKE.jsonl", "k.csv", "-"]),
        (["-o", "people.txt", "-f", "coco"], ["people.txt"]),
    ],
)
def test_a_folder_for_data_gets_new_files_as_it_does_from_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], expected: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there.v1").mkdir()
    planned = {}
    for command in (["webcam", "99"], ["video", "TAKE.mp4"]):
        if command[0] == "video":
            (tmp_path / "TAKE.mp4").touch()
            words = [{"--record": "--save-video"}.get(word, word) for word in words]
        done = CliRunner().invoke(app, [*command, "--dry-run", *words])
        planned[command[0]] = json.loads(done.stdout)["jobs"][0]["outputs"]
    assert [re.sub(r"take_\d{8}T\d{6}Z", "TAKE", name) for name in planned["webcam"]] == expected
    if "--save-video" not in words:
        assert planned["video"] == expected
    assert not (tmp_path / "day").exists()


def test_what_is_written_into_a_folder_for_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tfpose_rt.estimator.PoseEstimator", FakeEstimator)
    words = ["webcam", "synthetic:144x96@30", "--display", "none", "--max-frames", "5", "-f", "jsonl,openpose,trc"]
    for _ in range(2):  # the second run finds its own names, and replaces nothing
        done = CliRunner().invoke(app, [*words, "-o", "day"])
        assert (done.exit_code, done.exception) == (0, None)
    takes = sorted((tmp_path / "day").glob("take_*.jsonl"))
    assert len(takes) == 2
    for take in takes:
        assert len([line for line in take.read_text().splitlines() if '"type":"frame"' in line]) == 5
        assert len(list(take.with_name(f"{take.stem}_openpose").glob("*_keypoints.json"))) == 5
        assert take.with_name(f"{take.stem}_px_person0.trc").is_file()
    wrote = [line.removeprefix("wrote ") for line in done.output.splitlines() if line.startswith("wrote")]
    ends = (".jsonl", "_openpose", "_px_person0.trc", "_px_person1.trc")
    assert wrote == [f"day/{takes[1].stem}{end} (5 frames)" for end in ends]
    bad = CliRunner().invoke(app, ["webcam", "99", "-o", "empty"])
    assert bad.exception is not None
    assert not (tmp_path / "empty").exists()


def test_a_plan_shows_no_secret_and_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["webcam", f"rtsp://u:{CANARY}@203.0.113.1/x", "--dry-run", "-o", "a.jsonl"])
    plan = json.loads(done.stdout)
    assert plan["jobs"] == [{"source": "rtsp://***@203.0.113.1/x", "outputs": ["a.jsonl"]}]
    assert not list(tmp_path.iterdir())


def test_cameras_is_a_list_even_when_empty() -> None:
    done = CliRunner().invoke(app, ["cameras", "--json"])
    assert done.exit_code == 0
    assert isinstance(json.loads(done.stdout), list)
    assert isinstance(CliRunner().invoke(app, ["cameras", "--backend", "v4l3"]).exception, UsageError)


def test_serve_refuses_a_missing_folder_and_a_loose_token(tmp_path: Path) -> None:
    missing = CliRunner().invoke(app, ["serve", "99", "--record", str(tmp_path / "nowhere")])
    assert isinstance(missing.exception, OutputError)
    token = tmp_path / "token"
    token.write_text("x" * 40)
    token.chmod(0o644)
    loose = CliRunner().invoke(app, ["serve", "99", "--token", str(token)])
    assert isinstance(loose.exception, UsageError)
    assert "chmod 600" in str(loose.exception)


def test_a_taken_port_is_told_before_a_camera_is_opened() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = CliRunner().invoke(app, ["serve", "99", "--port", str(other.getsockname()[1])])
    assert isinstance(done.exception, OutputError)
    assert "the port is taken" in str(done.exception)


def test_webcam_in_a_browser_writes_what_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tfpose_rt.estimator.PoseEstimator", FakeEstimator)
    monkeypatch.setattr("tfpose_rt.live.serve.bind", lambda host, port, real=serve.bind: real(host, 0))
    (tmp_path / "take.mkv").write_text("mine")
    words = ["webcam", "synthetic:144x96@30", "--display", "http", "-o", "a.jsonl", "--record", "take.mkv",
             "--record-what", "both", "--max-frames", "5", "-q"]  # fmt: skip
    assert isinstance(CliRunner().invoke(app, words).exception, OutputError)  # it exists
    assert [p.name for p in tmp_path.iterdir()] == ["take.mkv"]
    done = CliRunner().invoke(app, [*words, "--overwrite"])
    assert (done.exit_code, done.exception) == (0, None)
    assert {p.name for p in tmp_path.iterdir()} == {"a.jsonl", "take.mkv", "take_clean.mkv"}
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["type"] for line in lines] == ["header", *["frame"] * 5, "summary"]
    assert lines[0]["source"]["kind"] == "synthetic"
    for name in ("take.mkv", "take_clean.mkv"):
        with av.open(str(tmp_path / name)) as video:
            assert len(list(video.decode(video=0))) == 5


@pytest.mark.parametrize("words", [["webcam", "--display", "none"], ["serve", "--port", "0"]])
def test_ctrl_c_ends_with_what_was_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    calls: list[Any] = []

    class Interrupting(FakeEstimator):
        def poses(self, *args: Any, **words: Any) -> Any:
            calls.append(args)
            if len(calls) == 8:
                os.kill(os.getpid(), signal.SIGINT)
            return super().poses(*args, **words)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tfpose_rt.estimator.PoseEstimator", Interrupting)
    done = CliRunner().invoke(app, [*words, "synthetic:144x96@30"])
    assert done.exit_code == 130
    assert "Ctrl-C ends" in done.output
    for row in ("frames ", "latency ", "stages ", "ended        signal: interrupted"):
        assert f"  {row}" in done.output


@pytest.mark.slow
def test_a_real_run_with_a_password_leaves_it_nowhere(tmp_path: Path) -> None:
    """The real detector and model on a stream that asks for a login: files, both streams and the end are clean."""
    with MjpegServer(login=f"admin:{CANARY}", fps=15) as server:
        url = server.url.replace("//", f"//admin:{CANARY}@")
        done = tfpose(
            "webcam", url, "-vv", "--max-frames", "8", "--det-size", "320", "-o", "a.jsonl", "-o", "a.csv", "--record",
            "a.mkv", "--record-what", "both", folder=tmp_path,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no screen here" in done.stderr
    assert "latency" in done.stderr
    assert "wrote a.mkv" in done.stderr
    assert done.stdout == ""
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"a.jsonl", "a.csv", "a.meta.json", "a.mkv", "a_clean.mkv"}
    header, *_, last = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert header["source"]["name"] == server.url.replace("//", "//***@")
    assert header["args"]["source"] == server.url.replace("//", "//***@")
    assert last["ended"] == "limit"
    assert last["frames"] >= 8
    for path in tmp_path.iterdir():
        assert CANARY.encode() not in path.read_bytes(), path
    assert CANARY not in done.stderr


def start(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return subprocess.Popen(
        [sys.executable, "-m", "tfpose_rt", *arguments],
        cwd=folder, env={**environment, "COLUMNS": "200", "NO_COLOR": "1"}, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def answer(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 5) as raw:
        raw.sendall(request)
        raw.settimeout(5)
        data = b""
        while chunk := raw.recv(65536):
            data += chunk
        return data


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_completes_the_files(tmp_path: Path, number: int, code: int) -> None:
    process = start("webcam", "synthetic:320x240@15", "--det-size", "320", "-o", "a.jsonl", folder=tmp_path)
    assert process.stderr is not None
    part, end = tmp_path / "a.jsonl.part", time.monotonic() + 120
    while not (part.exists() and b'"type":"frame"' in part.read_bytes()):
        assert time.monotonic() < end
        time.sleep(0.2)
    process.send_signal(number)
    with process.stderr as lines:
        told = lines.read()
    assert process.wait(20) == code, told
    last: dict[str, Any] = json.loads((tmp_path / "a.jsonl").read_text().splitlines()[-1])
    assert (last["type"], last["ended"], last["exit_code"]) == ("summary", "signal", code)
    assert "Traceback" not in told


@pytest.mark.slow
def test_serve_as_a_program(tmp_path: Path) -> None:
    port = free_port()
    process = start(
        "serve", "synthetic:320x240@15", "--det-size", "320", "--port", str(port), "--duration", "30", folder=tmp_path
    )
    assert process.stderr is not None
    with process.stderr as lines:
        for line in lines:
            if "live view" in line:
                break
        assert f"http://127.0.0.1:{port}/" in line
        data = answer(port, b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b'"state":"connected"' in data
        process.send_signal(signal.SIGINT)
        rest = lines.read()
    assert process.wait(20) == 130
    assert "Traceback" not in rest
    assert not list(tmp_path.iterdir())
