"""What the user types becomes the right source; images, test pattern and pipe give the frames they should."""

import io
import itertools
import os
import threading
import time
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from clips import in_latin_1, make, times

from tfpose_rt.config import SourceOptions
from tfpose_rt.errors import InputError, UsageError
from tfpose_rt.io.av_local import exact
from tfpose_rt.io.av_seek import plan
from tfpose_rt.io.av_sound import Sound
from tfpose_rt.io.images import ImagesSource
from tfpose_rt.io.sources import expand, open_source
from tfpose_rt.io.stdin_mjpeg import MjpegSource, split_jpegs
from tfpose_rt.io.synthetic import number_of, pattern
from tfpose_rt.io.video import VideoSink
from tfpose_rt.records import Frame, Gap, Result, Segment


def save(path, number=0, size=(64, 48)):
    path.write_bytes(cv2.imencode(path.suffix, pattern(number, size))[1].tobytes())
    return path


def jpeg(number=0, size=(64, 48)):
    return cv2.imencode(".jpg", pattern(number, size))[1].tobytes()


def test_a_folder_of_images_is_one_source_in_natural_order(tmp_path):
    for number in (0, 1, 2, 10, 11):
        save(tmp_path / f"frame_{number}.png", number)
    source = open_source(str(tmp_path))
    got = list(source)
    assert [number_of(f.image) for f in got] == [0, 1, 2, 10, 11]
    assert [f.index for f in got] == [0, 1, 2, 3, 4]
    assert [f.pts for f in got] == [0.0, 0.033333, 0.066667, 0.1, 0.133333]
    assert (source.info.kind, source.info.name, source.info.frames) == ("images", tmp_path.name, 5)
    assert source.ended == "eof"


def test_images_of_other_sizes_and_broken_ones(tmp_path):
    save(tmp_path / "a1.png", 1)
    (tmp_path / "a2.png").write_bytes(b"not an image")
    save(tmp_path / "a3.png", 3, (80, 60))
    source = ImagesSource([tmp_path / f"a{i}.png" for i in (1, 2, 3)], SourceOptions(fps=10.0))
    got = list(source)
    assert [type(x) for x in got] == [Frame, Gap, Segment, Frame]
    assert (got[1].seq_from, got[1].detail) == (1, "a2.png")
    assert got[2].size == (80, 60)
    assert (got[3].index, got[3].pts) == (2, 0.2)
    assert (source.ended, source.decode_errors) == ("decode_error", 1)


def test_an_image_with_a_strange_name_and_an_exif_turn(tmp_path):
    from PIL import Image as Pillow

    upright = pattern(5, (64, 48))
    image = Pillow.fromarray(np.rot90(upright, 1)[..., ::-1].copy())
    tag = Pillow.Exif()
    tag[0x0112] = 6  # turn clockwise to see it upright
    image.save(tmp_path / "Tänzer 踊り.png", exif=tag)
    got = list(open_source(str(tmp_path / "Tänzer 踊り.png")))
    assert len(got) == 1
    np.testing.assert_array_equal(got[0].image, upright)


def test_a_part_of_the_images(tmp_path):
    for number in range(9):
        save(tmp_path / f"{number}.png", number)
    got = list(open_source(f"{tmp_path}/*.png", SourceOptions(frames=(2, 8), stride=3)))
    assert [f.index for f in got] == [2, 5]
    with pytest.raises(InputError):
        list(open_source(f"{tmp_path}/*.png", SourceOptions(frames=(50, 60))))


def test_expand_makes_one_entry_for_each_recording(tmp_path):
    for name in ("b10.mp4", "b2.mp4", "notes.txt", "c.mkv"):
        (tmp_path / name).write_bytes(b"x")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    save(pictures / "1.png")
    save(pictures / "2.png")
    (tmp_path / "list.txt").write_text(f"# mine\n{tmp_path}/c.mkv\n\n0\n")
    assert expand([str(tmp_path)]) == [str(tmp_path / n) for n in ("b2.mp4", "b10.mp4", "c.mkv")]
    assert expand([f"{tmp_path}/b*.mp4"]) == [str(tmp_path / n) for n in ("b2.mp4", "b10.mp4")]
    assert expand([str(pictures), f"{pictures}/*.png"]) == [str(pictures), f"{pictures}/*.png"]
    assert expand(["synthetic", "-", f"@{tmp_path}/list.txt"]) == ["synthetic", "-", f"{tmp_path}/c.mkv", "0"]
    for empty in (f"{tmp_path}/*.avi", f"@{tmp_path}/none.txt"):
        with pytest.raises(InputError):
            expand([empty])


