"""`convert` as typed: what is no recording, formats that contradict their files, people who are not there."""

import json
from dataclasses import replace
from itertools import islice

import pandas as pd
import pytest
from known_people import SUMMARY, header, results
from program import run_program

from tfpose_rt.io.jsonl import JsonlSink
from tfpose_rt.io.tables import CsvSink


@pytest.fixture
def program(monkeypatch, capsys, tmp_path):
    """The program in a folder with a recording of six frames, clip.jsonl, of people 1 and 2: code and stderr."""
    monkeypatch.chdir(tmp_path)
    _recording(tmp_path / "clip.jsonl")

    def run(*words):
        code, out, err = run_program(monkeypatch, capsys, *words)
        assert not out
        return code, err

    return run


def _recording(path, frames=7, **options):
    sink = JsonlSink(path, header())
    for result in islice(results(**options), frames):  # the sixth is a gap
        sink.write(result)
    sink.close(SUMMARY)


@pytest.mark.parametrize("words", [("convert", "clip.jsonl"), ("video", "synthetic", "--dry-run")])
def test_a_file_of_another_format_than_the_one_named_is_refused(program, tmp_path, words):
    code, err = program(*words, "-f", "jsonl", "-o", "k.csv")
    assert code == 2
    assert err == "error: -o k.csv with -f jsonl: .csv is a suffix of csv; try: -o k.jsonl, or -f csv\n"
    assert program(*words, "-f", "csv", "-o", "k.csv", "-o", "more.jsonl")[0] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.jsonl"]


def test_a_folder_and_a_name_without_suffix_take_the_format_named(program, tmp_path):
    (tmp_path / "old.csv").mkdir()  # a folder, whatever its name
    assert program("convert", "clip.jsonl", "-f", "jsonl", "-o", "old.csv")[0] == 0
    assert program("convert", "clip.jsonl", "-f", "CSV, trc", "-o", "new")[0] == 0
    assert program("convert", "clip.jsonl", "-f", "csv", "-o", "k.csv")[0] == 0
    assert (tmp_path / "old.csv" / "clip.jsonl").is_file()
    assert (tmp_path / "new" / "clip.csv").is_file()
    assert (tmp_path / "k.csv").read_text() == (tmp_path / "new" / "clip.csv").read_text()


@pytest.mark.parametrize(("frames", "told"), [(0, "0 frames"), (1, "1 frame"), (7, "6 frames")])
def test_frames_are_counted_as_people_do(program, tmp_path, frames, told):
    _recording(tmp_path / "few.jsonl", frames)
    code, err = program("convert", "few.jsonl", "-o", "k.csv")
    assert (code, err) == (0, f"wrote k.csv ({told})\nwrote k.meta.json ({told})\n")


@pytest.mark.parametrize(("ids", "missing"), [("7", 7), ("1,7", 7), ("-1", -1), ("0", 0)])
def test_somebody_who_is_not_in_the_recording_is_refused(program, tmp_path, ids, missing):
    code, err = program("convert", "clip.jsonl", f"--ids={ids}", "-o", "k.csv", "-o", "k")
    assert (code, err) == (2, f"error: id {missing} is not in clip.jsonl: nobody has it; try: --ids 1,2\n")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.jsonl"]


def test_the_people_named_are_in_the_table_and_nobody_else(program, tmp_path):
    for words, people in ((["--ids", "2"], {2}), (["--ids", "2, 1"], {1, 2}), (["--ids", "all"], {1, 2})):
        assert program("convert", "clip.jsonl", "-y", "-o", "k.csv", *words)[0] == 0
        table = pd.read_csv(tmp_path / "k.csv")
        assert set(table.id.dropna()) == people
        assert sorted(set(table.frame)) == [0, 1, 2, 3, 4, 6]
    assert program("convert", "clip.jsonl", "-y", "-o", "k.csv", "--ids", ",")[0] == 2


def test_a_recording_of_some_people_holds_and_counts_them_alone(program, tmp_path):
    assert program("convert", "clip.jsonl", "-o", "k.jsonl", "--ids", "1")[0] == 0
    *_, last = records = [json.loads(line) for line in (tmp_path / "k.jsonl").read_text().splitlines()]
    frames = [r for r in records if r["type"] == "frame"]
    assert [[p["id"] for p in r["persons"]] for r in frames] == [[], [1], [1], [], [], []]
    assert (last["frames_with_people"], last["persons"], last["ids"]) == (2, 2, 1)
    assert program("convert", "clip.jsonl", "-o", "all.jsonl")[0] == 0
    assert records[0] == json.loads((tmp_path / "all.jsonl").read_text().splitlines()[0])


@pytest.mark.parametrize("words", [["--normalised"], ["--field", "smooth"], ["--normalised", "-f", "csv,jsonl"]])
def test_what_a_recording_cannot_hold_is_refused(program, tmp_path, words):
    code, err = program("convert", "clip.jsonl", "-o", *(["k"] if "-f" in words else ["k.jsonl"]), *words)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{' '.join(words[:2] if words[0] == '--field' else words[:1])} with JSONL" in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.jsonl"]


@pytest.mark.parametrize("words", [
    ["--csv-layout", "tall"], ["--openpose-layout", "coco19"], ["--naming", "ours"], ["--fill", "zero"],
    ["--field", "rough"], ["--kpt-thr", "1.5"],
])  # fmt: skip
def test_words_and_numbers_that_make_no_sense_are_refused_whatever_is_made(program, words):
    code, err = program("convert", "clip.jsonl", "-o", "k.csv", *words)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"error: {' '.join(words)}: ")


