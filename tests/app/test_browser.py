"""The page in headless Chromium: an image in, boxes and segments out, no console error, no stranger asked.

Skipped where the extra [app], selenium, Chromium or its driver is missing (Debian: chromium-driver).
"""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detr_hf.app.space import write_space
from detr_hf.demo.video import write_film
from tests.raw_factories import png_header
from tools.pretrain_tiny.street import STREET

pytest.importorskip("gradio", reason="pip install 'detr-hf[app]'")
httpx = pytest.importorskip("httpx")
webdriver = pytest.importorskip("selenium.webdriver", reason="pip install selenium")
exceptions = pytest.importorskip("selenium.common.exceptions")

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="no Chromium with chromedriver here"),
]

PATIENCE = 180.0  # seconds until something that must come is given up


@dataclass
class Server:
    """A running page, its output so far, and the folder that its temporary files go to."""

    process: subprocess.Popen[str]
    address: str
    scratch: Path
    lines: list[str] = field(default_factory=list)

    @property
    def is_up(self) -> bool:
        return self.process.poll() is None


@contextmanager
def running_space(folder: Path, model: str = "demo") -> Iterator[Server]:
    """Write the Space and serve it on a free port of this machine until the block ends."""
    write_space(model, folder / "space", 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "scratch").mkdir()
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port), "TMPDIR": str(folder / "scratch")}
    process = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=folder / "space",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    server = Server(process, f"http://127.0.0.1:{port}", folder / "scratch")
    ready = threading.Event()
    threading.Thread(target=_read, args=(server, ready), daemon=True).start()
    try:
        assert ready.wait(600) and server.is_up, "".join(server.lines)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def _read(server: Server, ready: threading.Event) -> None:
    assert server.process.stdout is not None
    for line in server.process.stdout:
        server.lines.append(line)
        if "Ctrl-C" in line:
            ready.set()
    ready.set()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_space(tmp_path_factory.mktemp("browsed")) as running:
        yield running


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in (
        *("headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking"),
        *("disable-component-update", "disable-sync", "window-size=1280,1120"),
        f"user-data-dir={tmp_path / 'profile'}",
    ):
        options.add_argument(f"--{flag}")
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path / "downloads")})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=str(DRIVER)))
    yield driver
    driver.quit()


def until(what: Callable[[], Any], why: str) -> Any:
    """Wait for something to come true; an element that is just being replaced counts as not yet."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if value := what():
                return value
        except exceptions.WebDriverException:
            pass
        time.sleep(0.1)
    pytest.fail(f"waited in vain for {why}")


def status_of(browser: Any) -> str:
    return browser.find_element("css selector", "#status .said").text


def rows(browser: Any) -> list[Any]:
    """The lines of the table of what was found."""
    found: list[Any] = browser.find_elements("css selector", "#table tbody tr")
    return found


def drop(browser: Any, file: Path) -> None:
    """Give the page a file; the one before is taken away first."""
    for cross in browser.find_elements("css selector", "#drop button[aria-label='Clear']"):
        cross.click()
    until(
        lambda: browser.find_elements("css selector", "#drop input[type=file]"), "the drop zone"
    ).pop().send_keys(str(file))


def image_of(browser: Any) -> str:
    """The address of the drawn image, once it has loaded."""
    image = browser.find_element("css selector", "#image img")
    loaded = browser.execute_script("return arguments[0].complete && arguments[0].naturalWidth", image)
    return str(image.get_attribute("src")) if loaded else ""


def another_image(browser: Any, last: str) -> str:
    """The address of the drawn image, once it is not the last one."""
    address = image_of(browser)
    return "" if address == last else address


def choose(browser: Any, view: str) -> None:
    browser.find_element("css selector", f"#views label[data-testid='{view}-radio-label']").click()


def fits_a_phone(browser: Any) -> bool:
    """Whether the page is no wider than a screen of 390 pixels."""
    screen = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        return bool(browser.execute_script("return document.documentElement.scrollWidth <= 390"))
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def strangers_asked(browser: Any, address: str) -> list[str]:
    """Every request that went elsewhere, by Chromium's own record."""
    asked = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.append(message["params"]["request"]["url"])
    assert any(url.startswith(address) for url in asked), "the record is empty"
    return [
        url
        for url in asked
        if not url.startswith((address, "data:", "blob:", "chrome:", "chrome-untrusted:"))
    ]


