"""What a run refuses of its devices, and how exact float32 products are."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType

from detr_hf.errors import UserError
from detr_hf.recipe import Recipe, recipe_from_text
from detr_hf.training.device import set_up_device


def recipe(*overrides: str) -> Recipe:
    return recipe_from_text(
        "{task: detection, output_dir: out, data: {demo: {}}, optim: {epochs: 1}}", overrides
    )


def accelerator(kind: DistributedType = DistributedType.NO, device: str = "cpu") -> SimpleNamespace:
    return SimpleNamespace(distributed_type=kind, device=torch.device(device))


@pytest.mark.parametrize("kind", ["FSDP", "DEEPSPEED"])
def test_a_launcher_that_splits_the_model_is_refused(kind: str) -> None:
    with pytest.raises(UserError, match=rf"asks for {kind}, which splits the model.*docs/scaling\.md"):
        set_up_device(recipe(), accelerator(DistributedType(kind)))


def test_tf32_is_refused_where_there_is_none() -> None:
    with pytest.raises(UserError, match=r"compute\.tf32: needs an NVIDIA GPU, and this run is on cpu"):
        set_up_device(recipe("compute.tf32=true"), accelerator())


@pytest.mark.parametrize("wanted", [True, False])
def test_products_and_convolutions_follow_the_recipe(wanted: bool) -> None:
    """guards: convolutions in TF32 by default, whatever is said of matrix products."""
    before = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    try:
        set_up_device(recipe(*["compute.tf32=true"] * wanted), accelerator(device="cuda"))
        assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == wanted
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_a_run_can_be_repeated_bit_for_bit_unless_it_says_otherwise() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    try:
        for wanted in (False, True):
            set_up_device(recipe(*["compute.deterministic=false"] * (not wanted)), accelerator())
            assert torch.are_deterministic_algorithms_enabled() == wanted
        assert torch.is_deterministic_algorithms_warn_only_enabled(), "a missing kernel is told, not refused"
    finally:
        torch.use_deterministic_algorithms(before, warn_only=True)
