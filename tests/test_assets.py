from __future__ import annotations

import contextlib
import hashlib
import http.server
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tfpose_rt import assets, download
from tfpose_rt.assets import Entry
from tfpose_rt.errors import OutputError, UsageError, WeightsError
from tfpose_rt.tools.add_weights import add

CONTENT = b"weights of a kind"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TFPOSE_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def entry() -> Entry:
    return Entry(name="mine", kind="pose", file="mine.safetensors", sha256=DIGEST, size=len(CONTENT))


def test_what_ships_is_whole_and_complete() -> None:
    shipped = assets.read_manifest(assets.ROOT / "weights")
    assert "yolo26n" in [entry.name for entry in shipped]
    for entry in shipped:
        assert assets.verify(entry) == ""
        assert entry.path.stat().st_size == entry.size
        assert "unknown" not in (entry.licence, entry.origin, entry.trained_on)
        assert entry.figures
    listed = {name for entry in shipped for name in (entry.file, entry.architecture, entry.bounds) if name}
    listed.add("manifest.toml")
    assert listed == {p.name for p in (assets.ROOT / "weights").iterdir() if p.suffix != ".md"}


def test_names_aliases_and_paths_resolve(tmp_path: Path) -> None:
    shipped = assets.ROOT.resolve() / "weights/yolo26n.safetensors"
    assert assets.resolve("yolo26n") == assets.resolve("yolo-n") == assets.resolve(shipped) == shipped
    for absent in ("absent.safetensors", str(tmp_path / "absent.pt"), tmp_path / "x"):
        with pytest.raises(WeightsError, match="no such file"):
            assets.resolve(absent)
    with pytest.raises(WeightsError, match=r"try: yolo-n,"):
        assets.resolve("yolo11n")


