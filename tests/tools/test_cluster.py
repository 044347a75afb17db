"""--cluster ray on a local cluster of three workers, one of which is killed in the middle of its file."""

import json
import os
import queue
import sys
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace

import pytest
from clips import make as make_clip
from fake_estimator import make, make_dying

from tfpose_rt.config import RunConfig
from tfpose_rt.errors import UsageError
from tfpose_rt.tools.batch import How
from tfpose_rt.tools.cluster import TRIES, _Cluster, run_cluster
from tfpose_rt.tools.outputs import plan
from tfpose_rt.tools.workers import _Crew


class Counting:
    def __init__(self):
        self.started_names, self.frames, self.outcomes = [], 0, []

    def started(self, job, info, done):
        self.started_names.append((info.name, done))

    def result(self, job, result):
        raise AssertionError("results stay on the workers")

    def advance(self, job, frames):
        self.frames += frames

    def finished(self, outcome):
        self.outcomes.append(outcome)


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_another_engine_is_refused():
    with pytest.raises(UsageError):
        run_cluster([], RunConfig(), How(), Counting(), engine="slurm")


CAMERA = plan(["rtsp://me:hunter2@cam.local/x"])[0]
FAILED = RuntimeError("no answer from rtsp://me:hunter2@cam.local/x")


def pool_outcome(error):
    future, crew = Future(), _Crew.__new__(_Crew)
    future.set_exception(error)
    crew._begun, crew._progress = {CAMERA}, queue.Queue()
    return crew._outcome(future, CAMERA)


def cluster_outcome(error):
    def get(reference):
        raise error

    cluster = _Cluster.__new__(_Cluster)
    kinds = {name: KeyError for name in ("WorkerCrashedError", "NodeDiedError", "OutOfMemoryError")}
    cluster._ray = SimpleNamespace(exceptions=SimpleNamespace(RayError=RuntimeError, **kinds), get=get)
    cluster._tries = {CAMERA: TRIES}
    return cluster._outcome(None, CAMERA)


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (pool_outcome, FAILED),
        (pool_outcome, BrokenProcessPool()),
        (cluster_outcome, FAILED),
        (cluster_outcome, KeyError()),
    ],
    ids=["failed in a process", "process died", "failed on a cluster", "lost on a cluster"],
)
def test_a_worker_that_fails_tells_no_password(monkeypatch, outcome, error):
    monkeypatch.delenv("TFPOSE_DEBUG", raising=False)
    told = str(outcome(error).error)
    assert "rtsp://***@cam.local/x" in told
    assert "hunter2" not in told


@pytest.mark.slow
def test_a_lost_workers_file_goes_on_from_its_last_record(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="pip install 'tfpose-rt[ray]'")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("FAKE_MARK", str(tmp_path / "mark"))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    sources = []
    for name in "abcd":
        make_clip(tmp_path / f"{name}.mp4", size=(144, 96), stamps=tuple(range(90)))
        sources.append(str(tmp_path / f"{name}.mp4"))
    (tmp_path / "bad.mp4").write_text("no")
    sources.append(str(tmp_path / "bad.mp4"))
    for name in ("alone", "cluster"):
        (tmp_path / name).mkdir()
    config = RunConfig(threads=1)
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    try:
        whole = run_cluster(plan(sources, [tmp_path / "alone"]), config, How(), Counting(), make=make)
        watcher = Counting()
        outcomes = run_cluster(plan(sources, [tmp_path / "cluster"]), config, How(), watcher, make=make_dying)
    finally:
        ray.shutdown()
    assert (tmp_path / "mark").exists()  # one worker did die
    assert [o.exit_code for o in whole] == [o.exit_code for o in outcomes] == [0, 0, 0, 0, 3]
    names = [name for name, _ in watcher.started_names]
    assert len(names) == 5  # one file was started twice
    assert len(watcher.outcomes) == 5
    for name in "abcd":
        alone, cluster = records(tmp_path / "alone" / f"{name}.jsonl"), records(tmp_path / "cluster" / f"{name}.jsonl")
        assert alone[1:-1] == cluster[1:-1]
        assert cluster[-1]["frames"] == 90