def test_a_file_whose_name_looks_like_a_glob_is_a_file(tmp_path):
    (tmp_path / "clip[1].mp4").write_bytes(b"x")
    assert expand([str(tmp_path / "clip[1].mp4")]) == [str(tmp_path / "clip[1].mp4")]


def test_the_pattern_is_the_same_every_time_and_carries_its_number():
    assert [number_of(pattern(n, (64, 48))) for n in (0, 1, 77, 65535)] == [0, 1, 77, 65535]
    np.testing.assert_array_equal(pattern(9, (65, 47)), pattern(9, (65, 47)))
    source = open_source("synthetic:80x60@25", SourceOptions(start=0.2, end=1.0, stride=5))
    got = list(source)
    assert [(f.index, f.pts) for f in got] == [(5, 0.2), (10, 0.4), (15, 0.6), (20, 0.8)]
    assert source.info.size == (80, 60)
    assert len(list(open_source("synthetic:32x32@10"))) == 100


@pytest.mark.parametrize("spec", ["synthetic:0x0", "synthetic:640", "synthetic:99999x10", "synthetic:64x64@0"])
def test_a_test_pattern_that_cannot_be(spec):
    with pytest.raises(UsageError):
        open_source(spec)


@pytest.mark.parametrize("options", [
    {"stride": 0}, {"rotate": "45"}, {"start": 5.0, "end": 2.0}, {"start": -1.0}, {"frames": (7, 7)},
])  # fmt: skip
def test_options_that_contradict_each_other(options):
    with pytest.raises(UsageError):
        open_source("synthetic", SourceOptions(**options))


@pytest.mark.parametrize("fps", [-5.0, 0.0, 1000.5, float("nan"), float("inf")])
@pytest.mark.parametrize("kind", ["synthetic", "image.png", "images", "clip.mp4", "-"])
def test_a_rate_that_cannot_be_is_refused_for_every_source(tmp_path, kind, fps):
    (tmp_path / "images").mkdir()
    save(tmp_path / "image.png")
    save(tmp_path / "images" / "1.png")
    (tmp_path / "clip.mp4").write_bytes(b"looked at only after the options")
    with pytest.raises(UsageError, match="--fps"):
        open_source(kind if kind in ("synthetic", "-") else str(tmp_path / kind), SourceOptions(fps=fps))


def test_a_rate_of_less_than_a_frame_an_hour_can_be_saved_as_a_video(tmp_path):
    for number in range(3):
        save(tmp_path / f"{number}.png", number)
    source = open_source(str(tmp_path), SourceOptions(fps=0.0002))
    assert [f.pts for f in source] == [0.0, 5000.0, 10000.0]
    sink = VideoSink(tmp_path / "out.mkv", source.info)
    for frame in open_source(str(tmp_path / "*.png"), SourceOptions(fps=0.0002)):
        sink.write(Result(frame=frame.index, pts=frame.pts, image=frame.image))
    sink.close({})
    assert times(tmp_path / "out.mkv") == pytest.approx([0.0, 5000.0, 10000.0])


