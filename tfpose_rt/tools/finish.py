"""A trained model as it is shipped: python -m tfpose_rt.tools.finish TRAINED OUT [--layers N] [--witness NAME FILE].

Every decoder layer is trained to answer, so the later ones can be left out where they add nothing; a witness beside the
trunk is not asked in training, so it can come afterwards. What both need next is
`python -m tfpose_rt.tools.calibrate PACKS OUT`.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from tfpose_rt.errors import UsageError, WeightsError
from tfpose_rt.tools.entry import exits, unused


def finish(trained: Path, out: Path, layers: int | None = None, witness: tuple[str, Path] | None = None) -> None:
    """Write a model with fewer decoder layers, or with a witness, or both; its calibration is that of before.

    Args:
        trained: weights of a TFPose.
        out: .safetensors to write, whole or not at all.
        layers: of the decoder, the first so many; all, if left out.
        witness: its name (of `model.witness.WITNESSES`), and the network as `tools.trunk` writes it.
    Raises: UsageError: more layers than there are, or no such witness. WeightsError: the file holds another network.
        OutputError: `out` exists.
    """
    from tfpose_rt.model.tfpose import TFPose
    from tfpose_rt.model.weights import load_model, read, save_model
    from tfpose_rt.model.witness import WITNESSES

    unused(out)
    before, metadata = load_model(trained)
    config, state = before.config, before.state_dict()
    if layers is not None:
        if not 1 <= layers <= config.decoder_layers:
            raise UsageError(f"--layers {layers}", why="not a part of the decoder", fix=f"1 to {config.decoder_layers}")
        config = dataclasses.replace(config, decoder_layers=layers)
    if witness is not None:
        name, file = witness
        if name not in WITNESSES:
            raise UsageError(f"--witness {name}", why="no network beside a trunk", fix=", ".join(WITNESSES))
        state = {key: value for key, value in state.items() if not key.startswith(("fusion.", "witness."))}
        config = dataclasses.replace(config, witness=name)
        state |= {f"witness.{key}": value.float() for key, value in read(file)[0].items()}
    model = TFPose(config).eval()
    wanted = model.state_dict()
    fitted = {key for key in wanted if key.startswith("fusion.")}  # a new fusion begins with its usual numbers
    missing = [k for k, v in wanted.items() if k not in fitted and (k not in state or state[k].shape != v.shape)]
    if missing:
        fix = "the network that --witness names, written by python -m tfpose_rt.tools.trunk"
        raise WeightsError("the witness does not fit", why=f"{len(missing)} tensors, {missing[0]} is one", fix=fix)
    model.load_state_dict({key: state.get(key, value) for key, value in wanted.items()})
    save_model(out, model, {k: v for k, v in metadata.items() if k not in ("config", "format")})


@exits
def main() -> None:
    """Finish one."""
    parser = argparse.ArgumentParser(prog="python -m tfpose_rt.tools.finish", description=__doc__)
    parser.add_argument("trained", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--layers", type=int, help="decoder layers to keep")
    parser.add_argument("--witness", nargs=2, metavar=("NAME", "FILE"), help="a network beside the trunk")
    given = parser.parse_args()
    finish(given.trained, given.out, given.layers, given.witness and (given.witness[0], Path(given.witness[1])))


if __name__ == "__main__":
    sys.exit(main())
