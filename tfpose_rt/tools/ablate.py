"""The paper's ablations with equal budgets: python -m tfpose_rt.tools.ablate DATA --init trunk.safetensors.

Each variant changes one word of one recipe; every run sees the same crops in the same order for the same number of
steps. Finished runs are kept, so an interrupted table goes on, and several processes can share the work
(`--share 1/2` and `--share 2/2`). The table is made of all that is finished.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from tfpose_rt.tools.entry import exits
from tfpose_rt.training.settings import TrainConfig

VARIANTS: dict[str, list[str]] = {
    "as shipped": [],
    "without q2q": ["q2q=false"],
    "without the heatmap loss": ["heatmap=false"],
    "L1 for RLE": ["loss=l1"],
    "Laplace for RLE": ["loss=laplace"],
    "N_E = 1": ["encoder_layers=1"],
    "N_E = 2": ["encoder_layers=2"],
    "N_D = 1": ["decoder_layers=1"],
    "start at the mean pose": ["start=mean"],
    "trunk YOLO26n": ["trunk=yolo26n"],
    "trunk MobileNetV2": ["trunk=mobilenet_v2"],
}


def recipe_of(name: str, words: Sequence[str], steps: int, seed: int) -> TrainConfig:
    """One run's recipe: the shared words, then the variant's."""
    from tfpose_rt.training.recipe import build_config

    flags = {"steps": steps, "seed": seed, "epochs": 10**6, "val_every": 1e6}
    return build_config("n", None, [*words, *VARIANTS[name]], flags)


def folder_of(home: Path, name: str, seed: int) -> Path:
    """Where a run lives: the variant's name in letters a file may have."""
    return home / f"{''.join(c if c.isalnum() else '-' for c in name)}-{seed}"


def run_one(data: Path, config: TrainConfig, folder: Path, init: Path | None) -> None:
    """Train one variant, unless it is finished."""
    import shutil

    from tfpose_rt.training.data import load
    from tfpose_rt.training.loop import train

    if (folder / "log.csv").is_file():
        return
    if folder.exists():
        shutil.rmtree(folder)  # cut off before its only validation: nothing in it is of use
    train(load(data), config, folder, init=[init] if init else [])
    (folder / "state.safetensors").unlink(missing_ok=True)


def outcome(folder: Path) -> dict[str, float] | None:
    """The last line of a run's log; None where it is not finished."""
    log = folder / "log.csv"
    if not log.is_file():
        return None
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {key: float(value) for key, value in rows[-1].items()}


def table(home: Path, seeds: Sequence[int], words: Sequence[str], steps: int) -> list[dict[str, Any]]:
    """What is finished: a row a variant, its figures the mean over seeds, with the lowest and the highest AP."""
    from tfpose_rt.model.cost import cost

    rows = []
    for name in VARIANTS:
        found = [o for seed in seeds if (o := outcome(folder_of(home, name, seed))) is not None]
        if not found:
            continue
        ap = [o["AP"] for o in found]
        parameters, gmac = cost(recipe_of(name, words, steps, 0).model)
        rows.append(
            {
                "variant": name, "words": VARIANTS[name], "seeds": len(found), "AP": fmean(ap),
                "lowest": min(ap), "highest": max(ap), "OKS": fmean(o["oks"] for o in found),
                "within tolerance": fmean(o["right"] for o in found), "parameters": parameters, "gmac": gmac,
                "crops a second": fmean(o["seen"] / max(o["seconds"], 1) for o in found),
            }
        )  # fmt: skip
    return rows


def as_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table as a page shows it."""
    lines = [
        "| variant | AP | lowest to highest (runs) | mean OKS | million parameters | GMAC | crops a second |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        spread = f"{r['lowest']:.1f} to {r['highest']:.1f} ({r['seeds']})"
        lines.append(
            f"| {r['variant']} | {r['AP']:.1f} | {spread} | {r['OKS']:.1f} "
            f"| {r['parameters']:.2f} | {r['gmac']:.2f} | {r['crops a second']:.0f} |"
        )
    return "\n".join(lines)


@exits
def main() -> None:
    """Run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--init", type=Path, help="trunk of the shipped model")
    parser.add_argument("--trunk", action="append", default=[], metavar="NAME=FILE", help="start of another trunk")
    parser.add_argument("--only", action="append", choices=list(VARIANTS), help="these variants alone")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of all runs")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--share", default="1/1", metavar="I/N", help="every N-th run, from the I-th")
    parser.add_argument("--save-dir", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--json", type=Path, help="write the table there as well")
    options = parser.parse_args()
    trunks = dict(word.split("=", 1) for word in options.trunk)
    mine, of = (int(part) for part in options.share.split("/"))
    runs = [(seed, name) for seed in range(options.seeds) for name in options.only or VARIANTS]
    for seed, name in runs[mine - 1 :: of]:
        config = recipe_of(name, options.set, options.steps, seed)
        start = trunks.get(config.model.trunk)
        if start is None and config.model.trunk == "yolo11n-pose":
            start = options.init
        folder = folder_of(options.save_dir, name, seed)
        run_one(options.data, config, folder, Path(start) if start else None)
        print(f"{name}, seed {seed}: AP {(outcome(folder) or {}).get('AP', 0):.1f}", flush=True)
    rows = table(options.save_dir, range(options.seeds), options.set, options.steps)
    print(as_markdown(rows))
    if options.json:
        facts = {"steps": options.steps, "settings": options.set, "rows": rows}
        options.json.write_text(json.dumps(facts, indent=1), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
