"""The served page as a stranger meets it: which files it gives away, and what it asks other hosts for."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from detr_hf.app.viewer import Viewer
from detr_hf.demo.resolve import CHECKPOINT
from detr_hf.demo.worlds import YARD, World, categories_of
from detr_hf.errors import UserError
from detr_hf.images import image_size
from detr_hf.inference import Predictor
from detr_hf.labels import LabelMap, construction_labels
from tools.pretrain_tiny.street import STREET

gradio = pytest.importorskip("gradio", reason="pip install 'detr-hf[app]'")
httpx = pytest.importorskip("httpx")

SECRET = "the key is under the mat"


@dataclass
class Served:
    """A page within this process, and the folder that all its files belong in."""

    address: str
    folder: Path


@pytest.fixture(scope="module")
def served(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    from detr_hf.app.page import Page
    from detr_hf.app.serve import launch

    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "files"))
        predictor = Predictor.from_pretrained(models["detection"], 0.3, "cpu")
        page = Page(Viewer(predictor, folder), "tiny").blocks
        yield Served(launch(page, "127.0.0.1", free_port()).rstrip("/"), folder)
        page.close(verbose=False)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_the_page_is_there_and_names_no_other_host(served: Served) -> None:
    page = httpx.get(served.address)
    assert page.status_code == 200 and "tiny" in page.text
    config = httpx.get(f"{served.address}/config").json()
    assert not config["analytics_enabled"] and config["space_id"] is None
    assert re.findall(r"""(?:src|href)=["'](https?:[^"']+)""", page.text) == []
    assert "http" not in "".join(config["stylesheets"]) and "fonts.g" not in page.text


def test_it_listens_on_this_machine_alone(served: Served) -> None:
    port = int(served.address.rsplit(":", 1)[1])
    with socket.socket() as other:  # would fail if the page listened on every address
        other.bind(("127.0.0.2", port))


@pytest.mark.parametrize("path", ["secret.txt", "../secret.txt", "/etc/hostname"])
def test_no_file_but_its_own_is_given_away(path: str, served: Served, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text(SECRET)
    wanted = tmp_path / path if "secret" in path else path
    answer = httpx.get(f"{served.address}/gradio_api/file={wanted}")
    assert answer.status_code in (403, 404) and SECRET not in answer.text


def test_an_upload_stays_in_its_folder_whatever_it_is_called(served: Served) -> None:
    files = {"files": ("../../../../escaped.jpg", b"not much", "image/jpeg")}
    [stored] = httpx.post(f"{served.address}/gradio_api/upload", files=files).json()
    assert Path(stored).resolve().is_relative_to(served.folder.resolve())
    assert all(file == Path(stored) for file in served.folder.parent.rglob("escaped.jpg"))


def test_an_upload_over_the_limit_is_refused(served: Served) -> None:
    def endless() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
        for _ in range(201):
            yield bytes(1 << 20)
        yield b"\r\n--x--\r\n"

    head = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = httpx.post(f"{served.address}/gradio_api/upload", content=endless(), headers=head, timeout=120)
    assert answer.status_code == 413


def test_a_path_that_was_not_uploaded_is_no_input(served: Served, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_text(SECRET)
    said = asked(served, [{"path": str(secret), "meta": {"_type": "gradio.FileData"}}, 0.5, "Boxes"])
    assert '"success":false' in said.replace(" ", "")
    assert SECRET not in said and "not an image" not in said


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:{port}"}, 200),
        ({"Host": "127.0.0.1:{port}", "Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
    ],
)
def test_other_sites_are_refused(headers: dict[str, str], status: int, served: Served) -> None:
    port = served.address.rsplit(":", 1)[1]
    sent = {name: value.replace("{port}", port) for name, value in headers.items()}
    assert httpx.get(f"{served.address}/config", headers=sent).status_code == status
    form = {"files": ("x.jpg", b"xx", "image/jpeg")}
    answer = httpx.post(f"{served.address}/gradio_api/upload", files=form, headers=sent)
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "yard.example"}, 200),
        ({"host": "yard.example", "origin": "https://yard.example"}, 200),
        (
            {"host": "10.0.0.7:7860", "x-forwarded-host": "yard.example", "origin": "https://yard.example"},
            200,
        ),
        ({"host": "yard.example", "origin": "https://evil.example"}, 403),
    ],
)
def test_a_page_for_a_network_has_names_of_its_own(headers: dict[str, str], status: int) -> None:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route
    from starlette.testclient import TestClient

    from detr_hf.app.serve import SameSiteOnly

    page = Starlette(
        routes=[Route("/", lambda _: PlainTextResponse("page"))],
        middleware=[Middleware(SameSiteOnly, host="0.0.0.0")],
    )
    assert TestClient(page).get("/", headers=headers).status_code == status


def asked(served: Served, data: list[object]) -> str:
    """What the queue answers when the page's first function is called with these values."""
    queue = f"{served.address}/gradio_api/queue"
    body = {"data": data, "fn_index": 0, "session_hash": "stranger"}
    httpx.post(f"{queue}/join", json=body).raise_for_status()
    said = []
    with httpx.stream("GET", f"{queue}/data?session_hash=stranger", timeout=60) as lines:
        for line in lines.iter_lines():
            said.append(line)
            ended = ("process_completed", "close_stream")
            if line.startswith("data:") and json.loads(line[5:])["msg"] in ended:
                break
    return "\n".join(said)


def test_a_taken_port_is_said() -> None:
    from detr_hf.app.serve import launch

    with gradio.Blocks() as page:
        pass
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port}.*--port"):
            launch(page, "127.0.0.1", port)


# ---- images to try belong to the model: the demo's worlds, or none


@pytest.mark.parametrize("world", [STREET, YARD], ids=lambda world: world.name)
def test_each_world_gives_its_own(world: World, tmp_path: Path) -> None:
    from detr_hf.app.serve import EXAMPLES, draw_examples

    files = draw_examples(LabelMap.from_coco(categories_of(world)), tmp_path / "examples")
    assert len(files) == EXAMPLES and all(file.name.startswith(world.name) for file in files)
    assert image_size(files[0]) == (480, 640)


def test_the_tiny_checkpoint_knows_the_street(tmp_path: Path) -> None:
    from detr_hf.app.serve import draw_examples

    assert draw_examples(LabelMap.load(CHECKPOINT), tmp_path)[0].name == "street-1.png"


def test_other_models_get_none(tmp_path: Path) -> None:
    from detr_hf.app.serve import draw_examples

    assert draw_examples(construction_labels(), tmp_path / "examples") == []
    assert not (tmp_path / "examples").exists()
