import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpose_rt.crop import ENLARGE, apply, crop_matrix, fit_box, invert, warp

SIDE = st.floats(1, 4000)
PLACE = st.floats(-500, 4000)
SIZE = (192, 256)


@settings(deadline=None)
@given(x=PLACE, y=PLACE, w=SIDE, h=SIDE)
def test_box_corners_land_on_the_outermost_pixel_centres(x, y, w, h):
    matrix = crop_matrix(np.array([x, y, x + w, y + h]), SIZE)
    np.testing.assert_allclose(apply(matrix, [[x, y], [x + w, y + h]]), [[0, 0], [191, 255]], atol=1e-5)


@settings(deadline=None)
@given(x=PLACE, y=PLACE, w=SIDE, h=SIDE)
def test_nobody_is_stretched(x, y, w, h):
    box = fit_box([x, y, x + w, y + h], SIZE)
    linear = crop_matrix(box, SIZE)[:, :2]
    assert linear[0, 0] == pytest.approx(linear[1, 1])
    centre = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]
    np.testing.assert_allclose(centre, [x + w / 2, y + h / 2], atol=1e-6)
    assert box[2] - box[0] >= ENLARGE * w - 1e-6
    assert box[3] - box[1] >= ENLARGE * h - 1e-6


@settings(deadline=None)
@given(x=PLACE, y=PLACE, w=st.floats(20, 2000), degrees=st.floats(-180, 180))
def test_points_go_through_and_back(x, y, w, degrees):
    matrix = crop_matrix(fit_box([x, y, x + w, y + 2 * w], SIZE), SIZE, degrees)
    points = np.random.default_rng(0).uniform(0, 255, (17, 2))
    np.testing.assert_allclose(apply(matrix, apply(invert(matrix), points)), points, atol=1e-4)


def test_a_quarter_turn_by_hand():
    """Turned 90 degrees clockwise, what was above the centre lies to its right."""
    matrix = crop_matrix([0, 0, 10, 10], (11, 11), 90)
    np.testing.assert_allclose(apply(matrix, [[5, 0]]), [[10, 5]], atol=1e-9)


def test_a_painted_dot_is_found_where_it_was_painted():
    image = np.zeros((300, 400, 3), np.uint8)
    image[120, 210] = 255
    matrix = crop_matrix(fit_box([180, 80, 240, 160], SIZE), SIZE)
    crop = warp(image, matrix, SIZE)[..., 0].astype(float)
    ys, xs = np.mgrid[:256, :192]
    found = np.array([(crop * xs).sum(), (crop * ys).sum()]) / crop.sum()
    np.testing.assert_allclose(apply(invert(matrix), found[None])[0], [210, 120], atol=0.02)


@pytest.mark.parametrize("side", [900, 1700, 3100])
def test_a_large_person_is_averaged_down_in_place(side):
    """A soft blob in a picture several times too large keeps its centre, and thin lines do not vanish."""
    image = np.zeros((side, side, 3), np.uint8)
    at = (side // 2 + 37, side // 2 - 21)
    cv2.circle(image, at, side // 20, (255, 255, 255), -1)
    matrix = crop_matrix(fit_box([0, 0, side, side], SIZE), SIZE)
    crop = warp(image, matrix, SIZE, fill=(0, 0, 0))[..., 0].astype(float)
    ys, xs = np.mgrid[:256, :192]
    found = np.array([(crop * xs).sum(), (crop * ys).sum()]) / crop.sum()
    scale = np.sqrt(np.linalg.det(matrix[:, :2]))
    assert np.linalg.norm(apply(invert(matrix), found[None])[0] - at) * scale < 0.1

    stripes = np.zeros((side, side, 3), np.uint8)
    stripes[:, ::8] = 255
    grey = warp(stripes, matrix, SIZE)[64:192, 48:144, 0]
    assert abs(grey.mean() - 255 / 8) < 4


def test_mirroring_a_crop_mirrors_the_matrix():
    image = np.random.default_rng(1).integers(0, 256, (120, 90, 3), dtype=np.uint8)
    box = np.array([20.0, 30, 50, 90])
    matrix = crop_matrix(fit_box(box, SIZE), SIZE)
    mirrored_box = np.array([89 - box[2], box[1], 89 - box[0], box[3]])
    mirrored = warp(np.ascontiguousarray(image[:, ::-1]), crop_matrix(fit_box(mirrored_box, SIZE), SIZE), SIZE)
    difference = np.abs(mirrored[:, ::-1].astype(int) - warp(image, matrix, SIZE))
    assert difference.max() <= 2  # OpenCV interpolates in 32nds of a pixel


def test_a_box_without_area_is_refused():
    with pytest.raises(ValueError, match="area"):
        crop_matrix([5, 5, 5, 9], SIZE)
    with pytest.raises(ValueError, match="inverted"):
        invert(np.zeros((2, 3)))
