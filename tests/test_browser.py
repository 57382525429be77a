"""The pages in a real browser, headless: at a desk's and a phone's width, in light and in dark.

pip install -e '.[browser]'    # playwright; the browser itself is the system's chromium
python -m pytest -n0 -m slow tests/test_browser.py
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from selections import made_up

from growjax.record.integrity import finished_receipt
from growjax.report.page import write_report
from growjax.report.selection import write_selection
from growjax.study.claims import with_claims

pytestmark = pytest.mark.slow

STUDIES = ("paper", "quick", "crossed", "regimes", "stories260k")
"""That are published."""

SELECTIONS = {"short": 1200, "long": 9000}
"""Made up, by their budgets."""

WIDER = (
    """() => [document.documentElement, document.body].map(e => e.scrollWidth - document.documentElement.clientWidth)"""
)
"""By how many pixels the document and its body are wider than the window."""

OUTSIDE = """() => [...document.querySelectorAll('main *')].filter(e => {
    const box = e.getBoundingClientRect();
    return box.right > document.documentElement.clientWidth + 1 && !e.closest('.wide, pre');
}).map(e => e.outerHTML.slice(0, 80))"""
"""What reaches beyond the window and lies in no frame of its own."""

ALTERNATIVES = """() => [...document.querySelectorAll('svg')].map(e => [
    e.getAttribute('role'), e.getAttribute('aria-label') || '', e.querySelector('title')?.textContent || '',
])"""

COLOURS = """() => ['color', 'backgroundColor'].map(
    name => getComputedStyle(document.body)[name].match(/[0-9]+/g).map(Number)
)"""
"""Colours of text and of paper, as red, green and blue."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The system's Chromium, started without a window."""
    path = shutil.which("chromium")
    if path is None:
        pytest.fail("no chromium on PATH: apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.fail("playwright is not installed: pip install -e '.[browser]'")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages of the published studies, made anew, and those of two selections."""
    found: dict[str, Path] = {}
    for name in STUDIES:
        found[name] = tmp_path_factory.mktemp(name)
        write_report(found[name], with_claims(finished_receipt(ROOT / "artifacts" / name / "receipt.json")))
    for name, budget in SELECTIONS.items():
        found[name] = tmp_path_factory.mktemp(name)
        summary: Any = made_up(budget=budget)
        write_selection(found[name], summary)
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", [*STUDIES, *SELECTIONS])
def test_a_page_fits_and_is_silent(chromium: Any, pages: dict[str, Path], name: str, width: int, scheme: str):
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, said, asked = context.new_page(), list[str](), list[str]()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    address = (pages[name] / "index.html").as_uri()
    page.goto(address, wait_until="networkidle")
    assert max(page.evaluate(WIDER)) <= 0
    assert page.evaluate(OUTSIDE) == []
    figures = page.evaluate(ALTERNATIVES)
    assert len(figures) == len(list((pages[name] / "figures").glob("*.svg"))) > 0
    assert all(role == "img" and label and label == title for role, label, title in figures)
    ink, paper = page.evaluate(COLOURS)
    assert (sum(ink) > sum(paper)) == (scheme == "dark") and abs(sum(ink) - sum(paper)) > 400
    assert said == [] and asked == [address]
    context.close()
