"""explain: what is shown is what the program answers, and what the decoder did."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import cv2
import numpy as np
import pytest
from program import run_program

from tfpose_rt.config import RunConfig
from tfpose_rt.crop import ENLARGE
from tfpose_rt.errors import InputError, UsageError
from tfpose_rt.estimator import PoseEstimator
from tfpose_rt.skeleton import INDEX, NAMES
from tfpose_rt.tools import explain as tool
from tfpose_rt.tools.explain_figure import LINKS, draw, links
from tfpose_rt.tools.showcase import DEMO_CLIP

SPEC = f"{DEMO_CLIP}@60"
RUN = RunConfig(device="cpu", engine="torch", det_size=320)
ANKLE = INDEX["left_ankle"]


@pytest.fixture(scope="module")
def seen():
    return tool.explain(SPEC, RUN)


@pytest.fixture(scope="module")
def figure(seen):
    return draw(seen, ANKLE, [0, 1])


def titled(figure, start):
    """The axes whose title starts so, in order."""
    return [axes for axes in figure.axes if axes.get_title().startswith(start)]


def scattered(axes):
    """Offsets and values of the scatter with the colour map."""
    points = next(c for c in axes.collections if c.get_array() is not None and len(c.get_offsets()))
    return np.asarray(points.get_offsets()), np.asarray(points.get_array())


def test_the_last_points_are_what_the_program_answers(seen):
    poses = PoseEstimator(RUN, full_precision=True).predict(tool.read_frame(SPEC)[0].image)
    assert len(poses) == len(seen.boxes)
    np.testing.assert_allclose(seen.boxes, poses.boxes, atol=0.05)
    np.testing.assert_allclose(seen.xy[-1], poses.xy[0], atol=0.05)
    np.testing.assert_allclose(seen.looks[-1].score, poses.scores[0], atol=2e-3)
    assert np.abs(seen.xy[-2] - poses.xy[0]).max() > 0.15  # which the layer before does not answer


def test_moves_add_up_from_the_start_to_the_answer(seen):
    assert seen.xy.shape == (3, 17, 2)
    assert seen.moves.shape == (2, 17)
    step = seen.xy[1, ANKLE] - seen.xy[0, ANKLE]
    assert seen.moves[0, ANKLE] == pytest.approx(float(np.hypot(*step)))
    # a move in the picture is one in the crop times the picture's px in a crop px, and the crop's affine says how many
    scale = 1 / np.sqrt(np.linalg.det(seen.to_crop[:, :2]))
    in_crop = np.linalg.norm(np.diff(seen.path, axis=0), axis=-1)
    np.testing.assert_allclose(seen.moves, in_crop * scale, rtol=1e-9)
    assert seen.moves.max() > 1


def test_the_table_holds_the_moves_and_where_they_end(seen):
    lines = tool.table(seen).splitlines()
    assert lines[0].startswith(f"demo.mp4, frame 60 (2.000 s), person 0 of {len(seen.boxes)}; box ")
    rows = {line.split()[0]: [float(v) for v in line.split()[1:]] for line in lines[3:]}
    assert [*rows] == [*NAMES, "mean"]
    np.testing.assert_allclose(rows["left_ankle"][:2], seen.moves[:, ANKLE], atol=0.006)
    np.testing.assert_allclose(rows["left_ankle"][2:4], seen.xy[-1, ANKLE], atol=0.006)
    assert len(tool.table(seen, ANKLE).splitlines()) == 4


def test_a_model_with_maps_tells_what_they_said(seen):
    """The maps say 3 px of the crop to the right and 4 below every answer, and a quarter of the way was gone."""
    witness = seen.looks[-1].after + np.array([3, 4]) / seen.crop.shape[1::-1]
    told = dataclasses.replace(seen.looks[-1], witness=witness, share=np.full(17, 0.25))
    with_maps = dataclasses.replace(seen, looks=[*seen.looks[:-1], told])
    lines = tool.table(with_maps, ANKLE).splitlines()
    assert lines[2].split()[-2:] == ["maps", "share"]
    far, share = (float(v) for v in lines[3].split()[-2:])
    assert far == pytest.approx(5 / np.sqrt(np.linalg.det(seen.to_crop[:, :2])), abs=0.006)
    assert share == 0.25
    alone = dataclasses.replace(seen.looks[-1], witness=None, share=None)
    assert "maps" not in tool.table(dataclasses.replace(seen, looks=[*seen.looks[:-1], alone]))
    panel = titled(draw(with_maps, ANKLE), "layer 2: moved")[0]
    diamonds = panel.collections[-1]
    np.testing.assert_allclose(diamonds.get_offsets(), [seen.path[-1, ANKLE] + (3, 4)])
    assert diamonds.get_sizes().tolist() == [14]  # from 4 where nothing was taken over to 44 where all was


def test_sampling_points_are_drawn_where_the_layer_sampled(seen, figure):
    panels = titled(figure, "stride ")
    assert [axes.get_title().split(":")[0] for axes in panels] == [
        "stride 8 (24 x 32)", "stride 16 (12 x 16)", "stride 32 (6 x 8)"] * 2  # fmt: skip
    for axes, (layer, level) in zip(panels, np.ndindex(2, 3), strict=True):
        look = seen.looks[layer]
        at, weight = scattered(axes)
        assert len(at) == 32  # 8 heads x 4 points
        expected = look.places[ANKLE, :, level].reshape(-1, 2) * (192, 256) - 0.5
        order = np.argsort(look.weights[ANKLE, :, level].ravel())
        np.testing.assert_allclose(at, expected[order])
        np.testing.assert_allclose(weight, look.weights[ANKLE, :, level].ravel()[order])
        share = look.weights[ANKLE, :, level].sum(-1).mean()
        assert axes.get_title().endswith(f": {share:.0%} of the weight")
        assert axes.collections[-1].get_clim()[0] == 0
    tops = {axes.collections[-1].get_clim()[1] for axes in panels}
    assert tops == {max(seen.looks[layer].weights[ANKLE].max() for layer in (0, 1))}  # one scale


def test_high_weights_are_red_and_low_ones_blue(figure):
    axes = titled(figure, "stride ")[0]
    points = next(c for c in axes.collections if c.get_array() is not None and len(c.get_offsets()))
    low, high = points.get_cmap()(0.0), points.get_cmap()(1.0)
    assert high[0] > 0.6 > high[2]
    assert low[2] > 0.5 > low[0]


def test_each_guess_has_a_picture_of_its_own(seen, figure):
    panels = titled(figure, "start") + [titled(figure, f"layer {d}: moved")[0] for d in (1, 2)]
    for axes, xy in zip(panels, seen.path, strict=True):
        np.testing.assert_allclose(axes.collections[0].get_offsets(), xy)
        assert axes.images[0].get_array().shape == (256, 192, 3)
    assert panels[1].get_title() == f"layer 1: moved {seen.moves[0, ANKLE]:.2f} px"


def test_the_crop_in_the_picture_is_the_crop(seen, figure):
    axes = titled(figure, "boxes, scores")[0]
    dashed = next(line for line in axes.get_lines() if line.get_linestyle() == "--")
    corners = np.column_stack(dashed.get_data())
    x0, y0, x1, y1 = seen.boxes[0]
    width, height = corners[2] - corners[0]
    assert width / height == pytest.approx(191 / 255)
    assert max(width / (x1 - x0), height / (y1 - y0)) >= ENLARGE - 1e-6
    np.testing.assert_allclose(corners[[0, 2]].mean(0), [(x0 + x1) / 2, (y0 + y1) / 2], atol=1e-3)


@pytest.mark.parametrize("size", [(540, 960), (400, 900)])
def test_titles_stay_in_the_figure_and_apart(seen, size):
    """A picture in portrait has the narrowest axes, at the figure's edge."""
    made = draw(dataclasses.replace(seen, image=cv2.resize(seen.image, size)))
    made.draw_without_rendering()  # which lays it out
    row = [axes.title.get_window_extent() for axes in made.axes[: len(seen.looks) + 2]]
    assert row[0].x0 >= 0
    assert row[-1].x1 <= made.bbox.x1
    assert all(a.x1 < b.x0 for a, b in pairwise(row))


