"""What a live run leaves when it is killed, and whether it stays itself for twenty minutes."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_session import frames_of

from tfpose_rt.io.jsonl import Recording

APP = Path(__file__).with_name("headless_app.py")


def test_kill_9_loses_at_most_the_last_second(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, str(APP), str(tmp_path), "synthetic:320x240@30", "60"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            if json.loads(line)["frames"] > 75:
                break
        frames = json.loads(line)["frames"]
        process.send_signal(signal.SIGKILL)
    process.wait()
    assert {p.name for p in tmp_path.iterdir()} >= {"a.jsonl.part", "a.csv.part", "a.mkv.part"}
    assert all(p.suffix == ".part" for p in tmp_path.iterdir())
    recording = Recording(tmp_path / "a.jsonl.part")
    records = [r for r in recording.records() if r["type"] == "frame"]
    assert recording.summary is None  # readers can tell that it was cut short
    assert [r["video_frame"] for r in records] == list(range(len(records)))
    times, _ = frames_of(tmp_path / "a.mkv.part")
    with (tmp_path / "a.csv.part").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("right_ankle_score")]
    lost = [frames - len(records), frames - len(times), frames - len({row["frame"] for row in rows})]
    assert max(lost) <= 45, lost  # a second and a half at 30 fps: the last second, and what was in the air
    assert frames > 60


@pytest.mark.slow
def test_twenty_minutes_of_camera(tmp_path: Path) -> None:
    """30 fps in; memory flat after the first minute, latency not growing, nothing left. SOAK_SECONDS shortens it."""
    seconds = float(os.environ.get("SOAK_SECONDS", "1200"))
    done = subprocess.run(
        [sys.executable, str(APP), str(tmp_path), "synthetic:640x480@30", str(seconds)], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    told, last = lines[:-1], lines[-1]
    settled = [line for line in told if line["t"] > min(60.0, seconds / 3)]
    rss = np.array([line["rss"] for line in settled], float)
    third = len(settled) // 3
    growth = rss[-third:].mean() / rss[:third].mean() - 1
    p95 = np.array([line["p95"] for line in settled])
    report = {
        "seconds": seconds, "rss_mib": [rss[0] / 2**20, rss[-1] / 2**20], "growth": growth,
        "p95_ms": [float(np.median(p95[:third])), float(np.median(p95[-third:]))], "frames": told[-1]["frames"],
        "camera_fps": float(np.median([line["camera"] for line in settled])), "threads": settled[-1]["threads"],
    }  # fmt: skip
    Path(os.environ.get("SOAK_REPORT", tmp_path / "soak.json")).write_text(json.dumps(report, indent=1))
    assert growth < 0.02, report
    assert np.median(p95[-third:]) < np.median(p95[:third]) * 1.25 + 10, report
    assert {line["files"] for line in settled} == {settled[0]["files"]}
    assert last["left"] == ["MainThread"]
    assert last["summary"]["exit_code"] == 0
