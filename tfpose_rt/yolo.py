"""ultralytics, kept quiet: the only module that imports it.

It may look names up, send usage events, download files, install packages and write a settings file; and its import
changes thread counts, print options, warnings and `torch.save` for the whole process. `load()` sets every switch
before the import and puts back what the import changed. Only its layers are used: no predictor, no tracker, no
drawing, no data set, none of which are needed and some of which fetch fonts or weights.

The switches stay in the environment, so that child processes keep quiet too. A program that imported ultralytics
before us has made its own choice, and keeps it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch._tensor_str
from torch import Tensor, nn

from tfpose_rt.errors import WeightsError, line_of
from tfpose_rt.person_head import PersonHead

SWITCHES: Mapping[str, str] = {
    "YOLO_OFFLINE": "1",  # no DNS probe at import, no update check, no usage events
    "YOLO_AUTOINSTALL": "0",  # never runs pip
    "ULTRALYTICS_SKIP_REQUIREMENTS_CHECKS": "1",
    "ULTRALYTICS_SAFE_LOAD": "1",  # a .pt is unpickled by an allow-list of classes only
    "YOLO_VERBOSE": "0",
}
# Its settings, complete, so that it neither rewrites the file nor fills `uuid` with a hash of the network card.
SETTINGS: Mapping[str, Any] = {
    "settings_version": "0.0.8",
    "datasets_dir": "datasets", "weights_dir": "weights", "runs_dir": "runs",
    "uuid": "", "sync": False, "api_key": "", "openai_api_key": "",
    "clearml": False, "comet": False, "dvc": False, "mlflow": False, "raytune": False, "tensorboard": False,
    "wandb": False, "vscode_msg": False, "openvino_msg": False,
}  # fmt: skip
# Variables that the import writes for its own sake.
SIDE_VARIABLES = (
    "OMP_NUM_THREADS", "NUMEXPR_MAX_THREADS", "TF_CPP_MIN_LOG_LEVEL", "TORCH_CPP_LOG_LEVEL", "KINETO_LOG_LEVEL",
)  # fmt: skip
TASKS: Mapping[str, str] = {"detect": "DetectionModel", "pose": "PoseModel", "segment": "SegmentationModel"}
_scratch: list[tempfile.TemporaryDirectory[str]] = []  # kept until exit, where the data folder cannot be written


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a `.pt` holds, as plain data: enough to build the network again without the pickle.

    Args:
        task: "detect", "pose" or "segment".
        architecture: the parsed YAML: depth and width scale, backbone, head, classes.
        names: class index -> class name.
        state: parameter name -> tensor on the CPU, in the precision of the file.
        made_by: the ultralytics version that wrote it, "" where it does not say.
    """

    task: str
    architecture: dict[str, Any]
    names: dict[int, str]
    state: dict[str, Tensor]
    made_by: str = ""


def load() -> Any:
    """Import `ultralytics.nn.tasks` with every switch set, leaving the process as it was; later calls are free."""
    if "ultralytics.nn.tasks" in sys.modules:
        return sys.modules["ultralytics.nn.tasks"]
    if "ultralytics" not in sys.modules:
        os.environ.update(SWITCHES)
        os.environ["YOLO_CONFIG_DIR"] = str(config_dir())
    with _unchanged():
        tasks = importlib.import_module("ultralytics.nn.tasks")
    for handler in logging.getLogger("ultralytics").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(sys.stderr)  # stdout carries data only
    return tasks


@cache
def config_dir() -> Path:
    """The folder that ultralytics takes for the user's; holds our `Ultralytics/settings.json`, all of it off.

    Lies in the platform's data folder, or in a temporary one where that cannot be written.
    """
    from platformdirs import user_data_path

    try:
        return _write_settings(user_data_path("tfpose-rt", appauthor=False))
    except OSError:
        _scratch.append(tempfile.TemporaryDirectory(prefix="tfpose-rt-"))
        return _write_settings(Path(_scratch[-1].name))


def _write_settings(folder: Path) -> Path:
    file = folder / "Ultralytics" / "settings.json"
    with contextlib.suppress(OSError, ValueError):
        if json.loads(file.read_text(encoding="utf-8")) == SETTINGS:
            return folder
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"settings.{os.getpid()}.part")  # two processes may start at once
    part.write_text(json.dumps(SETTINGS, indent=2), encoding="utf-8")
    part.replace(file)
    return folder


def open_switches() -> list[str]:
    """Import it, and name what it could still do on its own; [] when it keeps quiet."""
    load()
    utils = importlib.import_module("ultralytics.utils")
    events = importlib.import_module("ultralytics.utils.events").events
    habits = {
        "online": utils.ONLINE,
        "usage events": events.enabled,
        "sync": utils.SETTINGS.get("sync"),
        "package installation": utils.AUTOINSTALL,
        "unrestricted pickles": not utils.SAFE_LOAD,
        "settings in the user's own folder": config_dir() not in Path(utils.SETTINGS.file).parents,
    }
    return [habit for habit, on in habits.items() if on]


