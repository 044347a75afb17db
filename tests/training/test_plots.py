import cv2
import numpy as np
import pytest

from tfpose_rt.errors import InputError, OutputError, UsageError
from tfpose_rt.tools.curves import draw_runs
from tfpose_rt.training import plots
from tfpose_rt.training.evaluate import reliability
from tfpose_rt.training.plots import COLOURS, curves, reliability_plot

LOG = "step,seen,pose,AP,oks\n5,1000,-3,10,50\n9,2000,-9,20,60\n"


@pytest.fixture
def runs(tmp_path):
    """Three runs' folders; the last held nothing out."""
    for name, text in (("a", LOG), ("b", LOG.replace("-9,20", "-8,15")), ("c", "step,seen,pose\n4,500,7\n")):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "log.csv").write_text(text)
    return [tmp_path / "runs" / name for name in "abc"]


def drawn(monkeypatch):
    """What would have been written: a list that takes the figures."""
    figures = []
    monkeypatch.setattr(plots, "save", lambda made, path: figures.append(made))
    return figures


def test_a_reliability_plot_is_a_picture(tmp_path):
    graph = reliability(np.linspace(0, 1, 200), np.linspace(0, 1, 200) > 0.4)
    reliability_plot(graph, tmp_path / "r.png", "title")
    image = cv2.imread(str(tmp_path / "r.png"))
    assert image.shape[0] > 300
    assert image.std() > 5


def test_curves_hold_the_logs_figures_and_name_the_runs(runs, tmp_path, monkeypatch):
    figures = drawn(monkeypatch)
    draw_runs(runs, tmp_path / "c.png")
    upper, lower = figures[0].axes
    told = {line.get_label(): (line.get_xdata().tolist(), line.get_ydata().tolist()) for line in lower.lines}
    assert told == {"a": ([1, 2], [-3, -9]), "b": ([1, 2], [-3, -8]), "c": ([0.5], [7])}
    assert [line.get_ydata().tolist() for line in upper.lines] == [[10, 20], [10, 15]]
    assert [line.get_color() for line in upper.lines] == [line.get_color() for line in lower.lines[:2]]
    assert [text.get_text() for text in lower.get_legend().get_texts()] == ["a", "b", "c"]


def test_more_runs_than_colours_are_all_drawn(runs, tmp_path, monkeypatch):
    figures = drawn(monkeypatch)
    many = [runs[0] / "log.csv"] * (len(COLOURS) + 2)
    curves(many, tmp_path / "c.png", [str(i) for i in range(len(many))])
    assert len(figures[0].axes[1].lines) == len(many)


def test_the_file_is_a_picture_and_none_is_replaced_unasked(runs, tmp_path):
    draw_runs(runs[:1], tmp_path / "c.png", ["my run"])
    image = cv2.imread(str(tmp_path / "c.png"))
    assert image.shape[0] > 300
    assert image.std() > 5
    with pytest.raises(OutputError, match="exists"):
        draw_runs(runs, tmp_path / "c.png")
    with pytest.raises(UsageError, match="2 names"):
        draw_runs(runs, tmp_path / "d.png", ["x", "y"])


@pytest.mark.parametrize(
    "text", ["", "step,seen,pose,AP\n", "time,value\n1,2\n", "seen,pose,AP\n1000,-3\n", "seen,pose\nx,1\n"]
)
def test_what_is_no_log_is_refused(tmp_path, text):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(InputError, match=r"log\.csv"):
        draw_runs([tmp_path], tmp_path / "c.png")
    with pytest.raises(InputError, match="absent"):
        draw_runs([tmp_path / "absent.csv"], tmp_path / "c.png")
    assert not (tmp_path / "c.png").exists()
