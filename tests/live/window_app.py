"""A live run in a real window, for tests that press its keys: prints its state as a JSON line several times a second.

Arguments: folder for takes and snapshots, source (test pattern or address).
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from stage import StageEstimator

from tfpose_rt.cli.live_options import header_of, metrics_of, open_live
from tfpose_rt.config import RunConfig, SourceOptions
from tfpose_rt.live import session as live_session
from tfpose_rt.live.plan import Plan
from tfpose_rt.live.window import Window, has_screen
from tfpose_rt.pipeline import Stream


def main(folder: Path, spec: str) -> None:
    assert has_screen()
    live_session.STATUS_S = 0.1
    run = RunConfig(source=SourceOptions(stall=1.0))
    source, model = open_live(spec, run.source), StageEstimator(run)
    stream = Stream(source, model, run)
    window = Window(f"tfpose-rt {source.info.name}", source.info.size)

    def tell(status: str) -> None:
        view = session.view
        state = {
            **dataclasses.asdict(view.style), "metrics": view.metrics, "help": view.help, "trails": view.trails,
            "paused": stream.paused, "recording": bool(session.takes.recording), "message": view.message[0],
            "given": stream.follower.tracker.ids_given if stream.follower.tracker else 0,
            "fullscreen": window._full, "status": status,
            "frames": stream.stats.frames, "latency": metrics.percentiles()[1],
        }  # fmt: skip
        print(json.dumps(state), flush=True)

    metrics = metrics_of(stream, model)
    plan = Plan(header=header_of(source, run, model, {}), folder=folder)
    session = live_session.Session(stream, plan, metrics, window, on_status=tell)
    summary = session.run()
    print(json.dumps({"summary": summary, "files": session.files}), flush=True)


main(Path(sys.argv[1]), sys.argv[2])