@contextlib.contextmanager
def _unchanged() -> Iterator[None]:
    """Put back what importing ultralytics does to torch, numpy, OpenCV, warnings and the environment."""
    variables = {name: os.environ.get(name) for name in SIDE_VARIABLES}
    torch_print = vars(torch._tensor_str.PRINT_OPTS).copy()
    numpy_print = np.get_printoptions()
    threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    functions = [(torch, "save", torch.save)]
    functions += [(cv2, name, getattr(cv2, name)) for name in ("imread", "imwrite", "imshow")]  # replaced on Windows
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    try:
        with warnings.catch_warnings():
            yield
    finally:
        for name, value in variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        vars(torch._tensor_str.PRINT_OPTS).update(torch_print)
        np.set_printoptions(**numpy_print)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        cv2.setNumThreads(cv_threads)
        for module, name, function in functions:
            setattr(module, name, function)


def build(architecture: Mapping[str, Any], state: Mapping[str, Tensor], *, task: str = "detect") -> nn.Module:
    """A network of ultralytics' layers with these weights, float32, in eval mode, on the CPU, not yet fused.

    Args:
        architecture: as in `Checkpoint`.
        state: every tensor of the network, by name.
        task: which of `TASKS` the network is.
    Raises: WeightsError: the architecture is not one ultralytics can build, or the tensors do not fit it.
    """
    if task not in TASKS:
        raise WeightsError(f"a network for {task!r}", why="it finds no boxes", fix=f"one of {', '.join(TASKS)}")
    tasks = load()
    kind = getattr(tasks, TASKS[task])
    try:
        # Its random initial weights must not move the caller's seed.
        with torch.random.fork_rng(devices=[]), _no_eval(tasks):
            model: nn.Module = kind(dict(architecture), verbose=False)
        model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=True)
    except (RuntimeError, KeyError, TypeError, ValueError, IndexError, AttributeError, NotImplementedError) as error:
        raise WeightsError(
            "detector weights do not fit their architecture",
            why=line_of(error, 1),  # torch's first line only names the class
            fix="tfpose-rt weights verify",
        ) from error
    return model.eval()


@contextlib.contextmanager
def _no_eval(tasks: Any) -> Iterator[None]:
    """Have ultralytics parse an architecture without `eval`, also where it was imported before our switches."""
    tasks._SafeLoad._local.active = True
    try:
        yield
    finally:
        tasks._SafeLoad._local.active = False


def person_network(model: nn.Module, person: int, *, end_to_end: bool = False) -> nn.Module:
    """Fold the batch norms and put a head in place that answers with person boxes only; changes and returns the model.

    Args:
        model: as made by `build`.
        person: number of the class that is kept.
        end_to_end: answer with the one-to-one head (trained to need no suppression), not the one-to-many head.
    Returns: (B, 3, H, W) RGB in 0..1 -> (B, 5, A) float32: x0, y0, x1, y1 in px of the input (edge convention: the
        input covers 0 .. W), then the person score in 0..1, for A anchors.
    Raises: WeightsError: the network ends in a head of another kind.
    """
    network: Any = model
    head = network.model[-1]
    if not isinstance(head, load().Detect):
        raise WeightsError(
            f"a network ending in {type(head).__name__}", why="it is no YOLO head", fix="--detector yolo-n"
        )
    network.end2end = end_to_end
    with torch.random.fork_rng(devices=[]):
        network.fuse(verbose=False)
        branches = head.one2many if head.cv2 is not None else head.one2one
        mine = PersonHead(branches["box_head"], branches["cls_head"], head.stride.tolist(), head.reg_max, person)
    mine.f, mine.i = head.f, head.i  # where it stands in the graph
    network.model[-1] = mine
    return model.eval()


def read_pt(path: Path) -> Checkpoint:
    """Read a `.pt` of ultralytics, which is a pickle, admitting only torch's and ultralytics' own layer classes.

    Raises: WeightsError: missing, not such a file, or holding anything that is not on the list.
    """
    path = path.resolve()
    if not path.is_file():  # checked here, since ultralytics would download a name it knows
        raise WeightsError(f"no weights at {path.name}", why="no such file", fix="tfpose-rt weights list")
    tasks = load()
    if not tasks._SafeLoad.SUPPORTED:
        raise WeightsError(
            f"cannot read {path.name}", why="torch is older than 2.6", fix="pip install -U torch torchvision"
        )
    try:
        content, _ = tasks.torch_safe_load(str(path), safe_only=True)
        model = content.get("ema") or content["model"]
        task = str(getattr(model, "task", "") or tasks.guess_model_task(model))
        architecture = json.loads(json.dumps(model.yaml))  # plain values only, or a TypeError
        names = {int(i): str(name) for i, name in dict(model.names).items()}
        state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    except Exception as error:
        raise WeightsError(
            f"cannot read {path.name}",
            why=f"not detector weights of ultralytics, or it holds code ({line_of(error)})",
            fix="the file as its maker published it",
        ) from error
    architecture.pop("yaml_file", None)
    architecture["nc"] = len(names)  # a network trained from another one keeps that one's number in its file
    return Checkpoint(task, architecture, names, state, str(content.get("version") or ""))
