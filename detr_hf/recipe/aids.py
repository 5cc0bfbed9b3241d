"""Settings of a run that are off by default: what helps a long, an uneven or a large training."""

from __future__ import annotations

from typing import Literal

from detr_hf.recipe.kinds import Count, InnerShare, NonNegativeInt, NotNegative, Text, section


@section
class Ema:
    """An exponential moving average of the weights, which is then what is evaluated and kept as `best/`."""

    decay: InnerShare = 0.9998  # share of the average that stays after an optimizer step
    warmup_steps: NonNegativeInt = (
        2000  # the decay rises from 0 as 1 - exp(-steps / warmup_steps); 0: no rise
    )


@section
class EarlyStopping:
    """End the run when the validation split has stopped getting better."""

    patience: Count  # evaluations in a row without a better score
    metric: Literal["AP", "AP50", "AR"] | None = None  # None: as `checkpoint.best`
    min_delta: NotNegative = 0.0  # what counts as better: more than the best so far plus this


@section
class PanopticEarlyStopping:
    """As `EarlyStopping`; the box numbers only where the detector learns."""

    patience: Count
    metric: Literal["PQ", "AP", "AP50", "AR"] | None = None
    min_delta: NotNegative = 0.0


@section
class Compute:
    """Memory and speed; none of it changes what is learned beyond rounding."""

    gradient_checkpointing: bool = False  # compute activations twice instead of keeping them
    compile: bool = False  # torch.compile of backbone, encoder and decoder layers
    deterministic: bool = True  # kernels that repeat their sums exactly; on a GPU some are slower
    tf32: bool = False  # float32 products with 10 bits of mantissa; needs an NVIDIA GPU


@section
class Hub:
    """Where `push_to_hub: true` puts the best model, and how it is shown there."""

    repo_id: Text  # user/name, or organization/name
    private: bool = True  # false: everybody may see it
    revision: Text | None = None  # a new tag for what is pushed at the end, such as v1
    license: Text = "other"  # as the Hub spells licenses; "other": none is stated
    pictures: bool = True  # validation photographs with predictions, and the report that shows some
    each_epoch: bool = False  # push in the background whenever `best/` is new, too
