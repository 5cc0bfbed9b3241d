"""`detr-hf`: what each command reads, writes and refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from detr_hf import __version__, cli
from detr_hf.modeling.threshold_record import record_threshold
from detr_hf.recipe import recipe_to_yaml
from tests.commands import refusal, told
from tests.factories import write_coco_panoptic
from tests.raw_factories import write_tidy_raw
from tests.tiny_runs import ALL_LABELS, THING_LABELS, panoptic_recipe, save_detector, save_segmenter


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"], ["--version"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(command in said for command in cli.find_commands()) and said.splitlines()[-1] == __version__


def test_a_pipe_is_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "set.yaml")
    assert "named pipe" in refusal(["check", str(tmp_path / "set.yaml")], capsys)


def test_a_path_too_long_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / ("x" * 300))
    for command in (["check", path], ["convert", path, "out", "--to", "coco"], ["prepare", path, "out"]):
        assert "File name too long" in refusal(command, capsys)


def test_nothing_is_written_into_the_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tidy_raw(tmp_path / "raw")
    before = sorted(tmp_path.rglob("*"))
    source, out = str(tmp_path / "raw"), str(tmp_path / "raw" / "new")
    convert = ["convert", source, out, "--to", "coco"]
    for command in (["check", source, "--fix", out], convert, ["prepare", source, out]):
        assert "which is only read" in refusal(command, capsys)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_command_is_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "toy.py").write_text(
        "HELP, PLACE = 'Greet somebody.', 2.5\n"
        "EXAMPLES, PAGE = ('detr-hf toy world', 'detr-hf toy you'), 'toy.md'\n"
        "def add_arguments(parser): parser.add_argument('name')\n"
        "def run(arguments): print('hello', arguments.name)\n"
    )
    monkeypatch.setattr(cli, "__path__", [*cli.__path__, str(tmp_path)])
    assert told(["toy", "world"], capsys) == "hello world\n"
    assert list(cli.find_commands())[:5] == ["prepare", "check", "convert", "toy", "init"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a run of stage 2 leaves it: recipe.yaml, best/ and last/; and a detector beside it."""
    folder = tmp_path_factory.mktemp("finished")
    split = write_coco_panoptic(folder / "data", count=3)
    detector = save_detector(folder / "stage1", ALL_LABELS)
    best = save_segmenter(folder / "run" / "best")
    shutil.copytree(best, folder / "run" / "last")
    recipe = panoptic_recipe(folder / "run", split, detector, best, "evaluation.score_threshold=0.3")
    (folder / "run" / "recipe.yaml").write_text(recipe_to_yaml(recipe))
    shutil.copy(folder / "run" / "recipe.yaml", folder / "recipe.yaml")
    return folder


