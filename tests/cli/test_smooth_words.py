"""--smooth and --field as typed: what is smoothed gets into a file, or the program says that it does not."""

import json

import pytest
from clips import small as clip
from fake_estimator import FakeEstimator
from program import run_program

TOLD = "no data file will hold smoothed points; add --field smooth, or -o FILE.jsonl"


@pytest.fixture
def program(monkeypatch, capsys, tmp_path):
    """The program in a folder with a clip, with a model of known answers: code, stdout, stderr."""
    monkeypatch.setattr("tfpose_rt.estimator.PoseEstimator", FakeEstimator)
    monkeypatch.setattr("tfpose_rt.cli.watch.estimator_rows", lambda _: {"device": "fake"})
    monkeypatch.chdir(tmp_path)
    clip(tmp_path / "a.mp4", 30)
    return lambda *words: run_program(monkeypatch, capsys, *words)


def test_a_table_holds_smoothed_points_where_it_is_told_to(program, tmp_path):
    words = ("video", "a.mp4", "--smooth", "one-euro", "-o")
    assert TOLD in program(*words, "raw.csv")[2]
    code, _, err = program(*words, "both.jsonl", "-o", "smo.csv", "--field", "smooth")
    assert (code, TOLD in err) == (0, False)
    assert TOLD not in program(*words, "x.jsonl", "-o", "x.csv")[2]
    assert json.loads((tmp_path / "smo.meta.json").read_text())["field"] == "smooth"
    assert program("convert", "both.jsonl", "-o", "later.csv", "--field", "smooth")[0] == 0
    assert (tmp_path / "smo.csv").read_text() == (tmp_path / "later.csv").read_text()
    assert (tmp_path / "smo.csv").read_text() != (tmp_path / "raw.csv").read_text()


@pytest.mark.parametrize(("words", "told"), [
    (("--field", "smooth"), "--field smooth: nothing is smoothed; try: --smooth one-euro"),
    (("--field", "both"), "--field both: unknown; try: --field raw or --field smooth"),
])  # fmt: skip
def test_a_field_that_is_not_there_is_refused_before_the_work(program, tmp_path, words, told):
    code, _, err = program("video", "a.mp4", "-o", "a.csv", *words)
    assert code == 2
    assert told in err
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("words", [("plot", "raw.csv"), ("convert", "raw.csv", "-f", "trc")])
def test_a_table_asked_for_smoothed_points_says_where_they_are(program, words):
    program("video", "a.mp4", "--smooth", "one-euro", "-o", "raw.csv")
    code, _, err = program(*words, "--field", "smooth")
    assert code == 2
    assert "raw.csv is a table, which holds one kind of points; try: the JSONL of video --smooth one-euro" in err


def test_a_run_into_smoothed_tables_alone_is_done_again_when_it_was_cut_short(program, tmp_path):
    """Nobody can be followed on from smoothed points."""
    words = ("video", "a.mp4", "--smooth", "one-euro", "--field", "smooth", "-o", "a.csv")
    assert program(*words)[0] == 0
    whole = (tmp_path / "a.csv").read_bytes()
    meta = json.loads((tmp_path / "a.meta.json").read_text())
    meta["summary"] |= {"complete": False, "ended": "signal", "exit_code": 130}
    (tmp_path / "a.meta.json").write_text(json.dumps(meta))
    (tmp_path / "a.csv").write_bytes(whole[: whole.index(b"\n", 9000) + 1])
    code, _, err = program(*words, "--resume")
    assert code == 0
    assert "a.csv cannot be continued: done again from the start" in err
    assert (tmp_path / "a.csv").read_bytes() == whole
    for name in ("a.csv", "a.meta.json"):
        (tmp_path / name).rename(tmp_path / f"{name}.part")
    code, _, err = program(*words, "--resume")
    assert code == 4
    assert "a.csv.part holds smoothed points alone; try: --overwrite" in err
