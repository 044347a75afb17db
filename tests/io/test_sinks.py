"""Checks before the run, errors during it, and the thread that writes."""

import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from known_people import INFO, SUMMARY, header, results

from tfpose_rt.errors import OutputError, UsageError
from tfpose_rt.io import parts
from tfpose_rt.io.jsonl import JsonlSink
from tfpose_rt.io.parts import closing_order, made
from tfpose_rt.io.sinks import FORMATS, SINKS, check_outputs, format_of, open_sink
from tfpose_rt.io.threaded import Threaded
from tfpose_rt.records import Result


@pytest.mark.parametrize("suffix", sorted(SINKS))
def test_every_format_opens_by_suffix_writes_every_frame_and_leaves_no_part(tmp_path, suffix):
    path = tmp_path / f"clip{suffix}"
    sink = open_sink(path, header=header(), info=INFO)
    for result in results():
        sink.write(result)
    sink.close(SUMMARY)
    assert sink.written == 6
    assert path.exists() or suffix == ".trc"
    assert not [p for p in tmp_path.iterdir() if p.suffix in (".part", ".new")]


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_keeps_a_part_when_aborted(tmp_path, name):
    suffix = next(s for s, f in SINKS.items() if f == name)
    path = tmp_path / f"clip{suffix}"
    sink = open_sink(path, header=header(), info=INFO)
    for result in results():
        sink.write(result)
    while sink.written < 6:
        time.sleep(0.01)
    sink.abort()
    sink.abort()
    assert not path.exists()
    assert (tmp_path / f"clip{suffix}.part").exists()


@pytest.mark.parametrize("name", [*sorted(FORMATS), "video"])
def test_every_format_leaves_nothing_when_discarded_and_its_file_when_complete(tmp_path, name):
    suffix = next((s for s, f in SINKS.items() if f == name), ".mkv")
    for complete in (False, True):
        sink = open_sink(tmp_path / f"clip{suffix}", header=header(), info=INFO)
        for result in results():
            sink.write(replace(result, image=np.zeros((480, 640, 3), np.uint8)))
        while sink.written < 6:
            time.sleep(0.01)
        assert list(tmp_path.iterdir())
        if complete:
            sink.close(SUMMARY)
        sink.discard()
        sink.discard()
        assert bool(list(tmp_path.iterdir())) == complete
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("name", [*sorted(FORMATS), "video"])
@pytest.mark.parametrize("people", [True, False])
def test_every_format_tells_the_files_it_has_made(tmp_path, name, people):
    suffix = next((s for s, f in SINKS.items() if f == name), ".mkv")
    path = tmp_path / f"clip{suffix}"
    sink = open_sink(path, header=header(), info=INFO)
    for result in results():
        if result.poses is not None:
            seen = result.poses if people else result.poses.take([])
            result = replace(result, poses=seen, image=np.zeros((480, 640, 3), np.uint8))
        sink.write(result)
    sink.close(SUMMARY)
    assert {file.name for file in sink.files} == {p.name for p in tmp_path.iterdir()}
    assert made([sink]) == [(file, 6) for file in sink.files]


@pytest.mark.parametrize("name", [*sorted(FORMATS), "video"])
def test_files_left_unfinished_are_not_told(tmp_path, name):
    suffix = next((s for s, f in SINKS.items() if f == name), ".mkv")
    path = tmp_path / f"clip{suffix}"
    there = path.with_name("clip_px_person1.trc") if name == "trc" else path
    sink = open_sink(path, header=header(), info=INFO)
    for result in results():
        sink.write(replace(result, image=np.zeros((480, 640, 3), np.uint8)))
    (there / "mine").mkdir(parents=True) if name == "openpose" else there.write_text("mine")
    with pytest.raises(OutputError, match="appeared"):
        sink.close(SUMMARY)
    assert sink.files == []


def test_a_video_without_a_frame_is_not_told(tmp_path):
    sink = open_sink(tmp_path / "clip.mkv", header=header(), info=INFO)
    sink.close(SUMMARY)
    assert sink.files == list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [name for name in sorted(FORMATS) if name != "openpose"])
