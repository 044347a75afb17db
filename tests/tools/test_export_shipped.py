"""export: what ships answers the same in every format; what the check looks at; nobody is told of it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from program import run_program

from tfpose_rt import assets
from tfpose_rt.tools import export as tool
from tfpose_rt.tools.export_check import PEOPLE, compare, pictures
from tfpose_rt.tools.export_formats import FORMATS
from tfpose_rt.tools.export_network import open_network

ROOT = Path(__file__).parents[2]


def test_the_check_looks_at_people() -> None:
    """Every crop shows somebody whom the shipped model is sure of, so that their joints are worth comparing."""
    plain = open_network(assets.resolve("default"))
    images = pictures(plain)
    assert images.shape == (8, 3, 256, 192)
    assert 0 <= images.min() < 0.1 < 0.9 < images.max() <= 1
    with torch.inference_mode():
        _, scores, _ = plain.network(torch.from_numpy(images[::3]))
    assert scores.mean(1).min() > 0.8
    assert sum(map(len, PEOPLE.values())) == 8


def test_convert_points_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    file = assets.resolve("default")
    code, _, err = run_program(monkeypatch, capsys, "convert", file)
    assert code == 2
    assert f"tfpose-rt export {file}" in err


SILENT = """
import os
{before}
import onnxruntime
print(os.path.exists(".cache"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a home folder elsewhere is not moved so")
@pytest.mark.parametrize("quiet", [False, True])
def test_onnxruntime_reports_nothing_through_us(tmp_path: Path, quiet: bool) -> None:
    """By itself it leaves an id in the home folder as it is imported, for the events that it sends."""
    ours = "from tfpose_rt.tools.export_formats import load_onnxruntime; load_onnxruntime()"
    (tmp_path / "child.py").write_text(SILENT.format(before=ours if quiet else ""))
    environment = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(
        [sys.executable, "child.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )  # fmt: skip
    assert answer.stdout.split()[-1] == str(not quiet)


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["default", "yolo-n"])
@pytest.mark.parametrize("name", FORMATS)
def test_what_ships_is_the_same_everywhere(weights: str, name: str, tmp_path: Path) -> None:
    made = tool.export(weights, name, tmp_path / f"x{FORMATS[name].suffix}")
    assert made.difference is not None
    assert made.difference.px < 0.01
    assert made.difference.people >= (8 * 17 if weights != "yolo-n" else 6)
    assert made.facts["licence"] == "AGPL-3.0"


@pytest.mark.slow
def test_a_detector_takes_frames_of_any_size_in_onnx(tmp_path: Path) -> None:
    made = tool.export("yolo-n", out=tmp_path / "yolo.onnx", free="size")
    wide = replace(open_network(assets.resolve("yolo-n")), size=(320, 320))
    assert compare(wide, FORMATS["onnx"].run(made.files[0])).px < 0.01
