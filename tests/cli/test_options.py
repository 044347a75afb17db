"""Options that commands share: in the place where a command names their group, and obeyed in one order."""

import importlib
import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_args, get_origin

import pytest
import typer
from program import run_program

from tfpose_rt.cli import COMMANDS, app
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


OTHERS = {bool: (True, False), int: (60, 30), float: (0.125, 0.5), str: ("x", "y"), Path: ("x", "y"),
          list: (["x"], ["y"])}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "train"])  # whose --config is a recipe
def test_every_option_of_every_command_can_be_told_in_a_file_by_its_flag(name, monkeypatch, tmp_path):
    """And a flag that is typed comes before it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TFPOSE_ENGINE", raising=False)  # which all other tests have
    monkeypatch.setattr("tfpose_rt.cli.defaults._context", None)  # put back what this leaves
    monkeypatch.setattr("tfpose_rt.cli.defaults._places", {})
    function = getattr(importlib.import_module(f"tfpose_rt.cli.{name}"), COMMANDS[name])
    kinds = {p.name: kind_of(p.annotation) for p in inspect.signature(function, eval_str=True).parameters.values()}
    command, seen = typer.main.get_command(app).commands[name], {}
    monkeypatch.setattr(command, "callback", lambda **values: seen.update(values))
    lines, words, expected, typed = [], [], {}, {}
    for param in command.params:
        if param.name == "config":
            continue
        flag = next((flag for flag in param.opts if flag.startswith("--")), param.name)
        told, other = (value for value in OTHERS[kinds[param.name]])
        if kinds[param.name] is bool and param.default:
            told, other = other, told
        lines.append(f"{flag.removeprefix('--')} = {json.dumps(told)}")
        expected[param.name] = told
        if flag.startswith("--") and kinds[param.name] not in (bool, list) and not getattr(param, "count", False):
            words += [flag, str(other)]
            typed[param.name] = other
    assert len(typed) >= 1
    (tmp_path / "own.toml").write_text("\n".join(lines) + "\n")
    command.main(["--config", "own.toml"], standalone_mode=False)
    assert {k: plain(seen[k]) for k in expected} == expected
    command.main(["--config", "own.toml", *words], standalone_mode=False)
    assert {k: plain(seen[k]) for k in expected} == {**expected, **typed}


def kind_of(annotation):
    """The type of an option's values: int of Annotated[int | None, ...], list of list[Path]."""
    kind = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    if type(None) in get_args(kind):
        kind = next(part for part in get_args(kind) if part is not type(None))
    return get_origin(kind) or kind


def plain(value):
    return [str(each) for each in value] if isinstance(value, list | tuple) else getattr(value, "name", value)


@pytest.mark.parametrize(
    ("command", "setting", "told"),
    [
        ("eval", 'boxes = "guess"', "boxes = guess in own.toml: neither gt, detector nor a file; try: boxes ="),
        ("demo", 'display = "tv"', "display = tv in own.toml: unknown"),
        ("explain", "id = 1.5", "id = 1.5 in own.toml: Input should be a valid integer"),
        ("plot", "kpt-thr = 2", "kpt-thr = 2.0 in own.toml: it lies in 0..1; try: kpt-thr = 0.3"),
        ("convert", 'csv-layout = "lng"', "csv-layout = lng in own.toml: unknown; try: csv-layout = wide or long"),
        ("convert", 'csv-layuot = "long"', "own.toml: unknown setting 'csv_layuot': this command has no such option"),
    ],
)
def test_a_bad_setting_of_a_command_that_runs_no_camera(complaint, tmp_path, command, setting, told):
    for name in ("clip.png", "x.jsonl"):
        (tmp_path / name).touch()
    (tmp_path / "own.toml").write_text(setting + "\n")
    source = {"eval": ["."], "explain": ["clip.png"], "plot": ["x.jsonl"], "convert": ["x.jsonl"], "demo": []}[command]
    assert complaint(command, *source, "--config", "own.toml").startswith(told)


def test_the_scores_of_eval_may_be_asked_for_in_a_file(monkeypatch, capsys, tmp_path, pack):
    """All the way: the set, the number of people, and JSON instead of a table."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text(f'data = "{pack}"\nlimit = 2\njson = true\n')
    code, out, err = run_program(monkeypatch, capsys, "eval", "--config", "own.toml")
    assert code == 0, err
    assert json.loads(out)["people"] == 2


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


@pytest.fixture
def complaint(monkeypatch, capsys, tmp_path):
    """The one line of a command that is refused."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TFPOSE_ENGINE", raising=False)

    def ask(*words, code=2):
        got, out, err = run_program(monkeypatch, capsys, *words)
        assert (got, out) == (code, "")
        assert len(err.splitlines()) == 1
        return err.removeprefix("error: ").strip()

    return ask


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ('conf = "high"', "conf = high in own.toml: Input should be a valid number"),
        ("conf = 2", "conf = 2.0 in own.toml: it lies in 0..1; try: conf = 0.25"),
        ("max-frames = 0", "max-frames = 0 in own.toml: Input should be greater than or equal to 1"),
        ('kernel = "quick"', "kernel = quick in own.toml: unknown; try: kernel = auto, fused or torch"),
        ('det-every = "often"', "det-every = often in own.toml: neither a whole number nor auto; try: det-every = 4"),
        ('display = "hologram"', "display = hologram in own.toml: unknown"),
        ("rotate = 33", "rotate = 33 in own.toml: unknown angle"),
        ('smooth = "one-euro"\ntrack = false', "--smooth with --no-track: smoothing follows a person by id; set by "),
        ('record = "a.txt"', "record = a.txt in own.toml: no video has the suffix .txt; try: record = a.mkv"),
        ("conf = [", "cannot read --config own.toml: not TOML:"),
        ("[webcam]\nconf = 0.5", "own.toml: table [webcam]: options stand there without tables; try: the lines of"),
    ],
)  # fmt: skip
def test_a_bad_setting_is_told_by_the_file_it_stands_in(complaint, tmp_path, setting, told):
    (tmp_path / "own.toml").write_text(setting + "\n")
    assert complaint("webcam", "synthetic", "--dry-run", "--config", "own.toml").startswith(told)


