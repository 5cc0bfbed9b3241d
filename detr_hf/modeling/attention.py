"""Where the queries of a decoder look: maps of attention, or points that are sampled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

RECORDING = "detr_hf_recording"


@dataclass(frozen=True)
class AttentionMaps:
    """Weights of a cross attention, ``float32 [B, heads, Q, h, w]``; of each query and head they sum to 1."""

    weights: Tensor


@dataclass(frozen=True)
class SampledPoints:
    """The points that deformable attention reads, of all heads and levels.

    Attributes:
        xy_norm: ``float32 [B, Q, P, 2]`` as shares of the batch's width and height, padding included.
        weights: ``float32 [B, Q, P]``; those of a query and head add up to 1.
    """

    xy_norm: Tensor
    weights: Tensor


Look = AttentionMaps | SampledPoints


@contextmanager
def record_attention(backbone: nn.Module, attention: Any) -> Iterator[list[Look]]:
    """Collect the weights of an attention module of transformers, over the coarsest map of the backbone.

    Only the eager kind of attention gives its weights away. They are worked out aside from what goes into it;
    the model runs with whichever kind it has, and is left as it was.
    """
    recorded: list[Look] = []
    stock_config = attention.config
    kind = stock_config._attn_implementation

    def record(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **settings: Any
    ) -> tuple[Tensor, None]:
        weights = attention_weights(query, key, mask, settings["scaling"])
        recorded.append(AttentionMaps(weights.unflatten(-1, sizes[-1])))
        stock = ALL_ATTENTION_FUNCTIONS.get(kind)
        if stock is None:  # the eager kind is no function of the library, but the same sum as here
            return (weights.to(value.dtype) @ value).transpose(1, 2), None
        return stock(module, query, key, value, mask, **settings)

    with record_map_sizes(backbone) as sizes:
        ALL_ATTENTION_FUNCTIONS[RECORDING] = record
        attention.config = SimpleNamespace(_attn_implementation=RECORDING)  # all that the module reads of it
        try:
            yield recorded
        finally:
            attention.config = stock_config
            del ALL_ATTENTION_FUNCTIONS[RECORDING]


@contextmanager
def record_map_sizes(backbone: nn.Module) -> Iterator[list[torch.Size]]:
    """Collect height and width of the coarsest map of each forward pass."""
    sizes: list[torch.Size] = []

    def record(module: nn.Module, inputs: object, maps: list[tuple[Tensor, Tensor]]) -> None:
        sizes.append(maps[-1][0].shape[-2:])

    with backbone.register_forward_hook(record):
        yield sizes


def attention_weights(query: Tensor, key: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
    """Softmax of the scaled products of queries and keys ``[B, heads, n, d]``, ``[B, heads, Q, K]``."""
    products = query.float() @ key.float().transpose(2, 3) * scaling
    if mask is not None:  # bool: True where to look; else what to add
        products = products.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else products + mask
    return products.softmax(-1)
