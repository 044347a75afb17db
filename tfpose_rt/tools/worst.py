"""The people of a labelled set whom a model gets most wrong, one tile each, and a count of the probable reasons.

`python -m tfpose_rt.tools.worst FOLDER --weights NAME -o worst.png --json worst.json`. FOLDER is what `tfpose-rt eval`
takes; people are cropped around their true boxes. The labels are a thin white skeleton, the answer is drawn as in an
overlay: the joints that are labelled, and those that are scored 0.3 or more.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfpose_rt import skeleton
from tfpose_rt.caption import DARK, WHITE, Colour
from tfpose_rt.config import RunConfig
from tfpose_rt.crop import ENLARGE, apply, crop_matrix, fit_box, warp
from tfpose_rt.draw import SIDE_BGR, DrawStyle, draw
from tfpose_rt.errors import InputError, UsageError
from tfpose_rt.io.sinks import check_outputs
from tfpose_rt.records import Image, Poses
from tfpose_rt.strokes import dot, line
from tfpose_rt.tools.diagnose import GUESSES, LOW, Case, conditions, diagnose, table
from tfpose_rt.tools.entry import exits
from tfpose_rt.tools.tiles import check_picture, lettered, mosaic, write_picture
from tfpose_rt.training.data import Sample, find_labels, is_validation, load
from tfpose_rt.training.validate import Answers, answer

BELOW = 0.5  # OKS under which people are counted: wrong at the mildest of AP's thresholds
TALL = 384  # px, height of a tile's picture
COLUMNS = 5
AMBER: Colour = (60, 190, 255)


@dataclass(frozen=True, slots=True)
class Look:
    """A model's answers on a set, with a case for every person; all in the order of `samples`."""

    facts: Mapping[str, Any]
    size: tuple[int, int]  # W, H of the crop the model sees
    samples: Sequence[Sample]
    said: Answers
    cases: Sequence[Case]
    enlarge: float = ENLARGE  # of the box, as the model sees it

    @property
    def low(self) -> int:
        """How many people lie under `BELOW`."""
        return sum(case.oks < BELOW for case in self.cases)

    def row(self, case: Case) -> dict[str, Any]:
        """A case as JSON holds it: names instead of numbers, three decimals."""
        told = {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(case).items() if k != "number"}
        tilt = None if math.isnan(case.tilt) else round(case.tilt)
        rival = self.samples[case.rival].key if case.rival >= 0 else None
        sample = self.samples[case.number]
        return {"id": sample.key, "image": sample.image, **told, "tilt": tilt, "rival": rival}


def look(
    folder: Path,
    run: RunConfig,
    *,
    ann: Path | None = None,
    flip: bool = False,
    held_out: bool = False,
    batch: int = 32,
) -> Look:
    """Run a model over a labelled set, true boxes, and judge every person.

    Args:
        folder: COCO images with labels, or a training pack.
        run: weights and device.
        ann: the label file, where it is not in the folder.
        flip: average with the mirrored crop.
        held_out: a pack's validation part only.
        batch: crops per forward pass.
    Raises: InputError: nobody is labelled there. UsageError: labels or weights of another layout than COCO's 17 joints.
    """
    from tfpose_rt import assets
    from tfpose_rt.device import choose_device
    from tfpose_rt.model.weights import load_model

    path = assets.resolve(run.weights, "pose")
    samples = [s for s in load(folder, ann) if not held_out or is_validation(s.image)]
    if not samples:
        raise InputError(f"no labelled people in {folder.name}", why="the selection is empty", fix="another folder")
    model = load_model(path)[0]
    for what, joints in ((path.name, model.config.keypoints), (folder.name, len(samples[0].xy))):
        if joints != len(skeleton.NAMES):
            why = f"it has {joints} joints, and what is drawn and judged here are COCO's {len(skeleton.NAMES)}"
            raise UsageError(f"{what} cannot be looked at", why=why, fix="tfpose-rt eval, which takes any layout")
    said = answer(model.to(choose_device(run.device)[0]), samples, flip=flip, batch=batch)
    cases = diagnose(said.xy, samples, together=find_labels(folder, ann) is not None)
    facts = {
        "model": path.stem, "sha256": assets.sha256(path)[:12], "data": folder.name, "flip": flip, "people": len(cases),
    }  # fmt: skip
    return Look(facts, model.config.size, samples, said, cases, model.config.enlarge)


