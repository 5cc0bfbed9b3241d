"""What logits mean, on numbers that can be checked by hand."""

from __future__ import annotations

import pytest
import torch

from detr_hf.modeling.class_scores import SIGMOID, SOFTMAX


def test_shares_of_classes_and_of_no_object_add_up_to_one() -> None:
    logits = torch.tensor([0.6, 0.3, 0.1]).log()
    assert SOFTMAX.distribution(logits).tolist() == pytest.approx([0.6, 0.3, 0.1])
    probabilities = torch.tensor([0.75, 0.5])
    shares = SIGMOID.distribution(probabilities.logit())
    assert shares.tolist() == pytest.approx([0.5, 1 / 3, 1 / 6]), "0.75, 0.5 and 0.25, scaled"
    assert SIGMOID.distribution(torch.full((2, 5, 4), -9.0))[..., -1].min() > 0.99
