"""--resume goes on with the settings a run began with, and refuses others before anything is written."""

from __future__ import annotations

import shutil

import pytest
from clips import small as clip
from fake_estimator import FakeEstimator
from program import program_alone

WORDS = ("video", "synthetic:144x96@10", "--end", "0.8", "-q")


@pytest.fixture
def program(monkeypatch, capsys, tmp_path):
    return program_alone(monkeypatch, capsys, tmp_path, FakeEstimator)


def interrupted(program, folder, name="k.jsonl", *words):
    """What a run leaves that was killed after four frames; the bytes of the whole."""
    assert program(*WORDS, "-o", name, *words)[0] == 0
    whole = (folder / name).read_bytes()
    lines = whole.splitlines(keepends=True)
    (folder / f"{name}.part").write_bytes(b"".join(lines[:5]))
    (folder / name).unlink()
    if name.endswith(".csv"):
        (folder / "k.meta.json").rename(folder / "k.meta.json.part")
    return whole


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--det-size", "320"], "--det-size (640, now 320)"),
        (["--stride", "2"], "--stride (1, now 2)"),
        (["--frames", "0:2"], "--frames (none, now 0:2)"),
        (["--start", "0.1"], "--start (none, now 0.1)"),
        (["--roi", "0,0,40,40"], "--roi (none, now 0,0,40,40)"),
        (["--conf", "0.5"], "--conf"),
        (["--no-track"], "--no-track"),
        (["--smooth", "one-euro"], "--smooth"),
        (["--max-people", "2", "--flip-test"], "--max-people (20, now 2); --flip-test (False, now True)"),
    ],
)
def test_other_settings_are_refused(program, tmp_path, words, says):
    interrupted(program, tmp_path)
    before = (tmp_path / "k.jsonl.part").read_bytes()
    code, _, err = program(*WORDS, "-o", "k.jsonl", "--resume", *words)
    assert code == 2
    assert says in " ".join(err.split())
    assert (tmp_path / "k.jsonl.part").read_bytes() == before
    assert not (tmp_path / "k.jsonl").exists()


@pytest.mark.parametrize("name", ["k.jsonl", "k.csv"])
def test_the_same_settings_go_on_however_they_are_typed(program, tmp_path, name):
    whole = interrupted(program, tmp_path, name, "--det-size", "320")
    assert program(*WORDS, "-o", name, "--resume")[0] == 2  # the usual 640 is another
    assert program(*WORDS, "-o", name, "--resume", "--det-size", "320", "--stride", "1", "--threads", "1")[0] == 0
    made = (tmp_path / name).read_bytes()
    assert made.splitlines()[1:-1] == whole.splitlines()[1:-1]


def test_another_file_of_the_same_name_is_refused(program, tmp_path):
    clip(tmp_path / "a.mp4", 8)
    clip(tmp_path / "b.mp4", 9)
    assert program("video", "a.mp4", "-o", "k.jsonl", "-q")[0] == 0
    lines = (tmp_path / "k.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "k.jsonl.part").write_bytes(b"".join(lines[:4]))
    (tmp_path / "k.jsonl").unlink()
    shutil.copy(tmp_path / "b.mp4", tmp_path / "a.mp4")
    code, _, err = program("video", "a.mp4", "-o", "k.jsonl", "-q", "--resume")
    assert code == 2
    assert "another file" in err
