import json
import platform
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_estimator import FakeEstimator
from fakes import BlockEstimator, picture
from program import run_program

from tfpose_rt.config import RunConfig
from tfpose_rt.tools.bench import Crowd, machine, measure


def test_the_crowd_is_as_large_as_asked_and_nobody_twice_in_one_place():
    crowd = Crowd(BlockEstimator(), 7)
    found = crowd.detect([picture([(10, 10), (100, 50)]), picture([])])
    assert [len(d) for d in found] == [7, 7]
    assert len({tuple(box) for box in found[0].boxes.tolist()}) == 7


def test_the_networks_of_a_crowd_are_compiled_as_without_one():
    told = []

    class Watched(BlockEstimator):
        def poses(self, images, people, box_from=None, *, steady=False):
            told.append(steady)
            return super().poses(images, people, box_from)

    list(measure("synthetic:64x48@30", Watched(), [2], seconds=0.2, warmup=0))
    assert told
    assert all(told)


def test_a_known_delay_is_what_is_measured():
    """A model of 20 ms a frame on a looped test pattern: at most 50 frames a second, and latency only when live."""
    estimator = BlockEstimator(RunConfig(), delay=0.02)
    (plain,) = measure("synthetic:64x48@30", estimator, [], seconds=0.8, warmup=0.2)
    assert 1 < plain.fps < 50  # at most; a loaded machine is slower
    assert plain.latency is None
    assert {"draw", "write", "track"} <= plain.stages.keys()
    assert plain.memory[0] > 10
    two = list(measure("synthetic:64x48@30", estimator, [1, 3], seconds=0.4, warmup=0.1, live=True))
    assert [r.people for r in two] == [1, 3]
    assert all(r.latency is not None and 15 < r.latency["p50"] < 4000 for r in two)


def test_the_figures_name_their_machine():
    told = machine()
    if sys.platform == "linux":
        assert told["processor"] in Path("/proc/cpuinfo").read_text() or told["processor"] == platform.processor()
    assert int(told["cores"]) >= 1
    assert told["torch"][0].isdigit()
    assert np.all([isinstance(v, str) for v in told.values()])


@pytest.fixture
def bench(monkeypatch, capsys):
    """`tfpose-rt bench` with an estimator that does nothing: exit code, stdout, stderr."""
    monkeypatch.setattr("tfpose_rt.estimator.PoseEstimator", FakeEstimator)

    def run(*words):
        return run_program(monkeypatch, capsys, "bench", *words)

    return run


QUICK = ("--seconds", "0.3", "--warmup", "0")


def test_a_source_needs_no_second_word(bench):
    told = []
    for words in (
        ("synthetic:64x48@30", *QUICK),
        (*QUICK, "synthetic:64x48@30"),
        ("pipeline", "synthetic:64x48@30", *QUICK),
    ):
        code, out, err = bench(*words, "--json", "--people", "1,2")
        assert code == 0, err
        told.append(json.loads(out))
    for figures in told:
        assert figures["source"] == "synthetic_64x48@30, 64x48"
        assert [(r["people"], r["frames"] > 0) for r in figures["rounds"]] == [(1, True), (2, True)]
        assert {"detect", "track", "draw"} <= figures["rounds"][0]["stages"].keys()


def test_alone_it_plays_the_clip(bench):
    code, out, err = bench(*QUICK, "--json")
    assert code == 0, err
    assert json.loads(out)["source"].startswith("demo.mp4, ")


def test_stages_can_be_left_out(bench):
    code, out, err = bench("synthetic:64x48@30", *QUICK)
    assert (code, out) == (0, "")
    assert "track" in err
    code, _, err = bench("synthetic:64x48@30", *QUICK, "--no-stages", "--people", "1")
    assert code == 0
    assert "track" not in err
    assert "1 person: " in err


def test_live_it_computes_as_live_runs_do(bench, monkeypatch):
    asked = []
    monkeypatch.setattr("tfpose_rt.engine.quickest", lambda *words: asked.append(words) or "bf16")
    for words in ((), ("--live",)):
        code, _, err = bench("synthetic:64x48@30", *QUICK, "--device", "cpu", "--engine", "auto", *words)
        assert code == 0, err
    assert ("auto", "cpu", "auto") in asked


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("absent.mp4",), 3, "no such file"),
        (("--people", "0"), 2, "whole numbers from 1 on"),
        (("--people", "many"), 2, "whole numbers from 1 on"),
        (("--conf", "0.5"), 2, "--conf"),
    ],
)
def test_what_cannot_be_timed(bench, words, code, why):
    got, out, err = bench(*words)
    assert (got, out) == (code, "")
    assert why in err


def test_help_is_that_of_the_pipeline_and_names_the_other(bench):
    code, out, _ = bench("--help")
    assert code == 0
    assert "--people" in out
    assert "bench kernel" in " ".join(out.split())
    assert "--backward" in bench("kernel", "--help")[1]
