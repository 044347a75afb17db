import numpy as np
from fakes import BlockEstimator, picture

from tfpose_rt.config import RunConfig
from tfpose_rt.tools.bench import Crowd, machine, measure


def test_the_crowd_is_as_large_as_asked_and_nobody_twice_in_one_place():
    crowd = Crowd(BlockEstimator(), 7)
    found = crowd.detect([picture([(10, 10), (100, 50)]), picture([])])
    assert [len(d) for d in found] == [7, 7]
    assert len({tuple(box) for box in found[0].boxes.tolist()}) == 7


def test_a_known_delay_is_what_is_measured():
    """A model of 20 ms a frame on a looped test pattern: at most 50 frames a second, and latency only when live."""
    estimator = BlockEstimator(RunConfig(), delay=0.02)
    (plain,) = measure("synthetic:64x48@30", estimator, [], seconds=0.8, warmup=0.2)
    assert 15 < plain.fps < 50
    assert plain.latency is None
    assert {"draw", "write", "track"} <= plain.stages.keys()
    assert plain.memory[0] > 10
    two = list(measure("synthetic:64x48@30", estimator, [1, 3], seconds=0.4, warmup=0.1, live=True))
    assert [r.people for r in two] == [1, 3]
    assert all(r.latency is not None and 15 < r.latency["p50"] < 400 for r in two)


def test_the_figures_name_their_machine():
    told = machine()
    assert int(told["cores"]) >= 1
    assert told["torch"][0].isdigit()
    assert np.all([isinstance(v, str) for v in told.values()])
