from __future__ import annotations

import getpass
import importlib.metadata as packages
import json
import socket
from pathlib import Path

import pytest
import torch
import typer
from loopback import free_port
from typer.testing import CliRunner

from tfpose_rt.cli.doctor import doctor
from tfpose_rt.errors import DeviceError
from tfpose_rt.tools import doctor as tool
from tfpose_rt.tools.doctor_libraries import CUPY, OPENCV, Check


@pytest.fixture
def wheels(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Packages that seem to be installed, beside the real ones that the checks do not ask for."""
    seen: dict[str, str] = {}
    real = packages.version

    def version(name: str) -> str:
        if name in (*OPENCV, *CUPY):
            if name in seen:
                return seen[name]
            raise packages.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(packages, "version", version)
    return seen


def look(name: str) -> dict[str, Check]:
    return {check.name: check for check in tool.examine([item for item in tool.EXAMINERS if item[0] == name])}


def test_this_machine_passes() -> None:
    states = {check.name: check for check in tool.examine()}
    assert [check for check in states.values() if check.state == "fail"] == []
    assert {"python", "torch", "torchvision", "cupy", "opencv", "video files", "weights yolo26n", "privacy"} <= set(
        states
    )
    assert ".mp4" in states["video files"].found
    assert ".mkv" in states["video files"].found


def test_two_opencv_packages_fail(wheels: dict[str, str]) -> None:
    wheels |= {"opencv-python": "5.0.0.93", "opencv-python-headless": "4.10.0.84"}
    check = look("opencv")["opencv"]
    assert check.state == "fail"
    assert check.fix.startswith("pip uninstall opencv-python opencv-python-headless")


@pytest.mark.parametrize(
    ("installed", "cuda", "gpu", "state", "words"),
    [
        ({}, "13.0", False, "pass", ""),
        ({}, "13.0", True, "warn", "tfpose-rt[cuda13]"),
        ({}, "12.8", True, "warn", "tfpose-rt[cuda12]"),
        ({"cupy-cuda13x": "14.2"}, "13.0", True, "pass", ""),
        ({"cupy-cuda12x": "14.2"}, "13.0", True, "fail", "pip install cupy-cuda13x"),
        ({"cupy-cuda13x": "14.2"}, "12.8", True, "fail", "pip install cupy-cuda12x"),
        ({"cupy-cuda13x": "14.2", "cupy-cuda12x": "14.2"}, "13.0", True, "fail", "uninstall all"),
    ],
)
def test_cupy_has_to_fit_torch(
    wheels: dict[str, str], monkeypatch: pytest.MonkeyPatch,
    installed: dict[str, str], cuda: str, gpu: bool, state: str, words: str,
) -> None:  # fmt: skip
    wheels |= installed
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    check = look("cupy")["cupy"]
    assert check.state == state
    assert words in check.fix


def test_an_attention_path_that_differs_from_the_reference_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look("attention")["attention cpu"].state == "pass"
    from tfpose_rt.ops import deform_attn

    right = deform_attn.ms_deform_attn
    monkeypatch.setattr(deform_attn, "ms_deform_attn", lambda *arguments: right(*arguments) + 1e-3)
    assert look("attention")["attention cpu"].state == "fail"


@pytest.mark.gpu
def test_the_fused_kernel_passes_on_this_gpu() -> None:
    check = look("attention")["attention cuda:0"]
    assert check.state == "pass"
    assert "cuda fused" in check.found


def test_altered_weights_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFPOSE_STORE", str(tmp_path))
    (tmp_path / "mine.safetensors").write_bytes(b"other")
    (tmp_path / "manifest.toml").write_text(
        "[[weights]]\nname='mine'\nkind='pose'\nfile='mine.safetensors'\nsha256='00'\nsize=5\n"
    )
    assert look("weights")["weights mine"].state == "fail"


def test_a_check_that_breaks_is_a_failure_and_the_rest_goes_on() -> None:
    def broken() -> list[Check]:
        raise DeviceError("no such device", fix="--device cpu")

    found = tool.examine([("a", broken), ("b", lambda: [Check("b", "pass", "fine")])])
    assert [(check.name, check.state, check.fix) for check in found] == [
        ("a", "fail", "--device cpu"),
        ("b", "pass", ""),
    ]


def test_the_report_names_nobody() -> None:
    secrets = [
        str(Path.home() / "clips"),
        getpass.getuser(),
        socket.gethostname(),
        "rtsp://me:pw@cam/1",
        "10.1.2.3",
        "a@b.org",
    ]
    text = tool.report([Check("x", "warn", " ".join(secrets), "pip install opencv-python==5.0.0.93")])[0]
    assert text["found"] == "~/clips <user> <host> <url> <address> <address>"
    assert text["fix"] == "pip install opencv-python==5.0.0.93"


def test_codes_and_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer()
    app.command()(doctor)
    state = "warn"
    monkeypatch.setattr(tool, "EXAMINERS", (("x", lambda: [Check("x", state, "seen", "do this")]),))
    report = tmp_path / "report.json"
    result = CliRunner().invoke(app, ["--export-report", str(report)])
    assert result.exit_code == 0
    assert "WARN  x  seen" in result.stdout
    assert "try: do this" in result.stdout
    assert json.loads(report.read_text()) == [{"name": "x", "state": "warn", "found": "seen", "fix": "do this"}]
    assert CliRunner().invoke(app, ["--strict"]).exit_code == 1
    assert CliRunner().invoke(app, ["--export-report", str(report)]).exception.exit_code == 4
    state = "fail"
    answer = CliRunner().invoke(app, ["--json"])
    assert answer.exit_code == 1
    assert json.loads(answer.stdout)[0]["state"] == "fail"


def test_a_cameras_password_is_in_no_check(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"rtsp://me:hunter2@127.0.0.1:{free_port()}/x?token=hunter2"
    refused = tool.examine([("camera", tool.camera(address))])

    class Nothing(list):
        def close(self) -> None:
            pass

    monkeypatch.setattr("tfpose_rt.io.sources.open_source", lambda spec: Nothing())
    empty = tool.examine([("camera", tool.camera(address))])
    for (check,) in (refused, empty):
        assert check.state == "fail"
        assert "rtsp://***@127.0.0.1" in check.name + check.found
        assert "hunter2" not in str(check)
