"""`tfpose-rt export`: weights into a file that other runtimes read; compared with torch before it gets its name."""

from __future__ import annotations

import importlib.util
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfpose_rt import assets
from tfpose_rt.errors import OutputError, TfposeError, UsageError, WeightsError, line_of
from tfpose_rt.io.sinks import check_outputs
from tfpose_rt.shell import install
from tfpose_rt.tools.export_check import Difference, compare
from tfpose_rt.tools.export_formats import FORMATS, FREE, Format
from tfpose_rt.tools.export_network import is_pose, open_network

LIMITS = {"fp32": (0.1, 0.01), "fp16": (2.0, 0.1)}  # px of the input, score; fp16: a broken file, not its rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written.

    Args:
        files: the file that was named, then those that belong to it.
        facts: the metadata in it.
        difference: from torch in float32; None where it was not looked for.
        limit: px and score from which the difference is an error.
    """

    files: tuple[Path, ...]
    facts: Mapping[str, str]
    difference: Difference | None
    limit: tuple[float, float]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.stat().st_size for file in self.files)


def export(
    weights: str,
    to: str = "",
    out: Path | None = None,
    *,
    precision: str = "fp32",
    free: str = "batch",
    det_size: int = 640,
    check: bool = True,
    overwrite: bool = False,
) -> Exported:
    """Write weights as ONNX, OpenVINO or TorchScript.

    Args:
        weights: a name or path of a TFPose or a person detector.
        to: a key of `FORMATS`; "" = by the suffix of `out`, else onnx.
        out: the file; NAME.onnx and so on in the working folder where it is None.
        precision: fp32, or fp16: half-precision arithmetic (OpenVINO: half-precision weights).
        free: what of the input's shape stays open, one of `FREE`.
        det_size: side of a detector's square input, px.
        check: run the file and compare it with torch.
        overwrite: whether files may be replaced.
    Raises:
        UsageError: a value that makes no sense, or a package that is not installed.
        WeightsError: absent or damaged weights, or the file answers differently from torch; nothing is written then.
        OutputError: it exists, or cannot be written. TfposeError: the network cannot be written in this format.
    """
    name = _format_name(to, out)
    form, path = FORMATS[name], assets.resolve(weights)
    _check_request(name, precision, free, det_size, is_pose(path))
    target = out or Path(path.stem + form.suffix)
    files = [target, *(target.with_suffix(suffix) for suffix in form.beside)]
    check_outputs(files, overwrite, inputs=[path, path.with_suffix(".json")])
    _check_packages(form, name, check)
    made = open_network(path, half=form.half and precision == "fp16", det_size=det_size)
    facts = {**made.facts, "precision": precision, "free": free}
    flat = {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}
    with _beside(target) as folder:
        written = [folder / file.name for file in files]
        with _told_as(f"cannot write {path.name} as {name}"):
            form.write(made, flat, written[0], free)
        found = None
        if check:
            plain = open_network(path, det_size=det_size)
            with _told_as(f"the {name} file does not run"):
                found = compare(plain, form.run(written[0]), free_batch=free != "none")
            _judge(found, name, precision)
        for source, file in reversed(list(zip(written, files, strict=True))):
            source.replace(file)  # the one that is named comes last
    return Exported(files=tuple(files), facts=flat, difference=found, limit=LIMITS[precision])


def _format_name(to: str, out: Path | None) -> str:
    by_suffix = {form.suffix: name for name, form in FORMATS.items()}
    if to and to not in FORMATS:
        raise UsageError(f"--to {to}", why="no such format", fix=", ".join(FORMATS))
    name = to or (by_suffix.get(out.suffix.lower(), "") if out else "onnx")
    if not name or (out and out.suffix.lower() != FORMATS[name].suffix):
        fix = FORMATS[name].suffix if name else ", ".join(by_suffix)
        raise UsageError(f"--out {out}", why=f"not the suffix of {name or 'any format'}", fix=fix)
    return name


def _check_request(name: str, precision: str, free: str, det_size: int, pose: bool) -> None:
    if precision not in LIMITS:
        raise UsageError(f"--precision {precision}", why="runtimes differ on others", fix="fp32 or fp16")
    if free not in FREE:
        raise UsageError(f"--dynamic {free}", why="unknown", fix=", ".join(FREE))
    if free == "size" and pose:
        raise UsageError("--dynamic size", why="a pose model's crop has one size", fix="--dynamic batch")
    if free == "none" and name == "torchscript":
        raise UsageError("--dynamic none", why="a TorchScript file takes any number", fix="--dynamic batch")
    if det_size < 32 or det_size % 32:
        raise UsageError(f"--det-size {det_size}", why="not a multiple of 32", fix="--det-size 640")


def _check_packages(form: Format, name: str, check: bool) -> None:
    """Say what is missing before anything slow starts."""
    for package in (*form.needs, *(form.checks if check else ())):
        try:
            absent = importlib.util.find_spec(package) is None
        except ValueError:  # shut out by sys.modules
            absent = True
        if absent:
            why = f"{package} is not installed"
            raise UsageError(f"--to {name}", why=why, fix=install(form.extra))


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A folder beside `target` for files in the making; gone at the end, whatever happened."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{target.stem}-", dir=target.parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"cannot write {target}", why=str(error.strerror or error), fix="another --out") from error


@contextmanager
def _told_as(what: str) -> Iterator[None]:
    """Errors of torch, onnxruntime and OpenVINO, whose kinds are many, as one line."""
    try:
        yield
    except (OSError, TfposeError):
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {line_of(error)}"
        raise TfposeError(what, why=why, fix="another --to, or --debug for all of it") from error


def _judge(found: Difference, name: str, precision: str) -> None:
    px, score = LIMITS[precision]
    if not (found.px <= px and found.score <= score):  # so that NaN fails
        raise WeightsError(
            f"the {name} file answers up to {found.px:.3g} px and {found.score:.2g} of score away from torch",
            why=f"the limit in {precision} is {px:g} px and {score:g}; nothing was written",
            fix="--no-check, to look at it",
        )


def told(made: Exported) -> dict[str, Any]:
    """The summary's rows: what it is, its input, its licence, how far it is from torch."""
    facts = made.facts
    w, h = json.loads(facts["input_size"])
    shape = {
        "none": f"{w}x{h}, one picture",
        "batch": f"{w}x{h}, any number of pictures",
        "size": "any multiple of 32 a side, any number of pictures",
    }
    kind, what = ("pose model", "crops") if facts["kind"] == "pose" else ("detector", "frames")
    rows = {
        "model": f"{facts['name']}, a {kind}, {facts['precision']}",
        "input": f"RGB, {shape[facts['free']]}",
        "licence": facts["licence"],
        "difference": "not looked for",
    }
    if (d := made.difference) is not None:
        where = f"on {d.of} {what} of the demo clip"
        rows["difference"] = f"{d.px:.2g} px at most (limit {made.limit[0]:g}), {d.score:.1g} of score, {where}"
    return rows