def test_a_bad_setting_is_told_by_its_variable_unless_the_flag_was_typed(complaint, monkeypatch):
    monkeypatch.setenv("TFPOSE_KERNEL", "quick")
    words = ("video", "synthetic", "--dry-run")
    assert complaint(*words) == "TFPOSE_KERNEL=quick: unknown; try: TFPOSE_KERNEL=auto, fused or torch"
    assert complaint(*words, "--kernel", "slow") == "--kernel slow: unknown; try: --kernel auto, fused or torch"
    monkeypatch.setenv("TFPOSE_KERNEL", "auto")
    monkeypatch.setenv("TFPOSE_CONF", "high")
    assert complaint(*words).startswith("TFPOSE_CONF=high: Input should be a valid number")
    monkeypatch.delenv("TFPOSE_CONF")
    assert complaint(*words, "--conf", "7").startswith("--conf 7.0: ")


def test_a_settings_file_that_is_not_there_is_said_in_words(complaint):
    told = complaint("video", "synthetic", "--dry-run", "--config", "none.toml")
    assert told == "cannot read --config none.toml: no such file or directory; try: the path of a TOML file"


@pytest.mark.parametrize(("word", "every"), [("auto", 0), ("0", 0), ("1", 1), ("7", 7)])
def test_the_detector_rests_as_told(planned, word, every):
    assert planned("video", "--det-every", word)["det_every"] == every


@pytest.mark.parametrize("command", ["eval", "train"])
def test_a_set_that_is_not_there(complaint, tmp_path, command):
    assert complaint(command, "nowhere", code=3).startswith("no folder nowhere: nothing has that name")
    assert complaint(command, ".", code=3).startswith(f"no keypoint labels in {tmp_path.name}: ")
    (tmp_path / "labels.json").write_text("{}")
    told = complaint(command, "labels.json", code=3)
    assert told == "labels.json is a file: DATA is the folder of a set; try: . --ann labels.json"


def test_resuming_needs_a_run(complaint, tmp_path):
    (tmp_path / "set").mkdir()
    words = ("train", "set", "--resume")
    assert complaint(*words).startswith("--resume without --save-dir: ")
    told = complaint(*words, "--save-dir", "runs/new", code=3)
    assert told.startswith("no run to go on with in runs/new: no state.safetensors is there; try: without --resume")
    (tmp_path / "runs/old").mkdir(parents=True)
    (tmp_path / "runs/old/state.safetensors").touch()
    assert "--save-dir runs/old" in complaint(*words, "--save-dir", "runs/new", code=3)
    assert "--save-dir runs/old" in complaint(*words)


def test_a_recipe_is_told_where_it_is_wrong(complaint, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "own.toml").write_text("batch = 0\n[augment]\nflip = 2.0\n")
    words = ("train", "set", "--config", "own.toml")
    assert complaint(*words).startswith("flip = 2.0 in own.toml: a share of the crops")
    assert complaint(*words, "--set", "flip=0.5").startswith("batch = 0 in own.toml: at least 1")
    assert complaint(*words, "--set", "flip=3.0").startswith("flip = 3.0: a share of the crops")
    for flag, told in (
        ("--amp=fp8", "amp = 'fp8': no such"),
        ("--val-every=0", "lr = 0.0005, val_every = 0.0: not above"),
    ):
        assert complaint("train", "set", flag).startswith(told)
    (tmp_path / "own.toml").write_text("flop = 2.0\n")
    assert complaint(*words).startswith("unknown setting 'flop' in own.toml: ")
    assert "no such file" in complaint("train", "set", "--config", "none.toml")


@pytest.mark.parametrize("frame", ["", "@3"])
@pytest.mark.parametrize(("live", "told"), [
    ("0", "0"), ("-", "-"), ("camera:C920", "camera:C920"), ("rtsp://me:hunter2@host/a?key=hunter2", "rtsp://***@"),
])  # fmt: skip
def test_what_is_live_cannot_be_explained_and_keeps_its_password(complaint, live, told, frame):
    error = complaint("explain", *(["--", live + frame] if live == "-" else [live + frame]))
    assert error.startswith(told)
    assert error.endswith(" has no frames to go back to: it is live; try: a file")
    assert "hunter2" not in error


def test_what_cannot_be_explained(complaint, tmp_path):
    for name in ("x.jsonl", "x.csv.part", "clip.mp4", "x@abc"):
        (tmp_path / name).touch()
    for name in ("x.jsonl", "x.csv.part", "x.jsonl@3"):
        assert "is a recording: joints are in it, no pictures; try: the video" in complaint("explain", name)
    told = complaint("explain", "clip.mp4@abc")
    assert told == "frame 'abc' of clip.mp4: not a number, counted from 0; try: clip.mp4@0"
    for name in ("y@abc", "y", "y.mp4@7"):
        assert complaint("explain", name, code=3).startswith("no file y")
