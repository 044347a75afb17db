"""video -f angles, mot, summary: the files that convert makes of the recording, made when it is complete."""

from pathlib import Path

import pytest
from clips import small as clip
from fake_estimator import FakeEstimator

from tfpose_rt import cli
from tfpose_rt.cli import video
from tfpose_rt.cli.watch import Watch
from tfpose_rt.config import RunConfig
from tfpose_rt.errors import OutputError, UsageError
from tfpose_rt.io.parts import SinkOptions
from tfpose_rt.tools.afterwards import split
from tfpose_rt.tools.batch import How
from tfpose_rt.tools.recordings import convert


@pytest.fixture
def work(monkeypatch):
    """The main job with people who are known beforehand, in an own folder."""
    monkeypatch.setattr(Watch, "estimator", lambda self, run: lambda: FakeEstimator(run))

    def do(sources, *, formats, **more):
        return video.process(list(map(str, sources)), formats=formats, progress=False, quiet=True, **more)

    return do


def test_tables_of_a_run_are_those_that_convert_makes(work, tmp_path):
    out = tmp_path / "out"
    outcomes = work([clip(tmp_path / "a.mp4", 12)], out=[out], formats=["jsonl", "angles", "mot", "summary"])
    made = {path.name for path, _ in outcomes[0].files}
    assert {"a.jsonl", "a_angles.csv", "a_summary.csv"} < made == {path.name for path in out.iterdir()}
    wanted = tmp_path / "wanted"
    wanted.mkdir()
    names = {"angles": "a_angles.csv", "mot": "a_angles.mot", "summary": "a_summary.csv"}
    convert(out / "a.jsonl", [(wanted / name, kind) for kind, name in names.items()], SinkOptions())
    assert {path.name for path in wanted.iterdir()} == made - {"a.jsonl"}
    assert any(name.endswith(".mot") for name in made)
    for path in wanted.iterdir():
        assert path.read_bytes() == (out / path.name).read_bytes()


def test_several_videos_share_a_summary_and_a_recording_is_made_unasked(work, tmp_path, capsys):
    sources = [clip(tmp_path / f"{name}.mp4", 6) for name in "ab"]
    work(sources, out=[tmp_path / "out"], formats=["summary"])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.jsonl", "b.jsonl", "summary.csv"}
    rows = (tmp_path / "out" / "summary.csv").read_text().splitlines()[1:]
    assert {row.split(",")[0] for row in rows} == {"a", "b"}
    assert f"summary.csv ({len(rows)} rows)" in capsys.readouterr().err


def test_what_is_there_is_left_alone_and_what_is_missing_made(work, tmp_path):
    source, out = clip(tmp_path / "a.mp4", 6), tmp_path / "out"
    work([source], out=[out], formats=["csv", "angles"])
    before = (out / "a_angles.csv").read_bytes()
    with pytest.raises(OutputError, match="never replaced"):
        work([source], out=[out], formats=["csv", "angles"])
    (out / "a_angles.csv").write_text("mine")
    work([source], out=[out], formats=["csv", "angles"], how=How(skip_existing=True))
    assert (out / "a_angles.csv").read_text() == "mine"
    (out / "a_angles.csv").unlink()
    outcomes = work([source], out=[out], formats=["csv", "angles"], how=How(skip_existing=True))
    assert outcomes[0].skipped
    assert (out / "a_angles.csv").read_bytes() == before
    (out / "a.csv").unlink()
    (out / "a.meta.json").unlink()
    for how in (How(), How(skip_existing=True), How(resume=True)):  # whose recording is gone: somebody else's, perhaps
        with pytest.raises(OutputError, match=r"a_angles\.csv exists"):
            work([source], out=[out], formats=["csv", "angles"], how=how)
    assert (out / "a_angles.csv").read_bytes() == before


def test_motion_files_that_are_there_are_left_alone(work, tmp_path):
    source, out = clip(tmp_path / "a.mp4", 6), tmp_path / "out"
    work([source], out=[out], formats=["mot"])
    file = next(out.glob("*.mot"))
    file.write_text("mine")
    work([source], out=[out], formats=["mot"], how=How(skip_existing=True))
    assert file.read_text() == "mine"


def test_a_table_that_cannot_be_made_costs_the_recording_nothing(work, tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise OutputError("no space", why="the disk is full", fix="another disk")

    monkeypatch.setattr("tfpose_rt.tools.conversions.convert", full)
    with pytest.raises(cli.typer.Exit) as ended:
        work([clip(tmp_path / "a.mp4", 6)], out=[tmp_path / "out"], formats=["angles"])
    assert ended.value.exit_code == OutputError.exit_code
    assert "the disk is full" in capsys.readouterr().err
    assert len((tmp_path / "out" / "a.jsonl").read_text().splitlines()) == 8


@pytest.mark.parametrize("out", ["a.csv", "-"])
def test_tables_need_a_folder(out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="angles is made of a recording"):
        split(["csv", "angles"], [Path(out)])
    assert split(["csv"], [Path(out)]) == (["csv"], [])


def test_a_motion_file_needs_an_id(work, tmp_path):
    with pytest.raises(UsageError, match="--no-track"):
        work([clip(tmp_path / "a.mp4", 6)], out=[tmp_path / "out"], formats=["mot"], run=RunConfig(track=False))
    assert not (tmp_path / "out").exists()