@pytest.mark.parametrize(
    ("source", "model"), [("recipe.yaml", "best"), ("run", "best"), ("run/last", "last")]
)
def test_evaluate_a_recipe_a_run_folder_and_a_checkpoint(
    source: str, model: str, finished: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = told(["evaluate", str(finished / source)], capsys)
    assert str(finished / "run" / model) in out and "PQ" in out and "AP50" in out
    written = json.loads((finished / "run" / "evaluation.json").read_text())
    assert written["model"] == str(finished / "run" / model)
    assert set(written) == {"model", "detection", "panoptic"}
    assert "sky" in (finished / "run" / "evaluation.md").read_text()


def test_a_run_folder_that_was_moved_is_scored_where_it_is(
    finished: Path, tmp_path: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished / "run", tmp_path / "moved", ignore=shutil.ignore_patterns("evaluation.*"))
    out = told(["evaluate", str(tmp_path / "moved"), "evaluation.batch_size=1"], capsys)
    assert str(tmp_path / "moved" / "best") in out
    assert (tmp_path / "moved" / "evaluation.json").is_file()


def test_evaluate_another_model_into_another_folder(
    finished: Path, tmp_path: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = str(finished / "run" / "last")
    told(["evaluate", str(finished / "run"), "--model", other, "--out", str(tmp_path / "out")], capsys)
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["model"] == other


def test_what_evaluate_refuses(
    finished: Path, tmp_path: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, detector = str(finished / "run"), str(finished / "stage1")
    message = refusal(["evaluate", source, "--model", detector], capsys)
    assert "holds a detector (stage 1), but the recipe is of stage 2" in message
    assert "name the model to score on it: --model" in refusal(["evaluate", str(tmp_path)], capsys)
    message = refusal(["evaluate", source, "optim.lrr=1", "batch_size=4"], capsys)
    assert "optim.lrr: unknown key" in message, "short names are a training's"
    assert "did you mean `optim.batch_size` or `evaluation.batch_size`?" in message
    message = refusal(["evaluate", source, "--model", str(tmp_path), "--out", str(tmp_path)], capsys)
    assert "no model found there" in message


def test_predict_one_image_and_a_folder(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, images = str(finished / "run" / "best"), finished / "data" / "images"
    options = ["--threshold", "0.3", "--device", "cpu"]
    out = told(["predict", model, str(images), "--out", str(tmp_path / "all"), *options], capsys)
    assert re.match(r"\d+ \w+.*\n3 images, \d+ objects? above 0\.3: ", out) and str(tmp_path / "all") in out
    assert len(list((tmp_path / "all").iterdir())) == 9
    told(["predict", model, str(images / "000.jpg"), "--out", str(tmp_path / "one"), *options], capsys)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["000.jpg", "000.json", "000.panoptic.png"]
    first, again = ((tmp_path / folder / "000.json").read_text() for folder in ("all", "one"))
    assert first == again
    out = told(["predict", model, str(images), "--out", str(tmp_path / "none"), "--threshold", "1"], capsys)
    assert re.search(r"^nothing found: the highest score is 0\.\d\d, the threshold 1\.00[,;]", out, re.M)
    shutil.copytree(model, tmp_path / "own")
    record_threshold(tmp_path / "own", 0.25)
    out = told(["predict", str(tmp_path / "own"), str(images), "--out", str(tmp_path / "best")], capsys)
    assert "above 0.25, the best on validation: " in out
    options += ["--format", "coco", "--image-ids", str(finished / "data" / "annotations.json")]
    told(["predict", model, str(images), "--out", str(tmp_path / "ids"), *options], capsys)
    given, taken = (
        json.loads(file.read_text())
        for file in (finished / "data/annotations.json", tmp_path / "ids/images.json")
    )
    assert [one["id"] for one in taken["images"]] == [one["id"] for one in given["images"]]


def test_what_predict_refuses(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out = str(finished / "run" / "best"), str(tmp_path / "out")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    assert "broken.jpg" in refusal(["predict", model, str(tmp_path / "broken.jpg"), "--out", out], capsys)
    assert "does not exist" in refusal(["predict", model, str(tmp_path / "absent"), "--out", out], capsys)
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    picture = str(tmp_path / "a.png")
    assert "no model found there" in refusal(["predict", str(tmp_path), picture, "--out", out], capsys)
    for threshold in ("1.5", "x", "nan"):
        message = refusal(["predict", model, picture, "--out", out, "--threshold", threshold], capsys)
        assert f"{threshold!r} is not a number from 0 to 1" in message


PREDICT_REFUSES = [
    (["--image-ids", "given.json"], "--image-ids belongs to --format coco"),
    (["--image-url", "s3://x/", "--format", "cvat"], "--image-url belongs to --format labelstudio"),
    (["--image-root", "."], "--image-root belongs to --format coco or cvat or labelstudio"),
    (["--image-ids", "absent.json", "--format", "coco"], "absent.json"),
    (["--image-root", "elsewhere", "--format", "cvat"], "outside of --image-root"),
    (["film.mp4", "--format", "cvat"], "--format cvat is for images"),
]


@pytest.mark.parametrize(("words", "said"), PREDICT_REFUSES)
def test_what_predict_refuses_before_it_loads_a_model(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    (tmp_path / "film.mp4").touch()
    words = [str(tmp_path / word) if word == "film.mp4" else word for word in words]
    words = ["predict", "no/model", str(tmp_path / "a.png"), *words, "--out", str(tmp_path / "out")]
    assert said in refusal(words, capsys)


def test_train_goes_the_same_way_as_the_script(
    finished: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "optim.lrr: unknown key" in refusal(
        ["train", str(finished / "recipe.yaml"), "optim.lrr=1"], capsys
    )
    missing = refusal(["train", str(finished / "recipe.yaml"), "data.train.images=nowhere"], capsys)
    assert "nowhere" in missing


def test_the_demo_never_replaces_a_run_of_the_users(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "detection").mkdir()
    shutil.copy(finished / "recipe.yaml", tmp_path / "detection" / "recipe.yaml")
    assert "choose another --out" in refusal(["demo", "--out", str(tmp_path)], capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["detection"]


def test_prepare_from_a_raw_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings may stand before flags or behind them."""
    raw = write_tidy_raw(tmp_path / "raw")
    words = ["num_proc=1", "--strict", "pseudo_stuff.enabled=false"]
    said = told(["prepare", str(raw), str(tmp_path / "out"), *words], capsys)
    assert "6 images read, 6 kept, 0 dropped." in said
    assert (tmp_path / "out" / "data.yaml").is_file()
    message = refusal(["prepare", str(raw), str(tmp_path / "out"), "--strict", "num_prok=1"], capsys)
    assert "did you mean `num_proc`" in message


@pytest.mark.parametrize(
    ("teacher", "named"),
    [
        ("./nowhere", "./nowhere: there is no such folder"),
        ("boxes", "boxes: holds DetrForObjectDetection, where a DetrForSegmentation is needed"),
        ("things", "no label_map.json beside it says which of them are stuff"),
        ("masks", "no place in it for 1 stuff class of the teacher masks: ground"),
    ],
)
def test_a_wrong_teacher_shows_before_the_first_step(
    teacher: str,
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    raw = write_tidy_raw(tmp_path / "raw")
    monkeypatch.chdir(tmp_path)
    save_detector(Path("boxes"))
    save_segmenter(Path("things"), THING_LABELS)
    save_segmenter(Path("masks"))
    settings = [f"pseudo_stuff.teacher={teacher}", "pseudo_stuff.mapping=construction"]
    message = refusal(["prepare", str(raw), "out", *settings], capsys)
    assert "pseudo_stuff.teacher: " in message and named in message
    assert "pseudo_stuff.enabled=false" in message
    assert not Path("out").exists()


def test_a_word_that_is_no_setting_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unrecognized arguments: c" in refusal(["prepare", "a", "b", "--strict", "c"], capsys)
    assert "unrecognized arguments: x=1" in refusal(["demo", "--mess", "x=1"], capsys)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("val", "Did you mean `detr-hf evaluate`?"),
        ("detect", "Did you mean `detr-hf predict`?"),
        ("trian", "Did you mean `detr-hf train`?"),
        ("my.yaml", "Did you mean `detr-hf train my.yaml`?"),
        ("nonsense", "is no command. `detr-hf --help`"),
    ],
)
def test_a_word_that_is_no_command(word: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal([word, "data"], capsys)
    assert meant in said and len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("flag", "setting"),
    [("--epochs", "optim.epochs"), ("--batch-size=4", "optim.batch_size"), ("--x", "optim.epochs")],
)
def test_a_flag_of_other_trainers_is_told_as_a_setting(
    flag: str, setting: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"A setting is written as {setting}=..." in refusal(["train", "data", flag, "4"], capsys)
    assert "A setting" not in refusal(["predict", "demo", "a.jpg", flag, "4"], capsys)
