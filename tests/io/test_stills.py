"""Overlay pictures: names, whole files, refusals, folders that are there, going on after an interruption."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_estimator import FakeEstimator
from program import program_alone

from tfpose_rt.errors import OutputError, UsageError
from tfpose_rt.io.parts import Resume, SinkOptions
from tfpose_rt.io.stills import StillsSink
from tfpose_rt.records import Result, StreamInfo
from tfpose_rt.tools.outputs import plan
from tfpose_rt.tools.resume import find, reopen


@pytest.fixture
def program(monkeypatch, capsys, tmp_path):
    return program_alone(monkeypatch, capsys, tmp_path, FakeEstimator)


CLIP = StreamInfo(kind="file", name="Tänzer 踊り.mp4", size=(48, 32))


def shown(index: int) -> Result:
    return Result(frame=index, image=np.full((32, 48, 3), 40 * index + 20, np.uint8))


def grey(path: Path) -> int:
    return round(float(cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR).mean()))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_has_a_picture_of_every_frame_and_its_name_at_the_end(tmp_path: Path) -> None:
    sink = StillsSink(tmp_path / "out", CLIP)
    for result in (shown(0), Result(frame=1), shown(4)):  # a gap between
        sink.write(result)
    assert names(tmp_path) == ["out.part"]
    sink.close({})
    assert names(tmp_path / "out") == ["Tänzer_踊り_000000.jpg", "Tänzer_踊り_000004.jpg"]
    assert [grey(path) for path in sorted((tmp_path / "out").iterdir())] == [20, 180]
    assert (sink.written, sink.files, names(tmp_path)) == (2, [tmp_path / "out"], ["out"])


@pytest.mark.parametrize("suffix", [".jpg", ".PNG", ".webp", ".jpeg"])
def test_a_photograph_is_one_file(tmp_path: Path, suffix: str) -> None:
    sink = StillsSink(tmp_path / f"o{suffix}", StreamInfo(kind="images", name="p.tif", size=(48, 32)))
    sink.write(shown(3))
    sink.close({})
    assert names(tmp_path) == [f"o{suffix}"]
    assert abs(grey(tmp_path / f"o{suffix}") - 140) <= 1
    sink = StillsSink(tmp_path / f"p{suffix}", CLIP)
    sink.write(shown(0))
    with pytest.raises(UsageError, match="more than one frame"):
        sink.write(shown(1))


def test_what_is_drawn_is_written(tmp_path: Path) -> None:
    options = SinkOptions(render=lambda result: np.full((8, 8, 3), 200, np.uint8))
    sink = StillsSink(tmp_path / "o.png", CLIP, options)
    sink.write(shown(0))
    sink.close({})
    assert grey(tmp_path / "o.png") == 200


@pytest.mark.parametrize(
    ("files", "made"),
    [(["b.png", "a.tif"], ["a.jpg", "b.jpg"]), (["a.png", "A.tif"], ["seq_000000.jpg", "seq_000001.jpg"])],
)
def test_photographs_keep_their_names_where_these_differ(tmp_path: Path, files: list[str], made: list[str]) -> None:
    info = StreamInfo(kind="images", name="seq", size=(48, 32), detail={"files": files})
    sink = StillsSink(tmp_path / "o", info)
    for index in range(2):
        sink.write(shown(index))
    sink.close({})
    assert names(tmp_path / "o") == made


def test_no_frame_no_file(tmp_path: Path) -> None:
    for name in ("o", "o.jpg"):
        sink = StillsSink(tmp_path / name, CLIP)
        sink.close({})
        assert sink.files == []
    assert names(tmp_path) == []


def test_a_folder_that_is_there_keeps_others_files(tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "mine.txt").write_text("x")
    (tmp_path / "o" / "Tänzer_踊り_000000.jpg").write_text("old")
    sink = StillsSink(tmp_path / "o", CLIP)
    sink.write(shown(0))
    with pytest.raises(OutputError, match="appeared"):
        sink.close({})
    sink = StillsSink(tmp_path / "o", CLIP, overwrite=True)
    sink.write(shown(0))
    sink.close({})
    assert names(tmp_path / "o") == ["Tänzer_踊り_000000.jpg", "mine.txt"]
    assert grey(tmp_path / "o" / "Tänzer_踊り_000000.jpg") == 20


def test_discard_leaves_nothing_and_abort_leaves_the_part(tmp_path: Path) -> None:
    for name in ("o", "o.jpg"):
        sink = StillsSink(tmp_path / name, CLIP)
        sink.write(shown(0))
        sink.abort()
        assert StillsSink.frames_in_part(tmp_path / name) == 1
        sink.discard()
    assert names(tmp_path) == []


def test_a_full_disk_is_an_error_of_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = StillsSink(tmp_path / "o", CLIP)

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tfpose_rt.io.stills.write_whole", full)
    with pytest.raises(OutputError, match="no space left"):
        sink.write(shown(0))
    assert sink.written == 0


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    sink = StillsSink(tmp_path / "o", CLIP)
    for index in range(3):
        sink.write(shown(index))
    sink.abort()
    sink = StillsSink(tmp_path / "o", CLIP, SinkOptions(resume=Resume(last=1, frames=2, first_pts=0.0)))
    for index in (2, 3):
        sink.write(shown(index))
    sink.close({})
    assert sink.written == 4
    assert len(names(tmp_path / "o")) == 4


def test_what_is_typed_becomes_a_file_or_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("shots").mkdir()
    stills = [job.stills for job in plan(["a.PNG", "b.tif", "c.mp4", "shots", "s*.png"], save_images=Path("o"))]
    assert stills == [Path(f"o/{name}") for name in ("a.PNG", "b.jpg", "c_frames", "shots_frames", "s_frames")]
    assert plan(["a.tif"], save_images=Path("x.webp"))[0].stills == Path("x.webp")
    assert Path("o") in plan(["c.mp4"], save_images=Path("o"))[0].folders
    for sources, path, why in (
        (["a.png", "b.png"], "x.jpg", "one file holds one picture"),
        (["c.mp4"], "x.jpg", "one file holds one picture"),
        (["a.png"], "x.gif", "not written as .gif"),
    ):
        with pytest.raises(UsageError, match=why):
            plan(sources, save_images=Path(path))
    for words in ({"save_video": Path("x.jpg")}, {"out": [Path("x.jpg")]}):
        with pytest.raises(UsageError, match=r"--save-images x\.jpg"):
            plan(["a.png"], **words)


def test_the_program_draws_resumes_and_skips(program, tmp_path: Path) -> None:
    words = ("video", "synthetic:144x96@10", "--end", "0.6", "-o", "k.jsonl", "--save-images", "o", "-q")
    assert program(*words)[0] == 0
    folder = tmp_path / "o" / "synthetic_144x96_10_frames"
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(whole) == 6
    assert program(*words)[0] == 4
    assert program(*words, "--skip-existing")[0] == 0
    job = plan(["synthetic:144x96@10"], [Path("k.jsonl")], save_images=Path("o"))[0]
    assert reopen(job, "auto") == ""
    part = folder.with_name(folder.name + ".part")
    for name in sorted(whole)[3:]:
        (part / name).unlink()
    assert find(job).resume.frames == 3
    assert program(*words, "--resume")[0] == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
