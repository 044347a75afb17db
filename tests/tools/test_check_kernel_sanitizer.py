"""How the recipe runs itself under compute-sanitizer, which a stand-in takes the place of."""

import json
import os
import stat
import sys

import pytest
import torch

from tfpose_rt.tools import check_kernel

STAND_IN = """#!{python}
import json, os, sys
print(json.dumps([sys.argv[1:], os.environ.get("PYTORCH_NO_CUDA_MEMORY_CACHING")]))
sys.exit(9)
"""


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a script with a first line that names its program")
def test_every_tensor_has_an_allocation_of_its_own(monkeypatch, tmp_path):
    """In torch's pool a read past the end of one tensor falls into the next, and is none to memcheck."""
    program = tmp_path / "compute-sanitizer"
    program.write_text(STAND_IN.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    (told,) = check_kernel.sanitizer("memcheck")
    head, _, printed = told.partition("9: ")
    assert head == "memcheck: exit code "
    given, unpooled = json.loads(printed)
    assert unpooled == "1"
    assert given[:2] == ["--tool", "memcheck"]
    assert given[-4:] == ["-m", "tfpose_rt.tools.check_kernel", "--small", "--no-sanitizer"]


@pytest.mark.parametrize(("unpooled", "captured"), [("", True), ("1", False)])
def test_without_a_pool_nothing_is_captured(monkeypatch, unpooled, captured):
    monkeypatch.setenv(check_kernel.UNPOOLED, unpooled)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    names = [name for name, _ in check_kernel.steps(None, [], "cuda", False)]
    assert ("graph capture and replay" in names) is captured
    assert "two streams" in names
