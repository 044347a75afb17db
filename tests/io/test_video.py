"""Saved videos: as many frames as were meant, each at its time, with the sound, whatever ends the run."""

import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from clips import UNEVEN, make, streams, times
from known_people import header, poses

from tfpose_rt.config import SourceOptions
from tfpose_rt.errors import OutputError, UsageError
from tfpose_rt.io import video as video_module
from tfpose_rt.io.files import FileSource
from tfpose_rt.io.jsonl import JsonlSink, Recording
from tfpose_rt.io.parts import Resume, SinkOptions
from tfpose_rt.io.synthetic import SyntheticSource, number_of, pattern
from tfpose_rt.io.video import VideoSink, constant_rate
from tfpose_rt.records import Gap, Result, StreamInfo

EOF = {"ended": "eof"}


def copy(source, path, options=None, *, stop=None, start=0):
    """Save every frame of a source as it is; returns the times written and the sink."""
    sink = VideoSink(path, source.info, options)
    written = []
    for frame in source:
        if isinstance(frame, Gap):
            sink.write(Result(gap=frame))
            continue
        if frame.index < start:
            continue
        if stop is not None and len(written) == stop:
            break
        sink.write(Result(frame=frame.index, pts=frame.pts, image=frame.image))
        written.append(frame.pts)
    return written, sink


@pytest.mark.parametrize(("out", "how", "sound"), [
    ("o.mp4", {}, []),
    ("o.mp4", {"stamps": UNEVEN, "sounds": ("aac",)}, ["aac"]),
    ("o.mp4", {"rate": Fraction(30000, 1001), "size": (177, 145), "codec": "ffv1", "sounds": ("flac",)}, ["flac"]),
    ("o.mp4", {"rate": Fraction(240), "rotation": 90, "sounds": ("aac", "aac")}, ["aac", "aac"]),
    ("o.mp4", {"codec": "ffv1", "sounds": ("pcm_s16le",)}, ["aac"]),
    ("o.mov", {"rotation": 270, "sounds": ("aac",)}, ["aac"]),
    ("o.mkv", {"stamps": UNEVEN, "codec": "ffv1", "sounds": ("pcm_s16le",)}, ["pcm_s16le"]),
    ("o.webm", {"stamps": UNEVEN, "sounds": ("aac",)}, ["opus"]),
    ("o.webm", {"codec": "libvpx-vp9", "sounds": ("libopus",)}, ["opus"]),
])  # fmt: skip
def test_every_frame_at_the_sources_time_with_its_sound(tmp_path, out, how, sound):
    mp4 = how.get("codec", "libx264") == "libx264"
    source_path = tmp_path / ("in.mp4" if mp4 else "in.mkv")
    meant = make(source_path, **how)
    source = FileSource(source_path)
    _, sink = copy(source, tmp_path / out, SinkOptions(audio=source_path))
    assert (tmp_path / f"{out}.part").exists()
    assert not (tmp_path / out).exists()
    sink.close(EOF)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("o.")] == [out]
    got = times(tmp_path / out)
    np.testing.assert_allclose(got, meant, atol=1e-3)
    assert streams(tmp_path / out) == [
        ("video", "vp9" if out.endswith("webm") else "h264"),
        *(("audio", s) for s in sound),
    ]
    with av.open(str(tmp_path / out)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.width % 2, stream.height % 2) == (0, 0)
        assert stream.width - source.info.size[0] in (0, 1)
        length = container.duration / 1e6
        frames = [f.to_ndarray(format="bgr24") for f in container.decode(stream)]
    assert [number_of(f[: source.info.size[1], : source.info.size[0]]) for f in frames] == list(range(len(meant)))
    step = float(1 / how.get("rate", Fraction(25)))
    assert meant[-1] < length <= meant[-1] + step + 0.05
    if out.endswith("mp4"):
        assert (tmp_path / out).read_bytes()[4:4000].find(b"moov") > 0  # the index is in front: plays while loading