def test_a_visit(server: Server, browser: Any, street: Path, tmp_path: Path) -> None:
    """One visitor from the first look to the last: all in one test, because a browser starts slowly."""
    browser.get(server.address)
    until(lambda: "Drop an image" in status_of(browser), "the page")
    assert browser.find_element("css selector", "#head h1").text == "demo"
    assert len(browser.find_elements("css selector", "#legend li")) == 21
    assert fits_a_phone(browser)

    drop(browser, street)
    until(lambda: "segments above 0.50" in status_of(browser), "the segments")
    panoptic = until(lambda: image_of(browser), "the panoptic image")
    assert len(rows(browser)) >= 3 and "street.png" in status_of(browser)
    assert fits_a_phone(browser), "with the table of what was found"
    browser.save_screenshot(str(tmp_path / "page.png"))  # pytest keeps it a while, to be looked at

    choose(browser, "Boxes")
    boxes = until(lambda: another_image(browser, panoptic), "the boxes")
    assert differ(panoptic, boxes)

    browser.find_element("css selector", "#download").click()
    [file] = until(lambda: list((tmp_path / "downloads").glob("*.json")), "the JSON file")
    record = json.loads(file.read_text())
    assert file.name == "street.json" and len(record["objects"]) == len(rows(browser))

    choose(browser, "Attention")
    maps = until(lambda: browser.find_elements("css selector", "#gallery img"), "the attention")
    assert len(maps) >= 4 and fits_a_phone(browser)

    drop(browser, write_film(tmp_path / "yard.mp4", seed=2, seconds=0.3, world=STREET))
    until(lambda: "yard.mp4: what is surer" in status_of(browser), "the drawn video")
    film = until(lambda: browser.find_element("css selector", "#film video"), "the player")
    until(lambda: film.get_property("videoWidth"), "a video that can be played")
    assert fits_a_phone(browser)
    assert not [one for one in browser.find_elements("css selector", "#views") if one.is_displayed()]
    browser.save_screenshot(str(tmp_path / "film.png"))
    browser.find_element("css selector", "#download").click()
    [file] = until(lambda: list((tmp_path / "downloads").glob("*.jsonl")), "what was found in the video")
    assert len(file.read_text().splitlines()) == 8  # 0.3 seconds of 25 a second

    for bad in bad_ones(tmp_path):
        drop(browser, bad)
        until(lambda bad=bad: f"{bad.name}: " in status_of(browser), f"the message on {bad.name}")
        assert "bad" in browser.find_element("css selector", "#status .said").get_attribute("class")
    drop(browser, street)
    until(lambda: "segments above 0.50" in status_of(browser), "a good image after bad ones")
    assert browser.find_element("css selector", "#views").is_displayed()

    assert server.is_up and not [line for line in server.lines if "Traceback" in line]
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert strangers_asked(browser, server.address) == []


def bad_ones(folder: Path) -> list[Path]:
    (folder / "letter.jpg").write_text("Dear Sir or Madam, this is no image.\n")
    (folder / "vast.png").write_bytes(png_header(25_000, 20_000))
    return [folder / "letter.jpg", folder / "vast.png"]


def differ(first: str, second: str) -> bool:
    """Whether two shown images are two images, by their pixels."""
    one, other = (
        np.asarray(Image.open(io.BytesIO(httpx.get(url).content)).convert("RGB"), np.int16)
        for url in (first, second)
    )
    return one.shape == other.shape and bool((abs(one - other).max(-1) > 30).mean() > 0.2)
