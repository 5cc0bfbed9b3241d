"""The criterion: matching, and the weighted sum of a table of loss terms over layers and sets of queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from detr_hf.modeling.class_scores import ClassScores
from detr_hf.modeling.loss_terms import LossSettings, LossTerm, Matched
from detr_hf.modeling.matcher import match
from detr_hf.modeling.normalizers import Normalizers


@dataclass(frozen=True)
class QuerySet:
    """Predictions of further queries, which learn like those of a decoder layer more.

    Attributes:
        name: in logs.
        logits: ``[L, B, P, K]``.
        boxes_cxcywh_norm: ``[L, B, P, 4]``.
        real: ``bool [B, P]``, those that count; the others are neither matched nor learned from.
        one_class: whether they say "object" alone, with the first of their K logits.
    """

    name: str
    logits: Tensor
    boxes_cxcywh_norm: Tensor
    real: Tensor
    one_class: bool


class SetCriterion(nn.Module):
    """Matching, and the weighted sum of the terms of a table.

    Args:
        settings: coefficients, matching costs and the rest.
        terms: the rows of the table that count.
        scores: what the logits mean; see ``Family``.
    """

    class_weights: Tensor | None

    def __init__(self, settings: LossSettings, terms: Sequence[LossTerm], scores: ClassScores):
        super().__init__()
        self.settings, self.terms, self.scores = settings, tuple(terms), scores
        weights = settings.class_weights
        buffer = None if weights is None else torch.tensor(weights, dtype=torch.float32)
        self.register_buffer("class_weights", buffer, persistent=False)  # goes to the device of the task

    def normalizers(self, targets: Sequence[Mapping], num_queries: int) -> Normalizers:
        """This batch's share of what the step's losses are divided by."""
        return Normalizers.of_targets(targets, num_queries, self.settings.eos_coefficient, self.class_weights)

    def matched(
        self,
        logits: Tensor,
        boxes_cxcywh_norm: Tensor,
        targets: Sequence[Mapping],
        normalizers: Normalizers,
    ) -> Matched:
        """Everything that the terms are computed from, masks aside."""
        matches = match(self._class_cost(logits), boxes_cxcywh_norm, targets, self.settings.costs)
        return Matched(
            logits, boxes_cxcywh_norm, targets, matches, normalizers, self.settings, self.class_weights
        )

    def matched_set(
        self, queries: QuerySet, targets: Sequence[Mapping], normalizers: Normalizers
    ) -> tuple[str, Matched]:
        """The same of further queries, and their name."""
        weights = self.class_weights
        if queries.one_class:
            weights = None
            targets = [
                {**target, "class_labels": torch.zeros_like(target["class_labels"])} for target in targets
            ]
        # out of reach for the matching, which takes any other query first
        cost = self._class_cost(queries.logits).masked_fill(~queries.real[None, :, :, None], torch.inf)
        matches = match(cost, queries.boxes_cxcywh_norm, targets, self.settings.costs)
        matched = Matched(
            *(queries.logits, queries.boxes_cxcywh_norm, targets, matches, normalizers, self.settings),
            class_weights=weights,
            real=queries.real,
        )
        return queries.name, matched

    def _class_cost(self, logits: Tensor) -> Tensor:
        with torch.no_grad():
            return self.scores.class_cost(logits, self.settings.focal_alpha, self.settings.focal_gamma)

    def forward(
        self, matched: Matched, further: Sequence[tuple[str, Matched]] = (), groups: int = 1
    ) -> dict[str, Tensor]:
        """The weighted sum over terms, layers and further queries under "loss", and its detached terms.

        Terms are unweighted and of the last layer; "loss_auxiliary" is the weighted sum of the inner layers,
        and "loss_" with the name of further queries the weighted sum of all that they learn from. Where
        layers are those of several query groups, "loss" is the mean over the groups, "loss_groups" that of
        all but the last, and the terms are of the last group.
        """
        per_layer, logged = self._weighted(matched)
        *others, own = per_layer.view(groups, -1)
        if len(own) > 1:
            logged["loss_auxiliary"] = own[:-1].sum().detach()
        if others:
            logged["loss_groups"] = torch.stack(others).sum(1).mean().detach()
        loss = per_layer.sum() / groups
        for name, more in further:
            of_set = self._weighted(more)[0].sum()
            loss, logged[f"loss_{name}"] = loss + of_set, of_set.detach()
        return {"loss": loss, **logged}

    def _weighted(self, matched: Matched) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum of the weighted terms of each layer, ``[L]``, and the unweighted ones of the last."""
        layers = matched.logits.shape[0]
        per_layer, logged = matched.logits.new_zeros(layers), {}
        for term in self.terms:
            values = term.function(matched)
            inner = layers - len(values)  # layers without this term
            per_layer = per_layer + self._coefficient(term) * functional.pad(values, (inner, 0))
            logged[term.name] = values[-1].detach()
        return per_layer, logged

    def _coefficient(self, term: LossTerm) -> float:
        named = isinstance(term.coefficient, str)
        return float(getattr(self.settings, str(term.coefficient)) if named else term.coefficient)