def test_a_file_of_another_kind_is_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But a file that has a known name does not stand in the way of it."""
    monkeypatch.chdir(tmp_path)
    for name in ("poses.jsonl", "model", "yolo-n"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "folder.pt").mkdir()
    for name in ("poses.jsonl", "model"):
        with pytest.raises(WeightsError, match=f"no weights at {name}: not .safetensors or .pt"):
            assets.resolve(name)
    with pytest.raises(WeightsError, match="it is a folder"):
        assets.resolve("folder.pt")
    assert assets.resolve("yolo-n") == assets.ROOT.resolve() / "weights/yolo26n.safetensors"


@pytest.mark.parametrize("name", ["yolo-n", "yolo11n"])
def test_each_manifest_is_read_once_for_a_name(monkeypatch: pytest.MonkeyPatch, store: Path, name: str) -> None:
    read: list[Path] = []
    monkeypatch.setattr(
        assets, "read_manifest", lambda folder, real=assets.read_manifest: read.append(folder) or real(folder)
    )
    with contextlib.suppress(WeightsError):
        assets.resolve(name)
    assert read == [assets.ROOT / "weights", store]


def test_kept_weights_are_found_checked_and_removed(store: Path, entry: Entry) -> None:
    kept = assets.keep(entry, {entry.file: CONTENT})
    assert assets.resolve("mine").read_bytes() == CONTENT
    assert kept.path == store / "mine.safetensors"
    (table,) = tomllib.loads((store / "manifest.toml").read_text())["weights"]
    assert (table["sha256"], table["size"]) == (DIGEST, len(CONTENT))
    kept.path.write_bytes(CONTENT + b"!")
    with pytest.raises(WeightsError, match=r"SHA-256 differs.*weights add FILE --yes --name mine"):
        assets.resolve("mine")
    assets.remove("mine")
    assert sorted(p.name for p in store.iterdir()) == ["manifest.toml"]
    with pytest.raises(WeightsError, match="no weights are called"):
        assets.resolve("mine")


def test_nothing_is_replaced_unasked(store: Path, entry: Entry) -> None:
    assets.keep(entry, {entry.file: CONTENT})
    with pytest.raises(OutputError):
        assets.keep(entry, {entry.file: b"other"})
    assert (store / entry.file).read_bytes() == CONTENT
    assets.keep(entry, {entry.file: b"other"}, replace=True)
    assert (store / entry.file).read_bytes() == b"other"
    assert len(assets.read_manifest(store)) == 1


@pytest.mark.parametrize("name", ["../mine", "a/b", "", ".hidden", "yolo-n", "yolo26n", "x" * 65])
def test_names_stay_inside_the_store_and_never_shadow_what_ships(store: Path, entry: Entry, name: str) -> None:
    import dataclasses

    with pytest.raises(UsageError):
        assets.keep(dataclasses.replace(entry, name=name), {entry.file: CONTENT})
    assert not store.exists()


def test_what_ships_cannot_be_removed() -> None:
    with pytest.raises(UsageError, match="ships with the program"):
        assets.remove("yolo-n")
    assert assets.verify(assets.find("yolo-n")) == ""


def test_a_damaged_manifest_says_so(store: Path) -> None:
    store.mkdir()
    (store / "manifest.toml").write_text("[[weights]]\nname = 'half'\n")
    with pytest.raises(WeightsError, match=r"manifest\.toml"):
        assets.entries()


def test_only_poses_and_detectors_are_added(tmp_path: Path) -> None:
    foreign, poses = tmp_path / "foreign.safetensors", tmp_path / "poses.safetensors"
    save_file({"x": np.zeros(3, np.float32)}, foreign)
    save_file({"x": np.zeros(3, np.float32)}, poses, metadata={"config": "{}"})
    with pytest.raises(WeightsError, match="cannot add foreign"):
        add(foreign)
    (tmp_path / "cut.safetensors").write_bytes(poses.read_bytes()[:-2])
    with pytest.raises(WeightsError, match="whole safetensors"):
        add(tmp_path / "cut.safetensors")
    assert add(poses, "p2").kind == "pose"
    detector = tmp_path / "d.safetensors"
    detector.write_bytes(assets.resolve("yolo-n").read_bytes())
    detector.with_suffix(".json").write_bytes(assets.resolve("yolo-n").with_suffix(".json").read_bytes())
    assert add(detector).kind == "detector"
    assert assets.verify(assets.find("d")) == ""


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/mine.safetensors" else 404)
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *args: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


def test_a_download_is_checked_before_it_is_kept(server: str, store: Path, entry: Entry) -> None:
    import dataclasses

    told: list[int] = []
    remote = dataclasses.replace(entry, url=f"{server}/mine.safetensors")
    assert download.download(remote, progress=told.append).read_bytes() == CONTENT
    assert sum(told) == len(CONTENT)
    assert remote.path == store / "mine.safetensors"
    for wrong, words in [({"sha256": "0" * 64}, "not the one expected"), ({"url": f"{server}/x"}, "404")]:
        (store / "mine.safetensors").unlink(missing_ok=True)
        with pytest.raises(WeightsError, match=words):
            download.download(dataclasses.replace(remote, **wrong))
        assert list(store.iterdir()) == []
    with pytest.raises(UsageError):
        download.fetch("file:///etc/passwd", DIGEST)
    with pytest.raises(WeightsError, match="no address"):
        download.download(entry)


def test_a_name_of_the_other_kind_is_told_where_it_belongs() -> None:
    with pytest.raises(WeightsError, match="yolo-n is a detector, not a pose model") as caught:
        assets.resolve("yolo-n", "pose")
    assert caught.value.fix == "--detector yolo-n"
    with pytest.raises(WeightsError, match="default is a pose model, not a detector"):
        assets.resolve("default", "detector")
    with pytest.raises(WeightsError) as caught:
        assets.resolve("yolo-x", "detector")
    assert "tfpose" not in str(caught.value)  # what would not do is not offered
    assert assets.resolve("yolo-n", "detector") == assets.resolve("yolo-n")
