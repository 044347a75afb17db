"""The table of ablations: equal budgets, finished runs kept, shares that add up."""

import csv
import json
import sys

import pytest

from tfpose_rt.tools import ablate

SMALL = ["trunk=tiny", "channels=64", "size=[64,64]", "batch=4", "amp=off"]

pytestmark = pytest.mark.usefixtures("tiny_trunk")


def test_each_variant_changes_what_it_says_and_nothing_else():
    base = ablate.recipe_of("as shipped", SMALL, 3, 1)
    assert (base.steps, base.seed) == (3, 1)
    for name, words in ablate.VARIANTS.items():
        recipe = ablate.recipe_of(name, SMALL, 3, 1)
        changed = {k for k, v in recipe.to_dict().items() if v != base.to_dict()[k]} - {"model"}
        changed |= {k for k, v in recipe.model.to_dict().items() if v != base.model.to_dict()[k]}
        assert changed == {word.split("=")[0] for word in words}, name


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["ablate", *map(str, words)])
    return ablate.main()


def test_two_shares_make_one_table_and_finished_runs_are_kept(pack, tmp_path, monkeypatch, capsys):
    settings = [part for word in SMALL for part in ("--set", word)]
    words = [pack, "--steps", "2", "--seeds", "1", "--only", "as shipped", "--only", "L1 for RLE", *settings]
    words += ["--save-dir", tmp_path / "runs", "--json", tmp_path / "table.json"]
    assert command(monkeypatch, *words, "--share", "1/2") == 0
    assert [row["variant"] for row in json.loads((tmp_path / "table.json").read_text())["rows"]] == ["as shipped"]
    log = tmp_path / "runs" / "as-shipped-0" / "log.csv"
    with log.open(newline="") as file:
        assert [(row["step"], row["seen"]) for row in csv.DictReader(file)] == [("2", "8")]
    before = log.stat().st_mtime_ns
    assert command(monkeypatch, *words, "--share", "2/2") == 0
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert [row["variant"] for row in rows] == ["as shipped", "L1 for RLE"]
    assert all(row["lowest"] == row["AP"] == row["highest"] for row in rows)
    assert command(monkeypatch, *words) == 0
    assert log.stat().st_mtime_ns == before
    assert "| L1 for RLE |" in capsys.readouterr().out


def test_the_mean_is_over_seeds_and_a_missing_run_is_left_out(tmp_path):
    for seed, ap in ((0, 40.0), (1, 44.0)):
        folder = ablate.folder_of(tmp_path, "without q2q", seed)
        folder.mkdir()
        (folder / "log.csv").write_text(f"seen,seconds,AP,oks,right\n100,5,1,1,1\n200,10,{ap},70,80\n")
    (row,) = ablate.table(tmp_path, [0, 1, 2], SMALL, 2)
    assert (row["AP"], row["lowest"], row["highest"], row["seeds"]) == (42.0, 40.0, 44.0, 2)
    assert row["crops a second"] == pytest.approx(20)
