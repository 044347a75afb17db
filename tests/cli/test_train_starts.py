"""`train` as a user calls it: it comes as far as the data before it stops."""

import ast
from pathlib import Path

import pytest
from program import run_program

import tfpose_rt

PACKAGE = Path(tfpose_rt.__file__).parent
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def test_a_folder_without_data_is_an_error_about_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    code, _, err = run_program(monkeypatch, capsys, "train", data, "--device", "cpu", "--save-dir", tmp_path / "run")
    assert (code, "unexpected" in err) == (3, False), err
    assert "no keypoint labels in data" in err


def for_types_alone(tree: ast.Module) -> set[str]:
    """Names imported under TYPE_CHECKING at the top of a module."""
    ifs = [node for node in tree.body if isinstance(node, ast.If)]
    return {name for one in ifs if getattr(one.test, "id", "") == "TYPE_CHECKING" for name in imported(one)}


def imported(node: ast.AST) -> set[str]:
    every = [inner for inner in ast.walk(node) if isinstance(inner, ast.Import | ast.ImportFrom)]
    return {(alias.asname or alias.name).split(".")[0] for one in every for alias in one.names}


def missing(function: ast.AST, names: set[str]) -> set[str]:
    """Those of the names that the statements of a function use and that it does not import itself."""
    hidden: set[int] = set()
    for node in ast.walk(function):
        notes = [node.annotation] if isinstance(node, ast.AnnAssign | ast.arg) else []
        notes += [node.returns] if isinstance(node, FUNCTIONS) and node.returns else []
        hidden |= {id(inner) for note in notes if note is not None for inner in ast.walk(note)}
    used = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and id(node) not in hidden}
    return used & names - imported(function)


@pytest.mark.parametrize("file", sorted((PACKAGE / "cli").glob("*.py")), ids=lambda file: file.stem)
def test_commands_import_what_they_use_beyond_its_types(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = for_types_alone(tree)
    found = {node.name: missing(node, names) for node in tree.body if isinstance(node, FUNCTIONS)}
    assert {name: gone for name, gone in found.items() if gone} == {}
