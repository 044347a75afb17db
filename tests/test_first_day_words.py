"""What somebody who mixes up videos, recordings and tables is told, and that points and angles can be joined."""

import shutil
from importlib.resources import files

import pandas as pd
import pytest
from known_people import recording, results
from program import run_program


@pytest.fixture
def take(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return recording(tmp_path / "k.jsonl", list(results(errors=True)), error_kind="calibrated")


def test_a_recording_named_as_a_video_is_sent_to_convert(take, monkeypatch, capsys):
    code, _, err = run_program(monkeypatch, capsys, "video", "k.jsonl", "-o", "out.csv")
    assert code == 2
    assert "k.jsonl is data" in err
    assert "tfpose-rt convert k.jsonl" in err


def test_a_video_named_as_a_recording_is_told_before_a_file_in_the_way(take, monkeypatch, capsys):
    shutil.copy(str(files("tfpose_rt") / "clips" / "demo.mp4"), "k.mp4")
    assert run_program(monkeypatch, capsys, "convert", "k.jsonl", "-f", "csv", "-q")[0] == 0
    code, _, err = run_program(monkeypatch, capsys, "convert", "k.mp4", "-f", "csv")
    assert code == 2
    assert "k.mp4 is a video" in err


@pytest.mark.parametrize("made", ["tables/k_angles.csv", "tables/k_summary.csv", "drawn.csv"])
@pytest.mark.parametrize("command", ["convert", "plot"])
def test_a_table_of_angles_is_no_recording(take, monkeypatch, capsys, command, made):
    run_program(monkeypatch, capsys, "convert", "k.jsonl", "-f", "angles,summary", "-o", "tables")
    run_program(monkeypatch, capsys, "plot", "k.jsonl", "--what", "angles", "--data", "drawn.csv")
    code, _, err = run_program(monkeypatch, capsys, command, made)
    assert code == 2
    assert "is no recording" in err


def test_a_table_of_points_without_its_header_is_told_so(take, monkeypatch, capsys):
    run_program(monkeypatch, capsys, "convert", "k.jsonl", "-o", "points.csv")
    shutil.copy("points.csv", "alone.csv")
    code, _, err = run_program(monkeypatch, capsys, "convert", "alone.csv", "-o", "out.trc")
    assert code == 3
    assert "comes without its header" in err


def test_points_and_angles_are_joined_as_the_tutorial_does(take, monkeypatch, capsys):
    run_program(monkeypatch, capsys, "convert", "k.jsonl", "-f", "csv,angles", "-o", "tables")
    points, angles = pd.read_csv("tables/k.csv"), pd.read_csv("tables/k_angles.csv").drop(columns="pts_s")
    both = points.merge(angles, on=["frame", "id"], how="left", suffixes=("_px", "_deg"))
    assert len(both) == len(points)
    assert (both["left_knee_error_px"] == points["left_knee_error"]).where(points["id"].notna(), True).all()
    assert (both["left_knee_error_deg"].notna() <= both["id"].notna()).all()
    assert both["left_knee_error_deg"].notna().sum() == angles["left_knee_error"].notna().sum() > 0


@pytest.mark.parametrize(("file", "command"), [("k.jsonl", "plot"), ("a clip.mp4", "video")])
def test_a_file_in_a_commands_place_is_told_the_command(take, monkeypatch, capsys, file, command):
    (take.parent / file).touch()
    code, _, err = run_program(monkeypatch, capsys, file)
    assert code == 2
    assert f"tfpose-rt {command} " in err
    assert "is no command" in err
