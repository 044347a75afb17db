"""Networks that OpenVINO runs on the CPU: converted once, compiled for the pictures that come.

Converting (tracing, seconds, and torch is needed for it) is done once; the result is kept in the platform's cache
folder and opened from there at each start (tenths of a second, without torch, whose import alone takes longer).
It has free shapes, so that it serves any number of people and any aspect. Compiled like that it takes pictures of
every shape as they come; compiled for one shape it answers in half to two thirds of the time (docs/lab.md, "Fixed
shapes").
"""

from __future__ import annotations

import hashlib
import importlib.metadata as packages
import logging
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from tfpose_rt.bounds import Bounds
from tfpose_rt.device import usual_threads
from tfpose_rt.engine import HINTS, core, load, refused
from tfpose_rt.errors import DeviceError, line_of
from tfpose_rt.records import Image

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)
MOST = 8  # pictures of a batch that is compiled for: in larger ones each takes as long (docs/lab.md)
PATIENCE = 60  # pictures that take as long as compiling
OPEN = 8  # compiled networks that are held; each takes some 90 MiB of memory
KEPT = 16  # of a network and a precision, what compiling made for as many shapes is kept for the next start
Answers = tuple[npt.NDArray[np.float32], ...]
Shape = tuple[int, ...]


class Network(Protocol):
    """Pictures in, arrays out; for one thread."""

    def __call__(self, pictures: Image, steady: bool = False) -> Answers:
        """(B, H, W, 3) uint8 BGR, any B -> float32 arrays of its own.

        Args:
            pictures: the batch.
            steady: whether many more of this size are to come, as from a video: worth being compiled for.
        """


def compile_network(
    build: Callable[[], nn.Module],
    sha256: str,
    *,
    size: tuple[int, int],
    any_size: bool = False,
    precision: str = "fp32",
    threads: int = 0,
    bounds: Bounds | None = None,
) -> Network:
    """A network as a function of pictures, run by OpenVINO on the CPU.

    Args:
        build: makes it on the CPU, in eval mode and float32, mapping (B, 3, H, W) RGB in 0..1 to a tensor or a tuple
            of tensors; called only where the cache does not hold it.
        sha256: of its weights, hex.
        size: W, H of its pictures.
        any_size: whether others may follow, as far as the network allows it; `size` is then an example.
        precision: fp32, bf16 or int8.
        threads: of the processor; 0 = as many as torch uses.
        bounds: of int8, as `model.quantise` observes them.
    Raises: RuntimeError: it cannot be converted, or does not answer as torch does. WeightsError: bounds of another one.
    """
    kind = sha256[:16] if bounds is None else f"{sha256[:16]}.int8"
    folder = cache_dir() / f"{kind}-{_fingerprint(sha256, size, any_size, bounds)}"

    def convert_and_keep() -> Any:
        from tfpose_rt.conversion import convert

        log.warning("OpenVINO: converting a network; this takes some seconds, once")
        model = convert(build, size, any_size, bounds)
        _keep(model, folder)
        return model

    settings = {
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "INFERENCE_NUM_THREADS": threads or usual_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # decoding and drawing share the processor
    }
    return Converted(folder / "network.xml", convert_and_keep, settings)


