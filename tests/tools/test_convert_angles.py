"""convert -f angles, mot, summary: the files as others read them, against figures of known angles."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from known_people import recording
from program import run_program
from stick_figures import expected, figure

from tfpose_rt.records import Gap, Poses, Result
from tfpose_rt.skeleton import INDEX
from tfpose_rt.tools.angles import SEGMENTS, TABLE
from tfpose_rt.tools.derived import DERIVED, ENDINGS
from tfpose_rt.tools.recordings import convert

PTS = (0.0, 0.1, 0.25, 0.6, 0.7, 0.8)  # s; before the fourth frame others are missing, which makes its number 4
NUMBERS = (0, 1, 2, 4, 5, 6)
SPEED = 60  # px/s to the right, of everybody
HEIGHT = 400  # px, of every box
BENDS = (0, 20, 60, 90, 30, 0)  # degrees: thighs lean to the left by it, shanks to the right by half of it


def leans(frame):
    return {"trunk": BENDS[frame] / 3, "thigh": -BENDS[frame], "shank": BENDS[frame] / 2,
            "upper_arm": 10 + frame, "forearm": -BENDS[frame]}  # fmt: skip


def squatting(frame, ids=(0,), *, low=(), error=None, smooth=False):
    """A frame of people who all squat alike, one `id` x 200 px further to the right than the one before."""
    n = 1 if ids is None else len(ids)
    places = range(n) if ids is None else ids
    xy = np.array([figure(leans(frame), hips=(100 + 200 * who + SPEED * PTS[frame], 300)) for who in places])
    scores = np.full((n, 17), 0.9, np.float32)
    scores[:, [INDEX[name] for name in low]] = 0.25
    return Result(
        frame=NUMBERS[frame], pts=PTS[frame], seq=NUMBERS[frame],
        poses=Poses(
            xy=xy.reshape(n, 17, 2).astype(np.float32), scores=scores, box_scores=np.full(n, 0.8, np.float32),
            boxes=np.tile(np.float32([0, 100, 99, 100 + HEIGHT]), (n, 1)), frame=NUMBERS[frame], pts=PTS[frame],
            ids=None if ids is None else np.array(ids, np.int64), size=(1600, 900), box_from=("detector",) * n,
            errors=None if error is None else np.full((n, 17), error, np.float32),
            xy_smooth=(xy + [0, 50] * (np.arange(17)[:, None] == INDEX["left_knee"])).astype(np.float32)
            if smooth else None,
        ),
    )  # fmt: skip


LOST = Result(gap=Gap(reason="decode_error", t_start=0.25, t_end=0.6, seq_from=3, seq_to=3))


def usual(path, **more):
    """Person 0 is in every frame but the fifth, person 2 in the third and the last two; one is missing in between."""
    people = [(0,), (0,), (0, 2), (0,), (2,), (0, 2)]
    items = [squatting(i, ids, low=["left_ankle"] if i == 1 else [], **more) for i, ids in enumerate(people)]
    told = {"error_kind": "calibrated"} if more.get("error") else {}
    return recording(path, [*items[:3], LOST, *items[3:]], **told)


@pytest.fixture
def made(tmp_path, monkeypatch, capsys):
    """What `convert r.jsonl -f FORMAT WORDS -o -` prints, once it ended well."""
    monkeypatch.chdir(tmp_path)

    def run(what, *words, name="r.jsonl"):
        code, out, err = run_program(monkeypatch, capsys, "convert", name, "-f", what, "-o", "-", *words)
        assert (code, err) == (0, "")
        return out

    return run


def table(text):
    return pd.read_csv(StringIO(text))


def read_mot(text):
    """By the rules of OpenSim's reader: keys and values up to `endheader`, then names and numbers between blanks."""
    head, _, body = text.partition("endheader\n")
    keys = dict(re.findall(r"^(\w+)\s*=\s*(\S+)$", head, re.M))
    names, *rows = [line.split() for line in body.splitlines()]
    numbers = np.array([[float(cell) for cell in row] for row in rows])
    assert head.startswith("Coordinates\n")
    assert (int(keys["nRows"]), int(keys["nColumns"]), keys["inDegrees"]) == (*numbers.shape, "yes")
    assert names[0] == "time"
    assert (np.diff(numbers[:, 0]) > 0).all()
    return names, numbers


