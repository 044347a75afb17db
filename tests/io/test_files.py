"""Video files: each decoded frame once, at its true time, upright, with its own number, whatever the file is like."""

import time
from fractions import Fraction

import numpy as np
import pytest
from clips import EVEN, UNEVEN, make, times

from tfpose_rt.config import SourceOptions
from tfpose_rt.errors import InputError
from tfpose_rt.io.av_seek import plan
from tfpose_rt.io.files import FileSource, file_hash
from tfpose_rt.io.sources import open_source
from tfpose_rt.io.synthetic import number_of
from tfpose_rt.records import Frame, Gap

MATRIX = [
    ("mp4", {}),
    ("mp4", {"stamps": UNEVEN}),
    ("mp4", {"rate": Fraction(30000, 1001), "sounds": ("aac",)}),
    ("mp4", {"rate": Fraction(240), "rotation": 90}),
    ("mp4", {"rotation": 180, "stamps": UNEVEN, "sounds": ("aac", "aac")}),
    ("mov", {"rotation": 270, "rate": Fraction(30000, 1001)}),
    ("mp4", {"codec": "libx265", "pix_fmt": "yuv420p10le", "options": {"x265-params": "log-level=none"}}),
    ("mkv", {"codec": "libx264", "pix_fmt": "yuv420p10le", "stamps": UNEVEN}),
    ("mkv", {"codec": "ffv1", "size": (177, 145)}),
    ("mkv", {"codec": "libx264", "pix_fmt": "yuv444p", "size": (177, 145), "rotation": 90}),
    ("webm", {"codec": "libvpx-vp9", "stamps": UNEVEN, "sounds": ("libopus",)}),
    ("webm", {"codec": "libvpx", "size": (177, 145), "options": {"auto-alt-ref": "1", "lag-in-frames": "10"}}),
    ("webm", {"codec": "libsvtav1", "options": {"preset": "12", "svtav1-params": "lp=1"}}),
    ("mov", {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}),
    ("avi", {"codec": "mpeg4", "ticks": 1}),
    ("avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p", "ticks": 1}),
    ("ts", {"codec": "mpeg2video", "offset": 90, "ticks": 1}),
    ("mp4", {"offset": 777, "options": {"bf": "3"}}),
]


def frames(source):
    out = list(source)
    source.close()
    return out


@pytest.mark.parametrize(("suffix", "how"), MATRIX)
def test_every_frame_at_its_time_upright_with_its_number(tmp_path, suffix, how):
    path = tmp_path / f"Tänzer 踊り.{suffix}"
    meant = make(path, **how)
    source = FileSource(path)
    got = frames(source)
    seen = times(path)
    assert len(got) == len(seen) == len(meant)
    assert [f.index for f in got] == list(range(len(meant)))
    np.testing.assert_allclose([f.pts for f in got], np.array(seen) - seen[0], atol=1e-3)
    np.testing.assert_allclose([f.pts for f in got], meant, atol=1e-3)
    assert [number_of(f.image) for f in got] == list(range(len(meant)))
    size = how.get("size", (176, 144))
    assert source.info.size == size
    assert {f.image.shape for f in got} == {(size[1], size[0], 3)}
    assert source.info.rotation == how.get("rotation", 0)
    assert (source.ended, source.decode_errors) == ("eof", 0)
    assert not any(f.pts_fixed for f in got)
    assert not got[0].image.flags.writeable


