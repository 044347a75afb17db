"""docs/python.md: its examples give options where they are taken."""

import ast
import re
from dataclasses import fields
from pathlib import Path

from tfpose_rt.config import RunConfig, SourceOptions

PAGE = Path(__file__).parent.parent / "docs" / "python.md"


def calls(name):
    """Every call of that function or method in the examples of the page."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    found = [node for block in blocks for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)]
    return [call for call in found if name in (getattr(call.func, "attr", None), getattr(call.func, "id", None))]


def test_options_are_given_where_the_estimator_is_made():
    given = {keyword.arg for call in calls("PoseEstimator") for keyword in call.keywords}
    assert {"det_every", "smooth"} < given <= {field.name for field in fields(RunConfig)}
    assert [len(call.args) for call in calls("stream")] == [1] * 3
    read = {keyword.arg for call in calls("stream") for keyword in call.keywords}
    assert {"start", "end", "stride", "rotate"} <= read <= {field.name for field in fields(SourceOptions)}
