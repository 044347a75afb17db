"""Contact sheets of clips whose people are known: white blocks, or whoever the fake says."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import SIDE, BlockEstimator, picture

from tfpose_rt import skeleton
from tfpose_rt.config import RunConfig
from tfpose_rt.errors import InputError, OutputError, UsageError, WeightsError
from tfpose_rt.records import Frame, Poses
from tfpose_rt.tools.sheet import around, cell, frames_of, headings, main, sheet, sheets
from tfpose_rt.tools.showcase import DEMO_CLIP
from tfpose_rt.tools.tiles import GAP


@pytest.fixture
def clip(tmp_path):
    """Five pictures of one block that moves right."""
    folder = tmp_path / "clip"
    folder.mkdir()
    for number in range(5):
        cv2.imwrite(str(folder / f"{number}.png"), picture([(40 * number, 100)]))
    return str(folder)


class Known(BlockEstimator):
    """Answers for every box with a level forearm of the left side, `low` px under the middle of the box."""

    def __init__(self, run=None, *, low=0):
        super().__init__(run)
        self.low, self.asked = low, []

    def poses(self, images, people, box_from=None, *, steady=False):
        self.asked += people
        out = []
        for image, found in zip(images, people, strict=True):
            centre = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
            xy, scores = np.zeros((len(found), 17, 2), np.float32), np.zeros((len(found), 17), np.float32)
            for name, dx in (("left_elbow", -60), ("left_wrist", 60)):
                xy[:, skeleton.INDEX[name]] = centre + np.array((dx, self.low))
                scores[:, skeleton.INDEX[name]] = 0.9
            out.append(Poses(xy=xy, scores=scores, boxes=found.boxes, box_scores=found.scores,
                             size=(image.shape[1], image.shape[0])))  # fmt: skip
        return out


def line_rows(image):
    """The rows of a sheet in which an orange line runs, the colour of the left side, thin and mixed as it may be."""
    return np.flatnonzero((image[..., 2].astype(int) - image[..., 0] > 60).sum(1) > 40)


def test_frames_are_spread_evenly(clip):
    assert [frame.index for frame in frames_of(clip, 1)] == [2]
    assert [frame.index for frame in frames_of(clip, 2)] == [1, 3]
    assert [frame.index for frame in frames_of(clip, 9)] == [0, 1, 2, 3, 4]


def test_frames_of_the_bundled_clip_are_those_that_another_reader_counts():
    reader = cv2.VideoCapture(str(DEMO_CLIP))
    pictures = []
    while (read := reader.read())[0]:
        pictures.append(read[1])
    frames = frames_of(str(DEMO_CLIP), 3)
    assert [frame.index for frame in frames] == [len(pictures) * k // 6 for k in (1, 3, 5)]
    for frame in frames:
        assert np.abs(frame.image.astype(int) - pictures[frame.index]).mean() < 3


def test_a_column_for_each_and_the_same_boxes_for_all(clip):
    first, second = Known(), Known(low=30)
    image = sheet(clip, [first, second], ["a", "b"], frames=2, side=320)
    assert (len(first.calls), len(second.calls)) == (2, 0)  # one looks for people, both answer
    assert all((a.boxes == b.boxes).all() for a, b in zip(first.asked, second.asked, strict=True))
    assert image.shape[1] == 2 * 320 + 3 * GAP
    left, right = image[:, GAP : GAP + 320], image[:, GAP + 320 + GAP :]
    upper, lower = line_rows(left), line_rows(right)
    middle = GAP + 100 + SIDE / 2 - 0.5
    assert upper.min() == pytest.approx(middle, abs=2)
    assert lower.min() == pytest.approx(middle + 30, abs=2)
    assert upper.max() == pytest.approx(image.shape[0] / 2 + middle - GAP / 2, abs=2)  # the second row's


def test_pictures_are_seen_at_the_size_that_is_asked_for(clip):
    for side, factor in ((160, 0.5), (640, 2.0)):
        frame = frames_of(clip, 1)[0]
        poses = Known().poses([frame.image], Known().detect([frame.image]))[0]
        image = cell(frame, poses, "a", side)
        assert image.shape[:2] > (round(240 * factor), side)
        line = line_rows(image[: round(240 * factor)])
        assert line.mean() == pytest.approx((100 + SIDE / 2) * factor - 0.5, abs=1.5)


def test_zoom_cuts_to_the_people():
    boxes = np.array([[100, 50, 120, 90], [180, 60, 200, 80]], np.float32)
    poses = Poses(xy=np.zeros((2, 17, 2), np.float32), scores=None, boxes=boxes, box_scores=np.ones(2), size=(210, 240))
    assert around(poses) == (75, 25, 210, 115)  # a quarter of 100 px more, and not beyond the edge
    frame = Frame(index=0, pts=0.0, image=np.zeros((240, 210, 3), np.uint8))
    assert cell(frame, poses, "a", 270, zoom=True).shape[1] == 270
    assert cell(frame, poses, "a", 240).shape[1] == 210
    nobody = Poses(
        xy=np.zeros((0, 17, 2), np.float32), scores=None, boxes=np.zeros((0, 4), np.float32), box_scores=np.zeros(0),
        size=(210, 240),
    )  # fmt: skip
    assert cell(frame, nobody, "a", 240, zoom=True).shape[1] == 210


def test_each_clip_gets_a_file_of_its_own(clip, tmp_path):
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"")
    other = tmp_path / "other" / "clip"
    other.mkdir(parents=True)
    cv2.imwrite(str(other / "0.png"), picture([]))
    made = []

    def make(run: RunConfig):
        made.append(run)
        return Known(run)

    out = tmp_path / "sheets"
    paths = sheets([clip, str(other)], [str(weights)], out, frames=2, side=320, make=make)
    assert len({*paths}) == 2
    assert [cv2.imread(str(path)).shape[1] for path in paths] == [320 + 2 * GAP] * 2
    assert [Path(run.weights).name for run in made] == ["w.safetensors"]
    with pytest.raises(OutputError, match="exists"):
        sheets([clip, str(other)], [str(weights)], out, make=make)
    assert len(made) == 1  # told before a model was loaded
    high = cv2.imread(str(paths[0])).shape[0]
    sheets([clip, str(other)], [str(weights)], out, frames=1, side=320, overwrite=True, make=make)
    assert cv2.imread(str(paths[0])).shape[0] < high


def test_requests_that_make_no_sense(clip, tmp_path):
    with pytest.raises(UsageError):
        sheets([clip], [], tmp_path / "o", frames=0)
    with pytest.raises(WeightsError):
        sheets([clip], [str(tmp_path / "absent.safetensors")], tmp_path / "o")
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"")
    with pytest.raises(InputError):
        sheets([str(tmp_path / "absent.mp4")], [str(weights)], tmp_path / "o", make=Known)
    assert not (tmp_path / "o").exists()  # what stays empty is removed


def test_what_cannot_be_read_is_told_in_one_line_each_and_the_others_go_on(clip, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tfpose_rt.estimator.PoseEstimator", Known)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.safetensors").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("no video")

    def run(*clips):
        monkeypatch.setattr("sys.argv", ["sheet", *clips, "--weights", "w.safetensors", "-o", "o", "--frames", "1"])
        return main(), *map(str.splitlines, capsys.readouterr())

    code, made, wrong = run("none*.mp4", clip, "text.mp4", "absent.mp4")
    assert (code, made) == (3, ["o/clip.png"])
    assert [line.split(":")[0] for line in wrong] == ["error"] * 3
    assert all(name in line for name, line in zip(("none*.mp4", "text.mp4", "absent.mp4"), wrong, strict=True))
    assert cv2.imread("o/clip.png") is not None
    assert run("none*.mp4")[:2] == (3, [])
    code, made, wrong = run(clip)  # refused: it is there
    assert (code, made, len(wrong)) == (4, [], 1)


def test_weights_are_named_so_that_one_knows_which(tmp_path):
    files = [tmp_path / place for place in ("n1/best.safetensors", "n2/best.safetensors", "mine.safetensors")]
    assert headings(files) == ["n1/best", "n2/best", "mine"]
    assert headings(files[:1]) == ["n1/best"]


@pytest.mark.slow
def test_the_bundled_clip_with_the_shipped_weights(tmp_path):
    [path] = sheets([str(DEMO_CLIP)], ["default"], tmp_path / "o", frames=2, side=480, run=RunConfig(device="cpu"))
    image = cv2.imread(str(path)).astype(int)
    blank = np.abs(image - image[0, 0]).sum(2) == 0
    assert (image[..., 0] - image[..., 2] > 150).sum() > 200  # right sides are blue, and nothing else on this clip is
    assert 0.05 < blank.mean() < 0.5  # captions and gaps are there, and pictures