def pick(cases: Sequence[Case], count: int, *, only: str | None = None, joints: int = 1) -> list[Case]:
    """The `count` cases of the lowest OKS, lowest first.

    Args:
        cases: all.
        count: at most so many.
        only: a guess; those of whom it is the main one alone.
        joints: those with at least so many labelled joints alone.
    """
    kept = [c for c in cases if c.joints >= joints and only in (None, c.guesses[0])]
    return sorted(kept, key=lambda c: (c.oks, c.number))[:count]


def tile(seen: Look, case: Case) -> Image:
    """One person: the crop as the model sees it, enlarged; labels, answer, and a caption of four lines."""
    sample, i = seen.samples[case.number], case.number
    size = (round(TALL * seen.size[0] / seen.size[1]), TALL)
    matrix = crop_matrix(fit_box(sample.box, size, seen.enlarge), size)
    shown = warp(sample.read(), matrix, size)
    xy, truth = apply(matrix, seen.said.xy[i]), apply(matrix, sample.xy)
    labelled = sample.weight > 0
    poses = Poses(
        xy=xy[None].astype(np.float32), scores=np.where(labelled, 1, seen.said.scores[i])[None],
        boxes=apply(matrix, sample.box.reshape(2, 2)).reshape(1, 4).astype(np.float32),
        box_scores=np.ones(1, np.float32), size=size,
    )  # fmt: skip
    shown = draw(shown, poses, DrawStyle(boxes=False, ids=False, scale=1.4))
    outline(shown, truth, labelled)
    facts = f"{case.height:.0f} px high, {case.joints} joint{'s' * (case.joints != 1)}, {case.missed:.0%} missed"
    evidence = [f"swapped {case.swapped:.2f}"]
    evidence += [f"as {seen.samples[case.rival].key} {case.other:.2f}"] if case.rival >= 0 else []
    evidence += [] if math.isnan(case.tilt) else [f"tilt {case.tilt:.0f}"]
    return lettered(
        shown, [f"{sample.key}  OKS {case.oks:.2f}", (", ".join(case.guesses), AMBER), facts, ", ".join(evidence)]
    )


def outline(canvas: Image, xy: np.ndarray[Any, Any], known: np.ndarray[Any, Any]) -> None:
    """Draw the labelled joints (17, 2) px on `canvas` itself: thin white lines, dots in the colour of their side."""
    edges = [(a, b) for a, b in skeleton.EDGES if known[a] and known[b]]
    for colour, width in ((DARK, 3), (WHITE, 1)):
        for a, b in edges:
            line(canvas, xy[a], xy[b], colour, width)
    for k in np.flatnonzero(known).tolist():
        for colour, radius in ((DARK, 5.0), (WHITE, 4.0), (SIDE_BGR[skeleton.side(k)], 2.5)):
            dot(canvas, xy[k], colour, radius)


def picture(seen: Look, chosen: Sequence[Case]) -> Image:
    """The tiles of the chosen people in rows, under a line that says what is seen."""
    tiles = [tile(seen, case) for case in chosen]
    sheet = mosaic([tiles[i : i + COLUMNS] for i in range(0, len(tiles), COLUMNS)])
    head = f"{seen.facts['model']} on {seen.facts['data']}: {seen.low} of {len(seen.cases)} people under OKS {BELOW}"
    key = "white: label; colour: answer, orange the person's left, blue the right"
    return np.concatenate((lettered(np.zeros((0, sheet.shape[1], 3), np.uint8), [head, key]), sheet))