def test_a_dot_painted_at_10_20_is_there(tmp_path):
    def dot(number, size):
        image = np.zeros((size[1], size[0], 3), np.uint8)
        image[20, 10] = 255
        return image

    make(tmp_path / "dot.mkv", codec="ffv1", pix_fmt="bgr0", paint=dot, rotation=90)
    first = next(iter(FileSource(tmp_path / "dot.mkv")))
    assert np.argwhere(first.image[..., 0] > 200).tolist() == [[20, 10]]


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_a_rotation_asked_for_replaces_the_files_own(tmp_path, angle):
    path = tmp_path / "a.mp4"
    make(path, rotation=90)
    source = FileSource(path, SourceOptions(rotate=str(angle)))
    image = next(iter(source)).image
    source.close()
    assert source.info.size == ((176, 144) if angle in (90, 270) else (144, 176))
    assert source.info.rotation == angle
    assert (number_of(image) == 0 and image[40:].any()) or angle != 90
    upright = next(iter(FileSource(path))).image
    np.testing.assert_array_equal(np.rot90(image, (angle - 90) // 90), upright)


@pytest.mark.parametrize(("options", "meant"), [
    ({"frames": (5, 9)}, [5, 6, 7, 8]),
    ({"start": 0.2}, list(range(5, 24))),
    ({"end": 0.2}, [0, 1, 2, 3, 4]),
    ({"start": 0.1, "end": 0.3, "stride": 2}, [3, 5, 7]),
    ({"stride": 10}, [0, 10, 20]),
    ({"frames": (4, 20), "stride": 5}, [4, 9, 14, 19]),
])  # fmt: skip
def test_a_part_keeps_the_numbers_and_times_of_the_whole(tmp_path, options, meant):
    make(tmp_path / "a.mp4")
    source = FileSource(tmp_path / "a.mp4", SourceOptions(**options))
    got = frames(source)
    assert [f.index for f in got] == meant
    assert [number_of(f.image) for f in got] == meant
    np.testing.assert_allclose([f.pts for f in got], np.array(meant) / 25, atol=1e-6)
    assert source.ended == ("limit" if "end" in options or "frames" in options else "eof")


def test_a_part_behind_the_end_is_an_error(tmp_path):
    make(tmp_path / "a.mp4")
    with pytest.raises(InputError, match="24 frames"):
        frames(FileSource(tmp_path / "a.mp4", SourceOptions(start=50.0)))
    make(tmp_path / "one.mp4", stamps=EVEN[:1])
    with pytest.raises(InputError, match=r"it has 1 frame, 0\.000 s"):
        frames(FileSource(tmp_path / "one.mp4", SourceOptions(start=50.0)))


def damaged(path, number):
    """Overwrite one packet of an all-key-frame clip, so that exactly that frame cannot be decoded."""
    import av

    with av.open(str(path)) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
    data = bytearray(path.read_bytes())
    at, size = packets[number].pos, packets[number].size
    data[at : at + size] = bytes(size)
    path.write_bytes(data)


@pytest.mark.parametrize(("codec", "pix_fmt", "options"), [
    ("prores_ks", "yuv422p10le", {}), ("libx264", "yuv420p", {"g": "1"}), ("libx264", "yuv420p", {"g": "1", "bf": "0"}),
])  # fmt: skip
def test_an_undecodable_frame_in_the_middle_keeps_its_number_and_is_counted(tmp_path, codec, pix_fmt, options):
    path = tmp_path / "a.mov"
    make(path, codec=codec, pix_fmt=pix_fmt, options=options)
    damaged(path, 7)
    source = FileSource(path)
    got = frames(source)
    assert [f.index if isinstance(f, Frame) else f"gap {f.seq_from}-{f.seq_to}" for f in got] == [
        0, 1, 2, 3, 4, 5, 6, "gap 7-7", *range(8, 24)]  # fmt: skip
    assert all(number_of(f.image) == f.index for f in got if isinstance(f, Frame))
    gap = next(f for f in got if isinstance(f, Gap))
    assert (gap.reason, gap.t_start, gap.t_end) == ("decode_error", 0.24, 0.32)
    assert (source.ended, source.decode_errors) == ("decode_error", 1)


def test_a_frame_lost_behind_the_part_asked_for_is_no_loss_of_the_part(tmp_path):
    path = tmp_path / "a.mov"
    make(path, codec="prores_ks", pix_fmt="yuv422p10le")
    damaged(path, 7)
    source = FileSource(path, SourceOptions(frames=(0, 7)))
    assert [f.index for f in frames(source)] == list(range(7))
    assert (source.ended, source.decode_errors) == ("limit", 0)


def test_an_undecodable_last_frame_is_told_too(tmp_path):
    path = tmp_path / "a.mov"
    make(path, codec="prores_ks", pix_fmt="yuv422p10le")
    damaged(path, 23)
    got = frames(FileSource(path))
    assert isinstance(got[-1], Gap)
    assert got[-1].seq_from == 23
    assert len(got) == 24


@pytest.mark.parametrize(("suffix", "how"), [
    ("mp4", {"options": {"g": "4"}}), ("mkv", {}), ("avi", {"codec": "mpeg4", "ticks": 1}),
    ("webm", {"codec": "libvpx-vp9"}),
])  # fmt: skip
def test_a_file_cut_short_ends_early(tmp_path, suffix, how):
    path = tmp_path / f"a.{suffix}"
    make(path, stamps=tuple(range(100)), **how)
    if suffix == "mp4":
        faststart(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = FileSource(path)
    got = [f for f in frames(source) if isinstance(f, Frame)]
    assert 5 < len(got) < 95
    assert [f.index for f in got] == list(range(len(got)))
    assert source.ended == "early_eof"


def faststart(path):
    from tfpose_rt.io.av_writer import _rewrite

    whole = path.with_suffix(".whole")
    _rewrite(path, whole, "mp4")
    whole.replace(path)


@pytest.mark.parametrize(("name", "content", "why"), [
    ("empty.mp4", b"", "0 bytes"),
    ("text.mp4", b"this is not a video\n" * 50, "invalid data"),
    ("notes.txt", b"hello\n" * 50, ""),
    ("list.m3u8", b"#EXTM3U\n#EXTINF:5,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n", ""),
])  # fmt: skip
def test_what_is_no_video_is_refused_in_one_line(tmp_path, name, content, why):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        open_source(str(tmp_path / name))
    assert name.split(".")[0] in str(caught.value)
    assert why in str(caught.value).lower()
    assert "\n" not in str(caught.value)


def test_missing_and_truncated_before_the_index(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        FileSource(tmp_path / "nope.mp4")
    make(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:3000])
    with pytest.raises(InputError, match=r"a\.mp4"):
        FileSource(tmp_path / "a.mp4")


def test_sound_alone_is_no_video(tmp_path):
    import av
    from clips import tone

    with av.open(str(tmp_path / "a.mka"), "w") as out:
        track = out.add_stream("libopus", rate=48000, layout="mono")
        tone(out, track, 0.5)
    with pytest.raises(InputError, match="no video"):
        FileSource(tmp_path / "a.mka")


def test_the_hash_covers_both_ends_and_the_size(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes(3 << 20))
    one, whole = file_hash(path), file_hash(path, whole=True)
    data = bytearray(3 << 20)
    data[(3 << 20) // 2] = 1  # in the middle: only the whole hash sees it
    path.write_bytes(data)
    assert file_hash(path) == one
    assert file_hash(path, whole=True) != whole
    path.write_bytes(bytes((3 << 20) + 1))
    assert file_hash(path) != one


def test_stamps_that_repeat_are_repaired_and_marked(tmp_path):
    """A stream without stamps of its own: raw H.264 in a container-less file."""
    path = tmp_path / "a.h264"
    make(path, options={"bf": "0"})
    got = frames(FileSource(path))
    assert [f.index for f in got] == list(range(len(EVEN)))
    steps = np.diff([f.pts for f in got])
    assert (steps > 0).all()
    np.testing.assert_allclose(steps, 0.04, atol=1e-3)


def test_closing_while_another_thread_reads(tmp_path):
    import threading

    make(tmp_path / "a.mp4", stamps=tuple(range(200)))
    for _ in range(20):
        source = FileSource(tmp_path / "a.mp4")
        failed = []

        def read(source=source, failed=failed):
            try:
                list(source)
            except Exception as error:  # noqa: BLE001 - whatever it is, the test fails with it
                failed.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        time.sleep(0.002)
        source.close()
        source.close()
        thread.join()
        assert not failed
        assert source.ended == "limit"


DEEP = [
    ("mp4", {"options": {"g": "40", "bf": "3"}}),
    ("mp4", {"options": {"g": "40", "bf": "3", "x264-params": "open-gop=1"}, "offset": 777}),
    ("mkv", {"options": {"g": "40", "bf": "3"}, "sounds": ("aac",)}),
    ("mp4", {"options": {"g": "3", "bf": "2"}}),
    ("mkv", {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=40:bframes=3:open-gop=1"}}),
    ("webm", {"codec": "libvpx-vp9", "options": {"g": "40", "deadline": "realtime", "cpu-used": "8"}}),
    ("webm", {"codec": "libvpx", "options": {"g": "40", "auto-alt-ref": "1", "lag-in-frames": "10"}}),
    ("mov", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    ("avi", {"codec": "mpeg4", "ticks": 1}),
]


@pytest.mark.parametrize(("suffix", "how"), DEEP)
def test_a_part_deep_inside_is_the_same_as_decoding_from_the_start(tmp_path, suffix, how, monkeypatch):
    for name in ("tfpose_rt.io.files.WORTH", "tfpose_rt.io.av_seek.WORTH"):  # so that a shorter clip is worth a jump
        monkeypatch.setattr(name, 100)
    uneven = tuple(i + i // 7 for i in range(270)) if suffix != "avi" else tuple(range(270))
    make(tmp_path / f"a.{suffix}", size=(96, 64), stamps=uneven, **how)

    def read(**options):
        source = FileSource(tmp_path / f"a.{suffix}", SourceOptions(**options))
        got = [(f.index, f.pts, number_of(f.image)) for f in frames(source)]
        return got, source.ended

    jumps = []
    for options in ({"start": 8.03}, {"start": 9.0, "end": 9.6, "stride": 3}, {"frames": (213, 260), "stride": 7},
                    {"start": 2.0, "stride": 5, "skip_to": 240}, {"skip_to": 269}, {"start": 0.5}):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr("tfpose_rt.io.av_reader.plan", lambda *given: jumps.append(plan(*given)) or jumps[-1])
            got = read(**options)
        with monkeypatch.context() as patch:
            patch.setattr("tfpose_rt.io.av_reader.plan", lambda *_: None)
            assert got == read(**options), options
        assert got[0]
        assert [n for _, _, n in got[0]] == [i for i, _, _ in got[0]]
    # five are worth a jump, where the container tells frames from packets
    assert sum(jump is not None for jump in jumps) == (0 if suffix == "avi" or how.get("codec") == "libvpx" else 5)


def test_a_jump_does_not_decode_what_it_passes_over(tmp_path):
    make(tmp_path / "a.mp4", size=(96, 64), stamps=tuple(range(420)), options={"g": "40"})
    source = FileSource(tmp_path / "a.mp4", SourceOptions(frames=(400, 420)))
    seen = []
    decode = source._reader._send
    source._reader._send = lambda packet: seen.append(packet) or decode(packet)
    assert len(frames(source)) == 20
    assert len(seen) < 110
