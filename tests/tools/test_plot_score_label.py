"""plot --what score: the words beside its scale stay inside the figure, however few joints are drawn."""

from pathlib import Path

import pytest
from known_people import poses, recording

from tfpose_rt.records import Result
from tfpose_rt.tools.motion import read_motion
from tfpose_rt.tools.plot import plot


@pytest.mark.parametrize("joints", ["left_knee", "all"])
def test_the_label_of_the_scale_fits(tmp_path: Path, joints: str) -> None:
    pytest.importorskip("matplotlib")
    items = [Result(frame=i, pts=i / 10, seq=i, poses=poses((0,), frame=i, pts=i / 10)) for i in range(3)]
    made = plot(read_motion(recording(tmp_path / "a.jsonl", items)), "score", joints=joints)
    made.canvas.draw()
    words = made.axes[-1].yaxis.label.get_window_extent()
    assert words.y0 >= 0
    assert words.y1 <= made.bbox.height