def report(seen: Look) -> str:
    """The main guesses of all people under `BELOW` by size, and how many of each condition fail, as text."""
    counts = table(seen.cases, BELOW)
    heads = ["by area", *counts, "all"]
    shown = {"low": f"OKS < {BELOW}", "small": f"small (< {LOW} px)"}
    rows = [
        [
            shown.get(word, word),
            *(str(line[word]) for line in counts.values()),
            str(sum(line[word] for line in counts.values())),
        ]
        for word in ("people", "low", *GUESSES)
    ]
    lines = [f"{row[0]:20}" + "".join(f"{cell:>8}" for cell in row[1:]) for row in (heads, *rows)]
    hard = [f"{word}: {n['low']} of {n['people']}" for word, n in conditions(seen.cases, BELOW).items()]
    return "\n".join([*lines, f"OKS < {BELOW}, whatever else is guessed: " + "; ".join(hard)])


def as_json(seen: Look, chosen: Sequence[Case]) -> dict[str, Any]:
    """The counts, and a row for everybody under `BELOW` or chosen, the lowest OKS first."""
    shown = {case.number for case in chosen}
    rows = [seen.row(c) for c in pick(seen.cases, len(seen.cases)) if c.oks < BELOW or c.number in shown]
    return {
        **seen.facts, "below": BELOW, "low": seen.low, "guesses": table(seen.cases, BELOW),
        "conditions": conditions(seen.cases, BELOW), "shown": [seen.samples[c.number].key for c in chosen],
        "rows": rows,
    }  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        prog="python -m tfpose_rt.tools.worst",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("folder", type=Path, help="COCO-format keypoints and images, or a training pack")
    made.add_argument("--weights", default="default", help="name, or path of a .safetensors file")
    made.add_argument("-o", "--out", type=Path, required=True, help="picture to write")
    made.add_argument("--json", type=Path, help="figures, and everybody who is counted")
    made.add_argument("--count", type=int, default=20, help="people to show")
    made.add_argument("--only", choices=GUESSES, help="show only those of whom this is the main guess")
    made.add_argument("--min-joints", type=int, default=1, help="show only people with so many labelled joints")
    made.add_argument("--ann", type=Path, help="COCO keypoint file, where it is not in FOLDER")
    made.add_argument("--held-out", action="store_true", help="the validation part of a training pack only")
    made.add_argument("--flip-test", action="store_true", help="average with the mirrored crop")
    made.add_argument("--batch", type=int, default=32, help="crops per forward pass")
    made.add_argument("--device", default="auto")
    made.add_argument("--overwrite", action="store_true")
    return made


def run(given: argparse.Namespace) -> str:
    """Look, write, and say what was counted.

    Raises: TfposeError: as `look`; nobody to show; an output cannot be written.
    """
    check_picture(given.out)
    check_outputs([path for path in (given.out, given.json) if path is not None], given.overwrite)
    if given.count < 1 or given.batch < 1:
        raise UsageError(f"--count {given.count} --batch {given.batch}", why="at least 1", fix="--count 20")
    settings = RunConfig(weights=given.weights, device=given.device)
    seen = look(given.folder, settings, ann=given.ann, flip=given.flip_test, held_out=given.held_out, batch=given.batch)
    chosen = pick(seen.cases, given.count, only=given.only, joints=given.min_joints)
    if not chosen:
        why = f"of {len(seen.cases)} people nobody is like that"
        raise InputError("nobody to show", why=why, fix="without --only and --min-joints")
    write_picture(given.out, picture(seen, chosen))
    if given.json is not None:
        given.json.write_text(json.dumps(as_json(seen, chosen), indent=1), encoding="utf-8")
    return report(seen)


@exits
def main() -> None:
    """Write the picture and the figures; a table to stdout."""
    sys.stdout.write(run(parser().parse_args()) + "\n")


if __name__ == "__main__":
    sys.exit(main())
