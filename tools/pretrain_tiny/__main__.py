"""Make the tiny checkpoint: ``python -m tools.pretrain_tiny --out FOLDER``."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from tools.pretrain_tiny.pretrain import Plan, pretrain


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint and its log")
    parser.add_argument(
        "--data", type=Path, default=Path("runs/street"), help="folder of the generated scenes"
    )
    parser.add_argument("--start", type=Path, help="go on from the checkpoint of an earlier pretraining")
    parser.add_argument(
        "--shrink", type=float, default=1.0, help="multiply scenes and steps, to try things out"
    )
    parser.add_argument("--warm-up-steps", type=int, help="instead of the plan's")
    parser.add_argument("--detector-steps", type=int, help="instead of the plan's")
    parser.add_argument("--mask-steps", type=int, help="instead of the plan's")
    arguments = parser.parse_args()
    full, shrink = Plan(), arguments.shrink
    steps = {
        name: int(getattr(full, name) * shrink)
        if getattr(arguments, name) is None
        else getattr(arguments, name)
        for name in ("warm_up_steps", "detector_steps", "mask_steps")
    }
    plan = replace(full, scenes=int(full.scenes * shrink), **steps)
    pretrain(plan, arguments.out, arguments.data, arguments.start)


if __name__ == "__main__":
    main()
