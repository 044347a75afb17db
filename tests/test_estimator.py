"""PoseEstimator: what it hands on of what the detector finds. No model is loaded."""

import cv2
import numpy as np
import pytest
from fakes import BlockEstimator, picture

from tfpose_rt import RunConfig
from tfpose_rt.errors import InputError, UsageError
from tfpose_rt.estimator import PoseEstimator


def estimator(**settings):
    """With a detector that finds white blocks."""
    made = PoseEstimator.__new__(PoseEstimator)
    made.run, made._detector, made.times = RunConfig(**settings), BlockEstimator(), {}
    return made


def corners(boxes):
    return [(round(float(x + 0.5)), round(float(y + 0.5))) for x, y in np.asarray(boxes)[:, :2]]


THREE = picture([(10, 10), (100, 20), (200, 30)])


def test_a_part_and_a_limit_leave_people_out():
    assert corners(estimator().detect([THREE])[0].boxes) == [(10, 10), (100, 20), (200, 30)]
    assert corners(estimator(max_people=2).detect([THREE])[0].boxes) == [(10, 10), (100, 20)]
    assert corners(estimator(roi=(80, 0, 320, 240)).detect([THREE])[0].boxes) == [(100, 20), (200, 30)]
    with pytest.raises(UsageError):
        estimator(roi=(400, 0, 500, 240)).detect([THREE])


def test_a_part_beyond_the_picture_is_told_once(caplog):
    one = estimator(roi=(80, 0, 5000, 240))
    assert corners(one.detect([THREE])[0].boxes) == corners(one.detect([THREE])[0].boxes) == [(100, 20), (200, 30)]
    (told,) = caplog.messages
    assert told == "--roi reaches beyond the picture (320 x 240 px): its corners are x0,y0,x1,y1"
    caplog.clear()
    estimator(roi=(80, 0, 320, 240)).detect([THREE])
    assert not caplog.messages


@pytest.mark.parametrize(
    "settings", [{"max_people": 1}, {"roi": (80, 0, 320, 240)}, {"roi": (80, 0, 320, 240), "max_people": 1}, {}]
)
def test_who_is_left_out_is_among_the_others(settings):
    one = estimator(**settings)
    people, others = one.detect_all([THREE, picture([])])
    assert corners(people[0].boxes) == corners(one.detect([THREE])[0].boxes)
    assert set(corners(people[0].boxes) + corners(others[0])) == {(10, 10), (100, 20), (200, 30)}
    assert (len(people[1]), others[1].shape) == (0, (0, 4))


@pytest.fixture
def predict():
    """`predict` of an estimator that finds blocks of blue, the first channel of BGR, and knows their joints."""
    made = estimator()
    made.poses = made._detector.poses
    return made.predict


BLUE = picture([(10, 10), (100, 20)]) * np.array([1, 0, 0], np.uint8)


def test_predict_takes_an_array_or_a_path_or_several(predict, tmp_path):
    file = tmp_path / "Tänzer 踊り.png"
    file.write_bytes(cv2.imencode(".png", BLUE)[1].tobytes())
    for one in (BLUE, file, str(file)):
        assert corners(predict(one).boxes) == [(10, 10), (100, 20)]
    for several in ([BLUE, file], (str(file), BLUE), iter([file, file])):
        assert [len(poses) for poses in predict(several)] == [2, 2]
    assert predict([]) == []
    assert len(predict(picture([]))) == 0
    assert not any(hasattr(poses, "ids") and poses.ids is not None for poses in predict([BLUE]))


def test_the_order_of_the_channels_is_that_of_arrays_alone(predict, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), BLUE)
    assert len(predict(BLUE[..., ::-1], color="rgb")) == 2
    assert len(predict(BLUE, color="rgb")) == 0
    assert len(predict(tmp_path / "a.png", color="rgb")) == 2
    with pytest.raises(ValueError, match="rgb"):
        predict(BLUE, color="RGBA")


@pytest.mark.parametrize(
    "wrong",
    [
        BLUE[..., 0],
        BLUE.astype(np.float32),
        np.dstack([BLUE, BLUE[..., :1]]),
        BLUE[None],
        BLUE[:0],
        [BLUE[0]],
        [3],
        3,
        None,
    ],
)
def test_what_is_no_picture_is_refused(predict, wrong):
    with pytest.raises(ValueError, match=r"a picture is .*\(H, W, 3\) uint8, not"):
        predict(wrong)


def test_a_path_that_is_no_image_is_told(predict, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"not an image")
    for name, told in (
        ("gone.jpg", "gone.jpg does not exist"),
        ("clip.mp4", "clip.mp4 is not an image"),
        ("", "folder"),
    ):
        with pytest.raises(InputError, match=told):
            predict(tmp_path / name)


def test_an_image_on_its_side_is_turned_upright(predict, tmp_path):
    from PIL import Image as Pillow

    tagged = Pillow.fromarray(np.ascontiguousarray(np.rot90(BLUE)[..., ::-1]))
    exif = tagged.getexif()
    exif[0x0112] = 6  # turn it clockwise by a quarter to see it upright
    tagged.save(tmp_path / "phone.png", exif=exif)
    found = predict(tmp_path / "phone.png")
    assert found.size == (320, 240)
    assert corners(found.boxes) == [(10, 10), (100, 20)]


@pytest.mark.parametrize(("option", "told"), [
    ({"sides": "butter"}, "--sides butter: unknown; try: --sides tracked or model"),
    ({"smooth": "butter"}, "one-euro:mincut,beta"), ({"background": "pink"}, "blur-people"),
    ({"max_people": 0}, "at least one person"),
    ({"detector": None}, "neither a name nor a file; try: --detector none"), ({"weights": ""}, "--weights default"),
    ({"conf": 2.0}, "--conf 2.0"), ({"roi": (3, 3, 1, 1)}, "empty"), ({"det_every": -1}, "--det-every"),
    ({"kernel": "fast"}, "fused"), ({"smooth": "one-euro", "track": False}, "--track"), ({"threads": -1}, "all cores"),
])  # fmt: skip
def test_a_setting_that_makes_no_sense_is_refused_before_a_model_is_loaded(monkeypatch, option, told):
    monkeypatch.setattr("tfpose_rt.assets.resolve", lambda *_: pytest.fail("weights were looked up"))
    with pytest.raises(UsageError) as refused:
        PoseEstimator(**option)
    assert told in str(refused.value)


def test_an_option_that_there_is_not_is_a_type_error():
    with pytest.raises(TypeError, match="colour"):
        PoseEstimator(colour="red")


def test_no_smoothing_is_off_or_none(monkeypatch):
    def stop(*_):
        raise LookupError

    monkeypatch.setattr("tfpose_rt.assets.resolve", stop)
    for word in (None, "off"):
        made = PoseEstimator.__new__(PoseEstimator)
        with pytest.raises(LookupError):
            made.__init__(smooth=word)
        assert made.run.smooth == "off"