# ---- angles


def test_a_row_a_frame_and_person_from_first_to_last(tmp_path, made):
    usual(tmp_path / "r.jsonl")
    got = table(made("angles"))
    assert [*got.columns] == ["frame", "pts_s", "id", *TABLE, "points"]
    assert set(got.points) == {"raw"}
    nan = math.nan
    rows = [(0, 0, 0), (1, 0.1, 0), (2, 0.25, 0), (2, 0.25, 2), (nan, 0.35, 0), (nan, 0.35, 2), (4, 0.6, 0),
            (4, 0.6, 2), (5, 0.7, 0), (5, 0.7, 2), (6, 0.8, 0), (6, 0.8, 2)]  # fmt: skip
    np.testing.assert_allclose(got[["frame", "pts_s", "id"]].to_numpy(float), rows)


def test_every_angle_is_the_one_the_figure_was_built_from_or_empty(tmp_path, made):
    usual(tmp_path / "r.jsonl")
    got = table(made("angles")).set_index(["pts_s", "id"])
    for i, pts in enumerate(PTS):
        for who in (0, 2):
            seen = i != 4 if who == 0 else i in (2, 4, 5)
            for name, value in expected(leans(i)).items():
                if (pts, who) not in got.index:
                    assert not seen
                elif not seen or (i == 1 and name in ("left_knee", "left_shank")):  # without the ankle
                    assert np.isnan(got.loc[(pts, who), name])
                else:
                    assert got.loc[(pts, who), name] == pytest.approx(value, abs=0.02), (
                        i,
                        name,
                    )  # of points in 0.01 px
    assert got.loc[0.35].drop(columns=["frame", "points"]).isna().all(axis=None)


def test_a_lower_threshold_fills_the_cell(tmp_path, made):
    usual(tmp_path / "r.jsonl")
    knee = table(made("angles", "--kpt-thr", "0.2", "--ids", "0")).left_knee
    assert knee.tolist()[:3] == pytest.approx([180, 150, 90], abs=0.02)
    assert table(made("angles", "--kpt-thr", "0.95")).left_knee.isna().all()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_give_the_same_angles_as_the_recording(tmp_path, made, kind):
    """A table has no gap, but its frames' numbers leave one out."""
    usual(tmp_path / "r.jsonl", error=3)
    convert(tmp_path / "r.jsonl", [(tmp_path / f"t.{kind}", kind)])
    assert made("angles", name=f"t.{kind}") == made("angles")
    assert made("mot", "--ids", "2", name=f"t.{kind}") == made("mot", "--ids", "2")
    assert made("summary", name=f"t.{kind}").replace("\nt,", "\nr,") == made("summary")


def test_errors_stand_behind_the_angles_where_the_recording_has_some(tmp_path, made):
    usual(tmp_path / "r.jsonl", error=3)
    got = table(made("angles"))
    assert [*got.columns[3:]] == [*TABLE, *(f"{name}_error" for name in TABLE), "points"]
    # 3 px at both ends of a shank of 110 px; half of what is spread normally lies within 0.6745 deviations, and half of
    # the points within 1.1774: 0.6745 / 1.1774 * sqrt(9 + 9) / 110 in degrees. Centres of two joints: 1 / sqrt(2).
    assert got.right_shank_error.dropna().tolist() == pytest.approx([1.27] * 8, abs=0.011)
    assert got.trunk_error.dropna().tolist() == pytest.approx([0.66] * 8, abs=0.011)
    assert got.left_shank_error.isna().tolist() == got.left_shank.isna().tolist()
    assert got.left_shank.isna().sum() == got.right_shank.isna().sum() + 1


