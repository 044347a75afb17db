"""What is drawn, where, and above all what is not: single pixels with known answers."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from tfpose_rt import caption
from tfpose_rt.draw import DrawStyle, banner, draw, edge_colour, id_colour, visible, with_threshold
from tfpose_rt.records import Poses
from tfpose_rt.skeleton import FLIP, INDEX, LEFT_BGR, MIDDLE_BGR, RIGHT_BGR

GREY = np.full((240, 320, 3), 128, np.uint8)
BARE = DrawStyle(boxes=False, ids=False, points=False)
LEFT_ELBOW, LEFT_WRIST = INDEX["left_elbow"], INDEX["left_wrist"]


def one(
    joints: dict[str, tuple[float, float]], *, score: float = 0.9, box: tuple[float, ...] = (40, 40, 280, 200)
) -> Poses:
    """One person of whom only the given joints have a score."""
    xy, scores = np.full((1, 17, 2), 5.0, np.float32), np.zeros((1, 17), np.float32)
    for name, at in joints.items():
        xy[0, INDEX[name]], scores[0, INDEX[name]] = at, score
    return Poses(
        xy=xy, scores=scores, boxes=np.array([box], np.float32), box_scores=np.array([0.8], np.float32),
        ids=np.array([0]), size=(320, 240),
    )  # fmt: skip


def painted(image: np.ndarray, background: np.ndarray = GREY) -> np.ndarray:
    return (image != background).any(2)


def centre(mask: np.ndarray) -> np.ndarray:
    """Mean x, y of the marked pixels."""
    return np.argwhere(mask).mean(0)[::-1]


def test_the_picture_given_is_not_changed() -> None:
    before = GREY.copy()
    out = draw(GREY, one({"nose": (100, 100)}), trails={0: np.full((5, 17, 2), 9.0)})
    assert (before == GREY).all()
    assert out is not GREY
    assert out.shape == GREY.shape


def test_a_limb_joins_its_two_joints_in_the_colour_of_its_side() -> None:
    out = draw(GREY, one({"left_elbow": (60, 80), "left_wrist": (200, 150)}), BARE)
    assert tuple(out[115, 130]) == LEFT_BGR  # half way
    ys, xs = np.nonzero(painted(out))
    assert (xs.min(), ys.min()) >= (55, 75)
    assert (xs.max(), ys.max()) <= (205, 155)


def test_sides_are_the_persons_own_and_the_middle_is_neutral() -> None:
    assert edge_colour(LEFT_ELBOW, LEFT_WRIST) == LEFT_BGR
    assert edge_colour(FLIP[LEFT_ELBOW], FLIP[LEFT_WRIST]) == RIGHT_BGR
    assert edge_colour(INDEX["left_hip"], INDEX["right_hip"]) == MIDDLE_BGR
    assert edge_colour(INDEX["nose"], INDEX["right_eye"]) == RIGHT_BGR


@pytest.mark.parametrize("at", [(100.0, 50.0), (100.25, 50.0), (100.5, 50.75), (0.0, 0.0)])
def test_points_lie_where_the_joint_is_to_a_fraction_of_a_pixel(at: tuple[float, float]) -> None:
    out = draw(np.zeros_like(GREY), one({"nose": at}), DrawStyle(boxes=False, ids=False, skeleton=False))
    if min(at) > 10:
        weight = out.astype(float).sum(2)
        ys, xs = np.mgrid[: out.shape[0], : out.shape[1]]
        found = np.array([(xs * weight).sum(), (ys * weight).sum()]) / weight.sum()
        np.testing.assert_allclose(found, at, atol=0.12)
    else:
        assert painted(out, np.zeros_like(GREY))[0, 0]


@pytest.mark.parametrize(
    "joints",
    [
        {"left_elbow": (-3.0, 80.0), "left_wrist": (400.0, 80.0)},
        {"left_elbow": (100.0, -1.0), "left_wrist": (100.0, 240.0)},
        {"nose": (float("nan"), 50.0)},
        {"nose": (319.6, 50.0)},
    ],
)
def test_nothing_is_drawn_for_joints_outside_the_picture(joints: dict[str, tuple[float, float]]) -> None:
    out = draw(GREY, one(joints), dataclasses.replace(BARE, points=True, names=True))
    assert not painted(out).any()


def test_a_limb_is_left_out_when_one_of_its_ends_is_outside() -> None:
    out = draw(GREY, one({"left_elbow": (200, 80), "left_wrist": (400, 80)}), BARE)
    assert not painted(out).any()


def test_a_joint_under_the_threshold_is_hollow_and_its_limb_thin_and_dashed() -> None:
    person = one({"left_elbow": (60.0, 120.0), "left_wrist": (260.0, 120.0), "right_ankle": (20.0, 20.0)})
    scores = person.scores.copy()
    scores[0, [LEFT_ELBOW, LEFT_WRIST]] = 0.2
    style = dataclasses.replace(BARE, points=True, scale=4.0)
    sure, weak = (draw(GREY, p, style) for p in (person, dataclasses.replace(person, scores=scores)))
    assert tuple(sure[120, 60]) == LEFT_BGR
    assert tuple(weak[120, 60]) == (128, 128, 128)  # the picture is seen within the ring
    assert any(tuple(weak[120, x]) == LEFT_BGR for x in range(45, 60))
    along = [tuple(weak[120, x]) == LEFT_BGR for x in range(80, 240)]
    assert 0.3 < np.mean(along) < 0.8
    assert np.diff(np.array(along, int)).clip(0).sum() >= 4  # dashes
    thick = [painted(image)[:, 90:230].any(1).sum() for image in (weak, sure)]
    assert thick[0] < thick[1]


def test_one_weak_end_makes_a_limb_weak_and_what_is_hardly_there_is_not_drawn() -> None:
    half = one({"left_elbow": (60.0, 120.0), "left_wrist": (260.0, 120.0)})
    scores = half.scores.copy()
    for score, drawn in ((0.2, True), (0.09, False)):
        scores[0, LEFT_WRIST] = score
        out = painted(draw(GREY, dataclasses.replace(half, scores=scores), dataclasses.replace(BARE, points=True)))
        assert out[120, 60]
        assert out[:, 240:].any() == drawn
        assert 0.2 < out[120, 80:240].mean() < 0.9 if drawn else not out[:, 80:].any()


def test_the_threshold_says_what_is_hollow_and_nobody_is_all_hollow() -> None:
    weak = one({"left_elbow": (60, 80), "left_wrist": (200, 150)}, score=0.29)
    style = dataclasses.replace(BARE, points=True)
    assert not painted(draw(GREY, weak, style)).any()  # without one sure joint it may be a lamp
    assert tuple(draw(GREY, weak, dataclasses.replace(style, kpt_thr=0.25))[115, 130]) == LEFT_BGR
    low = one({"left_elbow": (60, 80), "left_wrist": (200, 150)}, score=0.06)
    assert tuple(draw(GREY, low, dataclasses.replace(style, kpt_thr=0.05))[115, 130]) == LEFT_BGR


def test_without_scores_every_joint_inside_counts() -> None:
    assert visible(np.array([[-0.5, -0.5], [9.5, 4.5], [9.6, 0], [np.nan, 1]]), None, 0.3, (10, 5)).tolist() == [
        True, True, False, False,
    ]  # fmt: skip


def test_smoothed_joints_are_drawn_where_there_are_any() -> None:
    raw = one({"nose": (50, 60)})
    moved = dataclasses.replace(raw, xy_smooth=raw.xy + 100)
    out = draw(GREY, moved, DrawStyle(boxes=False, ids=False, skeleton=False))
    np.testing.assert_allclose(centre(painted(out)), [150, 160], atol=0.5)


def test_a_mirror_is_the_mirrored_picture_with_the_same_sides() -> None:
    image = np.random.default_rng(0).integers(0, 255, GREY.shape, np.uint8)
    person = one({"left_elbow": (60, 80), "left_wrist": (200, 150)})
    plain, mirrored = draw(image, person, BARE), draw(image, person, dataclasses.replace(BARE, mirror=True))
    assert tuple(mirrored[115, 319 - 130]) == LEFT_BGR
    untouched = ~painted(plain, image)
    untouched_there = ~painted(mirrored, image[:, ::-1])
    assert (mirrored[untouched_there] == image[:, ::-1][untouched_there]).all()
    assert abs(int(untouched.sum()) - int(untouched_there.sum())) < 60  # the same strokes, up to rasterisation


def test_black_background_shows_nothing_of_the_picture() -> None:
    secret = np.full_like(GREY, 77)
    out = draw(
        secret, one({"left_elbow": (60, 80), "left_wrist": (200, 150)}), dataclasses.replace(BARE, background="black")
    )
    assert (out[painted(out, np.zeros_like(out))] != 77).any()
    assert (out == 77).all(2).sum() == 0


def test_blurred_people_lose_their_detail_and_only_they() -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 255, (480, 640, 3), np.uint8)
    person = one({"nose": (230, 60)}, box=(200, 100, 260, 300))  # the nose lies over the box: it is hidden too
    style = dataclasses.replace(BARE, skeleton=False, background="blur-people")
    out = draw(image, person, style, hide=np.array([[400.0, 100, 450, 200]]))
    assert out[60:300, 200:260].std() < 0.35 * image[60:300, 200:260].std()
    assert out[100:200, 400:450].std() < 0.35 * image[100:200, 400:450].std()
    assert (out[:, 520:] == image[:, 520:]).all()
    assert (out[:, 300:380] == image[:, 300:380]).all()


def test_blurring_works_at_the_rim_and_outside_the_picture() -> None:
    style = dataclasses.replace(BARE, background="blur-people")
    for box in [(-50, -50, 20, 20), (310, 230, 400, 300), (500, 500, 600, 600), (10, 10, 10, 10)]:
        assert draw(GREY, one({}, box=box), style).shape == GREY.shape


def test_boxes_ids_and_their_colours() -> None:
    somebody = one({"nose": (160, 120)})
    out = draw(GREY, somebody, DrawStyle())
    np.testing.assert_allclose(out[120, 40].astype(int), id_colour(0), atol=30)  # a thin line, anti-aliased
    assert painted(out)[:40].any()  # the label stands above the box
    without = draw(GREY, somebody, DrawStyle(ids=False, boxes=False, points=False, skeleton=False))
    assert not painted(without).any()
    assert len({id_colour(i) for i in range(10)}) == 10
    assert id_colour(3) == id_colour(13)


def test_what_was_taken_for_a_person_but_has_no_joint_gets_no_frame_and_no_number() -> None:
    assert not painted(draw(GREY, one({}), DrawStyle())).any()
    unscored = dataclasses.replace(one({}), scores=None)
    assert painted(draw(GREY, unscored, DrawStyle())).any()


def test_a_label_stays_inside_the_picture() -> None:
    out = draw(GREY, one({"nose": (310, 20)}, box=(300, 0, 319, 30)), DrawStyle())
    assert painted(out)[:20, 250:].sum() > 200


def test_trails_end_at_the_joint_and_skip_what_was_not_seen() -> None:
    path = np.full((10, 17, 2), np.nan)
    path[:, INDEX["nose"]] = np.stack([np.linspace(20, 110, 10), np.full(10, 50)], 1)
    path[5, INDEX["nose"]] = np.nan
    out = painted(draw(GREY, one({}), BARE, trails={0: path}))
    assert out[50, 30]
    assert out[50, 105]
    assert not out[50, 63:77].any()  # no line across the missing one


def test_nobody_and_fifty_people() -> None:
    empty = Poses(xy=np.zeros((0, 17, 2)), scores=None, boxes=np.zeros((0, 4)), box_scores=np.zeros(0))
    for background in ("frame", "black", "blur-people"):
        assert (draw(GREY, empty, DrawStyle(background=background)) == (0 if background == "black" else GREY)).all()
    rng = np.random.default_rng(0)
    xy = rng.uniform(-50, 400, (50, 17, 2))
    crowd = Poses(
        xy=xy, scores=rng.random((50, 17)), boxes=np.concatenate([xy.min(1), xy.max(1)], 1), box_scores=rng.random(50),
        ids=np.arange(50),
    )  # fmt: skip
    assert painted(draw(GREY, crowd, DrawStyle(names=True))).any()


def test_thickness_follows_the_size_of_the_person() -> None:
    black = np.zeros((1080, 1920, 3), np.uint8)
    limb = {"left_elbow": (300.0, 300.0), "left_wrist": (300.0, 700.0)}
    near, far = (
        painted(draw(black, one(limb, box=box), BARE), black)[500].sum() for box in ((0, 0, 900, 1000), (0, 0, 60, 100))
    )
    assert near >= 1.5 * far


def test_the_banner_stays_in_its_corner_and_shrinks_to_fit() -> None:
    for corner in ("left", "right"):
        out = banner(GREY, ["28.4 fps · 41 ms", ("p95 210 ms", (0, 0, 255))], corner=corner)
        mask = painted(out)
        assert mask.any()
        assert not mask[120:].any()
        assert not (mask[:, 200:] if corner == "left" else mask[:, :120]).any()
    wide = painted(banner(GREY, ["x" * 200]))
    assert not wide[:, [0, -1]].any()
    assert (banner(GREY, []) == GREY).all()


def test_text_is_cleaned_of_what_the_font_cannot_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caption, "UNICODE_FONT", False)
    assert caption._writable("30 fps · T\u00e4nzer\x1b[31m") == "30 fps | T?nzer [31m"


def test_text_has_a_dark_rim_on_a_bright_ground() -> None:
    white = np.full((60, 200, 3), 255, np.uint8)
    caption.put_text(white, "0123", (10, 30), 24, (255, 255, 255))
    assert white.min() < 60


def test_the_threshold_moves_in_steps_and_stays_in_range() -> None:
    style = DrawStyle(kpt_thr=0.95)
    assert with_threshold(style, 0.05).kpt_thr == 1.0
    assert with_threshold(with_threshold(style, 0.05), 0.05).kpt_thr == 1.0
    assert with_threshold(DrawStyle(kpt_thr=0.3), -0.05).kpt_thr == 0.25


def test_drawing_a_1080p_frame_is_quick() -> None:
    image = np.zeros((1080, 1920, 3), np.uint8)
    person = one({"left_elbow": (60, 80), "left_wrist": (200, 150)})
    start = cv2.getTickCount()
    for _ in range(10):
        draw(image, person)
    assert (cv2.getTickCount() - start) / cv2.getTickFrequency() / 10 < 0.1
