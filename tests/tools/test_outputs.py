"""Names of outputs: one for each source on every disk, and what -o cannot mean is said before anything is made."""

from pathlib import Path

import pytest

from tfpose_rt.errors import OutputError, UsageError
from tfpose_rt.tools.outputs import folders, plan


@pytest.mark.parametrize(("sources", "names"), [
    (["clip.mp4", "other.mp4"], ["clip", "other"]),
    (["v/clip.mp4", "v/clip.mov"], ["clip_mp4", "clip_mov"]),
    (["a/clip.mp4", "b/clip.mp4"], ["a_clip", "b_clip"]),
    (["a/clip.mp4", "a/clip.mov", "b/clip.mp4"], ["a_clip_mp4", "a_clip_mov", "b_clip"]),
    (["x/a/clip.mp4", "y/a/clip.mp4"], ["clip", "clip_2"]),
    (["v/Clip.mp4", "v/clip.mp4"], ["Clip", "clip_2"]),
    (["x/a/clip.mp4", "y/a/clip.mp4", "z/clip_2.mp4"], ["clip", "clip_2", "clip_2_2"]),
])  # fmt: skip
def test_no_two_sources_share_a_name(sources, names):
    jobs = plan(sources, [Path("out")], ["jsonl"], Path("videos"))
    assert [job.data[0][0].name for job in jobs] == [f"{name}.jsonl" for name in names]
    assert [job.video.name for job in jobs] == [f"{name}.mp4" for name in names]


def test_a_suffix_that_no_format_has_is_refused_unless_there_is_such_a_folder(tmp_path):
    with pytest.raises(UsageError, match=r"no format has \.xyz.*\.parquet"):
        plan(["clip.mp4"], [tmp_path / "x.xyz"])
    with pytest.raises(UsageError, match=r"\.v1"):
        plan(["clip.mp4"], [tmp_path / "run.v1"], ["csv", "trc"])
    (tmp_path / "run.v1").mkdir()
    assert plan(["clip.mp4"], [tmp_path / "run.v1"])[0].data[0][0] == tmp_path / "run.v1" / "clip.jsonl"


def test_a_folder_is_made_for_the_run_and_goes_where_nothing_came_of_it(tmp_path):
    jobs = plan(["clip.mp4"], [tmp_path / "out"])
    with folders(jobs):
        assert (tmp_path / "out").is_dir()
    assert not (tmp_path / "out").exists()
    with pytest.raises(OutputError, match="mkdir -p"), folders(plan(["clip.mp4"], [tmp_path / "no" / "out"])):
        pass
    assert not list(tmp_path.iterdir())


def test_a_job_is_called_by_its_source_without_what_is_secret():
    names = plan(["rtsp://cam/Straße 5", "camera:Gerät", "Straße 5.mp4"], [Path("out")])
    assert [job.paths[0].stem for job in names] == ["cam_Stra_e_5", "camera_Ger_t", "Straße_5"]
    jobs = plan(["rtsp://me:hunter2@cam/x?token=t0p", "some/clip.mp4"], [Path("out")])
    assert [job.name for job in jobs] == ["rtsp://***@cam/x?token=***", "some/clip.mp4"]