def test_strict_looks_at_what_the_summary_of_a_table_counts(program, tmp_path):
    """A table holds no gaps, and its rows look complete."""
    for name, gaps, complete, expected in (("whole", 0, True, 0), ("gaps", 1, True, 7), ("cut", 0, False, 7)):
        sink = CsvSink(tmp_path / f"{name}.csv", header())
        for result in results():
            sink.write(result)
        sink.close(SUMMARY | {"gaps": gaps, "complete": complete})
        assert program("convert", f"{name}.csv", "-o", f"{name}.jsonl", "--strict")[0] == expected
        assert (tmp_path / f"{name}.jsonl").exists() == (expected == 0)


@pytest.mark.parametrize("name", ["short.jsonl", "short.csv"])
@pytest.mark.parametrize(("complete", "ended"), [(False, "signal"), (False, "decode_error"), (True, "user")])
def test_a_recording_that_says_it_is_not_complete_is_told_when_it_is_read(program, tmp_path, name, complete, ended):
    sink = (CsvSink if name.endswith("csv") else JsonlSink)(tmp_path / name, header())
    for result in results():
        sink.write(result)
    sink.close(SUMMARY | {"complete": complete, "ended": ended})
    warning = f"{name} is not complete: it ended early ({ended}); "
    for words in (("convert", name, "-f", "trc", "-o", "out"), ("plot", name, "--what", "gaps")):
        code, err = program(*words)
        assert code == 0
        assert err.count(warning) == (not complete), words


def test_an_unfinished_recording_is_pointed_at(program, tmp_path):
    (tmp_path / "clip.jsonl").rename(tmp_path / "take.jsonl.part")
    code, err = program("convert", "take.jsonl", "-o", "k.csv")
    assert (code, err) == (3, "error: cannot read take.jsonl: no such file; try: the unfinished take.jsonl.part\n")


def test_a_table_saved_by_a_spreadsheet_is_read(program, tmp_path):
    """With a byte order mark in front and carriage returns."""
    assert program("convert", "clip.jsonl", "-o", "k.csv")[0] == 0
    plain = (tmp_path / "k.csv").read_bytes()
    (tmp_path / "k.csv").write_bytes(b"\xef\xbb\xbf" + plain.replace(b"\n", b"\r\n"))
    assert program("convert", "k.csv", "-o", "back.jsonl")[0] == 0
    assert program("convert", "back.jsonl", "-o", "again.csv")[0] == 0
    assert (tmp_path / "again.csv").read_bytes() == plain


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_of_smoothed_points_is_told_when_it_is_read(program, tmp_path, kind):
    sink = JsonlSink(tmp_path / "both.jsonl", header())
    for r in results():
        sink.write(r if r.poses is None else replace(r, poses=replace(r.poses, xy_smooth=r.poses.xy + 1)))
    sink.close(SUMMARY)
    for field in ("raw", "smooth"):
        assert program("convert", "both.jsonl", "-o", f"{field}.{kind}", "--field", field)[0] == 0
        code, err = program("convert", f"{field}.{kind}", "-o", f"{field}.jsonl")
        assert code == 0
        assert ("smoothed points alone" in err) == (field == "smooth")


def test_nobody_can_be_named_where_people_have_no_ids(program, tmp_path):
    _recording(tmp_path / "loose.jsonl", track=False)
    code, err = program("convert", "loose.jsonl", "--ids", "1", "-o", "k.csv")
    assert (code, err.count("\n")) == (2, 1)
    assert "id 1 is not in loose.jsonl" in err
    assert "there are none in it" in err


@pytest.mark.parametrize(("name", "code", "told"), [
    ("clip.mp4", 2, "clip.mp4 is a video: recordings are read here, and `video` makes them; try: tfpose-rt video"),
    ("clip.mkv.part", 2, "clip.mkv.part is a video"),
    ("photo.JPG", 2, "photo.JPG is an image"),
    ("notes.txt", 2, "notes.txt is not a recording"),
    ("clip.trc", 2, "cannot read clip.trc: such files lack boxes or times"),
    ("folder", 3, "no recordings in folder: no .jsonl, .parquet or .csv with its .meta.json is in it"),
    ("gone.mp4", 3, "gone.mp4 does not exist"),
    ("gone.jsonl", 3, "cannot read gone.jsonl: no such file; try: check the path"),
    ("gone.csv", 3, "cannot read gone.csv: no such file"),
    ("gone.parquet", 3, "cannot read gone.parquet: no such file"),
    ("model.safetensors", 2, "model.safetensors is a model: recordings are read here; try: tfpose-rt export"),
])  # fmt: skip
def test_what_is_no_recording_is_called_what_it_is(program, tmp_path, name, code, told):
    (tmp_path / "folder").mkdir()
    if not name.startswith(("gone", "folder")):
        (tmp_path / name).write_bytes(b"something")
    (tmp_path / "there.csv").write_text("an older file")  # which --overwrite gives up for something better alone
    got, err = program("convert", name, "-y", "-o", "there.csv")
    assert (got, err.count("\n")) == (code, 1)
    assert err.startswith(f"error: {told}")
    assert (tmp_path / "there.csv").read_text() == "an older file"
