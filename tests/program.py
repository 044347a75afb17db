"""The program in this process, as a user calls it."""

import sys

from tfpose_rt import cli


def run_program(monkeypatch, capsys, *words):
    """Exit code, stdout and stderr of `tfpose-rt WORDS`."""
    monkeypatch.setattr(sys, "argv", ["tfpose-rt", *map(str, words)])
    monkeypatch.setenv("TFPOSE_DEBUG", "")  # so that what the program sets is undone
    code = 0
    try:
        cli.main()
    except SystemExit as end:
        code = int(end.code or 0)
    seen = capsys.readouterr()
    return code, seen.out, seen.err


def program_alone(monkeypatch, capsys, folder, estimator):
    """The program without a screen in a folder of its own, with a stand-in for the model: code, stdout, stderr."""
    monkeypatch.setattr("tfpose_rt.estimator.PoseEstimator", estimator)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.chdir(folder)
    return lambda *words: run_program(monkeypatch, capsys, *words)
