"""Finds what ships with the program, keeps the user's own weights, checks both; `download` brings others.

Shipped: `cuda/` and `weights/`, in a checkout beside this package, in a wheel inside it (`_assets`). The user's own: a
store in the platform's data folder (`TFPOSE_STORE` moves it). Each folder of weights has a `manifest.toml`; a name is
looked up in the shipped one first, then in the store's.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfpose_rt.errors import OutputError, UsageError, WeightsError
from tfpose_rt.files import write_whole

PACKAGED = Path(__file__).parent / "_assets"
ROOT = PACKAGED if PACKAGED.is_dir() else Path(__file__).parents[1]
SUFFIXES = (".safetensors", ".pt")
KINDS = {"pose": ("a pose model", "--weights"), "detector": ("a detector", "--detector")}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One set of weights, as its manifest tells of it.

    Args:
        name: how it is asked for.
        aliases: other names for it.
        kind: "pose" or "detector".
        file: name of the safetensors file, beside the manifest.
        sha256: of that file, hex.
        size: of that file, bytes.
        architecture: name of a detector's architecture file, "" for poses.
        architecture_sha256: of the architecture file.
        bounds: name of the file that int8 needs, "" where there is none.
        bounds_sha256: of that file.
        licence: SPDX, or "unknown".
        origin: who made it, and where it comes from.
        trained_on: the data.
        figures: measured by this project, with the command that measures them.
        url: where `fetch` finds it; "" for what ships or was added by hand.
        folder: the folder of its manifest; files that are fetched lie in the store.
    """

    name: str
    kind: str
    file: str
    sha256: str
    size: int
    aliases: tuple[str, ...] = ()
    architecture: str = ""
    architecture_sha256: str = ""
    bounds: str = ""
    bounds_sha256: str = ""
    licence: str = "unknown"
    origin: str = "unknown"
    trained_on: str = "unknown"
    figures: Mapping[str, Any] = field(default_factory=dict)
    url: str = ""
    folder: Path = Path()

    @property
    def path(self) -> Path:
        """Where the weights lie, or would lie: beside the manifest, else in the store."""
        beside = self.folder / self.file
        return beside if beside.is_file() or not self.url else store_dir() / self.file


def cuda_dir() -> Path:
    """The folder of the CUDA sources."""
    return ROOT / "cuda"


def store_dir() -> Path:
    """The folder of the user's own weights; it need not exist yet."""
    if named := os.environ.get("TFPOSE_STORE"):
        return Path(named).expanduser()
    from platformdirs import user_data_path

    return user_data_path("tfpose-rt", appauthor=False) / "weights"


def sha256(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: Path) -> list[Entry]:
    """The entries of `folder/manifest.toml`; none where there is no such file.

    Raises: WeightsError: the file is damaged.
    """
    file = folder / "manifest.toml"
    if not file.is_file():
        return []
    try:
        tables: list[dict[str, Any]] = tomllib.loads(file.read_text(encoding="utf-8")).get("weights", [])
        for table in tables:
            table["aliases"] = tuple(table.get("aliases", ()))
        known = {f.name for f in dataclasses.fields(Entry)} - {"folder"}
        return [Entry(**{k: table[k] for k in known & set(table)}, folder=folder) for table in tables]
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"cannot read {file}", why=str(error), fix="tfpose-rt weights list") from error


def entries() -> list[Entry]:
    """Everything known: what ships, then what the user added; a name that ships wins."""
    shipped = read_manifest(ROOT / "weights")
    taken = {name for entry in shipped for name in (entry.name, *entry.aliases)}
    return shipped + [entry for entry in read_manifest(store_dir()) if entry.name not in taken]


def _known() -> dict[str, Entry]:
    return {alias: entry for entry in entries() for alias in (entry.name, *entry.aliases)}


def find(name: str) -> Entry:
    """The entry of this name or alias.

    Raises: WeightsError: nobody knows it; the message names the nearest.
    """
    return _named(name, _known())


def _named(name: str, known: Mapping[str, Entry]) -> Entry:
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, 1)
    raise WeightsError(
        f"no weights are called {name!r}",
        why=f"known: {', '.join(known) or 'none'}",
        fix=f"{near[0]}, or a path ending in .safetensors" if near else "tfpose-rt weights list",
    )


def looks_like_path(name: str) -> bool:
    """Whether a --weights or --detector value means a file rather than a name."""
    return name.endswith(SUFFIXES) or "/" in name or os.sep in name


