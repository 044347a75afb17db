"""Files as promised: whole or refused, under any name, for their owner's eyes, telling nothing of this machine."""

import io
import json
import os
import sys
import tempfile
from pathlib import Path

import av
import cv2
import pytest
from clips import small
from fake_estimator import FakeEstimator
from program import program_alone
from rich.console import Console

from tfpose_rt.io.av_writer import count_frames
from tfpose_rt.io.jsonl import Recording
from tfpose_rt.io.sinks import FORMATS
from tfpose_rt.io.synthetic import pattern
from tfpose_rt.tools.outputs import plan

ALL = ",".join(sorted(FORMATS))


@pytest.fixture
def program(monkeypatch, capsys, tmp_path):
    return program_alone(monkeypatch, capsys, tmp_path, FakeEstimator)


def frames_in(path):
    with av.open(str(path)) as container:
        return len(list(container.decode(video=0)))


# ---- 4: as many frames in the video as were meant, or code 4


def test_h264_that_lost_a_frame_is_code_4_and_gets_no_name(program, tmp_path, monkeypatch):
    small(tmp_path / "a.mp4", 8)
    monkeypatch.setattr("tfpose_rt.io.av_writer.count_frames", lambda path: count_frames(path) - 1)
    code, _, err = program("video", "a.mp4", "-o", "a.jsonl", "--save-video", "o.mp4")
    assert code == 4
    assert "o.mp4 holds 7 frames: 8 were written" in err
    assert not (tmp_path / "o.mp4").exists()
    assert "wrote o.mp4" not in err


class Leaky:
    """OpenCV's writer as some builds have it: it says nothing, and drops every third picture."""

    fourcc = cv2.VideoWriter.fourcc

    def __init__(self, *args):
        self._real, self._count = REAL_WRITER(*args), 0

    def write(self, image):
        self._count += 1
        if self._count % 3:
            self._real.write(image)

    def __getattr__(self, name):
        return getattr(self._real, name)


class Shut(Leaky):
    """A writer without an encoder: it opens nothing, takes everything, and makes no file."""

    def isOpened(self):  # noqa: N802 - as OpenCV calls it
        return False

    def write(self, image):
        pass


REAL_WRITER = cv2.VideoWriter


@pytest.mark.parametrize(("writer", "said"), [(Leaky, "frames: 8 were written"), (Shut, "no mp4v encoder")])
def test_opencvs_writer_is_not_believed(program, tmp_path, monkeypatch, writer, said):
    small(tmp_path / "a.mp4", 8)
    monkeypatch.setattr(cv2, "VideoWriter", writer)
    code, _, err = program("video", "a.mp4", "-o", "a.jsonl", "--save-video", "o.mp4", "--codec", "mp4v")
    assert code == 4
    assert said in err
    assert not (tmp_path / "o.mp4").exists()
    monkeypatch.setattr(cv2, "VideoWriter", REAL_WRITER)
    words = ["-o", "a.jsonl", "--save-video", "o.mp4", "--codec", "mp4v", "--overwrite"]
    assert program("video", "a.mp4", *words)[0] == 0
    assert frames_in(tmp_path / "o.mp4") == 8


# ---- 26: names of any script


@pytest.fixture
def windows(monkeypatch):
    """OpenCV as it is on Windows: it finds no file whose name is not plain ASCII."""

    def narrow(name):
        real = getattr(cv2, name)

        def call(path, *more, **named):
            if isinstance(path, str):
                assert path.isascii(), f"cv2.{name} would not find {path}"
            return real(path, *more, **named)

        call.fourcc = getattr(real, "fourcc", None)
        monkeypatch.setattr(cv2, name, call)

    for name in ("imread", "imwrite", "VideoCapture", "VideoWriter"):
        narrow(name)