def test_mp4_stamps_are_exact_in_the_sources_time_base(tmp_path):
    make(tmp_path / "in.mp4", rate=Fraction(30000, 1001), stamps=UNEVEN, ticks=1)
    source = FileSource(tmp_path / "in.mp4")
    copy(source, tmp_path / "o.mp4")[1].close(EOF)

    def ticks(path):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            return [f.pts * stream.time_base for f in container.decode(stream)]

    first = ticks(tmp_path / "in.mp4")
    assert ticks(tmp_path / "o.mp4") == [t - first[0] for t in first]


def test_sound_is_cut_to_the_part_and_stays_in_step(tmp_path):
    make(tmp_path / "in.mp4", sounds=("flac",), stamps=tuple(range(50)))
    from tfpose_rt.config import SourceOptions

    source = FileSource(tmp_path / "in.mp4", SourceOptions(start=0.4, end=1.2))
    _, sink = copy(source, tmp_path / "o.mp4", SinkOptions(audio=tmp_path / "in.mp4"))
    sink.close({"ended": source.ended})
    with av.open(str(tmp_path / "o.mp4")) as container:
        sounds = list(container.decode(container.streams.audio[0]))
    begin, end = sounds[0].time, sounds[-1].time + sounds[-1].samples / 48000
    assert 0 <= begin < 0.1  # one packet of sound
    assert 0.8 - 0.05 < end < 0.8 + 0.05
    wave = np.concatenate([s.to_ndarray().ravel() for s in sounds])[:2000]
    wave = wave / np.iinfo(wave.dtype).max
    truth = np.sin((np.arange(2000) + round((0.4 + begin) * 48000)) * 0.06) * 0.3
    assert np.abs(wave - truth).max() < 0.02


def test_render_draws_what_is_saved_and_a_gap_adds_nothing(tmp_path):
    source = SyntheticSource("synthetic:64x48@10")
    sink = VideoSink(tmp_path / "o.mkv", source.info, SinkOptions(render=lambda r: pattern(r.frame + 100, (64, 48))))
    for i in range(5):
        sink.write(Result(frame=i, pts=i / 10, image=pattern(i, (64, 48))))
        sink.write(Result(gap=Gap(reason="decode_error", t_start=0, t_end=0, seq_from=0)))
    sink.close(EOF)
    with av.open(str(tmp_path / "o.mkv")) as container:
        assert [number_of(f.to_ndarray(format="bgr24")) for f in container.decode(video=0)] == list(range(100, 105))


def test_a_change_of_size_is_fitted_into_the_first_one(tmp_path):
    info = StreamInfo(kind="camera", name="0", size=(64, 48), fps=30.0, live=True)
    sink = VideoSink(tmp_path / "o.mp4", info)
    for i, size in enumerate(((64, 48), (100, 40), (64, 48))):
        sink.write(Result(frame=i, pts=i / 30, image=pattern(i, size)))
    sink.close(EOF)
    assert len(times(tmp_path / "o.mp4")) == 3


def test_live_times_are_kept_to_the_millisecond(tmp_path):
    info = StreamInfo(kind="camera", name="0", size=(64, 48), live=True)
    meant = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.2, 30))
    for name in ("o.mkv", "o.mp4"):
        sink = VideoSink(tmp_path / name, info)
        for i, t in enumerate(meant):
            sink.write(Result(frame=i, pts=float(t), image=pattern(i, (64, 48))))
        sink.close(EOF)
        np.testing.assert_allclose(times(tmp_path / name), meant - meant[0], atol=1e-3)


