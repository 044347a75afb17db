"""--jobs: processes do what one does, complete their files when told to end, and die alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clips import small as clip
from fake_estimator import make
from test_batch import Quiet, records, run

from tfpose_rt.config import RunConfig
from tfpose_rt.errors import TfposeError
from tfpose_rt.tools import workers
from tfpose_rt.tools.batch import How
from tfpose_rt.tools.outputs import plan


def test_processes_do_the_same_as_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    sources = [clip(tmp_path / f"{name}.mp4", 40) for name in "abc"]
    (tmp_path / "bad.mp4").write_text("no")
    sources.insert(1, str(tmp_path / "bad.mp4"))
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
    run(sources, tmp_path / "one")
    watcher = Quiet()
    jobs = plan(sources, [tmp_path / "many"])
    outcomes = workers.run_workers(jobs, RunConfig(), How(), watcher, jobs_at_once=2, make=make)
    assert [o.exit_code for o in outcomes] == [0, 3, 0, 0]
    assert sorted(watcher.names) == ["a.mp4", "b.mp4", "c.mp4"]
    for name in "abc":
        one, many = records(tmp_path / "one" / f"{name}.jsonl"), records(tmp_path / "many" / f"{name}.jsonl")
        assert one[1:-1] == many[1:-1]


SHARED = """
import json, os, sys
sys.path[:0] = [{tests!r}, {io!r}]
from pathlib import Path
from test_workers import *
from fake_estimator import make
from tfpose_rt.cli.watch import interruptible
class Telling(Quiet):
    def advance(self, job, frames):
        print("frames", flush=True)
with interruptible() as told:
    jobs = plan({sources!r}, [Path({out!r})])
    outcomes = workers.run_workers(jobs, RunConfig(), How(), Telling(), jobs_at_once=2, make=make)
print(json.dumps([told.code, sorted(o.exit_code for o in outcomes)]))
"""


def sharing(sources, out, *, stderr):
    """A program that does `sources` in two worker processes, all in a process group of their own."""
    out.mkdir()
    here = Path(__file__).parent
    text = SHARED.format(tests=str(here), io=str(here.parent / "io"), sources=sources, out=str(out))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "FAKE_SECONDS": "0.1"}
    return subprocess.Popen(
        [sys.executable, "-c", text], env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=stderr,
    )  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
@pytest.mark.parametrize(("number", "everybody"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_a_signal_completes_the_files_of_all_processes_and_begins_no_more(tmp_path, number, everybody):
    sources = [clip(tmp_path / f"{name}.mp4", 300) for name in "abcde"]  # 30 s each
    with sharing(sources, tmp_path / "out", stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == "frames\n"
        (os.killpg if everybody else os.kill)(process.pid, number)
        seen, wrong = process.communicate(timeout=60)
    assert wrong == ""
    code, ended = json.loads(seen.splitlines()[-1])
    assert code == 128 + number
    assert ended
    assert set(ended) == {code}
    made = sorted((tmp_path / "out").iterdir())
    assert [path.suffix for path in made] == [".jsonl"] * len(ended)
    for path in made:
        last = records(path)[-1]
        assert (last["ended"], last["exit_code"], last["complete"]) == ("signal", code, False)
        assert last["frames"] == len(records(path)) - 2


def gone(group, seconds):
    """Whether nobody of a process group is left within so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.2)
    return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no process groups there")
def test_workers_end_when_their_parent_was_killed(tmp_path):
    sources = [clip(tmp_path / f"{name}.mp4", 2000) for name in "ab"]
    with sharing(sources, tmp_path / "out", stderr=subprocess.DEVNULL) as process:
        assert process.stdout.readline() == "frames\n"
        process.kill()
        process.wait()
        assert gone(process.pid, 30)
    ends = [records(path)[-1] for path in (tmp_path / "out").iterdir()]
    assert ends
    assert {(last["ended"], last["exit_code"]) for last in ends} == {("signal", 128 + signal.SIGTERM)}


@pytest.mark.slow
def test_a_worker_that_dies_fails_its_file_alone(tmp_path, monkeypatch):
    from fake_estimator import make_dying

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("FAKE_MARK", str(tmp_path / "mark"))
    sources = [clip(tmp_path / f"{name}.mp4", 60) for name in "abc"]
    jobs = plan(sources, [tmp_path])
    outcomes = workers.run_workers(jobs, RunConfig(), How(), Quiet(), jobs_at_once=1, make=make_dying)
    assert sorted(o.exit_code for o in outcomes) == [0, 0, 1]
    died = next(o for o in outcomes if o.exit_code)
    assert isinstance(died.error, TfposeError)
    assert "died" in str(died.error)
    again = workers.run_workers([died.job], RunConfig(), How(resume=True), Quiet(), jobs_at_once=1, make=make_dying)
    assert again[0].summary["frames"] == 60
