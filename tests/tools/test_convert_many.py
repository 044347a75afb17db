"""convert of several recordings and of folders: what is meant, what each makes, and the code that they end with."""

from __future__ import annotations

import pandas as pd
import pytest
from known_people import header, recording, results
from program import run_program

from tfpose_rt.io.jsonl import JsonlSink
from tfpose_rt.tools.recordings import convert


@pytest.fixture
def program(tmp_path, monkeypatch, capsys):
    """The program in a folder with the recordings in/b_2.jsonl, in/b_10.jsonl: code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name in ("b_2", "b_10"):
        take(tmp_path / f"in/{name}.jsonl")
    return lambda *words: run_program(monkeypatch, capsys, "convert", *words)


def take(path, **options):
    return recording(path, list(results(**options)))


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_folder_stands_for_the_recordings_in_it(program, tmp_path):
    code, out, err = program("in", "-f", "csv,angles", "-o", "out")
    assert (code, out) == (0, "")
    assert names(tmp_path / "out") == sorted(
        f"b_{n}{end}" for n in (2, 10) for end in (".csv", ".meta.json", "_angles.csv")
    )
    assert err.splitlines()[0] == "2 of 2 files complete"
    assert err.splitlines()[1:4] == [f"wrote out/b_2{e} (6 frames)" for e in (".csv", ".meta.json", "_angles.csv")]
    assert len(err.splitlines()) == 7


def test_one_of_many_makes_what_it_makes_alone(program, tmp_path):
    assert program("in", "-f", "csv,angles,trc", "-o", "all")[0] == 0
    assert program("in/b_10.jsonl", "-f", "csv,angles,trc", "-o", "alone")[0] == 0
    for name in names(tmp_path / "alone"):
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "all" / name).read_bytes(), name


def test_globs_and_lists_are_taken_as_by_video(program, tmp_path):
    (tmp_path / "list.txt").write_text("in/b_10.jsonl\n")
    for word, made in (("in/b_*.jsonl", ["b_10.trc", "b_2.trc"]), ("@list.txt", ["b_10.trc"])):
        assert program(word, "-f", "coco", "-o", word[1])[0] == 0
        assert names(tmp_path / word[1]) == sorted(
            name for one in made for name in (f"{one[:-4]}.json", f"{one[:-4]}.images.json")
        )


def test_a_recording_that_is_there_in_several_formats_is_one(program, tmp_path):
    """The fullest is read; tables of other things are no recordings."""
    inside = tmp_path / "in"
    convert(inside / "b_2.jsonl", [(inside / "b_2.csv", "csv"), (inside / "b_2.parquet", "parquet")])
    convert(inside / "b_2.jsonl", [(inside / "only.csv", "csv"), (inside / "rows.parquet", "parquet")])
    convert(inside / "b_2.jsonl", [(inside / "b_2_angles.csv", "angles")])
    (inside / "notes.txt").write_text("hello")
    code, _, err = program("in", "-f", "summary", "-o", "out")
    assert (code, "4 of 4 files complete" in err) == (0, True)
    table = pd.read_csv(tmp_path / "out/summary.csv")
    assert table.recording.tolist() == [n for n in ("b_2", "b_10", "only", "rows") for _ in (1, 2)]


def test_the_worst_code_wins_and_the_others_are_done(program, tmp_path):
    (tmp_path / "in/b_5.jsonl").write_text("hello\n")
    code, _, err = program("in", "gone.csv", "-f", "angles,summary", "-o", "out")
    assert code == 3
    assert names(tmp_path / "out") == ["b_10_angles.csv", "b_2_angles.csv", "summary.csv"]
    assert pd.read_csv(tmp_path / "out/summary.csv").recording.tolist() == ["b_2", "b_2", "b_10", "b_10"]
    assert err.splitlines() == [
        "error: b_5.jsonl is not a recording: its first line is not a header; try: a .jsonl file",
        "error: cannot read gone.csv: no such file; try: check the path",
        "2 of 4 files complete",
        "  b_5.jsonl: b_5.jsonl is not a recording (code 3)",
        "  gone.csv: cannot read gone.csv (code 3)",
        "wrote out/b_2_angles.csv (6 frames)",
        "wrote out/b_10_angles.csv (6 frames)",
        "wrote out/summary.csv (4 rows)",
    ]


@pytest.mark.parametrize(("more", "code"), [([], 7), (["model.pt"], 2)])
def test_codes_are_weighed_as_by_video(program, tmp_path, more, code):
    """A recording with a gap is 7 with --strict; what is no recording is worse, wherever it stands."""
    whole = [result for result in results() if result.gap is None][:5]
    recording(tmp_path / "in/whole.jsonl", whole)
    (tmp_path / "model.pt").write_text("weights")
    got, _, err = program(*more, "in", "--strict", "-f", "csv", "-o", "out")
    assert (got, f"1 of {3 + len(more)} files complete" in err) == (code, True)
    assert names(tmp_path / "out") == ["whole.csv", "whole.meta.json"]


def test_one_summary_for_all_and_one_of_its_own_for_one(program, tmp_path):
    assert program("in/b_2.jsonl", "in/b_10.jsonl", "-f", "summary", "-o", "k.csv")[0] == 0
    assert program("in/b_2.jsonl", "-f", "summary")[0] == 0
    code, out, err = program("in", "-f", "summary", "-o", "-", "-q")
    assert (code, err) == (0, "")
    assert out == (tmp_path / "k.csv").read_text()
    own = (tmp_path / "tfpose-out/b_2_summary.csv").read_text().splitlines()
    assert out.splitlines()[:3] == own
    assert len(out.splitlines()) == 5


def test_recordings_of_one_name_are_told_apart_everywhere(program, tmp_path):
    (tmp_path / "more").mkdir()
    take(tmp_path / "more/b_2.jsonl")
    assert program("in", "more", "-f", "angles,summary", "-o", "out")[0] == 0
    stems = ["in_b_2", "b_10", "more_b_2"]
    assert names(tmp_path / "out") == sorted([f"{stem}_angles.csv" for stem in stems] + ["summary.csv"])
    assert pd.read_csv(tmp_path / "out/summary.csv").recording.unique().tolist() == stems


def test_an_unfinished_recording_in_a_folder_is_told_and_taken_where_it_is_named(program, tmp_path):
    sink = JsonlSink(tmp_path / "in/late.jsonl", header())
    for result in results():
        sink.write(result)
    sink.abort()
    code, _, err = program("in", "-o", "out", "-f", "csv")
    assert (code, "late.jsonl.part is unfinished and passed over; name it to convert it" in err) == (0, True)
    assert "late.csv" not in names(tmp_path / "out")
    code, _, err = program("in", "in/late.jsonl.part", "-y", "-o", "out", "-f", "csv")
    assert (code, "late.jsonl.part was cut short" in err) == (0, True)
    assert "late.csv" in names(tmp_path / "out")


@pytest.mark.parametrize(("words", "code", "said"), [
    ("in -f angles -o k.csv", 2, "-o k.csv for 2 recordings: one file holds one of them; try: a folder"),
    ("in -f csv -o k.csv", 2, "-o k.csv for 2 sources"),
    ("in -f angles -o -", 2, "-o - for 2 recordings"),
    ("in -o -", 2, "standard output takes one source"),
    ("in -f csv -o there", 4, "there/b_10.csv exists"),
    ("in -f summary -o there", 4, "there/summary.csv exists"),
    ("in -f jsonl -o in -y", 4, "in/b_2.jsonl is the input"),
    ("in/b_2.jsonl in/b_10.jsonl -f jsonl -o in -y", 4, "is the input"),
    ("empty -f csv", 3, "no recordings in empty"),
    ("in/x_*.jsonl -f csv", 3, "x_*.jsonl"),
])  # fmt: skip
def test_what_cannot_be_is_refused_before_anything_is_written(program, tmp_path, words, code, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "there").mkdir()
    for name in ("b_10.csv", "summary.csv"):
        (tmp_path / "there" / name).write_text("mine")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    got, out, err = program(*words.split())
    assert (got, out, said in err, err.count("\n")) == (code, "", True, 1), err
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_no_output_grows_in_what_another_one_is_read_from(program, tmp_path):
    """A table is written as `<name>.part` until it is complete."""
    growing = tmp_path / "in/b_2_angles.csv.part"
    convert(tmp_path / "in/b_2.jsonl", [(tmp_path / "in/b_2_angles.csv", "csv")])
    (tmp_path / "in/b_2_angles.csv").rename(growing)
    before = growing.read_bytes()
    code, _, err = program("in/b_2.jsonl", growing, "-f", "angles", "-o", "in", "-y")
    assert (code, err.count("\n"), "in/b_2_angles.csv is the input" in err) == (4, 1, True)
    assert growing.read_bytes() == before


def test_quiet_says_the_files_alone(program):
    code, _, err = program("in", "-q", "-f", "trc,summary", "-o", "out")
    assert code == 0
    assert {line.split()[0] for line in err.splitlines()} == {"wrote"}
