"""The chosen files in their folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from detr_hf.errors import UserError
from detr_hf.pick.copies import names_in_folder, put_into


def files(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(path))
    return paths


def test_equal_names_in_subfolders_survive(tmp_path: Path) -> None:
    names = ["a/1.jpg", "b/1.jpg", "1.jpg"]
    paths = files(tmp_path / "in", *names)
    put = put_into(tmp_path / "out", paths, names, "copy")
    assert [path.read_text() for path in put] == [str(path) for path in paths]
    assert [path.relative_to(tmp_path / "out").as_posix() for path in put] == names


def test_names_that_would_be_one_file_get_a_number() -> None:
    assert names_in_folder(["1.jpg", "2.jpg", "1.jpg", "A.JPG", "a.jpg"]) == [
        *("0001/1.jpg", "2.jpg", "0003/1.jpg", "0004/A.JPG", "0005/a.jpg")
    ]


@pytest.mark.parametrize("name", ["../up.jpg", "..\\up.jpg", "/etc/x.jpg", "C:\\x.jpg", "a/../../b.jpg"])
def test_no_name_leaves_the_folder(name: str, tmp_path: Path) -> None:
    [source] = files(tmp_path, "in/source.jpg")
    before = set(tmp_path.rglob("*"))
    [put] = put_into(tmp_path / "out", [source], [name], "copy")
    assert put.resolve().is_relative_to(tmp_path / "out") and put.is_file()
    assert all(path.is_relative_to(tmp_path / "out") for path in set(tmp_path.rglob("*")) - before)


def test_a_link_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    [source] = files(tmp_path, "in/a/1.jpg")
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="link to another place"):
        put_into(tmp_path / "out", [source], ["a/1.jpg"], "copy")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_links_are_the_files_themselves(tmp_path: Path) -> None:
    paths = files(tmp_path / "in", "1.jpg")
    [put] = put_into(tmp_path / "out", paths, ["1.jpg"], "link")
    assert put.samefile(paths[0]) and not put.is_symlink()


def test_what_is_there_stays_and_another_file_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    paths = files(tmp_path / "in", "1.jpg", "2.jpg", "3.jpg")
    put_into(tmp_path / "out", paths[:1], ["1.jpg"], "copy")
    put_into(tmp_path / "out", paths[:2], ["1.jpg", "2.jpg"], "link")
    assert (tmp_path / "out" / "1.jpg").read_text() == str(paths[0])
    (tmp_path / "out" / "1.jpg").write_text("of others")
    with pytest.raises(UserError, match=r"1\.jpg: another file"):
        put_into(tmp_path / "out", paths[::-1], ["3.jpg", "2.jpg", "1.jpg"], "copy")
    assert (tmp_path / "out" / "1.jpg").read_text() == "of others"
    assert not (tmp_path / "out" / "3.jpg").exists()
