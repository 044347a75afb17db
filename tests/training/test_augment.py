import numpy as np
import pytest

from tfpose_rt import skeleton
from tfpose_rt.config import AugmentConfig, TrainConfig
from tfpose_rt.errors import UsageError
from tfpose_rt.training.augment import cut_off, half_body, mirror, plain_crop, random_crop
from tfpose_rt.training.data import load
from tfpose_rt.training.recipe import build_config

SIZE = (96, 128)
STILL = AugmentConfig(
    rotate=0, tumble=0, zoom=(1, 1), shift=0, flip=0, half_body=0, cut=0, erase=0, colour=0, degrade=0
)


@pytest.fixture(scope="module")
def samples(pack):
    return load(pack)


def dots_found(crop):
    """The colour under each joint that lies well inside the crop, (n, 3)."""
    px = crop.xy * SIZE - 0.5
    inside = ((px > 3) & (px < np.array(SIZE) - 4)).all(1) & (crop.weight > 0)
    x, y = px[inside].round().astype(int).T
    return crop.image[y, x], np.flatnonzero(inside)


def test_every_joint_stays_on_its_dot_whatever_the_geometry(samples):
    """The dots' colours name the joint, so a wrong matrix or a forgotten left/right exchange shows."""
    geometry = AugmentConfig(colour=0, degrade=0, erase=0)
    hits = total = 0
    for number, sample in enumerate(samples[:20]):
        crop = random_crop(sample, SIZE, geometry, np.random.default_rng(number))
        flipped = np.random.default_rng(number)
        del flipped
        colours, joints = dots_found(crop)
        names = np.array([(60 + 8 * k, 255 - 10 * k, 15 * k % 256) for k in range(17)])  # RGB of each joint's dot
        original = np.abs(colours[:, None].astype(int) - names).sum(2).argmin(1)
        mirrored = np.array(skeleton.FLIP)[joints]
        hits += max((original == joints).sum(), (original == mirrored).sum())
        total += len(joints)
    assert total > 100
    assert hits / total > 0.9  # a few dots cover each other


def test_the_plain_crop_is_the_still_random_crop(samples):
    plain = plain_crop(samples[0], SIZE)
    assert plain.weight.all()
    px = plain.xy * SIZE - 0.5
    assert (px.min(0) > 0).all()
    assert (px.max(0) < SIZE).all()


def test_a_sample_is_a_function_of_its_generator(samples):
    one, two = (random_crop(samples[3], SIZE, AugmentConfig(), np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.xy, two.xy)


def test_mirror_is_w_minus_one_minus_x_with_sides_exchanged():
    image = np.arange(5 * 8 * 3, dtype=np.uint8).reshape(5, 8, 3)
    xy = np.tile(np.array([[2.0, 1.0]], np.float32), (17, 1))
    xy[skeleton.INDEX["left_wrist"]] = (6, 3)
    weight = np.zeros(17, np.float32)
    weight[skeleton.INDEX["left_wrist"]] = 1
    flipped, box, points, trust, _ = mirror(image, np.array([1, 0, 3, 4], np.float32), xy, weight, weight)
    np.testing.assert_array_equal(points[skeleton.INDEX["right_wrist"]], [1, 3])
    assert trust[skeleton.INDEX["right_wrist"]] == 1
    assert trust.sum() == 1
    np.testing.assert_array_equal(box, [4, 0, 6, 4])
    np.testing.assert_array_equal(flipped[3, 1], image[3, 6])


def test_joints_that_were_cut_off_are_known_to_be_absent(samples):
    sample = samples[0]
    for seed in range(30):
        image, _, gone = cut_off(sample.read(), sample.box, sample.xy, sample.weight, np.random.default_rng(seed))
        below, right = sample.xy[:, 1] > image.shape[0] - 0.5, sample.xy[:, 0] > image.shape[1] - 0.5
        np.testing.assert_array_equal(gone, below | right)
    crop = random_crop(sample, SIZE, AugmentConfig(cut=1, half_body=0), np.random.default_rng(3))
    assert crop.known.all()
    assert 0 < (crop.weight > 0).sum() < 17


def test_half_a_body_needs_enough_joints(samples):
    sample = samples[0]
    few = np.zeros(17, np.float32)
    few[:5] = 1
    np.testing.assert_array_equal(half_body(sample.box, sample.xy, few, np.random.default_rng(0)), sample.box)
    part = half_body(sample.box, sample.xy, sample.weight, np.random.default_rng(0))
    assert not np.array_equal(part, sample.box)


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
