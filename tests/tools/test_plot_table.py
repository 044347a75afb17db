"""plot --data: the numbers of a figure as a table, against numbers worked out by hand."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace

import numpy as np
import pytest
from known_people import recording
from program import run_program

from tfpose_rt.errors import OutputError
from tfpose_rt.io.parts import PartFile
from tfpose_rt.records import Gap, Poses, Result
from tfpose_rt.skeleton import INDEX, NAMES
from tfpose_rt.tools.motion import CORNERS, inclination, joints_of, read_motion
from tfpose_rt.tools.plot import DRAWINGS, MOST, plot

TIMES = (0.0, 0.1, 0.2, 0.5, 0.6)  # s; frames are lost between 0.2 and 0.5
STANDS = {  # right angles at the left knee, hip and elbow; shoulders level over the hips
    "left_shoulder": (110, 50), "right_shoulder": (90, 50), "left_elbow": (110, 90), "left_wrist": (150, 90),
    "left_hip": (110, 150), "left_knee": (170, 150), "left_ankle": (170, 210), "right_hip": (90, 150),
}  # fmt: skip
MOVES = 100  # px/s, to the right


def someone(frame, *, ids=(0,), low=(), lean=0, error=None):
    """Everybody in the frame stands alike, with shoulders moved to the right by `lean`; joints `low` score little."""
    pts, n = TIMES[frame], 1 if ids is None else len(ids)
    xy = np.full((17, 2), 7, np.float32)
    for name, (x, y) in STANDS.items():
        xy[INDEX[name]] = x + lean * name.endswith("shoulder") + MOVES * pts, y
    scores = np.full(17, 0.9, np.float32)
    scores[[INDEX[name] for name in low]] = 0.25
    return Result(
        frame=frame, pts=pts, seq=frame,
        poses=Poses(
            xy=np.tile(xy, (n, 1, 1)), scores=np.tile(scores, (n, 1)), box_scores=np.full(n, 0.8, np.float32),
            boxes=np.tile(np.float32([0, 0, 99, 99]), (n, 1)), frame=frame, pts=pts,
            ids=None if ids is None else np.array(ids), size=(640, 480), box_from=("detector",) * n,
            errors=None if error is None else np.full((n, 17), error, np.float32),
        ),
    )  # fmt: skip


LOST = Result(gap=Gap(reason="disk_slow", t_start=0.2, t_end=0.5, seq_from=3))


def known(path, **told):
    """Frame 1: the left ankle is hardly seen. Frames are lost before frame 3. In frame 4 is id 5, who leans, alone."""
    before = [someone(0), someone(1, low=["left_ankle"]), someone(2)]
    return recording(path, [*before, LOST, someone(3), someone(4, ids=[5], lean=100)], **told)


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code, out, err = run_program(monkeypatch, capsys, "plot", "r.jsonl", *words)
        assert out == ""
        return code, err

    return run


@pytest.fixture
def table(call, tmp_path):
    """Header and rows of the table that `plot r.jsonl WORDS --data t.csv` writes."""

    def run(*words):
        code, err = call(*words, "--data", "t.csv")
        first, *rows = list(csv.reader((tmp_path / "t.csv").read_text(encoding="utf-8").splitlines()))
        assert (code, err) == (0, f"wrote t.csv ({len(rows)} rows)\n")
        assert {len(row) for row in rows} == {len(first)}
        return first, rows

    return run


def test_angles_are_those_worked_out_by_hand(tmp_path, table):
    known(tmp_path / "r.jsonl")
    head, rows = table("--what", "angles", "--joints", "left_shoulder,left_elbow,left_hip,left_knee,trunk")
    joints = ["left_shoulder_deg", "left_elbow_deg", "left_hip_deg", "left_knee_deg", "trunk_deg"]
    assert head == ["frame", "pts_s", "id", *joints]
    nothing = [""] * 5
    assert [row for row in rows if row[2] == "0"] == [
        ["0", "0.000000", "0", "0.00", "90.00", "90.00", "90.00", "0.00"],
        ["1", "0.100000", "0", "0.00", "90.00", "90.00", "", "0.00"],  # no knee without its ankle; the rest stays
        ["2", "0.200000", "0", "0.00", "90.00", "90.00", "90.00", "0.00"],
        ["", "0.300000", "0", *nothing],  # frames are missing
        ["3", "0.500000", "0", "0.00", "90.00", "90.00", "90.00", "0.00"],
        ["4", "0.600000", "0", *nothing],  # away
    ]
    other = [row for row in rows if row[2] == "5"]
    assert [row[3:] for row in other[:5]] == [nothing] * 5
    assert other[5] == ["4", "0.600000", "5", "23.20", "21.80", "45.00", "90.00", "45.00"]  # 21.80: atan(40 / 100)
    assert [row[2] for row in rows] == ["0", "5"] * 6  # a frame's people together


def test_a_lower_threshold_fills_the_cell(tmp_path, table):
    known(tmp_path / "r.jsonl")
    _, rows = table("--what", "angles", "--joints", "left_knee", "--ids", "0", "--kpt-thr", "0.2")
    assert [row[3] for row in rows] == ["90.00", "90.00", "90.00", "", "90.00", ""]


@pytest.mark.parametrize(
    ("what", "joint", "columns", "expected"),
    [
        ("traj", "left_ankle", ["x_px", "y_px"],
         [["170.00", "210.00"], ["", ""], ["190.00", "210.00"], ["", ""], ["220.00", "210.00"], ["", ""]]),
        ("xy", "left_ankle", ["x_px", "y_px"],
         [["170.00", "210.00"], ["", ""], ["190.00", "210.00"], ["", ""], ["220.00", "210.00"], ["", ""]]),
        ("speed", "left_hip", ["px_per_s"], [["100.00"], ["100.00"], ["100.00"], [""], [""], [""]]),
        ("speed", "left_ankle", ["px_per_s"], [[""]] * 6),  # never two known frames in a row
        ("score", "left_ankle", ["score"], [["0.9000"], ["0.2500"], ["0.9000"], [""], ["0.9000"], [""]]),
    ],
)  # fmt: skip
def test_every_other_table_by_hand(tmp_path, table, what, joint, columns, expected):
    known(tmp_path / "r.jsonl")
    head, rows = table("--what", what, "--joints", joint, "--ids", "0")
    assert head == ["frame", "pts_s", "id", *(f"{joint}_{column}" for column in columns)]
    assert [row[3:] for row in rows] == expected


def test_gaps_say_who_and_what_is_known_and_why_frames_are_missing(tmp_path, table):
    known(tmp_path / "r.jsonl")
    head, rows = table("--what", "gaps", "--joints", "left_ankle,left_knee,left_hip", "--ids", "0")
    joints = ["left_hip_known", "left_knee_known", "left_ankle_known"]
    assert head == ["frame", "pts_s", "id", "seen", "half_known", *joints, "reason"]
    everything = ["1", "1", "1", "1", "1", ""]
    assert [row[3:] for row in rows] == [
        everything, ["1", "1", "1", "1", "0", ""], everything, ["", "", "", "", "", "disk slow"], everything,
        ["0", "0", "0", "0", "0", ""],
    ]  # fmt: skip


def test_timing_has_a_row_a_frame_and_no_step_across_a_gap(tmp_path, table):
    known(tmp_path / "r.jsonl")
    head, rows = table("--what", "timing")
    assert head == ["frame", "pts_s", "from_previous_ms", "latency_ms", "frames_passed_over"]
    assert rows == [
        ["0", "0.000000", "", "", "0"], ["1", "0.100000", "100.000", "", "0"], ["2", "0.200000", "100.000", "", "0"],
        ["", "0.300000", "", "", ""], ["3", "0.500000", "", "", "0"], ["4", "0.600000", "100.000", "", "0"],
    ]  # fmt: skip


def test_live_timing_has_latency_and_what_was_passed_over(tmp_path, table):
    recording(tmp_path / "r.jsonl", [replace(someone(i), t_capture=1.0, latency_ms=40.5, skipped=i) for i in range(2)])
    assert [row[3:] for row in table("--what", "timing")[1]] == [["40.500", "0"], ["40.500", "1"]]


def test_errors_have_a_column_where_the_recording_has_them(tmp_path, table):
    recording(tmp_path / "r.jsonl", [someone(i, error=3, low=["nose"] * i) for i in range(2)], error_kind="calibrated")
    head, rows = table("--what", "xy", "--joints", "nose")
    assert head[3:] == ["nose_x_px", "nose_y_px", "nose_error_px"]
    assert [row[3:] for row in rows] == [["7.00", "7.00", "3.00"], ["", "", ""]]


def test_whoever_has_no_id_has_an_empty_one_and_nobody_is_left_out(tmp_path, table):
    recording(tmp_path / "r.jsonl", [someone(i, ids=None) for i in range(2)])
    assert [row[:3] for row in table("--what", "xy")[1]] == [["0", "0.000000", ""], ["1", "0.100000", ""]]
    (tmp_path / "t.csv").unlink()
    recording(tmp_path / "m.jsonl", [someone(0, ids=range(MOST + 3))]).replace(tmp_path / "r.jsonl")
    assert [row[2] for row in table("--what", "xy")[1]] == [str(i) for i in range(MOST + 3)]


@pytest.mark.parametrize(("what", "ending"), [("xy", "x_px"), ("speed", "px_per_s"), ("angles", "deg")])
def test_the_numbers_are_those_of_the_figure(tmp_path, table, what, ending):
    known(tmp_path / "r.jsonl")
    head, rows = table("--what", what, "--joints", "left_knee", "--ids", "5")
    made = plot(read_motion(tmp_path / "r.jsonl"), what, joints="left_knee", ids="5")
    column = head.index(f"left_knee_{ending}")
    written = [float(row[column] or "nan") for row in rows]
    np.testing.assert_allclose(written, np.asarray(made.axes[0].get_lines()[0].get_ydata(), float), atol=0.005)


# ---- the trunk


@pytest.mark.parametrize(
    ("shoulders", "expected"), [((0, -9), 0), ((9, -9), 45), ((-9, -9), 45), ((9, 0), 90), ((0, 9), 180)]
)
def test_the_trunk_leans_away_from_the_pictures_vertical(shoulders, expected):
    xy = np.full((1, 17, 2), np.nan)
    for way in (-4, 4):  # the joints lie on both sides of their centre
        name = "left" if way < 0 else "right"
        xy[0, INDEX[f"{name}_hip"]] = 50 + way, 70
        xy[0, INDEX[f"{name}_shoulder"]] = 50 + shoulders[0] + way, 70 + shoulders[1]
    assert inclination(xy) == pytest.approx([expected])
    xy[0, INDEX["left_hip"]] = np.nan
    assert np.isnan(inclination(xy)).all()


def test_the_trunk_is_drawn_and_named_where_angles_are_and_nowhere_else(tmp_path, call):
    path = known(tmp_path / "r.jsonl")
    made = plot(read_motion(path), "angles", joints="trunk", ids="5")
    assert np.nanmax(made.axes[0].get_lines()[0].get_ydata()) == pytest.approx(45)
    assert "0 = upright" in made.get_supxlabel().replace("\n", " ")
    assert joints_of("knee,trunk", (*CORNERS, "trunk")) == ("left_knee", "right_knee", "trunk")
    assert "0 = upright" not in plot(read_motion(path), "angles", joints="knee").get_supxlabel().replace("\n", " ")
    code, err = call("--what", "xy", "--joints", "trunk")
    assert (code, "unknown joint 'trunk'" in err) == (2, True)


# ---- the file


@pytest.mark.parametrize("what", sorted(DRAWINGS))
def test_every_figure_has_a_table_with_units_in_its_header(tmp_path, table, what):
    known(tmp_path / "r.jsonl")
    head, _ = table("--what", what)
    units = ("_px", "_px_per_s", "_deg", "_score", "_known", "_ms", "_s")
    plain = {"frame", "id", "seen", "reason", "frames_passed_over"}
    assert [name for name in head if not name.endswith(units) and name not in plain] == []
    count = {"traj": 34, "xy": 34, "speed": 17, "angles": 9, "score": 17, "gaps": 20, "timing": 2}
    assert len(head) == 3 + count[what]
    assert len({name for name in head if name.startswith(NAMES)}) in (0, 8, 17, 34)


def test_a_table_alone_needs_no_matplotlib_and_makes_no_figure(tmp_path, call, monkeypatch):
    known(tmp_path / "r.jsonl")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert call("--data", "t.csv") == (0, "wrote t.csv (12 rows)\n")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.jsonl", "t.csv"]
    assert call("--data", "u.csv", "-o", "f.png")[0] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.jsonl", "t.csv"]


def test_a_figure_and_its_table_are_written_together(tmp_path, call):
    known(tmp_path / "r.jsonl")
    assert call("--joints", "nose", "-o", "f.png", "--data", "t.csv") == (0, "wrote f.png\nwrote t.csv (12 rows)\n")
    assert (tmp_path / "f.png").stat().st_size > 1000


def test_a_table_is_not_replaced_unasked(tmp_path, call):
    known(tmp_path / "r.jsonl")
    (tmp_path / "t.csv").write_text("mine")
    code, err = call("--data", "t.csv", "-o", "f.png")
    assert (code, "t.csv exists" in err, len(err.splitlines())) == (4, True, 1)
    assert (tmp_path / "t.csv").read_text() == "mine"
    assert not (tmp_path / "f.png").exists()
    assert call("--data", "t.csv", "--overwrite")[0] == 0
    assert (tmp_path / "t.csv").read_text().startswith("frame,pts_s,id,nose_x_px,")


def test_a_table_is_there_whole_or_not_at_all(tmp_path, call, monkeypatch):
    known(tmp_path / "r.jsonl")
    (tmp_path / "t.csv").write_text("mine")

    def full(self):
        assert PartFile.part(tmp_path / "t.csv").exists()  # it grows elsewhere
        raise OutputError("cannot write t.csv", why="no space left", fix="free some space")

    monkeypatch.setattr(PartFile, "seal", full)
    code, _ = call("--data", "t.csv", "--overwrite")
    assert code == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.jsonl", "t.csv"]
    assert (tmp_path / "t.csv").read_text() == "mine"


def test_a_table_that_appears_meanwhile_is_kept_and_so_is_ours(tmp_path, call, monkeypatch):
    known(tmp_path / "r.jsonl")
    seal = PartFile.seal

    def late(self):
        (tmp_path / "t.csv").write_text("mine")
        seal(self)

    monkeypatch.setattr(PartFile, "seal", late)
    code, err = call("--data", "t.csv")
    assert (code, "the result is in t.csv.part" in err) == (4, True)
    assert (tmp_path / "t.csv").read_text() == "mine"
    assert len((tmp_path / "t.csv.part").read_text().splitlines()) == 13


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--data t.txt", 2, "--data t.csv"),
        ("--data away/t.csv", 4, "no folder"),
        ("--data t.csv --what dance", 2, "no such figure"),
        ("--data t.csv --ids 7", 2, "--ids 0,5"),
        ("--data t.csv --what angles --joints nose", 2, "no angle lies there"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(tmp_path, call, words, code, said):
    known(tmp_path / "r.jsonl")
    got, err = call(*words.split())
    assert (got, said in err, len(err.splitlines())) == (code, True, 1), err
    assert [p.name for p in tmp_path.iterdir()] == ["r.jsonl"]