@pytest.mark.skipif(sys.platform != "linux", reason="file systems elsewhere hold Unicode alone")
@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet", "coco", "openpose", "trc"])
def test_a_name_that_is_no_utf8_is_written_and_read_back(program, tmp_path, format):
    odd = os.fsdecode(b"cl\xffp.mp4")
    small(tmp_path / "plain.mp4", 6)
    (tmp_path / "plain.mp4").rename(tmp_path / odd)
    code, _, err = program("video", odd, "-o", "out", "-f", format)
    assert code == 0, err
    assert not list(tmp_path.rglob("*.part"))
    if format == "jsonl":
        assert Recording(tmp_path / "out" / "cl_p.jsonl").header["source"]["name"] == odd
        assert program("video", odd, "-o", "out", "--resume")[0] == 0


@pytest.mark.filterwarnings("ignore:Glyph")  # no font here has them all
def test_files_of_any_name_are_read_and_written(program, tmp_path, windows):
    folder, name = tmp_path / "Übung 練習", "Tänzer 踊り"
    folder.mkdir()
    with pytest.raises(AssertionError, match="would not find"):
        cv2.imread(str(folder / "x.png"))
    small(folder / f"{name}.mp4", 6)
    words = ["-o", str(folder), "-f", ALL, "--save-video", str(folder / f"{name} 2.mp4")]
    code, _, err = program("video", str(folder / f"{name}.mp4"), *words)
    assert code == 0, err
    header, *_, last = [json.loads(line) for line in (folder / "Tänzer_踊り.jsonl").read_text("utf-8").splitlines()]
    assert (header["source"]["name"], last["frames"]) == (f"{name}.mp4", 6)
    assert frames_in(folder / f"{name} 2.mp4") == 6
    assert len(list((folder / "Tänzer_踊り_openpose").glob("Tänzer*_keypoints.json"))) == 6
    stills = folder / "Bilder ü"
    stills.mkdir()
    for number in range(3):
        (stills / f"ä {number}.png").write_bytes(cv2.imencode(".png", pattern(number, (144, 96)))[1].tobytes())
    code, _, err = program("video", str(stills), "-o", str(folder / "stills.jsonl"), "-q")
    assert code == 0, err
    assert "stills.jsonl (3 frames)" in err
    figure = folder / "Figur é.png"
    code, _, err = program("plot", str(folder / "Tänzer_踊り.jsonl"), "-o", str(figure), "--joints", "nose")
    assert code == 0, err
    assert figure.stat().st_size > 1000


def test_a_live_run_records_and_takes_pictures_under_any_name(tmp_path, windows):
    sys.path.insert(0, str(Path(__file__).parent / "live"))
    from test_session import FakeScreen, session

    folder = tmp_path / "Aufnahmen ü"
    folder.mkdir()
    live = session(folder, screen=FakeScreen({2: ["snapshot"]}), record=folder / "Tänzer.mkv", max_frames=6)
    live.run()
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".mkv", ".png", ".png"]
    assert frames_in(folder / "Tänzer.mkv") == 6


# ---- section 8: paths


def test_files_are_their_owners_and_pass_through_no_common_folder(program, tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    small(tmp_path / "a.mp4", 6)
    before, opened = os.umask(0o077), []
    monkeypatch.setattr(tempfile, "mkstemp", lambda *a, **k: opened.append(a) or pytest.fail("a temporary file"))
    try:
        assert program("video", "a.mp4", "-o", "out", "-f", ALL, "--save-video", "o.mp4", "-q")[0] == 0
        words = ["--max-frames", "3", "-o", "live.jsonl", "--record", "live.mkv", "--record-what", "both"]
        assert program("webcam", "synthetic:144x96@30", *words, "-q")[0] == 0
    finally:
        os.umask(before)
    made = [path for path in tmp_path.rglob("*") if path not in (shared, tmp_path / "a.mp4")]
    assert len(made) > 12
    assert {path.name: oct(path.stat().st_mode & 0o077) for path in made if path.stat().st_mode & 0o077} == {}
    assert list(shared.iterdir()) == opened == []


def test_no_file_tells_where_on_this_machine_anything_lay(program, tmp_path):
    home = tmp_path / "home-of-jane"
    (home / "weights").mkdir(parents=True)
    small(home / "a.mp4", 6)
    (home / "mine.safetensors").write_bytes(b"")  # the stand-in does not read it
    words = ["--weights", str(home / "weights" / "mine.safetensors"), "--config", str(home / "own.toml")]
    (home / "own.toml").write_text("conf = 0.4\n")
    out = tmp_path / "out"
    out.mkdir()
    code, _, err = program("video", str(home / "a.mp4"), "-o", str(out), "-f", ALL, "--save-video", str(out), *words)
    assert code == 0, err
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) >= 6 + 6
    assert [path.name for path in files if b"home-of-jane" in path.read_bytes()] == []
    assert json.loads((out / "a.jsonl").read_text().splitlines()[0])["args"]["weights"] == "mine.safetensors"


