"""Live runs from source to closed files, with a stage estimator and a screen that is only an object."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from loopback import MjpegServer, made_up
from stage import StageEstimator

from tfpose_rt.cli.live_options import header_of, metrics_of, open_live
from tfpose_rt.config import RunConfig, SourceOptions
from tfpose_rt.errors import OutputError
from tfpose_rt.io.synthetic import number_of
from tfpose_rt.live.plan import Plan
from tfpose_rt.live.session import Session
from tfpose_rt.live.takes import new_path
from tfpose_rt.pipeline import Stream
from tfpose_rt.records import Image


class FakeScreen:
    """Collects what is shown; presses the keys of a script, each when its number of pictures was shown."""

    def __init__(self, script: dict[int, Sequence[str]] | None = None, *, wait: float = 0.0) -> None:
        self.script, self.wait = dict(script or {}), wait
        self.pictures: list[Image] = []
        self.closed = False
        self.full = False

    def show(self, image: Image) -> list[str]:
        self.pictures.append(image)
        time.sleep(self.wait)
        return list(self.script.pop(len(self.pictures), ()))

    def poll(self) -> list[str]:
        return []

    def toggle_fullscreen(self) -> None:
        self.full = not self.full

    def close(self) -> None:
        self.closed = True


def session(
    folder: Path,
    spec: str = "synthetic:320x240@30",
    *,
    screen: Any = None,
    delay: float = 0.0,
    options: SourceOptions | None = None,
    run: dict[str, Any] | None = None,
    on_result: Callable[[Any], None] | None = None,
    **plan: Any,
) -> Session:
    config = RunConfig(source=options or SourceOptions(stall=0.5, open_timeout=3), **(run or {}))
    source, model = open_live(spec, config.source), StageEstimator(config, delay=delay)
    stream = Stream(source, model, config)
    told = Plan(header=header_of(source, config, model, {}), folder=folder, **plan)
    return Session(stream, told, metrics_of(stream, model), screen, on_result=on_result)


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def frames_of(path: Path) -> tuple[list[float], list[Image]]:
    """Times (s) and pictures of a video, by PyAV."""
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
        return [float(f.time or 0.0) for f in frames], [f.to_ndarray(format="bgr24") for f in frames]


def no_threads_left() -> bool:
    names = ("capture", "read frames", "find poses", "write ")
    end = time.monotonic() + 3
    while time.monotonic() < end:
        if not [t for t in threading.enumerate() if t.name.startswith(names)]:
            return True
        time.sleep(0.05)
    return False


def test_a_run_writes_its_data_and_its_video_with_true_times(tmp_path: Path) -> None:
    live = session(
        tmp_path,
        outs=[(tmp_path / "a.jsonl", None), (tmp_path / "a.csv", None)],
        record=tmp_path / "a.mkv",
        max_frames=40,
    )
    summary = live.run()
    lines = records(tmp_path / "a.jsonl")
    frames = [r for r in lines if r["type"] == "frame"]
    assert lines[0]["time_base"] == "monotonic"
    assert lines[-1]["type"] == "summary"
    assert (summary["ended"], summary["exit_code"], summary["complete"]) == ("limit", 0, True)
    assert len(frames) == summary["frames"] >= 40
    assert [f["video_frame"] for f in frames] == list(range(len(frames)))
    assert all(f["latency_ms"] >= 0 for f in frames)
    assert sum(f["skipped"] for f in frames) + len(frames) == frames[-1]["seq"] + 1
    times, pictures = frames_of(tmp_path / "a.mkv")
    assert len(times) == len(frames)
    pts = np.array([f["pts"] for f in frames])
    np.testing.assert_allclose(np.array(times) - times[0], pts - pts[0], atol=0.002)  # Matroska counts in ms
    assert [number_of(p) for p in pictures] == [f["seq"] for f in frames]
    rows = (tmp_path / "a.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * len(frames)  # two people in every frame
    assert no_threads_left()


def test_the_summary_names_every_file_that_is_there(tmp_path: Path) -> None:
    """Whatever the order of the outputs: the persons' files are known only once the recording ends."""
    screen = FakeScreen({3: ["snapshot"]})
    outs: list[tuple[Path, str | None]] = [(tmp_path / f"a{suffix}", None) for suffix in (".jsonl", ".trc", ".json")]
    live = session(tmp_path, screen=screen, outs=outs, record=tmp_path / "a.mkv", max_frames=10)
    summary = live.run()
    there = {path.name for path in tmp_path.iterdir()}
    assert {"a_px_person0.trc", "a_px_person1.trc", "a.images.json"} < there
    assert len(summary["files"]) == len(there)
    assert set(summary["files"]) == there
    assert records(tmp_path / "a.jsonl")[-1]["files"] == summary["files"]
    for path, count in live.files:
        assert count == (1 if Path(path).name.startswith("snapshot") else summary["frames"])


