"""A run that goes on does so by the recipe it began with, whatever else is typed or not."""

import dataclasses
import json

import pytest

from tfpose_rt.cli.train import settings_named
from tfpose_rt.errors import InputError, UsageError
from tfpose_rt.training.recipe import build_config, resumed


@pytest.fixture
def run(tmp_path):
    """The run.json of a run whose recipe is nobody's default."""
    words = ["loss=l1", "rotate=0.3", "channels=96", 'repeat=["coco=3"]', "crowd=0.25"]
    began = build_config("s", None, words, {"lr": 1e-3, "batch": 8, "minutes": 3.0, "val_every": 1.0})
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**dataclasses.asdict(began), "people": 12, "kernel": {"name": "torch"}, "torch": "2"}))
    return path, began


def go_on(path, *words, model="", **flags):
    typed = build_config(model or "n", None, words, flags)
    return resumed(path, typed, settings_named(flags, words, None), model)


def test_nothing_has_to_be_typed_again(run):
    path, began = run
    assert go_on(path) == began
    assert go_on(path, "loss=l1", "rotate=0.3", model="s", lr=1e-3) == began  # what is said twice is no harm


def test_when_it_ends_may_be_another(run):
    path, began = run
    assert go_on(path, "epochs=7", minutes=9.0, val_every=2.0) == dataclasses.replace(
        began, minutes=9.0, val_every=2.0, epochs=7
    )


@pytest.mark.parametrize(
    ("words", "flags", "told"),
    [
        ((), {"lr": 0.1}, "lr = 0.001, now 0.1"),
        (("rotate=0.4", "loss=rle"), {}, "rotate = 0.3, now 0.4; loss = l1, now rle"),
        (("channels=192",), {"model": "n"}, "--model s, now n; channels = 96, now 192"),
    ],
)
def test_another_recipe_is_another_run(run, words, flags, told):
    with pytest.raises(UsageError) as caught:
        go_on(run[0], *words, **flags)
    assert told in str(caught.value)
    assert "--init" in caught.value.fix


def test_settings_of_a_file_count_too(run, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("lr = 0.002\n[augment]\nrotate = 0.3\n")
    typed = build_config("s", recipe, [], {})
    with pytest.raises(UsageError, match=r"lr = 0\.001, now 0\.002;? ?"):
        resumed(run[0], typed, settings_named({}, [], recipe))
    recipe.write_text("[augment]\nrotate = 0.3\n")
    assert resumed(run[0], build_config("s", recipe, [], {}), settings_named({}, [], recipe)) == run[1]


def test_a_run_json_that_is_none(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"cannot read .*run\.json"):
        go_on(tmp_path / "run.json")
