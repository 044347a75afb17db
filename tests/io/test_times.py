"""Times are kept where they are good, repaired where they are not, and always increase."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tfpose_rt.io.times import repair


def run(stamps, step=0.1):
    return [(t, fixed) for _, t, fixed in repair(((None, s) for s in stamps), step)]


def test_good_stamps_pass_unchanged_from_zero():
    assert run([5.0, 5.04, 5.5, 5.51]) == [(0.0, False), (0.04, False), (0.5, False), (0.51, False)]


def test_negative_start_is_only_an_offset():
    assert run([-0.2, -0.1, 0.0]) == [(0.0, False), (0.1, False), (0.2, False)]


def test_a_repeated_stamp_goes_between_its_neighbours():
    assert run([0, 0.1, 0.1, 0.3]) == [(0.0, False), (0.1, False), (0.2, True), (0.3, False)]


def test_a_dense_neighbour_is_not_overtaken():
    assert run([0, 0, 0.05, 0.1], step=1.0) == [(0.0, False), (0.025, True), (0.05, False), (0.1, False)]


def test_missing_first_stamps_count_back_from_the_first_good_one():
    assert run([None, None, 7.0, 7.1]) == [(0.0, True), (0.1, True), (0.2, False), (0.3, False)]


def test_a_clock_set_back_goes_on_from_where_it_was():
    times = run([10, 10.1, 10.2] + [0.1 * i for i in range(10)])
    assert [t for t, _ in times] == [round(0.1 * i, 6) for i in range(13)]
    assert [fixed for _, fixed in times] == [False] * 3 + [True] * 10


def test_no_stamps_at_all_run_at_the_nominal_rate():
    assert run([None] * 7) == [(round(0.1 * i, 6), True) for i in range(7)]


@given(st.lists(st.none() | st.floats(-1e4, 1e4), max_size=40), st.sampled_from([1e-3, 1 / 30, 0.5]))
def test_every_item_comes_out_once_in_order_with_rising_times(stamps, step):
    out = list(repair(enumerate(stamps), step))
    assert [item for item, _, _ in out] == list(range(len(stamps)))
    times = [t for _, t, _ in out]
    assert all(b > a for a, b in itertools.pairwise(times))
    assert not times or times[0] == 0.0
