"""Poses: choosing people, and shares of the picture, by hand-made figures."""

from dataclasses import replace

import numpy as np
import pytest
from known_people import poses

from tfpose_rt.records import Poses

THREE = replace(poses([3, 1, 7], errors=True, swapped=True), new=np.array([True, False, True]))


def everything(found):
    return [
        np.asarray(getattr(found, n)).tolist() for n in ("xy", "scores", "boxes", "ids", "new", "errors", "swapped")
    ]


@pytest.mark.parametrize(("asked", "rows"), [
    ([1, 7], [1, 2]), ([7, 1], [1, 2]), ((3,), [0]), ({7, 8, 9}, [2]), ([], []), (iter([3]), [0]),
    (np.array([1, 3]), [0, 1]),
])  # fmt: skip
def test_select_keeps_whoever_is_there_with_all_that_belongs_to_them(asked, rows):
    found = THREE.select(asked)
    assert found.ids.tolist() == [[3, 1, 7][row] for row in rows]
    assert everything(found) == everything(THREE.take(rows))
    assert found.xy.shape == (len(rows), 17, 2)
    assert (len(found.box_from), found.size, found.frame) == (len(rows), (640, 480), 0)


def test_select_says_that_nobody_has_an_id():
    with pytest.raises(ValueError, match="tracking"):
        poses([1], track=False).select([1])
    assert len(poses([], track=False).select([1])) == 0


def test_normalised_places_run_from_edge_to_edge():
    """The outermost pixel centres of 4 x 2 px are half a pixel from the edges: 1/8 and 7/8, 1/4 and 3/4."""
    corners = np.tile(np.array([[0, 0], [3, 1]], np.float32), (1, 9, 1))[:, :17]
    one = Poses(
        xy=corners, scores=None, boxes=np.array([[-0.5, -0.5, 3.5, 1.5]], np.float32),
        box_scores=np.ones(1, np.float32), size=(4, 2), xy_smooth=corners[:, ::-1], errors=np.ones((1, 17), np.float32),
    )  # fmt: skip
    shares = one.normalised()
    np.testing.assert_allclose(shares.xy[0, :2], [[1 / 8, 1 / 4], [7 / 8, 3 / 4]])
    np.testing.assert_allclose(shares.boxes, [[0, 0, 1, 1]])
    np.testing.assert_allclose(shares.xy_smooth, shares.xy[:, ::-1])
    assert shares.errors is None
    assert (one.unit, shares.unit, shares.take([0]).unit) == ("px", "share", "share")
    assert shares.xy.dtype == np.float32
    assert not shares.xy.flags.writeable
    assert one.xy[0, 1].tolist() == [3, 1]


def test_shares_of_shares_and_of_an_unknown_size_are_refused():
    with pytest.raises(ValueError, match="already"):
        THREE.normalised().normalised()
    with pytest.raises(ValueError, match="size"):
        replace(THREE, size=(0, 0)).normalised()
    assert poses([]).normalised().xy.shape == (0, 17, 2)