def test_whoever_sums_up_is_closed_last_and_holds_the_summary(tmp_path, name):
    """By its own bytes: a mark put into the summary is in the files, or it is not."""
    suffix = next(s for s, f in SINKS.items() if f == name)
    sink = open_sink(tmp_path / f"clip{suffix}", header=header(), info=INFO)
    for result in results():
        sink.write(result)
    sink.close(SUMMARY | {"files": ["a mark of its own"]})
    assert any(b"a mark of its own" in file.read_bytes() for file in sink.files) == sink.sums_up
    plain = open_sink(tmp_path / "plain", header=header(), info=INFO)
    assert closing_order([sink, plain, sink]) == ([plain, sink, sink] if sink.sums_up else [sink, plain, sink])
    plain.discard()


def test_the_format_is_told_by_name_or_suffix():
    assert format_of(Path("a.CSV")) == "csv"
    assert format_of(Path("a.txt"), "jsonl") == "jsonl"
    assert format_of(Path("-")) == "jsonl"
    with pytest.raises(UsageError, match="save-video"):
        format_of(Path("a.mp4"))
    for bad in ((Path("a.xyz"), None), (Path("a.csv"), "excel")):
        with pytest.raises(UsageError):
            format_of(*bad)


@pytest.mark.parametrize(("name", "format", "told"), [
    ("k.csv", "jsonl", "-o k.csv with -f jsonl: .csv is a suffix of csv; try: -o k.jsonl, or -f csv"),
    ("k.JSON", "openpose", "-o k.JSON with -f openpose: .JSON is a suffix of coco; try: -o k, or -f coco"),
    ("k.jsonl", "csv", "-o k.jsonl with -f csv: .jsonl is a suffix of jsonl; try: -o k.csv, or -f jsonl"),
])  # fmt: skip
def test_a_suffix_of_another_format_than_the_one_named_is_refused(name, format, told):
    with pytest.raises(UsageError) as refused:
        format_of(Path(name), format)
    assert str(refused.value) == told


@pytest.mark.parametrize("name", ["-", "k", "k.txt", "k.v2"])
def test_a_name_that_says_no_format_takes_the_one_named(name):
    assert [format_of(Path(name), format) for format in FORMATS] == list(FORMATS)


def test_outputs_are_checked_before_anything_slow(tmp_path):
    source, made = tmp_path / "in.mp4", tmp_path / "made.csv"
    source.write_text("x")
    made.write_text("x")
    check_outputs([tmp_path / "new.jsonl", "-"], inputs=[source])
    check_outputs([made], True)
    for paths, error, text in (
        ([made], OutputError, "exists"),
        ([source], OutputError, "is the input"),
        ([tmp_path / "no" / "a.csv"], OutputError, "mkdir -p"),
        ([tmp_path / "a.csv", tmp_path / "." / "a.csv"], UsageError, "twice"),
    ):
        with pytest.raises(error, match=text):
            check_outputs(paths, inputs=[source])
    with pytest.raises(OutputError, match="is the input"):
        check_outputs([source], True, inputs=[source])
    (tmp_path / "b.jsonl.part").write_text("x")
    with pytest.raises(OutputError, match="--resume"):
        check_outputs([tmp_path / "b.jsonl"])
    check_outputs([tmp_path / "b.jsonl"], resume=True)
    (tmp_path / "c_px_person3.trc").write_text("x")
    with pytest.raises(OutputError, match="person3"):
        check_outputs([tmp_path / "c.trc"])
    (tmp_path / "link.mp4").symlink_to(source)
    with pytest.raises(OutputError, match="is the input"):
        check_outputs([tmp_path / "link.mp4"], True, inputs=[source])
    (tmp_path / "hard.mp4").hardlink_to(source)
    with pytest.raises(OutputError, match="is the input"):
        check_outputs([tmp_path / "hard.mp4"], True, inputs=[source])


