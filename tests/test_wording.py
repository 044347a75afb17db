import pytest

from tfpose_rt.wording import plural, rate


@pytest.mark.parametrize(
    ("count", "words", "told"),
    [
        (0, ("frame",), "0 frames"),
        (1, ("frame",), "1 frame"),
        (2, ("frame",), "2 frames"),
        (1, ("person", "people"), "1 person"),
        (3, ("person", "people"), "3 people"),
    ],
)
def test_one_is_not_many(count, words, told):
    assert plural(count, *words) == told


@pytest.mark.parametrize(
    ("fps", "told"),
    [(0.0, "0"), (0.0213, "0.021"), (0.43, "0.43"), (0.998, "1"), (1.0, "1.0"), (28.44, "28.4"), (240.0, "240.0")],
)
def test_a_slow_rate_is_not_nothing(fps, told):
    assert rate(fps) == told
