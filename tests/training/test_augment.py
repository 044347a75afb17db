import dataclasses

import cv2
import numpy as np
import pytest

from tfpose_rt import skeleton
from tfpose_rt.crop import crop_matrix, fit_box
from tfpose_rt.errors import UsageError
from tfpose_rt.training.augment import Dice, cut_off, half_body, mirror, vary
from tfpose_rt.training.data import load
from tfpose_rt.training.host_crops import crop
from tfpose_rt.training.recipe import build_config
from tfpose_rt.training.settings import AugmentConfig, TrainConfig

SIZE = (96, 128)
STILL = {name: 0 for name in ("rotate", "tumble", "flip", "half_body", "cut", "erase", "colour", "degrade")}
PICTURE = (100, 120)  # w, h px of the pack's


@pytest.fixture(scope="module")
def samples(pack):
    return load(pack)


def dice(*seeds):
    return Dice([np.random.default_rng(seed) for seed in seeds])


def varied(people, recipe, first=0):
    return vary(people, [PICTURE] * len(people), SIZE, recipe, dice(*range(first, first + len(people))))


def test_every_joint_stays_on_its_dot_whatever_the_geometry(samples):
    """The dots' colours name the joint, so a wrong matrix or a forgotten left/right exchange shows."""
    people = samples[:20]
    result = varied(people, AugmentConfig(colour=0, degrade=0, erase=0))
    names = np.array([(60 + 8 * k, 255 - 10 * k, 15 * k % 256) for k in range(17)])  # RGB of each joint's dot
    hits = total = 0
    for number, sample in enumerate(people):
        image = crop(sample.read(), result, number, SIZE)
        px = result.xy[number] * SIZE - 0.5
        inside = ((px > 3) & (px < np.array(SIZE) - 4)).all(1) & (result.weight[number] > 0)
        x, y = px[inside].round().astype(int).T
        painted = np.abs(image[y, x][:, None].astype(int) - names).sum(2).argmin(1)
        joints = np.flatnonzero(inside)
        hits += (painted == (np.array(skeleton.FLIP)[joints] if result.mirrored[number] else joints)).sum()
        total += len(joints)
    assert 0 < result.mirrored.sum() < 20
    assert total > 100
    assert hits / total > 0.9  # a few dots cover each other


def test_a_person_does_not_depend_on_the_others_in_the_batch(samples):
    people, recipe = samples[:5], AugmentConfig()
    together = vary(people, [PICTURE] * 5, SIZE, recipe, dice(0, 1, 2, 3, 4)).part(slice(3, 4))
    alone = vary(people[3:4], [PICTURE], SIZE, recipe, dice(3))
    for name, array in alone.arrays().items():
        np.testing.assert_array_equal(together.arrays()[name], array, err_msg=name)


def test_nothing_but_the_box_varies_where_nothing_else_is_asked_for(samples):
    result = varied(samples, AugmentConfig(**STILL, zoom=(1, 1), shift=0))
    box = fit_box(np.stack([s.box for s in samples]), SIZE)
    upright = crop_matrix(box, SIZE)
    # only the sides' lengths vary, by 15 % at most, so the centres stay and the scale nearly so
    centre = np.append((box[0, :2] + box[0, 2:]) / 2, 1)
    np.testing.assert_allclose(result.matrix @ centre, upright @ centre, atol=1e-9)
    assert (np.abs(result.matrix[:, 0, 0] / upright[:, 0, 0] - 1) < 0.18).all()
    assert not result.matrix[:, 0, 1].any()
    assert not (result.mirrored | result.coloured | result.grey).any()
    assert not result.blur.any()
    assert not result.coarse.any()
    assert not result.patches[..., 2].any()
    assert (result.sides == PICTURE).all()
    assert result.weight.all()


def test_as_many_are_varied_as_the_recipe_says(samples):
    """1,200 people: the share may differ by 0.06 (four deviations)."""
    recipe = AugmentConfig(flip=0.3, colour=0.7, degrade=0.4, erase=0.6, cut=0, rotate=0.5, tumble=0, shift=0)
    result = varied(samples * 30, recipe)
    turned = np.abs(np.rad2deg(np.arctan2(result.matrix[:, 1, 0], result.matrix[:, 0, 0])))
    blurred, coarse, hidden = result.blur > 0, result.coarse[:, 0] > 0, result.patches[..., 2] > 0
    shares = [result.mirrored, result.coloured, blurred | coarse, blurred, hidden[:, 0], hidden[:, 1], turned > 1e-6]
    np.testing.assert_allclose([share.mean() for share in shares], [0.3, 0.7, 0.4, 0.2, 0.6, 0.3, 0.5], atol=0.06)
    assert not (blurred & coarse).any()
    assert 35 < turned.max() <= 40
    light = [np.log(result.gamma), np.log(result.gain), result.offset]
    np.testing.assert_allclose([values.std() for values in light], [0.25, 0.15, 0.05], rtol=0.1)
    np.testing.assert_allclose([values.mean() for values in light], 0, atol=0.03)
    y, x, h, w, source_y, source_x = result.patches[hidden].T
    assert min(y.min(), x.min(), source_y.min(), source_x.min()) >= 0
    assert (np.maximum(y, source_y) + h).max() <= SIZE[1]
    assert (np.maximum(x, source_x) + w).max() <= SIZE[0]