def test_frames_of_a_slow_model_are_the_newest_and_latency_is_one_inference(tmp_path: Path) -> None:
    """A 30 fps camera and a model of 200 ms: what is seen is about one inference old and does not get older."""
    screen = FakeScreen()
    live = session(tmp_path, screen=screen, delay=0.2, duration=2.6, outs=[(tmp_path / "a.jsonl", None)])
    summary = live.run()
    frames = [r for r in records(tmp_path / "a.jsonl") if r["type"] == "frame"]
    latency = np.array([f["latency_ms"] for f in frames])
    turn = np.diff([f["t_capture"] * 1e3 + f["latency_ms"] for f in frames])  # ms between two frames on the screen
    assert 4 <= summary["frames"] <= 18
    # Whatever else this machine does meanwhile: one inference and one frame of the camera, and no growth.
    assert 190 < np.median(latency) < 1.2 * np.median(turn) + 60
    assert (latency[2:] < turn[1:] + 250).all()
    assert summary["skipped"] >= 3.5 * summary["frames"]
    assert summary["latency_ms"]["p50"] == pytest.approx(np.median(latency), abs=1)  # one definition


def test_a_slow_screen_shows_the_newest_and_files_get_all(tmp_path: Path) -> None:
    screen = FakeScreen(wait=0.15)
    live = session(tmp_path, screen=screen, duration=1.8, outs=[(tmp_path / "a.jsonl", None)])
    summary = live.run()
    frames = [r for r in records(tmp_path / "a.jsonl") if r["type"] == "frame"]
    assert len(frames) == summary["frames"] > 1.5 * len(screen.pictures)
    assert max(r["latency_ms"] for r in frames[5:]) < 1500  # eight waiting results would be more


def test_without_dropping_every_frame_counts_and_the_delay_is_told(tmp_path: Path) -> None:
    options = SourceOptions(drop=False, end=0.6)
    live = session(tmp_path, options=options, delay=0.14, outs=[(tmp_path / "a.jsonl", None)])
    summary = live.run()
    frames = [r for r in records(tmp_path / "a.jsonl") if r["type"] == "frame"]
    assert [f["seq"] for f in frames] == list(range(18))
    assert summary["skipped"] == 0
    assert frames[-1]["latency_ms"] > 1000
    assert "the delay grows" in live.view.message[0]


def test_keys_change_the_picture_and_nothing_in_the_files(tmp_path: Path) -> None:
    words = ["boxes", "ids", "skeleton", "points", "names", "trails", "mirror", "background", "more", "metrics", "help"]
    screen = FakeScreen({3: words, 8: ["less", "less", "fullscreen"], 20: ["quit"]})
    live = session(tmp_path, screen=screen, outs=[(tmp_path / "a.jsonl", None)])
    summary = live.run()
    style = live.view.style
    assert (style.boxes, style.ids, style.skeleton, style.points) == (False, False, False, False)
    assert (style.names, style.mirror, style.background) == (True, True, "black")
    assert style.kpt_thr == pytest.approx(0.25)
    assert (live.view.metrics, live.view.help, live.view.trails) == (2, True, True)
    assert screen.full
    assert screen.closed
    assert (summary["ended"], summary["exit_code"]) == ("user", 0)
    people = [r["persons"] for r in records(tmp_path / "a.jsonl") if r["type"] == "frame"]
    assert all(len(p) == 2 and len(p[0]["keypoints"]) == 17 for p in people)
    first, last = people[0][0]["keypoints"], people[-1][0]["keypoints"]
    assert first[5][0] > first[6][0]  # the person's left stays left, mirrored or not
    assert last[5][0] > last[6][0]


def test_freezing_is_a_gap_and_the_camera_goes_on(tmp_path: Path) -> None:
    class Thawing(FakeScreen):
        def show(self, image: Image) -> list[str]:
            keys = super().show(image)
            if "freeze" in keys:
                threading.Timer(0.7, lambda: live.stream.pause(False)).start()
            return keys

    live = session(tmp_path, screen=Thawing({5: ["freeze"]}), max_frames=20, outs=[(tmp_path / "a.jsonl", None)])
    live.run()
    lines = records(tmp_path / "a.jsonl")
    gaps = [r for r in lines if r["type"] == "gap"]
    assert [g["reason"] for g in gaps] == ["paused"]
    assert gaps[0]["seq_to"] > gaps[0]["seq_from"] + 5
    frames = [r["seq"] for r in lines if r["type"] == "frame"]
    assert frames[-1] > gaps[0]["seq_to"]