def test_smoothed_points_where_asked_for(tmp_path, made):
    usual(tmp_path / "r.jsonl", smooth=True)
    raw, smooth = (table(made("angles", "--field", field)) for field in ("raw", "smooth"))
    assert raw.left_shank[0] == 0
    assert raw.left_knee[2] == pytest.approx(90, abs=0.02)
    hip, knee, ankle = (figure(leans(2))[INDEX[f"left_{joint}"]] for joint in ("hip", "knee", "ankle"))
    knee = knee + np.array((0, 50))
    one, other = hip - knee, ankle - knee
    bent = math.degrees(math.acos(one @ other / math.hypot(*one) / math.hypot(*other)))
    assert smooth.left_knee[2] == pytest.approx(bent, abs=0.02)
    assert abs(bent - 90) > 3
    assert smooth.right_knee.equals(raw.right_knee)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "raw"),
        (["--smooth", "zero-lag:3"], "zero-lag:3.0"),
        (["--smooth", "one-euro:2,0.1"], "one-euro:2.0,0.1"),
        (["--smooth", "zero-lag:4", "--field", "raw"], "raw"),
    ],
)
def test_every_table_says_which_points_it_is_of(tmp_path, monkeypatch, capsys, made, words, told):
    usual(tmp_path / "r.jsonl", error=3)
    for what in ("angles", "summary"):
        assert set(table(made(what, *words)).points) == {told}
    assert f"Points: {told}.\n" in made("mot", "--ids", "0", *words)
    convert(tmp_path / "r.jsonl", [(tmp_path / "other.jsonl", "jsonl")])
    both = ("convert", "r.jsonl", "other.jsonl", "-f", "summary", "-o", "both")
    assert run_program(monkeypatch, capsys, *both, *words)[0] == 0
    assert pd.read_csv(tmp_path / "both/summary.csv").points.tolist() == [told] * 4


def test_digits_and_absent_values_as_asked_for(tmp_path, made):
    usual(tmp_path / "r.jsonl")
    plain, full, filled = (
        made("angles", *words).splitlines() for words in ([], ["--full-precision"], ["--fill", "nan"])
    )
    assert plain[1].split(",")[3:6] == ["10.00", "10.00", "170.00"]
    assert all(len(cell) > 6 for cell in full[1].split(",")[3:5])
    assert filled[5].split(",")[3:-1] == ["nan"] * len(TABLE)
    assert plain[5].split(",")[3:-1] == [""] * len(TABLE)
    assert not [cell for line in plain for cell in line.split(",") if cell == "-0.00"]


def test_people_without_ids_have_angles_and_are_never_away(tmp_path, made):
    loose = [squatting(i, range(count)) for i, count in enumerate((2, 1, 2))]
    recording(tmp_path / "r.jsonl", [replace(r, poses=replace(r.poses, ids=None)) for r in loose])
    got = table(made("angles"))
    assert got.frame.tolist() == [0, 0, 1, 2, 2]
    assert got.id.isna().all()
    assert got.left_knee.tolist() == pytest.approx([180, 180, 150, 90, 90], abs=0.02)


def test_where_nobody_is_the_table_has_a_header_alone_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recording(tmp_path / "r.jsonl", [squatting(0, ()), squatting(1, ())])
    code, out, err = run_program(monkeypatch, capsys, "convert", "r.jsonl", "-f", "angles,mot,summary", "-o", "all")
    assert (code, out) == (0, "")
    assert "r: nobody was seen" in err
    assert len((tmp_path / "all/r_angles.csv").read_text().splitlines()) == 1
    summary = pd.read_csv(tmp_path / "all/r_summary.csv")
    assert (summary.recording.tolist(), summary.points.tolist()) == (["r"], ["raw"])
    assert summary.drop(columns=["recording", "points"]).isna().all(axis=None)
    assert sorted(p.name for p in (tmp_path / "all").iterdir()) == ["r_angles.csv", "r_summary.csv"]