@pytest.mark.parametrize("name", ["o.mp4", "o.mkv", "o.webm"])
def test_a_killed_writer_leaves_a_part_that_plays_to_the_last_second(tmp_path, name):
    program = f"""
import sys, time
from pathlib import Path
from tfpose_rt.io.video import VideoSink
from tfpose_rt.io.synthetic import SyntheticSource, pattern
from tfpose_rt.records import Result
sink = VideoSink(Path({str(tmp_path / name)!r}), SyntheticSource("synthetic:160x120@30").info)
for i in range(100000):
    sink.write(Result(frame=i, pts=i / 30, image=pattern(i, (160, 120))))
    if i % 30 == 0:
        print(i, flush=True)
    time.sleep(0.002)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        last = 0
        while last < 150:
            last = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (tmp_path / name).exists()
    frames = VideoSink.frames_in_part(tmp_path / name)
    assert frames >= last - 45  # one second, and half of one inside the encoder
    with av.open(str(tmp_path / f"{name}.part")) as container:
        numbers = [number_of(f.to_ndarray(format="bgr24")) for f in container.decode(video=0)]
    assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("name", ["o.mp4", "o.mkv", "o.webm"])
def test_a_part_is_continued_without_a_seam(tmp_path, name):
    make(tmp_path / "in.mp4", stamps=(*UNEVEN, *range(30, 60)), sounds=("aac",))
    options = {"audio": tmp_path / "in.mp4"}
    meant, sink = copy(FileSource(tmp_path / "in.mp4"), tmp_path / name, SinkOptions(**options), stop=30)
    sink.abort()
    assert VideoSink.frames_in_part(tmp_path / name) >= 20
    resume = Resume(last=19, frames=20, first_pts=0.0)
    source = FileSource(tmp_path / "in.mp4")
    _, sink = copy(source, tmp_path / name, SinkOptions(resume=resume, **options), start=20)
    assert sink.written == len(UNEVEN) + 30
    sink.close(EOF)
    whole, sink = copy(FileSource(tmp_path / "in.mp4"), tmp_path / f"whole{name}", SinkOptions(**options))
    sink.close(EOF)
    np.testing.assert_allclose(times(tmp_path / name), whole, atol=1e-3)
    with av.open(str(tmp_path / name)) as container:
        got = [number_of(f.to_ndarray(format="bgr24")) for f in container.decode(video=0)]
    assert got == list(range(len(whole)))
    assert meant == whole[:30]


@pytest.mark.parametrize("name", ["o.mp4", "o.mkv"])
def test_a_part_that_cannot_be_continued_is_left_as_it_was(tmp_path, name):
    info = StreamInfo(kind="camera", name="0", size=(64, 48), fps=30.0)
    sink = VideoSink(tmp_path / name, info)
    for i in range(60):
        sink.write(Result(frame=i, pts=i / 30, image=pattern(i, (64, 48))))
    sink.abort()
    before = (tmp_path / f"{name}.part").read_bytes()
    resume = SinkOptions(resume=Resume(last=99, frames=100, first_pts=0.0))
    for options, error in ((resume, OutputError), (replace(resume, audio=tmp_path / "none.mp4"), OutputError)):
        with pytest.raises(error):
            VideoSink(tmp_path / name, info, options)
        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {f"{name}.part": before}
    (tmp_path / f"{name}.part").rename(tmp_path / f"{name}.part.old")  # as killed in the middle of it
    (tmp_path / f"{name}.part").write_bytes(before[:500])
    assert VideoSink.frames_in_part(tmp_path / name) == 60
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {f"{name}.part": before}


def test_without_an_h264_encoder_it_is_mpeg4_and_a_line_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("tfpose_rt.io.av_writer.has_encoder", lambda name: False)
    make(tmp_path / "in.mp4", stamps=(0, 1, 2, 5, 6))
    with caplog.at_level(logging.WARNING):
        _, sink = copy(FileSource(tmp_path / "in.mp4"), tmp_path / "o.mp4")
        sink.close(EOF)
    assert "browsers do not play it" in caplog.text
    assert len(times(tmp_path / "o.mp4")) == 7  # places 3 and 4 show frame 2
    assert streams(tmp_path / "o.mp4") == [("video", "mpeg4")]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "o.mp4"]
    for suffix, codec in ((".mkv", "auto"), (".webm", "auto"), (".mp4", "h264")):
        with pytest.raises(OutputError):
            VideoSink(
                tmp_path / f"x{suffix}", StreamInfo(kind="camera", name="0", size=(64, 48)), SinkOptions(codec=codec)
            )


def shown(path):
    """The number painted into each picture of a video, as OpenCV reads it."""
    capture, numbers = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        numbers.append(number_of(read[1]))
    return numbers


@pytest.mark.parametrize(("rate", "at", "places"), [
    (10, [0.0, 1.0], [0] * 10 + [1]),  # the earlier picture stays until the later one comes
    (10, [5.0, 5.04, 5.1, 5.32], [0, 2, 2, 3]),  # 1 has no place of its own
    (30, [i / 60 for i in range(60)], list(range(0, 60, 2))),  # a second remains a second
])  # fmt: skip
def test_at_a_constant_rate_every_picture_is_shown_until_the_next_and_numbered_as_it_is(tmp_path, rate, at, places):
    info = StreamInfo(kind="file", name="a", size=(160, 120), fps=float(rate))
    sink = VideoSink(tmp_path / "o.mp4", info, SinkOptions(codec="mp4v"))
    numbering = SinkOptions(numbers_video=True, video_rate=constant_rate(tmp_path / "o.mp4", info, "mp4v"))
    data = JsonlSink(tmp_path / "o.jsonl", header(), numbering)
    for i, pts in enumerate(at):
        result = Result(frame=i, pts=pts, image=pattern(i, (160, 120)), poses=poses([], i, pts))
        sink.write(result)
        data.write(result)
    sink.close(EOF)
    data.close(EOF)
    assert shown(tmp_path / "o.mp4") == places
    records = [r for r in Recording(tmp_path / "o.jsonl").records() if r["type"] == "frame"]
    assert [r["video_frame"] for r in records] == [places.index(i) if i in places else None for i in range(len(at))]


def test_an_unfinished_video_of_constant_rate_is_not_continued(tmp_path):
    info = StreamInfo(kind="file", name="a", size=(64, 48), fps=10.0)
    sink = VideoSink(tmp_path / "o.mp4", info, SinkOptions(codec="mp4v"))
    for i in range(20):
        sink.write(Result(frame=i, pts=i / 10, image=pattern(i, (64, 48))))
    sink.abort()
    before = (tmp_path / "o.mp4.part").read_bytes()
    assert VideoSink.frames_in_part(tmp_path / "o.mp4") == 20
    resume = Resume(last=9, frames=10, first_pts=0.0)
    with pytest.raises(OutputError, match="takes no more"):
        VideoSink(tmp_path / "o.mp4", info, SinkOptions(codec="mp4v", resume=resume))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"o.mp4.part": before}
    assert constant_rate(tmp_path / "o.mkv", info) is None


@pytest.mark.parametrize(("name", "codec"), [("o.gif", "auto"), ("o.mp4", "theora"), ("o.webm", "h264")])
def test_what_cannot_be_is_refused_before_the_run(tmp_path, name, codec):
    with pytest.raises(UsageError):
        VideoSink(tmp_path / name, StreamInfo(kind="camera", name="0", size=(64, 48)), SinkOptions(codec=codec))


@pytest.mark.parametrize(
    ("meant", "found", "told"),
    [(24, 23, "holds 23 frames: 24 were written"), (2, 1, "holds 1 frame: 2 were"), (1, 0, "holds 0 frames: 1 was")],
)
def test_frames_that_cannot_be_read_back_are_an_output_error(tmp_path, monkeypatch, meant, found, told):
    monkeypatch.setattr("tfpose_rt.io.av_writer.count_frames", lambda path: found)
    make(tmp_path / "in.mp4")
    source = FileSource(tmp_path / "in.mp4", SourceOptions(frames=(0, meant)))
    _, sink = copy(source, tmp_path / "o.mp4")
    with pytest.raises(OutputError, match=told):
        sink.close(EOF)
    assert not (tmp_path / "o.mp4").exists()
    sink.abort()


def test_a_video_removed_while_it_is_written_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(video_module, "FLUSH", 0.0)
    source = SyntheticSource("synthetic:64x48@30")
    sink = VideoSink(tmp_path / "o.mp4", source.info)
    sink.write(Result(frame=0, pts=0.0, image=pattern(0, (64, 48))))
    Path(tmp_path / "o.mp4.part").unlink()
    with pytest.raises(OutputError, match="removed"):
        sink.write(Result(frame=1, pts=0.1, image=pattern(1, (64, 48))))
    sink.abort()
    assert list(tmp_path.iterdir()) == []