class Converted:
    """A converted network, compiled when it is first asked: for any pictures, or for batches of one shape.

    An answer is the same to the bit in a batch of any size, so a batch that nothing is compiled for is cut up or filled
    up. Once that has cost as much as compiling would, a thread does it, and nobody waits.

    Args:
        file: where it is kept.
        convert: makes it and, if it can, puts it there; called where the file is absent or damaged.
        settings: of what is compiled.
    Raises: RuntimeError: it had to be converted, and cannot be.
    """

    def __init__(self, file: Path, convert: Callable[[], Any], settings: Mapping[str, Any]) -> None:
        self._file, self._convert, self._settings = file, convert, settings
        self._unkept = None if file.is_file() else convert()  # the network itself, until the file has been read
        self._open: dict[Shape, Compiled] = {}  # the last one asked stands last; () is the shape of any
        self._wasted: Counter[Shape] = Counter()  # by not being compiled, in pictures
        self._coming: list[tuple[Shape, Any]] = []  # compiled by the thread
        self._refused: set[Shape] = set()
        self._thread: threading.Thread | None = None

    def __call__(self, pictures: Image, steady: bool = False) -> Answers:
        """Answer as a `Network` does. Raises: DeviceError: the file is gone or damaged, and nothing can replace it."""
        if not steady:
            return self._for(())(pictures)
        self._take_up()
        parts: list[Answers] = []
        rest = pictures
        while len(rest):
            for size in self._batches(min(len(rest), MOST), pictures.shape[1:]):
                parts.append(self._filled(rest[:size], size))
                rest = rest[size:]
        return parts[0] if len(parts) == 1 else tuple(np.concatenate(each) for each in zip(*parts, strict=True))

    def _filled(self, pictures: Image, size: int) -> Answers:
        """The answers for a batch that is filled up to a size that is compiled."""
        if missing := size - (count := len(pictures)):
            pictures = np.concatenate((pictures, np.zeros((missing, *pictures.shape[1:]), np.uint8)))
        return tuple(answer[:count] for answer in self._for(pictures.shape)(pictures))

    def _batches(self, count: int, picture: Shape) -> tuple[int, ...]:
        """How `count` pictures, MOST at most, are cut up; has the size they want compiled where that is worth it."""
        wanted = 1 << (count - 1).bit_length()
        sizes = tuple(shape[0] for shape in self._open if shape[1:] == picture) or (wanted,)
        batches, better = cover(count, sizes), cover(count, (*sizes, wanted))
        shape = (wanted, *picture)
        self._wasted[shape] += _cost(batches) - _cost(better)
        if self._wasted[shape] > PATIENCE and shape not in self._refused:
            self._prepare(shape)
        return batches

    def _prepare(self, shape: Shape) -> None:
        """Have a thread compile for a shape, one at a time. The end of the program waits for it: a second or two."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._wasted[shape] = 0
        # not a daemon, as the thread of whoever asks may be: at exit it would go on in an interpreter that is gone
        self._thread = threading.Thread(target=self._bring, args=(shape,), name="compile", daemon=False)
        with suppress(RuntimeError):  # no more threads
            self._thread.start()

    def _bring(self, shape: Shape) -> None:
        try:
            self._coming.append((shape, self._compile(shape)))
        except (RuntimeError, OSError, DeviceError) as error:  # what there is goes on answering
            self._refused.add(shape)
            log.warning("OpenVINO does not compile for batches of %d: %s", shape[0], line_of(error, -1))

    def _take_up(self) -> None:
        """Open what the thread has compiled."""
        while self._coming:
            shape, compiled = self._coming.pop()
            self._open[shape] = Compiled(compiled)

    def _for(self, shape: Shape) -> Compiled:
        """What is compiled for pictures of this shape."""
        self._open[shape] = compiled = self._open.pop(shape, None) or Compiled(self._compile(shape))
        if len(self._open) > OPEN:
            del self._open[next(iter(self._open))]
        return compiled

    def _compile(self, shape: Shape) -> Any:
        """Compile for a shape, from the file where there is one: what is read has other last bits than what was made.

        Raises: DeviceError: there is none, and it cannot be converted.
        """
        with suppress(RuntimeError, OSError):
            return self._compile_file(shape)
        if self._unkept is None:
            try:
                self._unkept = self._convert()
            except RuntimeError as error:
                raise refused(error) from error
            with suppress(RuntimeError, OSError):
                return self._compile_file(shape)
        return core().compile_model(_reshaped(self._unkept.clone(), shape), "CPU", self._settings)

    def _compile_file(self, shape: Shape) -> Any:
        """Compile the kept network.

        What compiling makes is put beside it, where something can be written: the next start takes it up from there,
        to the same bits in a quarter of the time. A folder for each precision, for OpenVINO 2026.4.1 takes up what was
        made for float32 where bfloat16 is asked for, and then answers wrongly. Not mapped into memory, for another
        process may be writing the same file.
        """
        folder = self._file.parent
        beside = folder / str(self._settings["INFERENCE_PRECISION_HINT"])
        cache = {"CACHE_DIR": str(beside), "ENABLE_MMAP": False} if os.access(folder, os.W_OK) else {}
        model = _reshaped(core().read_model(self._file), shape) if shape else self._file
        compiled = core().compile_model(model, "CPU", {**self._settings, **cache})
        self._unkept = None
        with suppress(OSError):
            for old in sorted(beside.glob("*.blob"), key=lambda file: file.stat().st_mtime)[:-KEPT]:
                _remove(old)
        return compiled


class Compiled:
    """A compiled network with a request of its own."""

    def __init__(self, compiled: Any) -> None:
        self._request, self._outputs = compiled.create_infer_request(), range(len(compiled.outputs))

    def __call__(self, pictures: Image) -> Answers:
        """Pictures of a shape that it was compiled for -> its answers."""
        found = self._request.infer(pictures, share_inputs=True)
        return tuple(np.asarray(found[i], np.float32) for i in self._outputs)


def cache_dir() -> Path:
    """The folder of converted networks; it need not exist, and may be deleted at any time."""
    from platformdirs import user_cache_path

    return user_cache_path("tfpose-rt", appauthor=False) / "openvino"


@cache
def cover(count: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The cheapest batches of these sizes that hold so many pictures."""
    if count <= 0:
        return ()
    return min(((size, *cover(count - size, sizes)) for size in sizes), key=_cost)


def _cost(batches: tuple[int, ...]) -> int:
    """In pictures: a batch takes as long as one picture more would (docs/lab.md)."""
    return sum(batches) + len(batches)


def _reshaped(model: Any, shape: Shape) -> Any:
    """A converted network, now for pictures of one shape (B, H, W, 3); () leaves it as it is."""
    if shape:
        model.reshape(list(shape))
    return model


def _fingerprint(*of: object) -> str:
    """What a converted network depends on: its weights, the libraries, and the code that is traced."""
    libraries = [f"{name}={packages.version(name)}" for name in ("openvino", "torch", "ultralytics")]
    digest = hashlib.sha256(repr((of, libraries)).encode())
    home = Path(__file__).parent
    for path in (*sorted((home / "model").glob("*.py")), home / "ops" / "deform_attn.py", home / "person_head.py",
                 home / "yolo.py", home / "conversion.py"):  # fmt: skip
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _remove(file: Path) -> None:
    """Remove a file that OpenVINO may have made read-only, which Windows would keep; where it is in use, it stays."""
    with suppress(OSError):
        if file.is_file():
            file.chmod(0o600)
            file.unlink()


def _keep(model: Any, folder: Path) -> None:
    """Put a converted network into the cache, and those of other versions out; where nothing can be written, do not."""
    part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    try:
        with suppress(OSError, RuntimeError):
            part.mkdir(parents=True, exist_ok=True)
            load().save_model(model, part / "network.xml", compress_to_fp16=False)
            for old in folder.parent.glob(f"{folder.name.split('-')[0]}-*"):
                if not old.name.endswith(".part"):
                    for file in old.rglob("*"):
                        _remove(file)
                    shutil.rmtree(old, ignore_errors=True)
            part.replace(folder)  # one rename: no reader sees half of it
    finally:  # after Ctrl-C too
        shutil.rmtree(part, ignore_errors=True)
