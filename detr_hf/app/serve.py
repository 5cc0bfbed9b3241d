"""Serve the page until it is interrupted: on this machine alone unless told otherwise, and never shared."""

from __future__ import annotations

import ipaddress
import os
import signal
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import gradio as gr
from PIL import Image
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse

from detr_hf.app.page import Page
from detr_hf.app.viewer import Viewer, name_of
from detr_hf.demo.resolve import CHECKPOINT, model_path
from detr_hf.demo.scene import draw_scene
from detr_hf.demo.worlds import YARD, categories_of
from detr_hf.errors import UserError
from detr_hf.inference import Predictor
from detr_hf.labels import LabelMap

MAX_UPLOAD = "200mb"
STYLE = Path(__file__).parent / "page.css"
FIRST_PORT = 7860
REFUSED = "This page answers to its own address only; open it by the address that detr-hf app printed.\n"

EXAMPLE_SEED = 77  # of no data set: nothing in the examples was learned
EXAMPLES = 4
EXAMPLE_HW = (480, 640)
STREETS = sorted((CHECKPOINT.parent / "street").glob("*.jpg"))
"""Scenes of the world that the tiny checkpoint was pretrained on; what draws it is not in the package."""


def serve(
    model: str,
    host: str = "127.0.0.1",
    port: int | None = None,
    score_threshold: float | None = None,
    device: str | None = None,
    title: str | None = None,
) -> None:
    """Load a model, open its page and stay until Ctrl-C.

    Args:
        model: folder or Hub id of either stage, or `demo` or `demo-deformable`.
        host: address to listen at.
        port: a free one from 7860 on when left out.
        score_threshold: where the slider stands at first (0 to 1); None: see ``Predictor``.
        device: where the model runs; the GPU when there is one.
        title: what the page is called; the model's name when left out.

    Raises:
        UserError: the model cannot be loaded, or the port is taken.
    """
    predictor = Predictor.from_pretrained(model_path(model), score_threshold, device)
    if (tiles := predictor.tiles) is not None:
        print(f"note: trained in tiles of {tiles.size} px, in which the page looks at images", flush=True)
    with TemporaryDirectory(prefix="detr-hf-app-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder) / "files")  # so that it goes with the page
        examples = draw_examples(predictor.labels, Path(folder) / "examples")
        page = Page(Viewer(predictor, Path(folder)), title or name_of(model), examples).blocks
        address = launch(page, host, port)
        print(f"{title or name_of(model)}: {address} (Ctrl-C ends it)", flush=True)
        if not is_loopback(host):
            print("note: whoever reaches this machine over the network can use the page.", flush=True)
        _wait()
        page.close(verbose=False)


def launch(page: gr.Blocks, host: str, port: int | None) -> str:
    """Start serving in the background, with everything off that would ask or tell another machine.

    Returns:
        The page's address.

    Raises:
        UserError: the port is taken, or the host is not this machine's.
    """
    theme = gr.themes.Default(
        primary_hue="blue",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],  # of the visitor's machine: none is fetched
        font_mono=["ui-monospace", "monospace"],
    )
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            share=False,
            inbrowser=False,
            prevent_thread_lock=True,
            quiet=True,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            max_file_size=MAX_UPLOAD,
            state_session_capacity=64,
            theme=theme,
            css_paths=STYLE,
            app_kwargs={"middleware": [Middleware(SameSiteOnly, host=host)]},
        )
    except OSError as error:
        where = f"{host}:{port}" if port else f"{host}, from {FIRST_PORT} on"
        raise UserError(f"no page at {where}: the port is taken; choose another --port ({error}).") from error
    return address


def _wait() -> None:
    """Until Ctrl-C or a polite kill, so that the temporary folder is removed."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print("page closed", flush=True)


def draw_examples(labels: LabelMap, folder: Path) -> list[Path]:
    """Write a few scenes of the yard or the street, whichever has the model's classes; none for others."""
    if set(labels.names) <= {category["name"] for category in categories_of(YARD)}:
        scenes = {
            f"yard-{index + 1}": Image.fromarray(draw_scene(EXAMPLE_SEED, index, EXAMPLE_HW).image)
            for index in range(EXAMPLES)
        }
    elif set(labels.names) <= set(LabelMap.load(CHECKPOINT).names):
        scenes = {file.stem: Image.open(file) for file in STREETS}
    else:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    for name, scene in scenes.items():
        scene.save(folder / f"{name}.png")
    return [folder / f"{name}.png" for name in scenes]


class SameSiteOnly:
    """ASGI middleware: only the page's own address may talk to it, other sites get 403.

    A site can point its own name at this machine (DNS rebinding), which shows in the header Host, and can
    post to the page from its own pages, which shows in the header Origin.

    Args:
        app: what is served.
        host: where the page listens. A loopback one is reached under loopback names alone; any other may have
            names that nobody here knows, so only Origin is looked at.
    """

    def __init__(self, app: Any, host: str) -> None:
        self._app, self._local_only = app, is_loopback(host)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] in ("http", "websocket") and not self._is_own(dict(scope["headers"])):
            await PlainTextResponse(REFUSED, 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_own(self, headers: dict[bytes, bytes]) -> bool:
        # a proxy in front of the page may tell the address that the visitor asked for in a header of its own,
        # which no foreign site can set without being asked first (CORS)
        names = {headers.get(key, b"").decode("latin-1") for key in (b"host", b"x-forwarded-host")}
        origin = headers.get(b"origin", b"").decode("latin-1")
        if self._local_only and not is_loopback(_host_of(headers.get(b"host", b"").decode("latin-1"))):
            return False
        return not origin or urlsplit(origin).netloc in names - {""}


def is_loopback(host: str) -> bool:
    """Whether a name or address without its port is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _host_of(address: str) -> str:
    """Without the port, and without the brackets of IPv6."""
    try:
        return urlsplit(f"//{address}").hostname or ""
    except ValueError:
        return ""