def test_forgetting_ids_is_an_event_and_numbering_goes_on(tmp_path: Path) -> None:
    live = session(tmp_path, screen=FakeScreen({5: ["forget"]}), max_frames=20, outs=[(tmp_path / "a.jsonl", None)])
    live.run()
    lines = records(tmp_path / "a.jsonl")
    place = next(i for i, r in enumerate(lines) if r["type"] == "event")
    assert lines[place]["event"] == "ids_reset"
    before = {p["id"] for r in lines[:place] if r["type"] == "frame" for p in r["persons"]}
    after = {p["id"] for r in lines[place:] if r["type"] == "frame" for p in r["persons"]}
    assert (before, after) == ({0, 1}, {2, 3})


def test_takes_by_key_hold_video_and_poses_of_the_take_alone(tmp_path: Path) -> None:
    screen = FakeScreen({5: ["record"], 20: ["record"], 30: ["record"], 35: ["quit"]})
    live = session(tmp_path, screen=screen)
    live.run()
    videos, poses = sorted(tmp_path.glob("take_*.mkv")), sorted(tmp_path.glob("take_*.jsonl"))
    assert len(videos) == len(poses) == 2
    assert not list(tmp_path.glob("*.part"))
    for video, recording in zip(videos, poses, strict=True):
        lines = records(recording)
        frames = [r for r in lines if r["type"] == "frame"]
        times, pictures = frames_of(video)
        assert len(times) == len(frames) == lines[-1]["frames"]
        assert [number_of(p) for p in pictures] == [f["seq"] for f in frames]
        assert lines[-1]["files"] == [video.name, recording.name]
    assert {Path(name).name for name, _ in live.files} == {p.name for p in videos + poses}


def test_overlay_clean_and_both(tmp_path: Path) -> None:
    live = session(tmp_path, record=tmp_path / "v.mkv", record_what="both", max_frames=6)
    live.run()
    _, drawn = frames_of(tmp_path / "v.mkv")
    _, clean = frames_of(tmp_path / "v_clean.mkv")
    assert len(drawn) == len(clean)
    from tfpose_rt.io.synthetic import pattern

    truth = pattern(number_of(clean[0]), (320, 240)).astype(int)
    assert np.abs(clean[0].astype(int) - truth).mean() < 6  # compression alone
    assert np.abs(drawn[0].astype(int) - truth).max() > 100


def test_hidden_people_stay_hidden_in_clean_recordings_and_snapshots(tmp_path: Path) -> None:
    from tfpose_rt.draw import DrawStyle

    screen = FakeScreen({3: ["snapshot", "snapshot"], 6: ["quit"]})
    live = session(
        tmp_path, screen=screen, record=tmp_path / "v.mkv", record_what="clean", style=DrawStyle(background="black")
    )
    live.run()
    assert max(int(p.max()) for p in frames_of(tmp_path / "v.mkv")[1]) < 30
    snapshots = sorted(tmp_path.glob("snapshot_*"))
    assert len(snapshots) == 6  # two of three files each: the second replaced nothing
    for path in tmp_path.glob("snapshot_*_clean.png"):
        assert cv2.imread(str(path)).max() == 0
    overlay = next(iter(tmp_path.glob("snapshot_*_overlay.png")))
    assert cv2.imread(str(overlay)).max() > 100
    told = json.loads(next(iter(tmp_path.glob("snapshot_*.json"))).read_text())
    assert told["frame"]["type"] == "frame"
    assert len(told["frame"]["persons"]) == 2
    assert told["header"]["schema"] == "tfpose-rt/1"