# ---- mot


def test_a_motion_file_a_person_as_opensim_reads_it(tmp_path, monkeypatch, capsys, made):
    usual(tmp_path / "r.jsonl", error=3)
    code, _, err = run_program(monkeypatch, capsys, "convert", "r.jsonl", "-f", "mot")
    assert code == 0
    files = [tmp_path / f"tfpose-out/r_angles_person{who}.mot" for who in (0, 2)]
    assert err == "wrote tfpose-out/r_angles_person0.mot (6 frames)\nwrote tfpose-out/r_angles_person2.mot (4 frames)\n"
    angles = table(made("angles"))
    for who, file in zip((0, 2), files, strict=True):
        names, numbers = read_mot(file.read_text())
        own = angles[angles.id == who]
        assert names == ["time", *TABLE]
        np.testing.assert_array_equal(numbers, own[["pts_s", *TABLE]].to_numpy())


def test_motion_files_of_people_who_are_gone_go_with_overwrite(tmp_path, monkeypatch, capsys, made):
    usual(tmp_path / "r.jsonl")
    run_program(monkeypatch, capsys, "convert", "r.jsonl", "-o", "k.mot")
    assert {p.name for p in tmp_path.glob("*.mot")} == {"k_person0.mot", "k_person2.mot"}
    code, _, err = run_program(monkeypatch, capsys, "convert", "r.jsonl", "-o", "k.mot", "--ids", "2")
    assert (code, "k_person0.mot exists" in err) == (4, True)
    assert run_program(monkeypatch, capsys, "convert", "r.jsonl", "-o", "k.mot", "--ids", "2", "-y")[0] == 0
    assert {p.name for p in tmp_path.glob("*.mot")} == {"k_person2.mot"}


# ---- summary


def test_a_line_a_person_by_hand(tmp_path, made):
    usual(tmp_path / "r.jsonl")
    got = table(made("summary"))
    assert got.recording.tolist() == ["r", "r"]
    assert got.id.tolist() == [0, 2]
    assert got.first_s.tolist() == [0, 0.25]
    assert got.last_s.tolist() == [0.8, 0.8]
    assert got.frames.tolist() == [6, 4]
    assert got.frames_seen.tolist() == [5, 3]
    assert got.frames_posed.tolist() == [5, 3]
    assert got.joints_known.tolist() == pytest.approx([1 - 1 / 85, 1], abs=1e-4)  # one ankle of 5 x 17 joints
    assert got.box_height_px.tolist() == [HEIGHT, HEIGHT]
    assert got.hip_heights_per_s[0] == pytest.approx(SPEED / HEIGHT, abs=1e-3)
    assert got.hip_heights_per_s[1] == pytest.approx(SPEED / HEIGHT, abs=1e-3)  # of its last two frames
    assert got.gaps.tolist() == [2, 1]  # 0.25 to 0.6 missing, 0.7 away; 0.25 to 0.7 both
    assert got.longest_gap_s.tolist() == pytest.approx([0.35, 0.45])
    knees = [[180, 90, 45, 180], [90, 135, 180]]  # without the ankle; 180 - 1.5 x the bend
    for row, knee in enumerate(knees):
        told = got.loc[row, [f"left_knee_{b}" for b in ("min", "max", "range", "median")]].tolist()
        assert told == pytest.approx([min(knee), max(knee), max(knee) - min(knee), np.median(knee)], abs=0.03)
    assert got.loc[0, ["trunk_min", "trunk_max"]].tolist() == pytest.approx([0, 30], abs=0.02)


def test_bounds_of_a_direction_that_passes_straight_down_are_counted_on(tmp_path, made):
    items = []
    for i, lean in enumerate((170, 178, -174)):  # an arm that is raised and on beyond overhead
        there = squatting(i)
        xy = figure({**leans(0), "upper_arm": lean})[None].astype(np.float32)
        items.append(replace(there, poses=replace(there.poses, xy=xy)))
    recording(tmp_path / "r.jsonl", items)
    row = table(made("summary")).loc[0]
    told = [row[f"left_upper_arm_{bound}"] for bound in ("min", "max", "range", "median")]
    assert told == pytest.approx([170, 186, 16, 178], abs=0.03)


