"""`tfpose-rt weights`: what there is, where it lies, whether it is whole; fetch, add, remove."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfpose_rt.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from tfpose_rt.assets import Entry

app = typer.Typer(help="List, check, fetch, add and remove weights.", no_args_is_help=True)

MEASURES = {"ap": "AP", "ap_detector": "AP end to end", "box_ap": "box AP", "pck": "PCK"}  # as people know them

Name = Annotated[str, typer.Argument(help="A name that `weights list` shows.")]
Store = Annotated[Path | None, typer.Option("--store", help="Folder of your own weights.", file_okay=False)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="Data on stdout.")]


@app.command("list")
def list_(store: Store = None, as_json: Json = False) -> None:
    """List the weights: name, size, licence, training data, figures."""
    from tfpose_rt import assets

    _use(store)
    rows = [_row(entry) for entry in assets.entries()]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        typer.echo("\n".join(_lines(row)))
    typer.echo(f"your own are kept in {assets.store_dir()}", err=True)


def _lines(row: Mapping[str, Any]) -> list[str]:
    """One set of weights, as people read it."""
    figures = [f"{MEASURES.get(key, key)} {value}" for key, value in row["figures"].items()]
    head = f"{' = '.join([row['name'], *row['aliases']])}: {row['kind']}, {row['size'] / 1e6:.1f} MB"
    rest = {"measured": ", ".join(figures), "trained on": row["trained_on"], "licence": row["licence"],
            "SHA-256": row["sha256"], "state": row["state"]}  # fmt: skip
    return [head, *(f"  {name:<10}  {value}" for name, value in rest.items() if value)]


@app.command()
def path(name: Name, store: Store = None, as_json: Json = False) -> None:
    """Print where weights lie."""
    from tfpose_rt import assets

    _use(store)
    file = assets.resolve(name)
    typer.echo(json.dumps({"name": name, "path": str(file)}) if as_json else str(file))


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Names; all when none is given.")] = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Compare files with their SHA-256; code 5 when one differs or is absent."""
    from tfpose_rt import assets

    _use(store)
    rows = [_row(entry) for entry in ([assets.find(name) for name in names] if names else assets.entries())]
    if as_json:
        typer.echo(json.dumps(rows))
    else:
        for row in rows:
            typer.echo(f"{row['name']}: {row['state']}", err=True)
    bad = [row for row in rows if row["state"] != "ok"]
    if bad:
        raise WeightsError(
            f"{len(bad)} of {len(rows)} sets of weights cannot be used",
            why="; ".join(row["state"] for row in bad),
            fix=f"tfpose-rt weights {'fetch ' + bad[0]['name'] if bad[0]['url'] else 'list'}",
        )


@app.command()
def fetch(
    target: Annotated[str, typer.Argument(metavar="NAME|URL", help="A listed name, or an address with --sha256.")],
    sha256: Annotated[str, typer.Option(help="SHA-256 the file at an address must have.")] = "",
    name: Annotated[str, typer.Option(help="What to call what comes from an address.")] = "",
    store: Store = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Download weights: the one command that does. Shows address and size, asks, checks SHA-256."""
    from tfpose_rt import assets, download

    _use(store)
    if "://" not in target:
        entry = assets.find(target)
        if entry.url:
            _ask(f"fetch {entry.url}, {entry.size / 1e6:.1f} MB?", yes)
        file = download.download(entry)
    else:
        file = _fetch_address(target, sha256, name, yes)
    _tell({"name": file.stem, "path": str(file)}, f"wrote {file}", as_json)


def _fetch_address(url: str, sha256: str, name: str, yes: bool) -> Path:
    import tempfile

    from tfpose_rt.download import fetch as bring
    from tfpose_rt.tools.add_weights import add

    if len(sha256) != 64:
        raise UsageError("an address alone", why="nothing is kept unchecked", fix="--sha256 HEX, as its maker gives it")
    file = Path(url.split("?")[0]).name
    _ask(f"fetch {url}, size unknown?", yes)
    with tempfile.TemporaryDirectory(prefix="tfpose-rt-") as folder:
        kept = Path(folder) / file
        kept.write_bytes(bring(url, sha256))
        return add(kept, name, replace=yes).path


@app.command()
def add(
    file: Annotated[
        Path, typer.Argument(help=".safetensors of this program, or a detector's .pt, which is converted.")
    ],
    name: Annotated[str, typer.Option(help="What to call it; the file's stem otherwise.")] = "",
    store: Store = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Put a file into the store; for machines without a network. --yes replaces one of the same name."""
    from tfpose_rt.tools import add_weights

    _use(store)
    if not file.is_file():
        raise WeightsError(f"no weights at {file}", why="no such file", fix="tfpose-rt weights list")
    entry = add_weights.add(file, name, replace=yes)
    _tell(_row(entry), f"added {entry.name} ({entry.kind}, {entry.size / 1e6:.1f} MB): {entry.path}", as_json)


@app.command()
def rm(name: Name, store: Store = None, yes: Yes = False, as_json: Json = False) -> None:
    """Remove weights from the store; what ships stays."""
    from tfpose_rt import assets

    _use(store)
    _ask(f"remove {assets.find(name).path}?", yes)
    entry = assets.remove(name)
    _tell({"removed": entry.name}, f"removed {entry.name}", as_json)


def _use(store: Path | None) -> None:
    if store is not None:
        os.environ["TFPOSE_STORE"] = str(store)


def _row(entry: Entry) -> dict[str, Any]:
    from tfpose_rt import assets

    return {
        "name": entry.name, "aliases": list(entry.aliases), "kind": entry.kind, "path": str(entry.path),
        "sha256": entry.sha256, "size": entry.size, "licence": entry.licence, "origin": entry.origin,
        "trained_on": entry.trained_on, "figures": dict(entry.figures), "url": entry.url,
        "state": assets.verify(entry) or "ok",
    }  # fmt: skip


def _ask(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(question.rstrip("?"), why="nobody is there to say yes", fix="--yes")
    typer.confirm(question, abort=True, err=True)


def _tell(data: dict[str, Any], line: str, as_json: bool) -> None:
    typer.echo(json.dumps(data) if as_json else line, err=not as_json)
