"""The page of an inspection in a real browser: nothing is loaded, nothing fails, and it can be read on every screen.

Needs Chromium (``apt-get install chromium``, or its path in OSLER_CHROMIUM).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from osler.workflows.inspect import inspect

WIDTHS = (1280, 400)
_SMALLEST = 11.5
"""Pixels of the smallest writing."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = os.environ.get("OSLER_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have Chromium (apt-get install chromium)")
        pytest.skip("no Chromium here (apt-get install chromium, or set OSLER_CHROMIUM)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of 40 masked pictures with a long name and faults of several severities."""
    root = tmp_path_factory.mktemp("set") / "a-data-set-with-a-name-that-is-longer-than-a-narrow-screen-is-wide"
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for n in range(40):
        random = np.random.default_rng(n if n != 7 else 6)
        pixels = random.integers(20, 230, (60, 80)).astype(np.uint8)
        mask = np.zeros((60, 80), np.uint8)
        mask[20 : 30 + n % 9, 20:40] = n != 3
        name = f"patient-{n:02}-a_case_with_a_long_name_of_one_word.png"
        PIL.Image.fromarray(pixels if n != 5 else np.full_like(pixels, 9)).save(root / "images" / name)
        PIL.Image.fromarray(mask if n != 4 else mask[:-1]).save(root / "masks" / name)
    out = tmp_path_factory.mktemp("out")
    found = inspect(root, patient=r"patient-\d+", output=out)
    assert {"error", "warning", "note"} <= {problem.severity for problem in found.problems}
    return out / "index.html"


@pytest.fixture(scope="module")
def table_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tables of 30 columns with long names, gaps and a word among numbers."""
    root, out = tmp_path_factory.mktemp("tables"), tmp_path_factory.mktemp("out")
    random = np.random.default_rng(0)
    for name in ("a-hospital-with-a-long-name", "b"):
        head = ",".join(f"a_column_with_a_long_name_of_one_word_{n}" for n in range(30))
        cells = random.normal(50, 9, (40, 30)).round(2).astype(str)
        cells[random.random((40, 30)) < 0.3] = "?"
        cells[5, 5] = "high"
        (root / f"{name}.csv").write_text("\n".join([head, *(",".join(row) for row in cells)]) + "\n")
    assert {problem.code for problem in inspect(root, output=out).problems} == {"table-no-number"}
    return out / "index.html"


class Visit:
    """The page, opened, with what the browser said and asked for meanwhile."""

    def __init__(self, browser: Any, file: Path, width: int, **options: Any) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900}, **options)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.page.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_it_opens_without_a_word_and_asks_for_nothing(browser: Any, page_file: Path, width: int) -> None:
    with Visit(browser, page_file, width) as visit:
        visit.page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        visit.page.wait_for_load_state("networkidle")
        assert visit.said == []
        assert [url for url in visit.asked if not url.startswith("data:")] == [page_file.as_uri()]


def test_every_picture_is_shown(browser: Any, page_file: Path) -> None:
    with Visit(browser, page_file, 1280) as visit:
        sizes = visit.page.evaluate(
            """async () => { const all = [...document.images]; for (const one of all) { one.loading = 'eager';
            await one.decode(); } return all.map(one => [one.naturalWidth, one.getBoundingClientRect().width]); }"""
        )
        assert len(sizes) > 10
        assert all(natural > 50 and shown > 100 for natural, shown in sizes)
        names = visit.page.evaluate("[...document.images].map(one => one.alt)")
        assert all(names)


def test_its_links_lead_to_their_sections(browser: Any, page_file: Path) -> None:
    with Visit(browser, page_file, 1280) as visit:
        links = visit.page.locator("nav a")
        assert links.count() == 5
        for number in range(links.count()):
            visit.page.evaluate("window.scrollTo(0, 0)")
            target = links.nth(number).get_attribute("href")
            links.nth(number).click()
            place = visit.page.locator(target).bounding_box()
            end = visit.page.evaluate(
                "Math.abs(window.innerHeight + window.scrollY - document.documentElement.scrollHeight)"
            )
            assert abs(place["y"]) < 60 or end < 2  # the last sections cannot come up to the top


def test_folded_lists_of_cases_open(browser: Any, page_file: Path) -> None:
    with Visit(browser, page_file, 1280) as visit:
        folded = visit.page.locator("details:not([open])").first
        inside = folded.locator("xpath=./*[not(self::summary)]").first
        assert not inside.is_visible()
        folded.locator("summary").click()
        assert visit.page.locator("details[open]").first.locator("xpath=./*[2]").is_visible()


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_runs_out_of_the_screen_and_writing_is_large_enough(browser: Any, page_file: Path, width: int) -> None:
    with Visit(browser, page_file, width) as visit:
        wide = visit.page.evaluate(
            """() => [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll') &&
            e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
            .map(e => e.outerHTML.slice(0, 80))"""
        )
        assert wide == []
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        sizes = visit.page.evaluate(
            """() => [...document.querySelectorAll('main *')].filter(e => !e.closest('svg') && e.textContent.trim())
            .map(e => parseFloat(getComputedStyle(e).fontSize))"""
        )
        assert min(sizes) >= _SMALLEST


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_of_tables_fits_too(browser: Any, table_file: Path, width: int) -> None:
    with Visit(browser, table_file, width) as visit:
        visit.page.wait_for_load_state("networkidle")
        assert visit.said == []
        assert [url for url in visit.asked if not url.startswith("data:")] == [table_file.as_uri()]
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        sizes = visit.page.evaluate(
            """() => [...document.querySelectorAll('.columns svg')].map(e => e.getBoundingClientRect().width / 460)"""
        )
        assert len(sizes) == 30
        assert min(sizes) * 12 >= (_SMALLEST if width > 1000 else 8)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_writing_stands_out_from_its_ground(browser: Any, page_file: Path, scheme: str) -> None:
    """At least 4.5 to 1, as WCAG 2.2 asks of text (success criterion 1.4.3)."""
    with Visit(browser, page_file, 1280, color_scheme=scheme) as visit:
        pairs = visit.page.evaluate(
            """() => [...document.querySelectorAll('h1, h2, h3, p, li, td, th, dt, dd, figcaption, summary, .badge, a')]
            .filter(e => e.textContent.trim()).map(e => { let ground = e; while (ground &&
            getComputedStyle(ground).backgroundColor.endsWith(', 0)')) ground = ground.parentElement;
            return [getComputedStyle(e).color, getComputedStyle(ground || document.body).backgroundColor,
            e.outerHTML.slice(0, 60)]; })"""
        )
        weak = {what for ink, ground, what in pairs if _contrast(ink, ground) < 4.5}
        assert weak == set()


def _contrast(one: str, other: str) -> float:
    """Of two CSS colours "rgb(r, g, b)", by WCAG's relative luminance."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_on_paper_it_is_dark_on_white_and_holds_every_problem(browser: Any, page_file: Path, tmp_path: Path) -> None:
    with Visit(browser, page_file, 800, color_scheme="dark") as visit:
        visit.page.emulate_media(media="print", color_scheme="dark")
        ink, ground = visit.page.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )
        assert _luminance(ground) > 0.95
        assert _luminance(ink) < 0.1
        assert visit.page.evaluate("[...document.querySelectorAll('.problem')].every(e => e.offsetHeight > 20)")
        assert visit.page.evaluate("getComputedStyle(document.querySelector('.problem')).breakInside") == "avoid"
        assert visit.page.evaluate("document.querySelector('nav').offsetHeight") == 0
        written = visit.page.pdf(path=tmp_path / "page.pdf", format="A4", print_background=True)
        assert written.startswith(b"%PDF")
        assert len(written) > 20_000
