"""The wheel, installed into an environment of its own outside the repository, does the main job from there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that has the wheel and, through a path file, this environment's torch and the rest."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index"]
    install += ["--no-compile", str(wheel)]  # each file is imported once at most
    subprocess.run(install, check=True, capture_output=True, text=True)
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip())
    (site / "rest.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_the_wheel_holds_what_ships_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    weights = {p.name for p in (ROOT / "weights").iterdir() if p.suffix != ".pt"}
    kernels = {p.relative_to(ROOT / "cuda").as_posix() for p in (ROOT / "cuda").rglob("*.cu")}
    assert {name.split("/")[-1] for name in names if "/_assets/weights/" in name} == weights
    assert kernels
    assert kernels <= {name.split("/_assets/cuda/")[1] for name in names if "/_assets/cuda/" in name}
    assert "tfpose_rt/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert [name for name in names if name.endswith((".pt", ".pth", ".mp4.part"))] == []
    assert {name.split("/")[0] for name in names} == {"tfpose_rt", wheel.name.split("-py3")[0] + ".dist-info"}
    assert wheel.stat().st_size < 100e6  # the index's limit for one file


def run(clean: Path, folder: Path, *words: str) -> str:
    """Run the installed program in `folder`, away from this checkout; its stdout."""
    alone = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "TFPOSE_STORE")} | {"OMP_NUM_THREADS": "1"}
    answer = subprocess.run([clean, *words], cwd=folder, env=alone, check=False, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def people(recording: Path) -> int:
    """How many people a complete recording holds, over all its frames."""
    records = [json.loads(line) for line in recording.read_text().splitlines()]
    assert records[0]["schema"] == "tfpose-rt/1"
    assert records[-1]["complete"] is True
    return sum(len(record["persons"]) for record in records if record["type"] == "frame")


def test_the_installed_program_finds_its_own_files_and_runs(clean: Path, tmp_path: Path) -> None:
    ask = "import tfpose_rt; from tfpose_rt import assets; print(tfpose_rt.__file__); print(assets.ROOT)"
    seen = run(clean, tmp_path, "-c", ask)
    assert str(ROOT) not in seen
    assert seen.count("site-packages") == 2
    assert "_assets" in seen
    program = (str(clean.with_name("tfpose-rt")),)
    run(clean, tmp_path, *program, "weights", "verify")
    run(
        clean,
        tmp_path,
        *program,
        "video",
        "synthetic:160x120@25",
        "--frames",
        "0:2",
        "--detector",
        "none",
        "-o",
        "a.jsonl",
    )
    assert people(tmp_path / "a.jsonl") == 2


@pytest.mark.slow
def test_the_main_job_runs_from_the_wheel(clean: Path, tmp_path: Path) -> None:
    program = str(clean.with_name("tfpose-rt"))
    run(clean, tmp_path, program, "demo", "--out", "made", "--display", "none")
    (video,) = (tmp_path / "made").glob("*.mp4")
    (recording,) = (tmp_path / "made").glob("*.jsonl")
    run(clean, tmp_path, program, "video", str(video), "-o", "again.jsonl")
    assert people(recording) > 0
    assert people(tmp_path / "again.jsonl") > 0