def pieces(data, size):
    return [data[i : i + size] for i in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
def test_pictures_are_cut_from_the_pipe_whole(size):
    pictures = [jpeg(n) for n in range(4)]
    data = b"--junk--".join([b"", *pictures, pictures[0][:-9]])
    assert list(split_jpegs(pieces(data, size))) == pictures


@pytest.mark.parametrize("size", [1, 50, 1 << 16])
def test_a_thumbnail_inside_a_picture_does_not_end_it(size):
    plain, small = jpeg(3), jpeg(1, (16, 16))
    inside = plain[:2] + b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small + plain[2:]
    assert list(split_jpegs(pieces(inside + plain, size))) == [inside, plain]


def test_a_picture_that_was_cut_off_ends_where_the_next_begins():
    half = jpeg(2)[:-40]
    assert list(split_jpegs(pieces(half + jpeg(3), 11))) == [half, jpeg(3)]


def test_a_large_picture_is_cut_out_faster_than_it_is_decoded():
    noise = np.random.default_rng(0).integers(0, 255, (1500, 2000, 3), np.uint8)
    data = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    assert len(data) > 2.5e6
    began = time.thread_time()
    assert list(split_jpegs(pieces(data, 1 << 16))) == [data]
    assert time.thread_time() - began < 0.5


def test_what_is_no_mjpeg_is_given_up():
    with pytest.raises(InputError, match="not MJPEG"):
        list(split_jpegs(itertools.chain([b"\xff\xd8"], itertools.repeat(bytes(1 << 22)))))


def test_a_silent_pipe_lets_go_of_its_reader(monkeypatch):
    """Else the end of the program would wait for the thread, and abort."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "wb", buffering=0) as other:
        monkeypatch.setattr("sys.stdin", pipe)
        other.write(jpeg(0) + jpeg(1))
        source = MjpegSource()
        got = []
        thread = threading.Thread(target=lambda: got.extend(source), daemon=True)
        thread.start()
        end = time.monotonic() + 30
        while len(got) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        assert len(got) == 2
        source.close()
        thread.join(30)
        assert not thread.is_alive()


def test_the_pipe_as_a_source(tmp_path):
    data = b"".join([jpeg(0), jpeg(1), b"\xff\xd8\xff\xe0\x00\x04ab\xff\xd9", jpeg(3)])
    source = MjpegSource(io.BytesIO(data), SourceOptions(fps=10.0))
    got = list(source)
    assert [x.index if isinstance(x, Frame) else x.reason for x in got] == [0, 1, "decode_error", 3]
    assert [x.pts for x in got if isinstance(x, Frame)] == [0.0, 0.1, 0.3]
    assert source.ended == "decode_error"
    arrival = [f.pts for f in MjpegSource(io.BytesIO(jpeg(0) * 5))]
    assert all(b > a for a, b in itertools.pairwise(arrival))


def test_a_pipe_without_a_picture():
    with pytest.raises(InputError, match="standard input"):
        MjpegSource(io.BytesIO(b"hello"))


@pytest.mark.parametrize("rational", [Fraction, av.AVRational])
def test_time_bases_of_each_version_of_pyav_are_fractions(rational):
    got = exact(rational(1001, 30_000))
    assert (type(got), got) == (Fraction, Fraction(1001, 30_000))
    assert exact(rational(0, 1)) is exact(None) is None  # not set: 19 says it in one way, 18 in both


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_video_with_tags_in_another_encoding_is_read_to_its_end_and_its_sound_too(tmp_path, suffix):
    plain, path = tmp_path / f"plain.{suffix}", tmp_path / f"a.{suffix}"
    make(plain, size=(64, 48), stamps=tuple(range(300)), sounds=("aac",), options={"g": "20", "preset": "ultrafast"})
    path.write_bytes(in_latin_1(plain))
    with pytest.raises(UnicodeError), av.open(str(path)) as strict:
        "".join((strict.metadata | strict.streams.video[0].metadata).values()).encode()  # PyAV 18 does not even open it
    for source in (open_source(path), open_source(path, SourceOptions(frames=(280, 300)))):  # the second one seeks
        assert [f.index for f in source][-20:] == list(range(280, 300))
        source.close()
    assert plan(path, 0, None, 280) is not None
    with av.open(str(tmp_path / "out.mkv"), "w") as out:
        sound = Sound(path, out, 0.0)
        sound.copy_until(None)
        sound.close()
    with av.open(str(tmp_path / "out.mkv")) as made:
        assert len(list(made.decode(audio=0))) > 400
