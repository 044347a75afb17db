"""`tfpose-rt`, and `python -m tfpose_rt`: a Ctrl-C that comes while the program is still loading ends it quietly."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the program; code 130 where it was interrupted before it could say more."""
    try:
        from tfpose_rt.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