def test_mirror_is_w_minus_one_minus_x_with_sides_exchanged():
    xy = np.tile(np.array([[2.0, 1.0]], np.float32), (1, 17, 1))
    xy[0, skeleton.INDEX["left_wrist"]] = (6, 3)
    weight = np.zeros((1, 17), np.float32)
    weight[0, skeleton.INDEX["left_wrist"]] = 1
    box, points, trust, _ = mirror(np.array([[8, 5]]), np.array([[1.0, 0, 3, 4]]), xy, weight, weight)
    np.testing.assert_array_equal(points[0, skeleton.INDEX["right_wrist"]], [1, 3])
    assert trust[0, skeleton.INDEX["right_wrist"]] == 1
    assert trust.sum() == 1
    np.testing.assert_array_equal(box, [[4, 0, 6, 4]])


def test_joints_that_were_cut_off_are_known_to_be_absent(samples):
    people = [samples[0]] * 30
    box, xy = np.stack([s.box for s in people]).astype(float), np.stack([s.xy for s in people])
    sides, shorter, gone = cut_off(box, xy, np.array([PICTURE] * 30), dice(*range(30)))
    outside = (xy[..., 0] > sides[:, :1] - 0.5) | (xy[..., 1] > sides[:, 1:] - 0.5)
    np.testing.assert_array_equal(gone, outside)
    assert (shorter[:, 2:] <= sides).all()
    assert {tuple(row) for row in (sides < PICTURE)} >= {(True, False), (False, True)}
    result = varied(
        people, AugmentConfig(**{**STILL, "cut": 1}, zoom=(2, 2), shift=0)
    )  # so wide that only the cut counts
    assert result.known.all()
    np.testing.assert_array_equal(result.weight == 0, outside_of(result, xy))


def outside_of(result, xy):
    """(B, K) joints of unmirrored people that lie beyond what is left of the picture."""
    return (xy > result.sides[:, None] - 0.5).any(-1)


def test_what_nobody_labelled_stays_unknown_when_cut_off(samples):
    face_unknown = np.array([0] * 5 + [1] * 12, np.float32)
    person = dataclasses.replace(samples[0], weight=face_unknown)
    result = varied([person] * 10, AugmentConfig(**{**STILL, "cut": 1}))
    np.testing.assert_array_equal(result.known, np.tile(face_unknown, (10, 1)))
    assert (result.weight < result.known).any()


def test_half_a_body_needs_enough_joints(samples):
    box, xy = samples[0].box[None].astype(float), samples[0].xy[None]
    few = np.zeros((1, 17), np.float32)
    few[0, :5] = 1
    np.testing.assert_array_equal(half_body(box, xy, few, dice(0)), box)
    legs = [k for k, name in enumerate(skeleton.NAMES) if name.endswith(("hip", "knee", "ankle"))]
    for seed in range(5):
        part = half_body(box, xy, np.ones((1, 17), np.float32), dice(seed))[0]
        inside = ((xy[0] >= part[:2]) & (xy[0] <= part[2:])).all(1)
        assert inside[legs].all() or np.delete(inside, legs).all()
        assert not np.array_equal(part, box[0])


def test_a_coarse_crop_stays_in_place(samples):
    """Reduced and enlarged again, a spot near the far corner keeps its centre of mass."""
    image = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    cv2.circle(image, (75, 105), 7, (255, 255, 255), -1)
    result = varied([samples[0]] * 40, AugmentConfig(**{**STILL, "degrade": 1}))
    as_it_is = np.tile(np.eye(3)[:2], (40, 1, 1))
    result = dataclasses.replace(result, matrix=as_it_is, sides=np.tile(SIZE, (40, 1)))
    degraded = np.flatnonzero(result.coarse[:, 0])
    assert len(degraded) > 10
    ys, xs = np.mgrid[: SIZE[1], : SIZE[0]]
    for person in degraded:
        mass = crop(image, result, person, SIZE)[..., 0].astype(float)
        found = [(mass * axis).sum() / mass.sum() for axis in (xs, ys)]
        np.testing.assert_allclose(found, [75, 105], atol=0.15)


def test_the_recipe_is_set_by_word_and_by_table(tmp_path):
    (tmp_path / "r.toml").write_text("lr = 0.001\n[augment]\ntumble = 0.4\ncut = 0\n")
    config = build_config("n", tmp_path / "r.toml", ["tumble=0.2", "zoom=[0.5, 1]"], {})
    assert (config.lr, config.augment.tumble, config.augment.cut, config.augment.zoom) == (0.001, 0.2, 0, (0.5, 1))
    assert config.augment.flip == AugmentConfig().flip
    assert TrainConfig.from_dict(config.to_dict()) == config
    assert TrainConfig.from_dict({"lr": 0.1}).augment == AugmentConfig()  # as recorded before it could be set


@pytest.mark.parametrize(
    "word",
    ["flip=1.5", "cut=-0.1", "cut=nan", "degrees=200", "shift=-1", "zoom=[1.2, 0.6]", "zoom=[0, 1]", "zoom=[1]",
     'zoom=["a", "b"]', "tumble=much"],
)  # fmt: skip
def test_a_number_out_of_range_is_refused_by_name(word):
    with pytest.raises(UsageError, match=word.split("=")[0]):
        build_config("n", None, [word], {})


def test_an_unknown_key_gets_the_nearest_name(tmp_path):
    with pytest.raises(UsageError, match="try: tumble"):
        build_config("n", None, ["tumbel=0.2"], {})
    (tmp_path / "r.toml").write_text("[augment]\ntumbel = 0.4\n")
    with pytest.raises(UsageError, match="try: tumble"):
        build_config("n", tmp_path / "r.toml", [], {})
    (tmp_path / "r.toml").write_text("augment = 3\n")
    with pytest.raises(UsageError, match="not a table"):
        build_config("n", tmp_path / "r.toml", [], {})
