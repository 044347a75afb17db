"""Memory stays flat however long the clip is, and a 4K clip does not multiply it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from clips import make as make_clip

HERE = Path(__file__).parent

PROGRAM = """
import json, sys
sys.path[:0] = [{tools!r}, {io!r}]
from pathlib import Path
import psutil
from test_batch import Quiet, run
from fake_estimator import FakeEstimator

class Weighing(Quiet):
    memory = []
    def result(self, job, result):
        super().result(job, result)
        if self.results % {every} == 0:
            self.memory.append(psutil.Process().memory_info().rss >> 20)

out = Path({out!r})
outcome = run([{source!r}], out, ["jsonl", "csv", "parquet"], out, estimator=FakeEstimator(), watcher=Weighing())[0]
assert outcome.exit_code == 0, outcome
print(json.dumps([outcome.summary["frames"], Weighing.memory]))
"""


def weigh(source, out, every):
    """Frames done, and MiB of resident memory after each `every` of them, of a process of its own."""
    out.mkdir()
    text = PROGRAM.format(tools=str(HERE), io=str(HERE.parent / "io"), out=str(out), source=str(source), every=every)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False, timeout=3000)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_memory_after_20_000_frames_is_that_after_500(tmp_path):
    make_clip(tmp_path / "a.mp4", size=(160, 120), stamps=tuple(range(20_000)), options={"preset": "ultrafast"})
    frames, memory = weigh(tmp_path / "a.mp4", tmp_path / "out", 500)
    assert frames == 20_000
    print("MiB after each 500 frames:", memory)
    assert memory[-1] < memory[0] + 100
    assert max(memory[20:]) < memory[20] * 1.05  # and no slope over the second half


@pytest.mark.slow
def test_4k_does_not_multiply_memory(tmp_path):
    for name, size in (("small", (1280, 720)), ("large", (3840, 2160))):
        make_clip(tmp_path / f"{name}.mp4", size=size, stamps=tuple(range(90)), options={"preset": "ultrafast"})
    small = max(weigh(tmp_path / "small.mp4", tmp_path / "a", 10)[1])
    large = max(weigh(tmp_path / "large.mp4", tmp_path / "b", 10)[1])
    print("MiB at most:", small, "for 720p,", large, "for 4K")
    assert large < small + 1400  # a 4K picture has 24 MiB: a few dozen of them, those of encoder and decoder included
