"""Networks that OpenVINO runs: converted once, compiled for any pictures or for batches. Skipped without OpenVINO."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tfpose_rt import compiled, engine
from tfpose_rt.compiled import Compiled, Converted, cover
from tfpose_rt.config import SourceOptions
from tfpose_rt.errors import DeviceError
from tfpose_rt.estimator import PoseEstimator
from tfpose_rt.io.sources import open_source
from tfpose_rt.records import Frame
from tfpose_rt.tools.showcase import DEMO_CLIP

# looked for, not imported: only `engine.load` does that without the reports to its maker
pytestmark = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")


class Small(nn.Module):
    """A convolution and a logit, two answers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.conv(x)
        return y.mean((2, 3)), y.sigmoid().clamp(1e-4, 1 - 1e-4).logit()


class Counting(nn.Module):
    """Its trace holds the number of pictures that it was traced with."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3)) * len(x)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(compiled, "cache_dir", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def pictures(*shape: int) -> Any:
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


def test_it_answers_as_torch_for_any_number_and_size_of_pictures(cache: Path) -> None:
    network = Small().eval()
    fast = compiled.compile_network(lambda: network, "a" * 64, size=(32, 24), any_size=True, threads=1)
    for shape in ((1, 24, 32, 3), (5, 40, 16, 3)):
        x = pictures(*shape)
        rgb = torch.from_numpy(x[..., ::-1].astype(np.float32) / 255).permute(0, 3, 1, 2)
        with torch.no_grad():
            expected = [t.numpy() for t in network(rgb)]
        for got, want in zip(fast(x), expected, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_network_is_converted_once_and_anew_where_the_file_is_damaged(cache: Path) -> None:
    built: list[nn.Module] = []

    def build() -> nn.Module:
        built.append(Small().eval())
        return built[-1]

    stranger, stale = cache / "beef-0", cache / f"{'a' * 16}-0"
    stranger.mkdir(parents=True)
    stale.mkdir()
    x = pictures(1, 24, 32, 3)
    first = compiled.compile_network(build, "a" * 64, size=(32, 24), threads=1)(x)
    assert stranger.is_dir()
    assert not stale.exists()  # of another version, the same weights
    again = compiled.compile_network(build, "a" * 64, size=(32, 24), threads=1)(x)
    assert len(built) == 1
    np.testing.assert_array_equal(again[1], first[1])
    (file,) = cache.glob("aaaa*/network.xml")
    file.write_text(file.read_text()[:500])
    mended = compiled.compile_network(build, "a" * 64, size=(32, 24), threads=1)
    np.testing.assert_array_equal(mended(x)[1], first[1])
    compiled.compile_network(build, "b" * 64, size=(32, 24), threads=1)
    assert len(built) == 3
    assert sorted(p.name.split("-")[0] for p in cache.iterdir()) == ["a" * 16, "b" * 16, "beef"]


def test_it_runs_where_nothing_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(compiled, "cache_dir", lambda: tmp_path / "file")
    fast = compiled.compile_network(Small, "a" * 64, size=(32, 24), threads=1)
    assert fast(pictures(1, 24, 32, 3))[0].shape == (1, 4)


def test_a_network_that_answers_differently_is_refused(cache: Path) -> None:
    with pytest.raises(RuntimeError, match="differ from torch's"):
        compiled.compile_network(Counting, "c" * 64, size=(32, 24), threads=1)
    assert not cache.exists()


@pytest.mark.parametrize(("precision", "hint"), [("fp32", "float"), ("bf16", "bfloat16")])
def test_precision_and_threads_are_those_asked_for(cache: Path, precision: str, hint: str) -> None:
    if precision == "bf16" and engine.choose_engine("auto", "cpu", "bf16").name == "torch":
        pytest.skip("this processor has no bf16")
    fast: Any = compiled.compile_network(Small, "a" * 64, size=(32, 24), precision=precision, threads=1)
    fast(pictures(1, 24, 32, 3))
    made = fast._open[()]._request.get_compiled_model()
    assert made.get_property("INFERENCE_NUM_THREADS") == 1
    assert hint in str(made.get_property("INFERENCE_PRECISION_HINT"))


class SignalStack(ctypes.Structure):
    """What sigaltstack(2) tells."""

    _fields_ = [("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_signal_reaches_a_process_whose_networks_have_come_and_gone(cache: Path) -> None:
    """A signal whose stack is no longer mapped would end the tests here with a segmentation fault: looked up first."""
    made = [compiled.compile_network(Small, name * 64, size=(32, 24), threads=1) for name in "ab"]
    for fast in made:
        fast(pictures(1, 24, 32, 3))
    del fast
    while made:
        del made[0]  # in the order in which they were made
    stack = SignalStack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
    parts = [line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines()]
    assert stack.size > 0
    assert any(int(first, 16) <= stack.start < int(end, 16) for first, end in parts)
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    signal.raise_signal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIGUSR1]


def test_both_precisions_of_the_same_weights_are_kept(cache: Path) -> None:
    for bounds in (None, {"conv": (0.0, 1.0)}, None, {"conv": (0.0, 1.0)}):
        compiled.compile_network(Small, "a" * 64, size=(32, 24), threads=1, bounds=bounds)
    assert len(list(cache.iterdir())) == 2
    compiled.compile_network(Small, "a" * 64, size=(32, 24), threads=1, bounds={"conv": (0.0, 2.0)})
    assert len(list(cache.iterdir())) == 2  # other bounds, another network in the place of the older one


@pytest.mark.parametrize(
    ("count", "sizes", "batches"),
    [
        (1, (1, 2), (1,)),
        (3, (1, 2, 8), (1, 2)),
        (3, (4, 8), (4,)),
        (8, (1, 8), (8,)),
        (11, (8, 2), (8, 2, 2)),
        (7, (1,), (1,) * 7),
    ],
)
def test_a_batch_that_nothing_is_compiled_for_is_cut_up_or_filled_up(
    count: int, sizes: tuple[int, ...], batches: tuple[int, ...]
) -> None:
    assert sorted(cover(count, sizes)) == sorted(batches)


def fitted(cache: Path, network: nn.Module, **options: Any) -> Converted:
    made = compiled.compile_network(lambda: network, "a" * 64, size=(32, 24), any_size=True, threads=1, **options)
    assert isinstance(made, Converted)
    return made


def open_sizes(fast: Converted) -> list[int]:
    return sorted(shape[0] for shape in fast._open)


def test_a_picture_of_a_steady_source_has_the_same_answer_in_every_batch(cache: Path) -> None:
    network = Small().eval()
    fast, x = fitted(cache, network), pictures(19, 24, 32, 3)
    with torch.no_grad():
        expected = network(torch.from_numpy(x[..., ::-1].astype(np.float32) / 255).permute(0, 3, 1, 2))
    alone = [fast(x[i : i + 1], True) for i in range(len(x))]
    for count in (19, 8, 7, 5, 3, 2):
        for got, want, single in zip(fast(x[:count], True), expected, zip(*alone, strict=True), strict=True):
            np.testing.assert_allclose(got, want[:count], atol=1e-5)
            np.testing.assert_array_equal(got, np.concatenate(single[:count]))


def test_another_batch_is_compiled_for_once_that_is_worth_it(cache: Path) -> None:
    fast, x = fitted(cache, Small().eval()), pictures(8, 24, 32, 3)
    fast(x[:3], True)
    assert open_sizes(fast) == [4]
    for _ in range(compiled.PATIENCE // 3):  # a batch of 4 for 1 picture wastes 3
        fast(x[:1], True)
    assert fast._thread is None
    fast(x[:1], True)
    assert fast._thread is not None
    fast._thread.join()
    fast(x[:1], True)
    assert open_sizes(fast) == [1, 4]
    portrait = pictures(2, 32, 24, 3)
    assert fast(portrait, True)[1].shape == (2, 4, 32, 24)
    assert open_sizes(fast) == [1, 2, 4]
    assert cache.is_dir()


def impatient(fast: Converted, x: Any) -> None:
    """Ask for single pictures until a batch of one is worth compiling for, as a stream does: from a daemon thread."""

    def ask() -> None:
        for _ in range(compiled.PATIENCE):
            fast(x[:1], True)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join()
    assert fast._thread is not None
    fast._thread.join()


def test_what_compiles_is_waited_for_at_the_end(cache: Path) -> None:
    """A daemon, as the thread that asks is one, would go on in an interpreter that is gone: the process aborts."""
    fast, x = fitted(cache, Small().eval()), pictures(4, 24, 32, 3)
    fast(x, True)
    impatient(fast, x)
    assert fast._thread is not None
    assert not fast._thread.daemon


def test_a_batch_that_cannot_be_compiled_for_is_given_up(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fast, x, asked = fitted(cache, Small().eval()), pictures(4, 24, 32, 3), []
    expected = fast(x, True)[1]

    def refuse(shape: Any) -> Any:
        asked.append(shape)
        raise RuntimeError("of lead")

    monkeypatch.setattr(fast, "_compile", refuse)
    for _ in range(2):
        impatient(fast, x)
    assert asked == [(1, 24, 32, 3)]
    assert "does not compile for batches of 1: of lead" in caplog.text
    np.testing.assert_array_equal(fast(x[1:2], True)[1], expected[1:2])


def test_the_cache_may_be_deleted_while_it_is_in_use(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fast, x = fitted(cache, Small().eval()), pictures(4, 24, 32, 3)
    first = fast(x[:1], True)
    shutil.rmtree(cache)
    for got, want in zip(Compiled(fast._compile(x.shape))(x), first, strict=True):
        np.testing.assert_array_equal(got[:1], want)  # converted anew, to the same bits
    portrait = pictures(1, 32, 24, 3)
    assert fast(portrait, True)[1].shape == (1, 4, 32, 24)
    assert len(list(cache.glob("*/network.xml"))) == 1
    shutil.rmtree(cache)
    monkeypatch.setattr(fast, "_convert", lambda: (_ for _ in ()).throw(RuntimeError("of lead")))
    with pytest.raises(DeviceError, match="--engine openvino cannot be used: of lead; try: --engine torch"):
        fast(pictures(1, 40, 24, 3), True)


def test_what_is_seldom_asked_for_is_let_go(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "OPEN", 2)
    monkeypatch.setattr(compiled, "KEPT", 3)
    fast = fitted(cache, Small().eval())
    for side in (16, 24, 32, 40, 16):
        assert fast(pictures(1, side, 32, 3), True)[1].shape == (1, 4, side, 32)
    assert [shape[1] for shape in fast._open] == [40, 16]
    assert len(list(cache.glob("*/f32/*.blob"))) == 3


def test_bfloat16_after_float32_answers_as_float32_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO 2026.4.1 takes up what it has compiled for float32 where bfloat16 is asked for: joints px astray."""
    if engine.choose_engine("auto", "cpu", "bf16").name == "torch":
        pytest.skip("this processor has no bf16")
    finder = PoseEstimator(device="cpu", engine="openvino")  # converts the networks, where nothing has yet
    source = open_source(str(DEMO_CLIP), SourceOptions(frames=(0, 1)))
    (image,) = [item.image for item in source if isinstance(item, Frame)]
    source.close()
    people = finder.detect([image])
    (kept,) = compiled.cache_dir().glob(f"{finder.model['sha256'][:16]}-*")
    shutil.copytree(kept, tmp_path / kept.name, ignore=lambda folder, names: [n for n in names if "." not in n])
    monkeypatch.setattr(compiled, "cache_dir", lambda: tmp_path)
    for steady in (False, True):
        said = []
        for precision in ("fp32", "bf16"):
            model = PoseEstimator(device="cpu", engine="openvino", detector="none", precision=precision)
            said.append(model.poses([image], people, steady=steady)[0])
        exact, rounded = said
        apart = np.linalg.norm(rounded.xy - exact.xy, axis=-1)
        assert 0 < np.median(apart) < 0.1 * np.median(exact.errors)
        assert np.abs(rounded.scores - exact.scores).max() < 0.1
        np.testing.assert_allclose(rounded.errors, exact.errors, rtol=0.25)