def test_a_lost_stream_is_told_and_ids_survive_it(tmp_path: Path) -> None:
    """Cable out for less than the buffer: one gap, then the same people with the same ids, at another size."""
    with MjpegServer() as server:
        live = session(
            tmp_path, server.url, run={"track_buffer": 5.0}, duration=3.2, outs=[(tmp_path / "a.jsonl", None)]
        )
        seen: list[Image] = []
        look = live.stream.estimator.poses

        def poses(images: Sequence[Image], *more: Any, **words: Any) -> Any:
            seen.extend(image.copy() for image in images)
            return look(images, *more, **words)

        live.stream.estimator.poses = poses  # type: ignore[method-assign]

        def pull() -> None:
            server.stop()
            server.size = (400, 300)
            time.sleep(0.4)
            server.start()

        threading.Timer(1.0, pull).start()
        summary = live.run()
        sent = set(server.sent)
    lines = records(tmp_path / "a.jsonl")
    kinds = [r["type"] for r in lines if r["type"] in ("gap", "segment")]
    assert kinds.count("gap") == summary["gaps"] == 1
    assert {"type": "segment", "size": [400, 300], "fps": 25.0} in lines
    gap = next(r for r in lines if r["type"] == "gap")
    frames = [r for r in lines if r["type"] == "frame"]
    assert {p["id"] for r in frames for p in r["persons"]} == {0, 1}
    assert gap["t_start"] < gap["t_end"]
    assert not [f for f in frames if gap["t_start"] < f["pts"] < gap["t_end"]]
    assert len(seen) > 30  # one a frame, but where nobody is to be looked at, or somebody is looked for again
    assert made_up(seen, sent) == []
    assert summary["exit_code"] == 0


def test_giving_up_a_lost_stream_is_code_7_with_complete_files(tmp_path: Path) -> None:
    with MjpegServer() as server:
        options = SourceOptions(stall=0.5, open_timeout=1, reconnect=1)
        live = session(
            tmp_path, server.url, options=options, outs=[(tmp_path / "a.jsonl", None)], record=tmp_path / "a.mkv"
        )
        threading.Timer(0.5, server.stop).start()
        summary = live.run()
    assert (summary["ended"], summary["exit_code"], summary["complete"]) == ("source_lost", 7, False)
    lines = records(tmp_path / "a.jsonl")
    assert lines[-1]["exit_code"] == 7
    assert [r["seq_to"] for r in lines if r["type"] == "gap"] == [None]
    assert len(frames_of(tmp_path / "a.mkv")[0]) == summary["frames"]


def test_ctrl_c_completes_the_files(tmp_path: Path) -> None:
    def interrupt(result: Any) -> None:
        if result.frame == 10:
            raise KeyboardInterrupt

    live = session(tmp_path, on_result=interrupt, outs=[(tmp_path / "a.jsonl", None)], record=tmp_path / "a.mkv")
    with pytest.raises(KeyboardInterrupt):
        live.run()
    last = records(tmp_path / "a.jsonl")[-1]
    assert (last["ended"], last["exit_code"]) == ("signal", 130)
    assert last == {"type": "summary", **live.summary}
    assert sorted(last["files"]) == ["a.jsonl", "a.mkv"]
    assert (tmp_path / "a.mkv").exists()
    assert no_threads_left()


def test_a_take_that_cannot_be_written_does_not_end_the_run(tmp_path: Path) -> None:
    screen = FakeScreen({3: ["record"], 6: ["snapshot"], 9: ["quit"]})
    live = session(tmp_path / "missing", screen=screen)
    assert live.run()["ended"] == "user"
    assert "cannot write" in live.view.message[0]


def test_an_output_that_fails_ends_the_run_and_completes_the_others(tmp_path: Path) -> None:
    live = session(tmp_path, outs=[(tmp_path / "a.jsonl", None), (tmp_path / "b.jsonl", None)], duration=20)

    def remove() -> None:
        (tmp_path / "b.jsonl.part").unlink()

    threading.Timer(1.0, remove).start()
    with pytest.raises(OutputError, match="removed"):
        live.run()
    last = records(tmp_path / "a.jsonl")[-1]
    assert (last["exit_code"], last["ended"], last["complete"]) == (4, "source_lost", False)
    assert no_threads_left()


def test_a_question_given_up_before_its_turn_does_not_end_the_run(tmp_path: Path) -> None:
    live = session(tmp_path, max_frames=5)
    asked: list[int] = []
    given_up, waiting = live.call(lambda: asked.append(1)), live.call(lambda: asked.append(2))
    assert given_up.cancel()
    assert live.run()["ended"] == "limit"
    assert asked == [2]
    assert waiting.done()


