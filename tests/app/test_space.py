"""A written Space: settings the Hub reads, an app that finds its model, and nothing private in it."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from huggingface_hub import SpaceCard
from packaging.requirements import Requirement

from detr_hf.app.space import write_space
from detr_hf.errors import UserError

pytestmark = pytest.mark.usefixtures("gradio")

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "hf_" + "x" * 34


def test_a_model_folder_goes_along(models: dict[str, Path], tmp_path: Path) -> None:
    (models["panoptic"] / "training_state.safetensors.secret").write_text(TOKEN)
    write_space(str(models["panoptic"]), tmp_path / "space", 0.5)
    made = {file.relative_to(tmp_path / "space").as_posix() for file in (tmp_path / "space").rglob("*")}
    assert {"app.py", "README.md", "requirements.txt", ".gitattributes", "detr_hf/app/page.css"} <= made
    assert {file for file in made if file.startswith("model/")} == {
        f"model/{name}"
        for name in ("config.json", "preprocessor_config.json", "label_map.json", "model.safetensors")
    }
    assert not [name for name in made if "__pycache__" in name]
    code = (tmp_path / "space" / "app.py").read_text()
    ast.parse(code)
    assert 'Path(__file__).parent / "model"' in code and str(tmp_path) not in code
    assert "score_threshold=0.5" in code and "share" not in code


def test_the_settings_are_those_of_a_gradio_space(tmp_path: Path, gradio: ModuleType) -> None:
    write_space("your-name/yard", tmp_path / "space")
    data = SpaceCard.load(tmp_path / "space" / "README.md").data.to_dict()
    assert data["sdk"] == "gradio" and data["sdk_version"] == gradio.__version__
    assert data["app_file"] == "app.py" and data["license"] == "apache-2.0"
    assert data["models"] == ["your-name/yard"] and data["title"] == "your-name/yard"
    assert len(data["short_description"]) <= 60
    code = (tmp_path / "space" / "app.py").read_text()
    assert "'your-name/yard'" in code and "score_threshold=None" in code, "the family's"
    assert not (tmp_path / "space" / "model").exists()


@pytest.mark.parametrize("model", ["demo", "demo-deformable"])
def test_a_model_of_the_package_is_no_model_of_the_hub(model: str, tmp_path: Path) -> None:
    write_space(model, tmp_path / "space")
    assert f"'{model}'" in (tmp_path / "space" / "app.py").read_text()
    assert "models" not in SpaceCard.load(tmp_path / "space" / "README.md").data.to_dict()
    assert not (tmp_path / "space" / "model").exists()


def test_requirements_are_the_packages_own(tmp_path: Path) -> None:
    write_space("demo", tmp_path / "space")
    lines = (tmp_path / "space" / "requirements.txt").read_text().splitlines()
    names = {Requirement(line).name for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(project["optional-dependencies"][e] for e in ("app", "video"))]
    flat = [line for entry in wanted for line in ([entry] if isinstance(entry, str) else entry)]
    assert names == {Requirement(line).name for line in flat}
    assert "pytest" not in names and len(lines) == len(names)


def test_no_token_gets_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    write_space("demo", tmp_path / "space")
    files = [file for file in (tmp_path / "space").rglob("*") if file.is_file()]
    assert files and not [file for file in files if TOKEN.encode() in file.read_bytes()]


def test_what_cannot_be_a_space_is_refused(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="new or empty folder"):
        write_space("demo", tmp_path / "full")
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["mine.txt"]
    for model in (str(tmp_path / "full"), "./no/model/here", "a b/c"):
        with pytest.raises(UserError, match=r"no model|Hub id"):
            write_space(model, tmp_path / "space")
    assert not (tmp_path / "space").exists()


def test_a_title_cannot_become_code(models: dict[str, Path], tmp_path: Path) -> None:
    odd = tmp_path / 'x""" + 1' / "a'b\n"
    odd.parent.mkdir()
    models["detection"].rename(odd)
    try:
        write_space(str(odd), tmp_path / "space")
    finally:
        odd.rename(models["detection"])
    tree = ast.parse((tmp_path / "space" / "app.py").read_text())
    [call] = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "serve"
    ]
    title = next(word.value for word in call.keywords if word.arg == "title")
    assert isinstance(title, ast.Constant) and str(title.value).endswith("a'b\n")
