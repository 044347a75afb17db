"""The order in which files of tests are begun."""

from pathlib import Path

from order import LONG


def test_files_that_come_first_are_there():
    here = Path(__file__).parent
    assert [name for name in LONG.split() if not (here / f"{name}.py").is_file()] == []