def resolve(name: str | Path, kind: str = "") -> Path:
    """The file behind a name or path, absolute, present and, where a manifest speaks of it, intact.

    Args:
        name: "default", "yolo-n", ...; or a path to a .safetensors or .pt file.
        kind: "pose" or "detector", where a name must be of that kind.
    Raises: WeightsError: unknown, absent, altered or of another kind; `fix` is the command that helps.
    """
    known = None if isinstance(name, Path) or looks_like_path(name) else _known()
    if known is None or (name not in known and Path(name).is_file()):
        path = Path(name).expanduser()
        if not path.is_file() or path.suffix not in SUFFIXES:
            why = "it is a folder" if path.is_dir() else "not .safetensors or .pt" if path.exists() else "no such file"
            raise WeightsError(f"no weights at {name}", why=why, fix="tfpose-rt weights list")
        return path.resolve()
    fitting = {alias: entry for alias, entry in known.items() if kind in ("", entry.kind)}
    if name in known.keys() - fitting.keys():
        what, flag = KINDS[known[str(name)].kind]
        raise WeightsError(
            f"{name} is {what}, not {KINDS[kind][0]}", why="they do different work", fix=f"{flag} {name}"
        )
    entry = _named(str(name), fitting)
    if fault := verify(entry):
        fix = f"tfpose-rt weights {'fetch' if entry.url else 'add FILE --yes --name'} {entry.name}"
        if entry.folder == ROOT / "weights" and not entry.url:
            fix = "pip install --force-reinstall tfpose-rt"
        raise WeightsError(f"weights {entry.name!r} cannot be used", why=fault, fix=fix)
    return entry.path.resolve()


def verify(entry: Entry) -> str:
    """What is wrong with the files of an entry; "" when nothing is."""
    checks = [(entry.path, entry.sha256)]
    beside = ((entry.architecture, entry.architecture_sha256), (entry.bounds, entry.bounds_sha256))
    checks += [(entry.path.with_name(name), expected) for name, expected in beside if name]
    for path, expected in checks:
        if not path.is_file():
            return f"{path.name} is not there"
        if sha256(path) != expected:
            return f"{path.name} is not the file its manifest speaks of (SHA-256 differs)"
    return ""


def metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file.

    Raises: WeightsError: the file is not one, or is cut short.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"cannot read {path.name}", why=f"not a whole safetensors file ({error})", fix="tfpose-rt weights list"
        ) from error


def keep(entry: Entry, files: Mapping[str, bytes], *, replace: bool = False) -> Entry:
    """Put files and their entry into the store, each file by an atomic rename.

    Raises: UsageError: no plain name, or one that ships. OutputError: it is there, or the store cannot be written.
    """
    if not NAME.fullmatch(entry.name):
        raise UsageError(f"{entry.name!r} as a name", why="letters, digits, . _ - only", fix="--name NAME")
    others = entries()
    if any(entry.name in (other.name, *other.aliases) and other.folder != store_dir() for other in others):
        raise UsageError(f"{entry.name!r} as a name", why="it ships with the program", fix="--name NAME")
    if any(other.name == entry.name for other in others) and not replace:
        raise OutputError(f"{entry.name!r} is in the store", why="nothing is replaced unasked", fix="--yes")
    folder = store_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_whole(folder / name, content)
        _write_manifest([other for other in read_manifest(folder) if other.name != entry.name] + [entry])
    except OSError as error:
        raise OutputError(f"cannot write {folder}", why=str(error.strerror or error), fix="--store FOLDER") from error
    return dataclasses.replace(entry, folder=folder)


def remove(name: str) -> Entry:
    """Take weights out of the store; what ships stays.

    Raises: UsageError: they ship with the program. WeightsError: nobody knows them.
    """
    entry = find(name)
    folder = store_dir()
    if entry.folder != folder and not (entry.url and entry.path.parent == folder):
        raise UsageError(
            f"{entry.name} ships with the program", why="only the store is yours to change", fix="weights list"
        )
    for file in filter(None, (entry.file, entry.architecture, entry.bounds)):
        (folder / file).unlink(missing_ok=True)  # a link goes, what it points to stays
    _write_manifest([other for other in read_manifest(folder) if other.name != entry.name])
    return entry


def _write_manifest(kept: Iterable[Entry]) -> None:
    lines: list[str] = []
    for entry in kept:
        lines += ["", "[[weights]]"]
        values = {
            f.name: getattr(entry, f.name) for f in dataclasses.fields(entry) if f.name not in ("folder", "figures")
        }
        lines += [f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in values.items() if v not in ("", ())]
    write_whole(store_dir() / "manifest.toml", "\n".join(lines).encode())
