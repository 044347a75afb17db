"""Pose2Sim's and Sports2D's own loaders read what we write.

They bring a tool chain of their own (OpenSim, Qt), so they live in an environment beside this one:
`TFPOSE_READERS=/path/to/python` names its interpreter, with `pip install pose2sim sports2d`.
"""

import json
import os
import subprocess

import numpy as np
import pytest
from known_people import SUMMARY, header, results

from tfpose_rt.io.openpose import OpenPoseSink
from tfpose_rt.io.parts import SinkOptions
from tfpose_rt.io.trc import MARKERS, trc_sink

PYTHON = os.environ.get("TFPOSE_READERS", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="TFPOSE_READERS names no Python with pose2sim and sports2d"),
]


def ask(code, *args):
    text = "import sys, json, warnings; warnings.simplefilter('ignore')\n" + code
    done = subprocess.run(
        [PYTHON, "-c", text, *map(str, args)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def write(sink):
    for result in results():
        sink.write(result)
    sink.close(SUMMARY)


def test_sports2d_loads_the_trc_in_pixels(tmp_path):
    write(trc_sink(tmp_path / "clip.trc", header()))
    got = ask("""
from Sports2D.process import load_pose_file, read_trc
table, frames, times, names, _ = read_trc(sys.argv[1])
points, scores = load_pose_file(table)
print(json.dumps([points.tolist(), list(map(float, times)), list(names), list(map(int, frames))]))
""", tmp_path / "clip_px_person2.trc")  # fmt: skip
    points = np.array(got[0], float)
    assert points.shape == (6, 1, 17, 2)
    assert got[2] == list(MARKERS)
    assert got[3] == [0, 1, 2, 3, 4, 6]
    np.testing.assert_allclose(got[1], np.array([0, 1, 2, 3, 4, 6]) / 30, atol=1e-6)
    assert np.isnan(points[[0, 1, 4]]).all()
    np.testing.assert_allclose(points[2, 0, :, 0], 202.25 + np.arange(17))
    np.testing.assert_allclose(points[2, 0, :, 1], 200.5 + np.arange(17))


def test_pose2sim_reads_the_json_of_every_frame(tmp_path):
    write(
        OpenPoseSink(
            tmp_path / "cam1_json", header(), SinkOptions(openpose_layout="coco17", openpose_naming="pose2sim")
        )
    )
    got = ask("""
import re
from pathlib import Path
from Pose2Sim.personAssociation import read_json
files = sorted((p for p in Path(sys.argv[1]).glob("*.json")), key=lambda p: int(re.split(r"(\\d+)", p.name)[-2]))
print(json.dumps([read_json(str(f)) for f in files]))
""", tmp_path / "cam1_json")  # fmt: skip
    assert [len(people) for people in got] == [0, 1, 2, 1, 0, 1]
    first = np.array(got[1][0]).reshape(-1, 3)
    np.testing.assert_allclose(first[:, 0], 101.25 + np.arange(17))
    np.testing.assert_allclose(first[:, 2], 0.5 + np.arange(17) / 100)