def test_the_matrix_is_the_mean_of_the_heads(seen, figure):
    matrices = [a for a in figure.axes if a.images and a.images[0].get_array().shape == (17, 17)]
    assert len(matrices) == 2
    np.testing.assert_allclose(matrices[1].images[0].get_array(), seen.looks[1].q2q.mean(0))
    np.testing.assert_allclose(matrices[1].images[0].get_array().sum(1), 1, atol=1e-5)


def test_links_are_a_joints_own_or_the_strongest():
    mean = np.arange(17 * 17, dtype=float).reshape(17, 17)
    own = links(mean, 3)
    assert {a for a, _, _ in own} == {3}
    assert sorted(b for _, b, _ in own) == [b for b in range(17) if b != 3]
    strongest = links(mean, None)
    assert len(strongest) == LINKS
    assert strongest[-1] == (16, 15, 17 * 16 + 15)
    assert min(w for *_, w in strongest) > np.sort(mean[~np.eye(17, dtype=bool)])[-LINKS - 1]


@pytest.mark.parametrize(
    ("text", "expected"), [("last", [2]), ("all", [0, 1, 2]), ("1", [0]), ("3", [2])]
)  # fmt: skip
def test_layers_are_counted_from_one(text, expected):
    assert tool.layers_of(text, 3) == expected
    for wrong in ("0", "4", "first", "-1"):
        with pytest.raises(UsageError, match="layers 1 to 3"):
            tool.layers_of(wrong, 3)


