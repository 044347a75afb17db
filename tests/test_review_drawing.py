"""Pictures and people too small, or too little known, to be drawn as usual."""

from __future__ import annotations

import numpy as np
import pytest

from tfpose_rt.caption import banner, fitted, text_width
from tfpose_rt.draw import DrawStyle, draw
from tfpose_rt.records import Poses, frozen


@pytest.mark.parametrize("size", [(16, 16), (17, 200), (200, 17), (20, 20), (22, 40)])
def test_figures_on_a_tiny_picture_are_small_not_an_error(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 200, np.uint8)
    assert (banner(image, ["28.4 fps · 12 ms · 3 people"]) != image).any()


@pytest.mark.parametrize("width", [-20, 0, 5, 60])
def test_words_without_room_are_tiny_but_have_a_size(width: float) -> None:
    size = fitted("28.4 fps", 30.0, width)
    assert size == 1 if width <= 0 else text_width("28.4 fps", size) <= max(width, 20)
    assert size > 0


@pytest.mark.filterwarnings("error")
def test_who_has_no_joint_with_a_place_is_blurred_by_the_box() -> None:
    image = np.random.default_rng(1).integers(0, 255, (120, 160, 3), np.uint8)
    nobody = Poses(
        xy=frozen(np.full((1, 17, 2), np.nan)), scores=None, boxes=frozen([[40, 30, 100, 90]]),
        box_scores=frozen([0.9]), size=(160, 120),
    )  # fmt: skip
    style = DrawStyle(background="blur-people", boxes=False, ids=False)
    changed = (draw(image, nobody, style) != image).any(-1)
    assert changed[30:90, 40:100].mean() > 0.95
    assert not changed[:, 120:].any()
