"""What all tests share: the engine, and small labelled sets, of dots where the joints are, for a model to learn."""

import functools
import itertools
import json
import os
import signal
import socket
import tarfile
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from order import LONG

from tfpose_rt.interrupts import SIGNALS

# Torch, in child processes too, where a test does not choose: OpenVINO, which the program takes where it is installed,
# first converts its networks, and that would be half a minute, once a machine, of tests about something else.
os.environ.setdefault("TFPOSE_ENGINE", "torch")


def pytest_configure(config):
    """The order of files that is told here, and not that of the number of tests, which puts long tests last."""
    if hasattr(config.option, "loadscopereorder"):  # with pytest-xdist
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
    rank = {Path(__file__).parent / f"{name}.py": place for place, name in enumerate(LONG.split())}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.fixture(scope="session")
def pack(tmp_path_factory):
    """A training pack of 40 crops of one dotted figure each."""
    folder = tmp_path_factory.mktemp("pack")
    rng = np.random.default_rng(7)
    rows = []
    with tarfile.open(folder / "train-00.tar", "w") as tar:
        for number in range(40):
            image = np.full((120, 100, 3), 40, np.uint8)
            xy = rng.uniform((25, 20), (75, 100), (17, 2)).round(1)
            for k, (x, y) in enumerate(xy):
                cv2.circle(image, (round(x), round(y)), 3, (15 * k % 256, 255 - 10 * k, 60 + 8 * k), -1)
            blob = cv2.imencode(".webp", image)[1].tobytes()
            entry = tarfile.TarInfo(f"p{number}.webp")
            entry.size = len(blob)
            tar.addfile(entry, BytesIO(blob))
            rows.append({
                "key": f"p{number}", "image": f"photo{number}", "shard": 0, "source": "coco", "size": [100, 120],
                "box": [20.0, 15.0, 80.0, 105.0], "keypoints": [[x, y, 2] for x, y in xy.tolist()],
                "from": "h" * 17, "confidence": [1.0] * 17,
            })  # fmt: skip
    (folder / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture(scope="session")
def quick_builds(tmp_path_factory):
    """Builds of the kernel for the CPU take a third less of g++'s time, in every file of tests that makes some."""
    from host_builds import quicken

    with pytest.MonkeyPatch.context() as patch:
        quicken(patch, tmp_path_factory.mktemp("shim"))
        yield


@pytest.fixture(scope="session", autouse=True)
def command_tree():
    """All commands with their options are built once: at each call of the program here that would be most of its time.

    A test that changes one of them has to put it back.
    """
    import typer.testing

    build = functools.cache(typer.main.get_command)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", build)
        patch.setattr(typer.testing, "_get_command", build)
        yield


@pytest.fixture(autouse=True)
def plain_logging():
    """Each test begins with the library's logger as an import leaves it: commands give it a handler and keep it."""
    import logging

    logger = logging.getLogger("tfpose_rt")
    before = logger.level, logger.propagate, list(logger.handlers)
    yield
    logger.setLevel(before[0])
    logger.propagate, logger.handlers[:] = before[1:]


@pytest.fixture(autouse=True)
def signals():
    """Each test hears Ctrl-C, which a shell has its background jobs ignore, and leaves no handler to the next."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


@pytest.fixture(autouse=True)
def offline(request, monkeypatch):
    """No test that is not marked `network` looks a name up or connects to another machine."""
    if request.node.get_closest_marker("network"):
        return
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def refuse(host):
        own = host in (None, "", "localhost", "ip6-localhost", socket.gethostname())
        if not own and not str(host).startswith(("127.", "::1", "0.0.0.0", "::")):
            raise OSError(f"no network in tests: {host}")

    def connecting(self, address):
        # a connected datagram socket has sent nothing: it only asks which of its addresses this machine would use
        if self.family in (socket.AF_INET, socket.AF_INET6) and self.type == socket.SOCK_STREAM:
            refuse(address[0])
        return connect(self, address)

    def looking_up(host, *more, **named):
        if not str(host).replace(".", "").isdecimal():  # a number needs no server of names
            refuse(host)
        return look_up(host, *more, **named)

    monkeypatch.setattr(socket.socket, "connect", connecting)
    monkeypatch.setattr(socket, "getaddrinfo", looking_up)


@pytest.fixture
def tiny_trunk(monkeypatch):
    """The name of a trunk of five convolutions, for tests of what goes on around one: a resnet18 is vast beside it."""
    from torch import nn

    from tfpose_rt.model import backbone

    def build(strides):
        widths = (3, 8, 16, 16, 32, 32)
        stages = [
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in itertools.pairwise(widths)
        ]
        taps = {s.bit_length() - 2: s for s in strides}
        return backbone.ImageNetTrunk(stages, taps, [widths[stage + 1] for stage in taps])

    monkeypatch.setitem(backbone.BACKBONES, "tiny", build)
    return "tiny"