@pytest.mark.parametrize("address", [
    "rtsp://me:pw@host/../../etc/passwd", "http://host/a b;rm -rf%2F$(x)?token=t0p&y=1", "http://host/..\\..\\x:y|z",
    "http://host/a\x1b[31m\nb", "rtsp://host/",
])  # fmt: skip
def test_a_file_named_after_an_address_is_one_plain_name_in_its_folder(tmp_path, address):
    (job,) = plan([address], [tmp_path])
    ((path, _),) = job.data
    assert path.resolve().parent == tmp_path.resolve()
    assert set(path.name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
    assert "pw" not in path.name.replace("passwd", "")
    assert "t0p" not in path.name


def test_a_name_is_shown_and_not_obeyed(program, tmp_path):
    """Colours, a bell, the title of the terminal and rich's markup, in the name of a file."""
    name = "a\x1b[31m\x1b]0;owned\x07[bold]b[red].mp4"
    small(tmp_path / "a.mp4", 4)
    (tmp_path / "a.mp4").rename(tmp_path / name)
    for words in (["video", name, "-o", "a.jsonl"], ["video", f"{name}.gone"]):
        _, _, err = program(*words)
        assert "[bold]b[red]" in err
        assert not {c for c in err if not c.isprintable()} - {"\n"}


def test_taking_weights_out_of_the_store_removes_a_link_and_not_what_it_points_to(program, tmp_path, monkeypatch):
    monkeypatch.setenv("TFPOSE_STORE", str(tmp_path / "store"))
    (tmp_path / "store").mkdir()
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "store" / "w.safetensors").symlink_to(tmp_path / "precious")
    (tmp_path / "store" / "manifest.toml").write_text(
        "[[weights]]\nname = 'w'\nkind = 'pose'\nfile = 'w.safetensors'\nsha256 = '00'\nsize = 4\n"
    )
    assert program("weights", "rm", "w", "--yes")[0] == 0
    assert not (tmp_path / "store" / "w.safetensors").is_symlink()
    assert (tmp_path / "precious").read_text() == "mine"


def test_no_file_of_a_live_run_tells_where_anything_lay(program, tmp_path):
    home = tmp_path / "home-of-jane"
    home.mkdir()
    small(home / "a.mp4", 6)
    (home / "mine.safetensors").write_bytes(b"")  # the stand-in does not read it
    words = ["--weights", str(home / "mine.safetensors"), "-o", "a.jsonl", "-o", "a.csv", "--display", "none"]
    assert program("webcam", str(home / "a.mp4"), *words)[0] == 0
    files = [p for p in tmp_path.iterdir() if p.is_file()]
    assert {"a.jsonl", "a.csv", "a.meta.json"} <= {p.name for p in files}
    assert [p.name for p in files if b"home-of-jane" in p.read_bytes()] == []


def test_a_name_in_a_bar_is_shown_and_not_obeyed(monkeypatch):
    from tfpose_rt.cli import show

    told = io.StringIO()
    monkeypatch.setattr(show, "_console", Console(file=told, force_terminal=True, width=100))
    monkeypatch.setattr("sys.stderr", type("Terminal", (io.StringIO,), {"isatty": lambda self: True})())
    with show.progress_bar() as bar:
        bar.add_task(show.printable("a\x1b]0;owned\x07.mp4"), total=3, rate="")
        bar.refresh()
    assert "owned" in told.getvalue()
    assert "\x1b]0;" not in told.getvalue()
