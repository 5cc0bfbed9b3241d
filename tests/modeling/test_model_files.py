"""What stands beside the weights: nothing of it runs, and nonsense ends in a message."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import DetrImageProcessor

from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.modeling import model_files
from detr_hf.modeling.model_files import load_config, load_label_map, load_processor
from detr_hf.modeling.pretrained import load_finished
from tests.tiny_models import LABELS, tiny_detector

DEEP = "[" * 100_000


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files") / "model"
    tiny_detector().save_pretrained(folder)
    DetrImageProcessor().save_pretrained(folder)
    LABELS.save(folder)
    return folder


@pytest.fixture
def model(pristine: Path, tmp_path: Path) -> Path:
    """A folder to spoil."""
    return shutil.copytree(pristine, tmp_path / "model")


def rewrite(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def load_all(folder: Path) -> None:
    found = load_finished(str(folder))
    load_label_map(str(folder), found.config)
    load_processor(str(folder))


def test_an_untouched_folder_loads(model: Path) -> None:
    load_all(model)


# ---- code


@pytest.mark.parametrize(
    ("name", "key", "load"),
    [
        ("config.json", "AutoConfig", load_finished),
        ("config.json", "AutoModelForObjectDetection", load_finished),
        ("preprocessor_config.json", "AutoImageProcessor", load_processor),
    ],
)
def test_the_code_of_a_model_is_never_run_nor_asked_about(
    model: Path, monkeypatch: pytest.MonkeyPatch, name: str, key: str, load: Callable[[str], Any]
) -> None:
    """Guards: without `trust_remote_code=False` transformers asks at the terminal, and runs it on a "y"."""
    mark = model / "ran"
    (model / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    rewrite(
        model / name, auto_map={key: "evil.Evil"}, **({"model_type": "evil"} if key == "AutoConfig" else {})
    )

    def ask(*_: object) -> str:
        raise AssertionError("the user was asked")

    monkeypatch.setattr("builtins.input", ask)
    if key == "AutoConfig":
        with pytest.raises(UserError, match=r"model: no model found there .*config\.json"):
            load(str(model))
    else:
        load(str(model))  # a stock class stands in the file: that one is taken
    assert not mark.exists()


def test_a_run_is_no_model_but_has_one(model: Path) -> None:
    model.rename(model.parent / "best")
    with pytest.raises(UserError, match=f"is the folder of a run; its model is {model.parent / 'best'}"):
        load_finished(str(model.parent))


# ---- JSON


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "label_map.json"])
@pytest.mark.parametrize("text", [DEEP, "null", "[]", "{", '{"a": 1' + "0" * 6000 + "}", "\0"])
def test_json_that_cannot_be_used_is_refused_by_its_name(model: Path, name: str, text: str) -> None:
    """Guards: a RecursionError or a TypeError from inside transformers."""
    (model / name).write_text(text)
    with pytest.raises(UserError, match=name):
        load_all(model)


@pytest.mark.parametrize(
    "values",
    [
        {"backbone_config": 3},
        {"id2label": "x"},
        {"id2label": {"a": "b"}},
        {"d_model": "wide"},
        {"num_queries": -1},
    ],
    ids=str,
)
def test_a_config_of_nonsense_is_refused(model: Path, values: dict[str, Any]) -> None:
    rewrite(model / "config.json", **values)
    with pytest.raises(UserError, match="model: "):
        load_all(model)


# ---- weights


def test_weights_that_are_not_finite_are_refused_and_counted(model: Path) -> None:
    file = model / "model.safetensors"
    tensors = load_file(file)
    spoilt = sorted(name for name, tensor in tensors.items() if tensor.is_floating_point())[:3]
    for name in spoilt:
        tensors[name] = torch.full_like(tensors[name], torch.nan)
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"model: 3 of its tensors hold numbers that are not finite"):
        load_finished(str(model))


@pytest.mark.parametrize(
    ("index", "complaint"),
    [
        ({"metadata": {}, "weight_map": {"a": "model-00001-of-00001.safetensors"}}, "could not be loaded"),
        ({"metadata": {}, "weight_map": {}}, "could not be loaded"),
        ({"metadata": {}}, "could not be loaded"),
        ({"weight_map": 3}, "could not be loaded"),
        ({"weight_map": {"a": "../stolen.safetensors"}}, "leaves the folder"),
    ],
    ids=["shard missing", "no shards", "no map", "map of nonsense", "outside"],
)
def test_a_shard_index_without_its_weights_is_refused(model: Path, index: object, complaint: str) -> None:
    (model / "model.safetensors").unlink()
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=complaint):
        load_finished(str(model))


# ---- label map


def test_a_label_map_that_does_not_fit_the_model_is_refused(model: Path) -> None:
    config = load_config(str(model))
    for names, stuff, complaint in (
        (["brick", "crane"], ["sky"], "lacks plank, ground"),
        (["brick", "crane", "plank", "door"], ["sky", "ground"], "has door besides"),
        (["crane", "brick", "plank"], ["sky", "ground"], "has another order"),
    ):
        LabelMap.from_names(names, stuff).save(model)
        with pytest.raises(UserError, match=rf"label_map\.json: does not fit the model.*{complaint}"):
            load_label_map(str(model), config)


def test_a_label_map_names_the_classes_of_a_config_without_names(model: Path) -> None:
    rewrite(model / "config.json", id2label={str(n): f"LABEL_{n}" for n in range(5)})
    assert load_label_map(str(model), load_config(str(model))) == LABELS
    LabelMap.from_names(["brick"]).save(model)
    with pytest.raises(UserError, match="does not fit"):
        load_label_map(str(model), load_config(str(model)))


def test_the_label_map_beside_a_model_comes_first(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(str(model))
    (model / "label_map.json").unlink()
    assert load_label_map(str(model), config) == LabelMap.from_names(LABELS.names)  # a config knows no stuff
    LABELS.save(model)
    assert load_label_map(str(model), config) == LABELS
    (model / "label_map.json").write_text("{}")
    with pytest.raises(UserError, match=r"label_map.json: is no label map"):
        load_label_map(str(model), config)

    def offline(*args: object, **kwargs: object) -> str:
        raise FileNotFoundError("offline")

    monkeypatch.setattr(model_files, "hf_hub_download", offline)
    assert load_label_map("someone/some-detr", config) == LabelMap.from_names(LABELS.names)


# ---- processor


def test_the_processor_is_the_one_beside_the_weights(model: Path) -> None:
    (model / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match=r"model: no image processor could be loaded"):
        load_processor(str(model))
    DetrImageProcessor(image_mean=[0.1, 0.2, 0.3]).save_pretrained(model)
    assert load_processor(str(model)).image_mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"image_mean": None}, "image_mean is None"),
        ({"image_mean": "x"}, "image_mean is x"),
        ({"image_mean": [0.5]}, r"image_mean is \[0.5\]|image_mean is \(0.5,\)"),
        ({"image_std": [{}, 1, 1]}, "image_std|preprocessor"),
        ({"image_std": [0.2, 0.0, 0.2]}, "pixels are divided by it"),
        ({"image_mean": [float("inf")] * 3}, "no finite number"),
        ({"do_rescale": False}, "do_resize and do_rescale must be true"),
        ({"rescale_factor": 1.0}, "rescale_factor is 1.0"),
        ({"size": []}, "no image processor could be loaded"),
    ],
    ids=str,
)
def test_a_processor_that_makes_no_sense_is_refused(
    model: Path, values: dict[str, Any], complaint: str
) -> None:
    rewrite(model / "preprocessor_config.json", **values)
    with pytest.raises(UserError, match=complaint):
        load_processor(str(model))


def test_a_processor_that_does_not_normalize_is_honored(model: Path) -> None:
    rewrite(model / "preprocessor_config.json", do_normalize=False)
    processor = load_processor(str(model))
    assert (list(processor.image_mean), list(processor.image_std)) == ([0.0] * 3, [1.0] * 3)
