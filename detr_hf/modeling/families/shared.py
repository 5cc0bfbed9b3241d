"""What several families need."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from detr_hf.labels import LabelMap

PRIOR = 0.01
"""What a new sigmoid head says of every class, so that a focal loss starts low (Lin et al. 2017, 3.3)."""

INNERMOST = 1e-5  # probabilities are kept so far from 0 and 1 before a logit, as in the references


@contextmanager
def record_layers(decoder: Any) -> Iterator[list[Tensor]]:
    """Collect the raw output ``[B, Q, d]`` of every decoder layer while the context is open."""
    recorded: list[Tensor] = []

    def record(module: nn.Module, inputs: object, output: Tensor | tuple) -> None:
        recorded.append(output[0] if isinstance(output, tuple) else output)

    with ExitStack() as hooks:
        for layer in decoder.layers:
            hooks.enter_context(layer.register_forward_hook(record))
        yield recorded


@cache
def _without_autocast(stock: Any) -> Any:
    class WithoutAutocast(stock):
        def forward(self, inputs: Tensor) -> Tensor:
            """The same as stock, in the precision of the weights."""
            with torch.autocast(inputs.device.type, enabled=False):
                return super().forward(inputs.to(next(self.parameters()).dtype))

    WithoutAutocast.stock = stock
    return WithoutAutocast


def keep_float32(*modules: Any) -> None:
    """Let modules of one input work in the precision of their weights under autocast, in place.

    Near 0.7 a bfloat16 step is 5 pixels of a 1333-pixel image. Names and weights stay.
    """
    for module in modules:
        if not hasattr(type(module), "stock"):
            stock: Any = type(module)
            module.__class__ = _without_autocast(stock)


def logit(probability: Tensor) -> Tensor:
    """The inverse of a sigmoid, of values from 0 to 1, as the references compute it."""
    there, absent = probability.clamp(min=INNERMOST), (1 - probability).clamp(min=INNERMOST)
    return (there / absent).log()


def boxes_around(points: Tensor, offsets: Tensor) -> Tensor:
    """Boxes ``[..., 4]`` (cx, cy, w, h; 0 to 1) from offsets to points or boxes ``[..., 2 or 4]``."""
    moved = offsets[..., : points.shape[-1]] + logit(points)
    return torch.cat([moved, offsets[..., points.shape[-1] :]], -1).sigmoid()


def new_sigmoid_head(width: int, labels: LabelMap, std: float) -> nn.Linear:
    """A class head that says about ``PRIOR`` of every class of ``labels``, whatever it sees."""
    head = nn.Linear(width, labels.num_classes)
    nn.init.normal_(head.weight, std=std)
    nn.init.constant_(head.bias, math.log(PRIOR / (1 - PRIOR)))
    return head


def new_queries(known: Tensor, count: int) -> Tensor:
    """Rows ``[count, d]`` spread as the ``known`` ones ``[Q, d]`` are.

    Copies of trained queries would find the same objects, and take long to part.
    """
    return nn.init.normal_(known.new_empty(count, known.shape[1]), std=float(known.std()))


def resize_embedding(detector: Any, name: str, count: int) -> list[str]:
    """Keep the first ``count`` queries, or all and new ones; see ``resize_queries``.

    Args:
        detector: its config follows.
        name: of the embedding in ``detector.model`` that is all there is of a query.
        count: of queries.
    """
    known = getattr(detector.model, name).weight.detach()
    further = new_queries(known, max(count - len(known), 0))
    rows = torch.cat([known[:count], further])
    setattr(detector.model, name, nn.Embedding.from_pretrained(rows, freeze=False))
    detector.config.num_queries = count
    return [f"model.{name}.weight"] if len(further) else []


def group_by_name(parameter_name: str, class_head: str, offsets: tuple[str, ...] = ()) -> str:
    """The group of a parameter, see ``Family.group_of``, by parts of the stock names."""
    if ".backbone." in parameter_name:
        return "backbone"
    if class_head in parameter_name:
        return "class_head"
    return "offsets" if any(part in parameter_name for part in offsets) else "other"


def switch_off_auxiliary_loss(config: Any, source: str) -> None:
    """The flag feeds every decoder layer the normed output of the one before, which released weights were not
    trained for; in place, with a warning."""
    if config.auxiliary_loss:
        transformers_logging.get_logger("detr_hf").warning_once(
            f"{source}: config.auxiliary_loss is on, which changes the forward pass; it is switched off. "
            "Auxiliary losses are taken all the same (loss.auxiliary)."
        )
        config.auxiliary_loss = False
