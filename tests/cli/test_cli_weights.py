from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner, Result

from tfpose_rt import assets
from tfpose_rt.cli.weights import app
from tfpose_rt.errors import OutputError, UsageError, WeightsError


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TFPOSE_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def poses(tmp_path: Path) -> Path:
    file = tmp_path / "poses.safetensors"
    save_file({"x": np.zeros(3, np.float32)}, file, metadata={"config": "{}"})
    return file


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_list_names_what_ships() -> None:
    rows = json.loads(run("list", "--json").stdout)
    (row,) = [row for row in rows if row["name"] == "yolo26n"]
    assert row["state"] == "ok"
    assert row["aliases"] == ["yolo-n"]
    assert row["figures"]["box_ap"] == 51.9
    listed = run("list").stdout
    for words in (
        "yolo26n = yolo-n: detector, 5.3 MB",
        "AGPL-3.0",
        row["sha256"],
        "box AP 51.9",
        "tfpose-n = default: pose",
    ):
        assert words in listed
    assert max(map(len, listed.splitlines())) < 80 + len("  SHA-256     ")


def test_path_prints_the_file_and_nothing_else() -> None:
    assert run("path", "yolo-n").stdout == f"{assets.resolve('yolo-n')}\n"


def test_verify_finds_the_altered_byte(poses: Path, store: Path) -> None:
    assert run("add", poses).exit_code == 0
    assert run("verify", "poses").exit_code == 0
    content = bytearray((store / "poses.safetensors").read_bytes())
    content[-1] ^= 1
    (store / "poses.safetensors").write_bytes(content)
    result = run("verify", "--json")
    assert isinstance(result.exception, WeightsError)
    assert {row["name"]: row["state"] == "ok" for row in json.loads(result.stdout)}["poses"] is False


def test_add_and_rm_ask_before_they_lose_anything(poses: Path, store: Path) -> None:
    assert run("add", poses, "--name", "p").exit_code == 0
    assert isinstance(run("add", poses, "--name", "p").exception, OutputError)
    assert run("add", poses, "--name", "p", "--yes").exit_code == 0
    assert isinstance(run("rm", "p").exception, UsageError)
    assert (store / "p.safetensors").is_file()
    assert json.loads(run("rm", "p", "--yes", "--json").stdout) == {"removed": "p"}
    assert not (store / "p.safetensors").exists()


def test_store_flag_moves_the_store(poses: Path, tmp_path: Path) -> None:
    assert run("add", poses, "--store", tmp_path / "other").exit_code == 0
    assert (tmp_path / "other" / "poses.safetensors").is_file()


def test_an_address_needs_a_checksum() -> None:
    result = run("fetch", "https://example.org/x.safetensors", "--yes")
    assert isinstance(result.exception, UsageError)
    assert "--sha256" in str(result.exception)
    assert isinstance(run("fetch", "yolo-n", "--yes").exception, WeightsError)
