import cv2
import numpy as np
import pytest

from tfpose_rt.errors import OutputError, UsageError
from tfpose_rt.tools.tiles import GAP, PAPER, check_picture, lettered, mosaic, short_names, write_picture


def block(width, height, value):
    return np.full((height, width, 3), value, np.uint8)


def test_columns_and_rows_stand_straight():
    sheet = mosaic([[block(30, 20, 1), block(10, 5, 2)], [block(10, 40, 3)]])
    assert sheet.shape == (GAP + 20 + GAP + 40 + GAP, GAP + 30 + GAP + 10 + GAP, 3)
    for value, x, y, width, height in (
        (1, GAP, GAP, 30, 20),
        (2, GAP + 30 + GAP, GAP, 10, 5),
        (3, GAP, 26 + GAP, 10, 40),
    ):
        ys, xs = np.nonzero((sheet == value).all(2))
        assert (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1) == (x, y, width, height)


def test_a_caption_stands_under_the_picture_and_never_over_its_edge():
    out = lettered(block(60, 40, 9), ["a very long line that would not fit", ("two", (0, 255, 255))])
    assert (out[:40] == 9).all()
    strip = out[40:]
    written = (strip != PAPER).any(2)
    assert written.any()
    assert not written[:, -3:].any()
    yellow = strip[(strip[..., 0] < 40) & (strip[..., 2] > 200)]
    assert len(yellow) > 3


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["r/a/best", "r/b/best", "r/x"], ["a/best", "b/best", "x"]),
        (["p/a/best", "q/a/best"], ["p/a/best", "q/a/best"]),
        (["a/best", "a/best"], ["/best (1)", "/best (2)"]),
        ([], []),
    ],
)
def test_names_tell_paths_apart(tmp_path, paths, names):
    got = short_names([tmp_path / path for path in paths])
    assert all(g.endswith(n) for g, n in zip(got, names, strict=True))
    assert len(set(got)) == len(got)
    if paths[:1] == ["r/a/best"]:
        assert got == names


def test_a_picture_is_written_and_a_suffix_that_is_none_is_refused(tmp_path):
    check_picture(tmp_path / "x.PNG")
    write_picture(tmp_path / "x.png", block(4, 3, 77))
    assert (cv2.imread(str(tmp_path / "x.png")) == 77).all()
    with pytest.raises(UsageError, match=r"x\.json"):
        check_picture(tmp_path / "x.json")
    with pytest.raises(OutputError):
        write_picture(tmp_path / "absent" / "x.png", block(4, 3, 77))
