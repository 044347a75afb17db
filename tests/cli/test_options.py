"""Options that commands share: in the place where a command names their group, and obeyed in one order."""

import inspect
import json
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from program import run_program

from tfpose_rt.cli.options import spread
from tfpose_rt.config import RunConfig


@pytest.fixture
def planned(monkeypatch, capsys, tmp_path):
    """The settings of a run that is only planned, or the exit code and the complaint."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TFPOSE_ENGINE", raising=False)  # which all other tests have

    def ask(command, *words):
        code, out, err = run_program(monkeypatch, capsys, command, "synthetic", "--dry-run", *words)
        return json.loads(out)["run"] if code == 0 else (code, err)

    return ask


@pytest.mark.parametrize("command", ["video", "webcam"])
def test_a_flag_comes_before_the_environment_a_file_and_the_default(planned, monkeypatch, tmp_path, command):
    def told(*words):
        run = planned(command, *words)
        return run["conf"], run["kpt_thr"], run["threads"]

    assert told() == (0.25, 0.3, 0)
    (tmp_path / "own.toml").write_text("conf = 0.4\nkpt-thr = 0.4\nthreads = 4\n")
    assert told("--config", "own.toml") == (0.4, 0.4, 4)
    monkeypatch.setenv("TFPOSE_CONF", "0.5")
    monkeypatch.setenv("TFPOSE_KPT_THR", "0.5")
    assert told("--config", "own.toml") == (0.5, 0.5, 4)
    assert told("--config", "own.toml", "--conf", "0.6") == (0.6, 0.5, 4)


@pytest.mark.parametrize("setting", ['out = "my clip.csv"', 'out = ["my clip.csv"]', None])
def test_one_output_may_be_told_without_a_list(monkeypatch, capsys, tmp_path, setting):
    monkeypatch.chdir(tmp_path)
    words = []
    if setting is None:
        monkeypatch.setenv("TFPOSE_OUT", "my clip.csv")
    else:
        (tmp_path / "own.toml").write_text(setting + "\n")
        words = ["--config", "own.toml"]
    code, out, _ = run_program(monkeypatch, capsys, "video", "synthetic", "--dry-run", *words)
    assert code == 0
    assert "my clip.csv" in out


@pytest.mark.parametrize(("command", "every"), [("video", 1), ("webcam", 0)])
def test_what_is_not_told_is_as_in_python(planned, command, every):
    """But that a live view lets the detector rest as the machine needs it."""
    expected = {k: v for k, v in RunConfig(det_every=every).to_dict().items() if k != "source"}
    assert planned(command) == expected


def test_a_setting_that_the_command_does_not_have_is_refused(planned, tmp_path):
    (tmp_path / "own.toml").write_text("det_sise = 320\n")
    code, err = planned("video", "--config", "own.toml")
    assert code == 2
    assert "det_sise" in err
    assert "try: det_size" in err


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    left: Annotated[int, typer.Option("--left")] = 1
    right: Annotated[int, typer.Option("--right")] = 2


def test_a_group_becomes_its_options_in_its_place():
    seen = []

    @spread
    def command(first: str, sides: Sides = Sides(right=5), last: bool = False) -> None:
        seen.append((first, sides, last))

    found = inspect.signature(command).parameters.values()
    assert [(p.name, p.default) for p in found] == [
        ("first", inspect.Parameter.empty), ("left", 1), ("right", 5), ("last", False)]  # fmt: skip
    command(first="a", left=3, right=4, last=True)
    assert seen == [("a", Sides(left=3, right=4), True)]


def test_two_options_of_one_name_are_refused():
    def command(left: int = 0, sides: Sides = Sides()) -> None: ...

    with pytest.raises(ValueError, match="left"):
        spread(command)
