"""A live run without a window, for tests that kill it or watch it for long.

Arguments: folder, source, seconds; writes a.jsonl, a.csv and a.mkv there and prints a JSON line of figures each second.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import psutil
from stage import StageEstimator

from tfpose_rt.cli.live_options import header_of, metrics_of, open_live
from tfpose_rt.config import RunConfig, SourceOptions
from tfpose_rt.live import session as live_session
from tfpose_rt.live.plan import Plan
from tfpose_rt.pipeline import Stream


def main(folder: Path, spec: str, seconds: float) -> None:
    live_session.STATUS_S = 1.0
    run = RunConfig(source=SourceOptions(stall=5.0), det_every=0, smooth="one-euro")
    source, model = open_live(spec, run.source), StageEstimator(run, delay=0.02)
    stream = Stream(source, model, run)
    metrics = metrics_of(stream, model)
    process = psutil.Process()
    start = time.monotonic()

    def tell(_: str) -> None:
        p50, p95 = metrics.percentiles()
        model.numbers.clear()
        print(
            json.dumps({
                "t": time.monotonic() - start, "rss": process.memory_info().rss, "p50": p50, "p95": p95,
                "threads": process.num_threads(), "files": process.num_fds(), "fps": metrics.fps,
                "camera": metrics.camera_fps, "frames": stream.stats.frames,
            }),
            flush=True,
        )  # fmt: skip

    plan = Plan(
        header=header_of(source, run, model, {}), outs=[(folder / "a.jsonl", None), (folder / "a.csv", None)],
        record=folder / "a.mkv", duration=seconds,
    )  # fmt: skip
    summary = live_session.Session(stream, plan, metrics, on_status=tell).run()
    left = [t.name for t in __import__("threading").enumerate()]
    print(json.dumps({"summary": summary, "left": left}), flush=True)


main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