def test_who_was_just_lost_stays_blurred_in_takes_snapshots_and_on_the_screen(tmp_path: Path) -> None:
    from tfpose_rt.draw import DrawStyle
    from tfpose_rt.live.snapshot import save_snapshot
    from tfpose_rt.live.view import View, people

    style = DrawStyle(background="blur-people")
    live = session(tmp_path, style=style, max_frames=3)
    live.run()
    last = live._last
    assert last is not None
    assert last.poses is not None
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    nobody = StageEstimator(people=0).poses([noise], StageEstimator(people=0).detect([noise]))[0]
    lost = dataclasses.replace(last, image=noise, poses=nobody, hidden=np.array([[100, 60, 180, 200]], np.float32))
    made = [live.takes._clean(lost), live.takes._overlay(lost), people(View(style), lost)]
    made += [cv2.imread(str(p)) for p in save_snapshot(tmp_path, lost, style, live.plan.header)[:2]]
    for image in made:
        assert image[60:200, 100:180].std() < 0.5 * noise.std()
        np.testing.assert_array_equal(image[:, :80], noise[:, :80])


def test_the_background_key_has_everybody_looked_for(tmp_path: Path) -> None:
    """With it nothing waits unblurred: a frame that was not looked through is blurred as a whole."""
    screen = FakeScreen({3: ["background", "background"], 20: ["quit"], 30: ["quit"]})
    seen: list[bool] = []
    live = session(
        tmp_path, screen=screen, run={"det_every": 0}, outs=[(tmp_path / "a.jsonl", None)],
        on_result=lambda result: seen.append(result.searched),
    )  # fmt: skip
    assert not live.stream.hiding
    live.run()
    assert live.view.style.background == "blur-people"
    assert not seen[0]
    assert all(seen[seen.index(True) :])  # from the key on, whenever the machine got round to it
    froms = [p["box_from"] for r in records(tmp_path / "a.jsonl") if r["type"] == "frame" for p in r["persons"]]
    assert froms.count("tracker") > len(froms) / 2  # what files hold does not hang on the background


@pytest.mark.parametrize("limit", [1, 3])
def test_a_limit_of_frames_is_kept_to_the_frame(tmp_path: Path, limit: int) -> None:
    """Results wait when the limit is met: a slow screen lets them pile up."""
    live = session(tmp_path, max_frames=limit, outs=[(tmp_path / "a.jsonl", None)])
    time.sleep(0.5)
    assert live.run()["frames"] == limit
    assert len([r for r in records(tmp_path / "a.jsonl") if r["type"] == "frame"]) == limit


def test_results_before_an_error_are_written(tmp_path: Path) -> None:
    live = session(tmp_path, outs=[(tmp_path / "a.jsonl", None)])
    live.takes.start()
    take, given = live.stream.take, []

    def failing(timeout: float | None = None) -> Any:
        if len(given) == 3:
            raise OSError("the source broke")
        given.append(take(5))
        return given[-1]

    live.stream.take = failing  # type: ignore[method-assign]
    with pytest.raises(OSError, match="broke"):
        live.run()
    lines = records(tmp_path / "a.jsonl")
    assert [r["seq"] for r in lines if r["type"] == "frame"] == [r.seq for r in given]
    for last in (lines[-1], records(next(tmp_path.glob("take_*.jsonl")))[-1]):
        assert (last["ended"], last["complete"], last["exit_code"]) == ("source_lost", False, 1)


def test_new_names_never_meet_old_files(tmp_path: Path) -> None:
    first = new_path(tmp_path, "take", ".mkv")
    first.with_suffix(".jsonl").write_text("")
    second = new_path(tmp_path, "take", ".mkv")
    assert second != first
    second.with_name(second.stem + "_clean.mkv").write_text("")
    assert new_path(tmp_path, "take", ".mkv") not in (first, second)
    assert "/" not in new_path(tmp_path, "a/b\x00", "").name


@pytest.mark.slow
def test_promise_1_a_minute_of_a_slow_model(tmp_path: Path) -> None:
    """30 fps source, 200 ms model, 60 s: latency p95 under 270 ms and no slope."""
    out, video = tmp_path / "a.jsonl", tmp_path / "a.mkv"
    live = session(tmp_path, screen=FakeScreen(), delay=0.2, duration=60, outs=[(out, None)], record=video)
    live.run()
    frames = [r for r in records(out) if r["type"] == "frame"][5:]
    latency, pts = np.array([f["latency_ms"] for f in frames]), np.array([f["pts"] for f in frames])
    assert np.percentile(latency, 95) < 270
    assert abs(np.polyfit(pts, latency, 1)[0]) * 60 < 20  # ms over the minute
    times, _ = frames_of(tmp_path / "a.mkv")
    assert times[-1] - times[0] == pytest.approx(
        frames[-1]["pts"] - records(tmp_path / "a.jsonl")[1]["pts"], abs=1 / 30
    )
