"""Serve the page until it is interrupted: on this machine alone unless told otherwise, and never shared."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import gradio as gr
from starlette.middleware import Middleware

from detr_hf.app.examples import draw_examples
from detr_hf.app.page import Page
from detr_hf.app.same_site import SameSiteOnly, is_loopback
from detr_hf.app.viewer import Viewer, name_of
from detr_hf.demo.resolve import model_path
from detr_hf.errors import UserError
from detr_hf.inference import Predictor

MAX_UPLOAD = "200mb"
STYLE = Path(__file__).parent / "page.css"
FIRST_PORT = 7860


def serve(
    model: str,
    host: str = "127.0.0.1",
    port: int | None = None,
    score_threshold: float = 0.85,
    device: str | None = None,
    title: str | None = None,
) -> None:
    """Load a model, open its page and stay until Ctrl-C.

    Args:
        model: folder or Hub id of either stage, or `demo`.
        host: address to listen at.
        port: a free one from 7860 on when left out.
        score_threshold: where the slider stands at first (0 to 1).
        device: where the model runs; the GPU when there is one.
        title: what the page is called; the model's name when left out.

    Raises:
        UserError: the model cannot be loaded, or the port is taken.
    """
    predictor = Predictor.from_pretrained(model_path(model), score_threshold, device)
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