def test_a_frame_of_a_video_is_that_frame(tmp_path):
    frame, name, named = tool.read_frame(SPEC)
    assert (frame.index, name, named) == (60, "demo.mp4", True)
    assert frame.pts == pytest.approx(2.0)
    odd = tmp_path / "me@3.png"  # a name that looks like a frame
    cv2.imwrite(str(odd), frame.image)
    still, name, named = tool.read_frame(str(odd))
    assert (name, named) == ("me@3.png", False)
    np.testing.assert_array_equal(still.image, frame.image)
    assert tool.figure_name("a/clip.mp4@60") == "clip_60_explain.png"
    assert tool.figure_name(str(odd)) == "me@3_explain.png"
    with pytest.raises(InputError, match="it has 150 frames"):
        tool.read_frame(f"{DEMO_CLIP}@150")


def call(monkeypatch, capsys, *words):
    return run_program(monkeypatch, capsys, "explain", *words)


def test_the_command_prints_the_table_and_writes_the_figure(tmp_path, monkeypatch, capsys, seen):
    monkeypatch.chdir(tmp_path)
    words = [SPEC, "--det-size", "320", "--device", "cpu", "--joint", "left_ankle"]
    code, out, err = call(monkeypatch, capsys, *words)
    assert (code, err) == (0, "wrote demo_60_explain.png\n")
    assert out == tool.table(seen, ANKLE) + "\n"
    image = cv2.imread("demo_60_explain.png")
    assert min(image.shape[:2]) > 800
    assert image.std() > 20
    assert call(monkeypatch, capsys, *words)[0] == 4  # nothing is replaced unasked


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([str(DEMO_CLIP)], 2, "which frame of demo.mp4"),
        ([f"{DEMO_CLIP}@150"], 3, "it has 150 frames"),
        (["none.mp4@3"], 3, "no file none.mp4"),
        (["none.png"], 3, "no file none.png"),
        (["0@3"], 2, "it is live"),
        (["rtsp://host/a@3"], 2, "it is live"),
        ([SPEC, "--joint", "left_rist"], 2, "left_wrist"),
        ([SPEC, "-o", "x.gif"], 2, "x.gif"),
        ([SPEC, "-o", "away/x.png"], 4, "no folder"),
        ([SPEC, "--weights", "absent.safetensors"], 5, "absent"),
        (["grey.png"], 3, "nobody found"),
        (["grey.png", "--detector", "none", "--id", "1"], 2, "1 found"),
        (["grey.png", "--detector", "none", "--layer", "9"], 2, "layers 1 to 2"),
    ],
)
def test_mistakes_are_one_line_and_a_code(tmp_path, monkeypatch, capsys, words, code, said):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("grey.png", np.full((96, 96, 3), 128, np.uint8))
    got, out, err = call(monkeypatch, capsys, *words)
    assert got == code, err
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["grey.png"]
