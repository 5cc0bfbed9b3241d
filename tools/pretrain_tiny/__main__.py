"""Make a tiny checkpoint: ``python -m tools.pretrain_tiny --out FOLDER``."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from detr_hf.errors import exit_with_message
from tools.pretrain_tiny.deformable import STEPS, pretrain_deformable
from tools.pretrain_tiny.pretrain import PHASES, Plan, pretrain


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the three runs")
    parser.add_argument("--data", type=Path, default=Path("runs/street"), help="folder of the drawn scenes")
    parser.add_argument("--family", choices=["detr", "deformable_detr"], default="detr")
    parser.add_argument("--start", type=Path, help="continue from the checkpoint of an earlier pretraining")
    parser.add_argument("--shrink", type=float, default=1.0, help="multiply scenes and steps, to try it out")
    full = Plan()
    parser.add_argument("--warm-up-steps", type=int, help=f"of dense terms (default: {full.steps[0]})")
    parser.add_argument("--detector-steps", type=int, help=f"of the detector (default: {full.steps[1]})")
    parser.add_argument("--mask-steps", type=int, help=f"of the mask head (default: {full.steps[2]})")
    chosen = parser.parse_args()
    given = (chosen.warm_up_steps, chosen.detector_steps, chosen.mask_steps)
    steps = [
        int(length * chosen.shrink) if own is None else own
        for own, length in zip(given, full.steps, strict=True)
    ]
    plan = replace(full, scenes=int(full.scenes * chosen.shrink), steps=(steps[0], steps[1], steps[2]))
    with exit_with_message():
        if chosen.family == "deformable_detr":
            length = chosen.detector_steps or int(STEPS * chosen.shrink)
            print(f"detector: {pretrain_deformable(plan, chosen.out, chosen.data, length)}")
            return
        print(f"{' + '.join(PHASES)}: {pretrain(plan, chosen.out, chosen.data, chosen.start)}")


if __name__ == "__main__":
    main()