@pytest.mark.parametrize(("source", "output"), [
    ("a.jsonl.part", "a.jsonl"), ("a.csv.part", "a.csv"), ("a.meta.json", "a.csv"), ("a.meta.json.part", "a.csv"),
    ("a.images.json", "a.json"), ("a_px_person2.trc", "a.trc"),
])  # fmt: skip
def test_what_an_output_is_called_while_it_grows_and_what_comes_beside_it_may_not_be_an_input(tmp_path, source, output):
    (tmp_path / source).write_text("x")
    with pytest.raises(OutputError, match="is the input"):
        check_outputs([tmp_path / output], True, inputs=[tmp_path / source])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="permission"):
        check_outputs([tmp_path / "a.csv"])
    tmp_path.chmod(0o700)


class Failing:
    """A sink whose third write fails."""

    path, written, aborted, summary = Path("x"), 0, False, None

    def __init__(self, wait=0.0):
        self.wait, self.thread = wait, None

    def write(self, result):
        time.sleep(self.wait)
        self.thread = threading.current_thread()
        if result.frame == 2:
            raise OutputError("disk full")
        self.written += 1

    def close(self, summary):
        self.summary = summary

    def abort(self):
        self.aborted = True


def send(sink, frames):
    for i in range(frames):
        sink.write(Result(frame=i))
    sink.close({})


def test_an_error_on_the_thread_reaches_the_next_write_or_close():
    sink = Threaded(inner := Failing())
    with pytest.raises(OutputError, match="disk full"):
        send(sink, 1000)
    assert inner.aborted
    sink = Threaded(inner := Failing())
    with pytest.raises(OutputError, match="disk full"):
        send(sink, 3)
    assert inner.aborted
    assert inner.summary is None
    assert inner.thread is not threading.current_thread()


def test_what_waits_is_written_before_close_and_the_queue_is_bounded():
    sink = Threaded(inner := Failing(0.01), depth=3)
    for _ in range(20):
        sink.write(Result(frame=0))
        assert sink._queue.qsize() <= 3
    sink.close({"frames": 20})
    sink.close({})
    assert inner.written == 20
    assert inner.summary == {"frames": 20}
    assert not inner.thread.is_alive()


def test_a_recording_removed_while_it_is_written_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "FLUSH", 0.0)
    sink = JsonlSink(tmp_path / "a.jsonl", header())
    (tmp_path / "a.jsonl.part").unlink()
    with pytest.raises(OutputError, match="removed"):
        sink.write(Result(frame=0))
    sink.abort()


def test_a_file_that_appeared_meanwhile_is_not_replaced(tmp_path):
    sink = JsonlSink(tmp_path / "a.jsonl", header())
    (tmp_path / "a.jsonl").write_text("somebody else's")
    with pytest.raises(OutputError, match="appeared"):
        sink.close(SUMMARY)
    sink.abort()
    assert (tmp_path / "a.jsonl").read_text() == "somebody else's"


def test_lines_reach_the_disk_within_a_second(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "FLUSH", 0.2)
    sink = JsonlSink(tmp_path / "a.jsonl", header())
    for i in range(30):
        sink.write(Result(frame=i))
        time.sleep(0.02)
    on_disk = (tmp_path / "a.jsonl.part").read_text().count('"frame"')
    sink.abort()
    assert on_disk >= 30 - 14


def test_data_on_standard_output(capsys):
    sink = open_sink("-", header=header(), info=INFO)
    for result in results():
        sink.write(result)
    sink.close(SUMMARY)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 7 + 1
    assert '"type":"header"' in lines[0]


def test_text_reaches_the_disk_with_the_first_write_after_a_second(tmp_path, monkeypatch):
    """What a killed program keeps: no more may wait in its memory than a second's worth."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(parts, "time", clock)
    file = parts.PartFile(tmp_path / "a.jsonl")
    for clock.now, text, seen in (
        (0.9, "a\n", ""),
        (1.0, "b\n", "a\nb\n"),
        (1.9, "c\n", "a\nb\n"),
        (2.0, "d\n", "a\nb\nc\nd\n"),
    ):
        file.write(text)
        assert (tmp_path / "a.jsonl.part").read_text() == seen
    file.abort()
