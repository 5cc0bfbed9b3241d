"""No page is wider than the screen: many classes, long names, many runs, in headless Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image

from detr_hf.ablation.page import PAGE as ABLATION_PAGE
from detr_hf.ablation.page import write_ablation
from detr_hf.data.check import check, open_target
from detr_hf.labels import LabelMap
from detr_hf.metrics.per_image_results import PerImageResults, save_per_image
from detr_hf.report.check_page import write_page
from detr_hf.report.compare import compare_runs, write_comparison
from detr_hf.report.inputs import ReportInputs
from detr_hf.report.write import write_report
from detr_hf.review.page import write_page as write_review
from detr_hf.review.parts import Part
from detr_hf.run_folder import RunFolder
from tests.ablation.fake_runs import finish, study_in
from tests.factories import write_coco_detection
from tests.report.report_factories import random_entries, write_run
from tests.review.row_factories import row

webdriver = pytest.importorskip("selenium.webdriver", reason="pip install selenium")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="no Chromium with chromedriver here"),
]
LABELS = LabelMap.from_names(
    [f"machine_{at}_of_a_very_long_name_without_a_space" for at in range(48)],
    stuff=[f"ground_{at}_that_has_a_long_name_too" for at in range(15)],
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    profile = f"user-data-dir={tmp_path_factory.mktemp('profile')}"
    for flag in ("headless", "no-sandbox", "disable-gpu", "no-first-run", profile):
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=str(DRIVER)))
    yield driver
    driver.quit()


def report_page(folder: Path) -> Path:
    results = PerImageResults(random_entries(3, images=60, classes=LABELS.num_classes))
    return write_report(ReportInputs(write_run(folder / "run", LABELS), LABELS, None, 0.5, results), images=2)


def comparison_page(folder: Path) -> Path:
    """Fourteen runs with long names."""
    runs = [write_run(folder / f"a-variant-with-a-long-name-{at}" / "detection", LABELS) for at in range(14)]
    for run in runs:
        entries = random_entries(3, images=60, classes=LABELS.num_classes)
        save_per_image(RunFolder(run), PerImageResults(entries))
    return write_comparison(compare_runs(runs), folder / "compare.html")


def check_page(folder: Path) -> Path:
    def rename(content: dict[str, Any]) -> None:
        content["annotations"][0]["bbox"] = [60, 70, 200, 300]
        for entry in content["categories"]:
            entry["name"] += "_of_a_very_long_name_without_a_space"
        content["categories"] += [{"id": 900 + at, "name": name} for at, name in enumerate(LABELS.names)]

    page = folder / "check.html"
    write_page(check(open_target(write_coco_detection(folder, mend=rename).annotations), threads=1), page)
    return page


class OneImage:
    """Stands for the annotations of a data set: every id is the same image."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def row(self, image_id: int) -> dict[str, Any]:
        return {"image": {"path": str(self.file)}, "objects": {"id": [], "bbox": [], "category": []}}


def review_page(folder: Path) -> Path:
    """Long names of class, file and split; a sentence with a name in it."""
    file = folder / f"{'photograph_of_the_site_' * 6}.png"
    Image.new("RGB", (320, 240)).save(file)
    seen = {"seen_label": LABELS.names[1], "seen_box": [40.0, 50.0, 90.0, 80.0], "seen_score": 0.9}
    rows = [
        row("class", 7, label=LABELS.names[0], file_name=file.name, part="a_split_" * 8, **seen)
        for _ in range(3)
    ]
    rows = [replace(one, sentence=f"The model sees {one.seen_label} here, not {one.label}.") for one in rows]
    part = Part(rows[0].part, cast(Any, None), None, cast(Any, OneImage(file)), LABELS, [], {})
    return write_review([part], rows, 3, ["a note " * 20, "name_" * 30], folder / "review.html")


def ablation_page(folder: Path) -> Path:
    """Variants with long names, one of them without a result."""
    names = [f"a variant of a long name {'_x' * 20} {at}" for at in range(4)]
    weights = [f"  {name}: {{{{loss.eos_coefficient: 0.{at + 2}}}}}\n" for at, name in enumerate(names)]
    head = "base: detection.yaml\noutput_dir: {out}\nseeds: [1, 2]\nvariants:\n"
    study = study_in(folder, head + "".join(weights))
    for run in study.runs:
        if run.variant != names[-1]:
            finish(run, 0.5 + run.seed / 100)
    write_ablation(study)
    return study.folder / ABLATION_PAGE


@pytest.mark.parametrize("write", [report_page, comparison_page, check_page, review_page, ablation_page])
def test_a_page_is_no_wider_than_the_screen(tmp_path: Path, browser: Any, write: Any) -> None:
    page = write(tmp_path)
    for width in (390, 1280):
        screen = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        browser.get(page.as_uri())
        inside = browser.execute_script("return document.documentElement.scrollWidth")
        assert inside <= width, f"{page.name} at {width} pixels"
        names = browser.execute_script(
            "return Math.max(0, ...[...document.querySelectorAll('.scroll tr > :first-child')]"
            ".filter(cell => getComputedStyle(cell).position === 'sticky').map(cell => cell.offsetWidth))"
        )
        assert names <= width / 2, "a column that stays in sight leaves room for the others"
        browser.save_screenshot(str(tmp_path / f"{page.stem}-{width}.png"))  # pytest keeps it a while
