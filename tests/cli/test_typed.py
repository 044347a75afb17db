"""What recordings keep of the command line: the options as they were typed, without secrets and folders."""

import json
from pathlib import Path

import pytest
from fake_estimator import FakeEstimator
from program import program_alone

CANARY = "canary-51ac-pw"


@pytest.fixture
def kept(monkeypatch, capsys, tmp_path):
    """What the header of k.jsonl keeps of a command line."""
    run = program_alone(monkeypatch, capsys, tmp_path, FakeEstimator)

    def ask(*words):
        code, _, err = run(*words, "-o", tmp_path / "k.jsonl", "-y", "-q")
        assert code == 0, err
        text = (tmp_path / "k.jsonl").read_text()
        assert str(tmp_path) not in text
        assert CANARY not in text
        return json.loads(text.splitlines()[0])["args"]

    return ask


def test_files_and_cameras_keep_the_same(kept, monkeypatch, tmp_path):
    monkeypatch.setattr("tfpose_rt.cli.webcam.check_weights", lambda run: None)
    (tmp_path / "own.toml").write_text("iou = 0.5\n")
    words = ("--weights", tmp_path / "mine.safetensors", "--detector", f"http://me:{CANARY}@host/d.pt?key={CANARY}",
             "--conf", "0.4", "--config", tmp_path / "own.toml", "--log-file", tmp_path / "run.log")  # fmt: skip
    expected = {"weights": "mine.safetensors", "detector": "http://***@host/d.pt?key=***", "conf": 0.4,
                "out": ["k.jsonl"], "overwrite": True, "quiet": True}  # fmt: skip
    assert kept("video", "synthetic:144x96@10", "--end", "0.5", *words) == {**expected, "end": "0.5"}
    live = kept("webcam", "synthetic:144x96@30", "--display", "none", "--max-frames", "2", *words)
    assert live == {**expected, "source": "synthetic:144x96@30", "display": "none", "max_frames": 2}


def test_a_video_saved_beside_is_kept_by_its_name(kept, tmp_path):
    made = kept("video", "synthetic:144x96@10", "--end", "0.5", "--save-video", tmp_path / "k.mp4")
    assert made["save_video"] == "k.mp4"
    assert Path(tmp_path / "k.mp4").is_file()