def test_people_without_ids_cannot_be_summed_up_and_have_no_motion_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    loose = squatting(0, [0, 1])
    recording(tmp_path / "r.jsonl", [replace(loose, poses=replace(loose.poses, ids=None))])
    for what, code, said in (("summary", 3, "nobody can be followed in r"), ("mot", 2, "mot needs ids")):
        got, out, err = run_program(monkeypatch, capsys, "convert", "r.jsonl", "-f", what, "-o", "out")
        assert (got, out, said in err, err.count("\n")) == (code, "", True, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["r.jsonl"]


# ---- the files


def test_every_derived_format_has_an_ending():
    assert set(ENDINGS) == set(DERIVED)
    assert set(SEGMENTS) < set(TABLE)


def test_derived_tables_go_with_other_formats_in_one_pass(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    usual(tmp_path / "r.jsonl")
    code, _, err = run_program(monkeypatch, capsys, "convert", "r.jsonl", "-f", "csv,Angles, summary", "-o", "all")
    assert code == 0
    names = ["r.csv", "r.meta.json", "r_angles.csv", "r_summary.csv"]
    assert sorted(p.name for p in (tmp_path / "all").iterdir()) == names
    assert err == "".join(f"wrote all/{name} (6 frames)\n" for name in names)


@pytest.mark.parametrize(("words", "code", "said"), [
    ("-f angles -o k.jsonl", 2, "-o k.jsonl with -f angles: .jsonl is a suffix of jsonl; try: -o k.csv"),
    ("-f angles -o k.mot", 2, ".mot is a suffix of mot"),
    ("-f csv -o k.mot", 2, ".mot is a suffix of mot"),
    ("-f mot -o k.csv", 2, "-o k.csv with -f mot: .csv is a suffix of csv; try: -o k.mot"),
    ("-f angles,summary -o k.csv", 2, "a file has one"),
    ("-f angles,jsonl -o -", 2, "a file has one"),
    ("-f angels -o k", 2, "unknown format 'angels': no such file format; try: jsonl, csv, parquet, coco, openpose, "),
    ("-f mot -o -", 2, "-o - with -f mot: a file holds one person, and 0,2 are there; try: --ids"),
    ("-f angles -o k --ids 7", 2, "id 7 is not in r.jsonl"),
    ("-f angles -o k --strict", 7, "r.jsonl has gaps"),
    ("-f angles -o k --field smooth", 2, "the recording holds no smoothed points"),
    ("-f angles -o away/k.csv", 4, "no folder away"),
    ("-f angles -o there.csv", 4, "there.csv exists"),
])  # fmt: skip
def test_mistakes_are_one_line_and_leave_nothing(tmp_path, monkeypatch, capsys, words, code, said):
    monkeypatch.chdir(tmp_path)
    usual(tmp_path / "r.jsonl")
    (tmp_path / "there.csv").write_text("mine")
    got, out, err = run_program(monkeypatch, capsys, "convert", "r.jsonl", *words.split())
    assert (got, out, said in err, err.count("\n")) == (code, "", True, 1), err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.jsonl", "there.csv"]
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_a_disk_that_fills_up_leaves_the_older_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    usual(tmp_path / "r.jsonl")
    (tmp_path / "k.csv").write_text("mine")

    def full(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tfpose_rt.io.parts.PartFile.flush", full)
    code, _, err = run_program(monkeypatch, capsys, "convert", "r.jsonl", "-f", "angles", "-o", "k.csv", "-y")
    assert (code, "no space left" in err) == (4, True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["k.csv", "r.jsonl"]
    assert (tmp_path / "k.csv").read_text() == "mine"
