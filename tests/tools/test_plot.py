"""plot: what is drawn is what the recording holds, by its own times, and nothing bridges a gap."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from known_people import poses, recording
from program import run_program

from tfpose_rt.errors import InputError, UsageError
from tfpose_rt.records import Gap, Poses, Result
from tfpose_rt.skeleton import INDEX
from tfpose_rt.tools.motion import CORNERS, angle, angles, joints_of, read_motion, runs, speed
from tfpose_rt.tools.plot import DRAWINGS, MOST, plot
from tfpose_rt.tools.recordings import convert

TIMES = (0.0, 0.1, 0.3, 0.4, 0.8, 0.9, 1.0, 1.1)  # s, unevenly spaced
WRIST = INDEX["left_wrist"]


def person(xy, *, frame, pts, scores=None, ids=(0,)):
    """One pose a given id, all of them at xy (17, 2)."""
    n = len(ids)
    return Result(
        frame=frame, pts=pts, seq=frame,
        poses=Poses(
            xy=np.tile(np.asarray(xy, np.float32), (n, 1, 1)),
            scores=np.tile(np.full(17, 0.9, np.float32) if scores is None else np.float32(scores), (n, 1)),
            boxes=np.tile(np.float32([0, 0, 99, 99]), (n, 1)), box_scores=np.full(n, 0.8, np.float32),
            ids=np.array(ids), frame=frame, pts=pts, size=(640, 480), box_from=("detector",) * n,
        ),
    )  # fmt: skip


def walk(path, *, without=(), low=(), gap=None, away=()):
    """All joints go right at 60 px/s and down at 80 px/s: 100 px/s. Frames `without` are not in the file at all."""
    items = []
    for frame, pts in enumerate(TIMES):
        if gap == frame:
            items.append(Result(gap=Gap(reason="stalled", t_start=TIMES[frame - 1], t_end=pts, seq_from=frame)))
        if frame in without:
            continue
        scores = np.full(17, 0.9)
        scores[WRIST] = 0.1 if frame in low else 0.9
        xy = np.tile([100 + 60 * pts, 50 + 80 * pts], (17, 1))
        ids = () if frame in away else (0,)
        items.append(person(xy, frame=frame, pts=pts, scores=scores, ids=ids))
    return recording(path, items)


def lines(axes):
    """Label -> the stretches that are drawn as one line: lists of (x, y)."""
    out = {}
    for one in axes.get_lines():
        x, y = np.asarray(one.get_xdata(), float), np.asarray(one.get_ydata(), float)
        out[one.get_label()] = [list(zip(x[r].tolist(), y[r].tolist(), strict=True)) for r in runs(~np.isnan(y))]
    return out


def shades(axes):
    """Label -> (begin, end) of what is shaded under it, in s."""
    out = {}
    for collection in axes.collections:
        boxes = [path.get_extents() for path in collection.get_paths()]
        out.setdefault(collection.get_label(), []).extend((round(b.x0, 6), round(b.x1, 6)) for b in boxes)
    return out


# ---- the numbers


def test_a_joint_that_moves_100_px_a_second_does_so_at_any_frame_rate():
    pts = np.array(TIMES)
    xy = np.stack((60 * pts, -80 * pts), -1)
    np.testing.assert_allclose(speed(xy, pts), 100, rtol=1e-12)


def test_speed_knows_nothing_across_a_gap_or_of_a_lone_point():
    pts = np.arange(7) / 10
    x = np.array([0, 10, np.nan, 500, np.nan, 900, 920.0])
    got = speed(np.stack((x, 0 * x), -1), pts)
    np.testing.assert_allclose(got, [100, 100, np.nan, np.nan, np.nan, 200, 200])


def test_speed_of_a_parabola_is_its_derivative():
    pts = np.array([0, 0.1, 0.15, 0.3, 0.32])
    got = speed(np.stack((100 * pts**2, 0 * pts), -1), pts)
    np.testing.assert_allclose(got[1:-1], 200 * pts[1:-1])


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [((0, -5), (3, 0), 90), ((-2, 0), (7, 0), 180), ((4, 0), (2, 0), 0), ((1, 0), (1, 1), 45), ((1, 0), (-1, 1), 135),
     ((1, 0), (math.cos(2), -math.sin(2)), math.degrees(2)), ((0, 0), (1, 0), math.nan)],
)  # fmt: skip
def test_angles_by_hand(one, other, expected):
    at = np.array([10.0, 20.0])
    np.testing.assert_allclose(angle(at, at + one, at + other), expected, atol=1e-9)


def test_a_bent_knee_is_a_right_angle_and_the_elbow_is_not_asked():
    xy = np.full((1, 17, 2), np.nan)
    xy[0, INDEX["left_hip"]], xy[0, INDEX["left_knee"]], xy[0, INDEX["left_ankle"]] = (50, 100), (90, 100), (90, 140)
    assert angles(xy, "left_knee") == pytest.approx([90])
    assert np.isnan(angles(xy, "right_knee")).all()


def test_corners_lie_between_neighbours_of_their_own_side():
    assert all(a.split("_")[0] == b.split("_")[0] == c.split("_")[0] for a, (b, c) in CORNERS.items())
    assert CORNERS["right_elbow"] == ("right_shoulder", "right_wrist")


# ---- what is drawn


def test_positions_are_drawn_at_the_frames_own_times(tmp_path):
    made = plot(read_motion(walk(tmp_path / "r.jsonl")), "xy", joints="left_wrist")
    x, y = made.axes[:2]
    assert [np.round(part, 3).tolist() for part in lines(x)["left"]] == [
        [[pts, round(100 + 60 * pts, 3)] for pts in TIMES]
    ]
    assert lines(y)["left"][0][3] == pytest.approx((0.4, 50 + 32), abs=1e-4)
    assert y.yaxis_inverted()
    assert not x.yaxis_inverted()
    assert shades(x) == {}


@pytest.mark.parametrize("what", ["xy", "speed"])
def test_missing_frames_break_the_line_and_are_shaded(tmp_path, what):
    made = plot(read_motion(walk(tmp_path / "r.jsonl", without=(3, 4))), what, joints="left_wrist")
    left, right = lines(made.axes[0])["left"]
    assert [x for x, _ in left] == [0, 0.1, 0.3]
    assert [x for x, _ in right] == [0.9, 1.0, 1.1]
    if what == "speed":
        assert [y for _, y in left + right] == pytest.approx([100] * 6, rel=1e-4)
    assert shades(made.axes[0]) == {"frames missing": [(0.3, 0.9)]}


def test_a_gap_record_breaks_the_line_where_the_numbers_run_on(tmp_path):
    motion = read_motion(walk(tmp_path / "r.jsonl", gap=4))
    assert motion.holes == ((0.4, 0.8, "stalled"),)
    parts = lines(plot(motion, joints="left_wrist").axes[0])["left"]
    assert [len(part) for part in parts] == [4, 4]


def test_every_third_frame_is_no_gap(tmp_path):
    items = [person(np.zeros((17, 2)), frame=3 * i, pts=i / 10) for i in range(6) if i != 4]
    assert [hole[:2] for hole in read_motion(recording(tmp_path / "r.jsonl", items)).holes] == [(0.3, 0.5)]


def test_a_low_score_breaks_the_line_and_is_shaded_for_that_joint_alone(tmp_path):
    made = plot(read_motion(walk(tmp_path / "r.jsonl", low=(2, 6))), joints="wrist")
    drawn = lines(made.axes[0])
    assert [[x for x, _ in part] for part in drawn["left"]] == [[0, 0.1], [0.4, 0.8, 0.9], [1.1]]
    assert [len(part) for part in drawn["right"]] == [8]
    assert shades(made.axes[0]) == {"left unknown": [(0.1, 0.4), (0.9, 1.1)]}
    dots = [one for one in made.axes[0].get_lines() if one.get_marker() == "."]
    assert [one.get_xdata().tolist() for one in dots] == [[1.1]]  # a lone point is seen, as a dot
    kept = lines(plot(read_motion(tmp_path / "r.jsonl"), joints="wrist", threshold=0.1).axes[0])
    assert [len(part) for part in kept["left"]] == [8]


def test_a_lone_point_on_the_first_frame_is_drawn_whole(tmp_path):
    """As many pixels to the left of the axis as to the right of it."""
    made = plot(read_motion(walk(tmp_path / "r.jsonl", away=(1, 4))), joints="left_wrist", ids="0")
    made.savefig(tmp_path / "f.png", dpi=100)
    axes = made.axes[0]
    (dot,) = [one for one in axes.get_lines() if one.get_marker() == "."]
    assert dot.get_xdata()[0] == axes.get_xlim()[0]
    x, y = axes.transData.transform((dot.get_xdata()[0], dot.get_ydata()[0])) * 100 / made.dpi
    image = cv2.imread(str(tmp_path / "f.png"))
    part = image[round(image.shape[0] - y) - 4 : round(image.shape[0] - y) + 4, round(x) - 5 : round(x) + 5].astype(int)
    orange = (part[..., 2] - part[..., 0] > 90).sum(0)  # red over blue, column by column
    assert orange[:5].sum() >= 3
    assert orange[5:].sum() >= 3


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("what", list(DRAWINGS))
def test_one_frame_is_enough_for_every_figure(tmp_path, what):
    motion = read_motion(recording(tmp_path / "r.jsonl", [person(np.ones((17, 2)), frame=0, pts=0.0)]))
    made = plot(motion, what, joints="knee")
    made.savefig(tmp_path / "f.png")
    if what == "timing":
        assert "1 frame," in made.get_supxlabel()


def test_a_person_who_is_away_is_not_at_zero(tmp_path):
    made = plot(read_motion(walk(tmp_path / "r.jsonl", away=(0, 4))), joints="left_wrist")
    parts = lines(made.axes[0])["left"]
    assert [[x for x, _ in part] for part in parts] == [[0.1, 0.3, 0.4], [0.9, 1.0, 1.1]]
    assert min(y for part in parts for _, y in part) > 99
    assert shades(made.axes[0]) == {"not seen": [(0.0, 0.1), (0.4, 0.9)]}


def test_angles_say_that_they_are_of_the_image_plane(tmp_path):
    xy = np.zeros((17, 2))
    xy[INDEX["right_shoulder"]], xy[INDEX["right_elbow"]], xy[INDEX["right_wrist"]] = (10, 10), (10, 50), (80, 50)
    path = recording(tmp_path / "r.jsonl", [person(xy, frame=i, pts=i / 25) for i in range(3)])
    made = plot(read_motion(path), "angles", joints="right_elbow")
    assert [y for _, y in lines(made.axes[0])["right"][0]] == pytest.approx([90] * 3)
    words = made.get_suptitle() + made.get_supxlabel() + made.axes[0].get_ylabel()
    assert "image-plane °" in words
    assert "not the joint's angle in space" in words.replace("\n", " ")


def test_scores_are_cells_and_absent_ones_are_empty(tmp_path):
    made = plot(read_motion(walk(tmp_path / "r.jsonl", low=(2,), away=(5,))), "score", joints="left_wrist,nose")
    cells = made.axes[0].collections[-1].get_array()
    assert cells.shape == (2, len(TIMES))
    assert cells.mask[:, 5].all()
    assert cells.mask.sum() == 2
    np.testing.assert_allclose(cells[1].compressed(), [0.9, 0.9, 0.1, 0.9, 0.9, 0.9, 0.9], atol=1e-6)


def test_gaps_show_who_is_seen_when(tmp_path):
    motion = read_motion(walk(tmp_path / "r.jsonl", without=(3,), low=(1,), away=(5, 6)))
    axes = plot(motion, "gaps", joints="left_wrist").axes[0]
    bars = [sorted((round(b.x0, 6), round(b.x1, 6)) for b in (p.get_extents() for p in c.get_paths()))
            for c in axes.collections]  # fmt: skip
    away, known, pale, missing = bars
    assert away == [(0.9, 1.1)]
    assert known[:1] == [(0.0, 0.1)]
    assert pale == [(0.1, 0.3)]
    assert known[1][0] == 0.3
    assert missing[0] == (known[1][1], 0.8)
    assert [t.get_text() for t in axes.texts] == ["57%", "frames missing"]


def test_timing_is_the_step_between_frames_and_none_across_a_gap(tmp_path):
    axes = plot(read_motion(walk(tmp_path / "r.jsonl", without=(3,))), "timing").axes[0]
    dots = next(one for one in axes.get_lines() if one.get_marker() == ".")
    np.testing.assert_allclose(
        np.asarray(dots.get_ydata(), float), [np.nan, 100, 200, np.nan, np.nan, 100, 100, 100], atol=1e-6
    )


def test_paths_lie_in_the_picture_and_break_too(tmp_path):
    made = plot(read_motion(walk(tmp_path / "r.jsonl", low=(2,))), "traj", joints="left_wrist")
    axes = made.axes[0]
    path = next(one for one in axes.get_lines() if one.get_label() == "left wrist")
    x, y = (np.asarray(v, float) for v in path.get_data())
    assert [r.stop - r.start for r in runs(~np.isnan(x))] == [2, 5]
    np.testing.assert_allclose((x[-1], y[-1]), (166, 138), atol=1e-3)
    assert axes.yaxis_inverted()
    assert axes.get_aspect() == 1


def test_many_people_are_the_longest_seen_unless_they_are_named(tmp_path):
    items = [person(np.ones((17, 2)), frame=i, pts=i / 10, ids=range(i, MOST + 3)) for i in range(MOST + 3)]
    motion = read_motion(recording(tmp_path / "r.jsonl", items))
    made = plot(motion, "speed", joints="nose")
    assert [a.get_title() for a in made.axes] == [f"id {i}" for i in range(3, MOST + 3)]
    assert f"{MOST} of {MOST + 3} people" in made.get_supxlabel()
    assert [a.get_title() for a in plot(motion, "speed", joints="nose", ids="1,0").axes] == ["id 1", "id 0"]
    assert len(plot(motion, "gaps").axes[0].get_yticks()) == MOST + 3


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_tables_give_the_same_figure(tmp_path, ending):
    path = walk(tmp_path / "r.jsonl", without=(3,), low=(5,), away=(1,))
    convert(path, [(tmp_path / f"t.{ending}", ending)])
    one, two = (read_motion(p) for p in (path, tmp_path / f"t.{ending}"))
    np.testing.assert_array_equal(one.frames, two.frames)
    np.testing.assert_allclose(one.pts, two.pts)
    np.testing.assert_allclose(one.people[0].xy, two.people[0].xy)
    assert one.holes == two.holes


def test_joints_are_named_in_full_or_for_both_sides():
    assert joints_of("all")[0] == "nose"
    assert joints_of("right_knee, wrist") == ("left_wrist", "right_wrist", "right_knee")
    with pytest.raises(UsageError, match="try: knee"):
        joints_of("knie")
    with pytest.raises(UsageError, match="left_shoulder"):
        joints_of("left_sholder")
    with pytest.raises(UsageError, match="no angle lies there"):
        joints_of("nose", tuple(CORNERS))


def test_without_ids_one_person_can_be_drawn_and_several_cannot(tmp_path):
    one = [Result(frame=i, pts=i / 25, poses=poses([3], i, i / 25, track=False)) for i in range(3)]
    made = plot(read_motion(recording(tmp_path / "one.jsonl", one)), "xy", joints="nose")
    assert made.axes[0].get_title() == "the person, x"
    two = [Result(frame=i, pts=i / 25, poses=poses([3, 4], i, i / 25, track=False)) for i in range(3)]
    motion = read_motion(recording(tmp_path / "two.jsonl", two))
    with pytest.raises(InputError, match="no ids"):
        plot(motion, "xy")
    assert plot(motion, "timing").axes


def test_the_smoothed_field_is_another_one_and_is_asked_for(tmp_path):
    with pytest.raises(UsageError, match="no smoothed points"):
        read_motion(walk(tmp_path / "r.jsonl"), field="smooth")


# ---- the command


def call(monkeypatch, capsys, *words):
    code, _, err = run_program(monkeypatch, capsys, "plot", *words)
    return code, err


@pytest.mark.parametrize("what", sorted(DRAWINGS))
def test_every_figure_is_written(tmp_path, monkeypatch, capsys, what):
    walk(tmp_path / "r.jsonl", without=(3,), low=(5,))
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, capsys, "r.jsonl", "--what", what, "--joints", "knee") == (0, f"wrote r_{what}.png\n")
    image = cv2.imread(f"r_{what}.png")
    assert min(image.shape[:2]) > 200
    assert image.std() > 5
    assert call(monkeypatch, capsys, "r.jsonl", "--what", what, "--joints", "knee")[0] == 4  # nothing is replaced


def test_svg_is_svg(tmp_path, monkeypatch, capsys):
    walk(tmp_path / "r.jsonl")
    assert call(monkeypatch, capsys, tmp_path / "r.jsonl", "-o", tmp_path / "f.svg", "--joints", "nose", "-q") == (
        0,
        f"wrote {tmp_path / 'f.svg'}\n",
    )
    assert "<svg" in (tmp_path / "f.svg").read_text()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("none.jsonl", 3, "cannot read none.jsonl"),
        ("r.jsonl --joints knie", 2, "try: knee"),
        ("r.jsonl --ids 7", 2, "try: --ids 0"),
        ("r.jsonl --ids x", 2, "not whole numbers"),
        ("r.jsonl --what dance", 2, "try: xy, traj"),
        ("r.jsonl --what angles --joints nose", 2, "no angle"),
        ("r.jsonl -o f.gif", 2, "f.gif"),
        ("r.jsonl -o away/f.png", 4, "no folder"),
        ("r.jsonl --field soft", 2, "raw or smooth"),
        ("r.jsonl --kpt-thr 3", 2, "0..1"),
        ("empty.jsonl", 3, "holds no frame"),
        ("nobody.jsonl", 3, "nobody is in"),
    ],
)
def test_mistakes_are_one_line_and_a_code(tmp_path, monkeypatch, capsys, words, code, said):
    walk(tmp_path / "r.jsonl")
    recording(tmp_path / "empty.jsonl", [])
    walk(tmp_path / "nobody.jsonl", away=range(9))
    monkeypatch.chdir(tmp_path)
    got, err = call(monkeypatch, capsys, *words.split())
    assert got == code, err
    assert said in err
    assert len(err.splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty.jsonl", "nobody.jsonl", "r.jsonl"]


def test_show_needs_a_screen_and_ends_with_the_window(tmp_path, monkeypatch, capsys):
    from tfpose_rt.live import window

    walk(tmp_path / "r.jsonl")
    words = [tmp_path / "r.jsonl", "--what", "timing", "--show"]
    monkeypatch.setattr(window, "has_screen", lambda: False)
    code, err = call(monkeypatch, capsys, *words)
    assert (code, "no window can be opened here" in err) == (2, True)

    shown = []

    class Screen:
        closed = polls = 0

        def __init__(self, title, size):
            self.size = size

        def show(self, image):
            shown.append((image.shape[1], image.shape[0]) == self.size and float(image.std()))
            return []

        def poll(self):
            Screen.polls += 1
            return ["quit"] if Screen.polls == 3 else []

        def close(self):
            Screen.closed += 1

    monkeypatch.setattr(window, "has_screen", lambda: True)
    monkeypatch.setattr(window, "Window", Screen)
    assert call(monkeypatch, capsys, *words) == (0, "")
    assert shown[0] > 5
    assert (Screen.polls, Screen.closed) == (3, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["r.jsonl"]  # nothing is written unless -o asks


def test_a_band_as_high_as_the_errors_lies_around_the_positions(tmp_path):
    """Errors of 3 px: at 0.4 s all joints are at x = 124, so the band reaches from 121 to 127."""
    items = []
    for frame, pts in enumerate(TIMES):
        one = person(np.tile([100 + 60 * pts, 50.0], (17, 1)), frame=frame, pts=pts)
        items.append(replace(one, poses=replace(one.poses, errors=np.full((1, 17), 3, np.float32))))
    motion = read_motion(recording(tmp_path / "a.jsonl", items, error_kind="calibrated"))
    figure = plot(motion, "xy", joints="nose")
    (band,) = [c for c in figure.axes[0].collections if len(c.get_paths())]
    outline = band.get_paths()[0].vertices
    assert sorted({round(float(y), 6) for x, y in outline if abs(x - 0.4) < 1e-9}) == [121.0, 127.0]
    assert "half of such joints" in figure._supxlabel.get_text().replace("\n", " ")


def test_a_recording_without_errors_has_no_band(tmp_path):
    figure = plot(read_motion(walk(tmp_path / "a.jsonl")), "xy", joints="nose")
    assert not figure.axes[0].collections
    assert "half of such joints" not in figure._supxlabel.get_text().replace("\n", " ")
