"""The pages of the built site: links lead somewhere, pictures have words, nothing is fetched from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from browser.hands import CHROMIUM, QUIET, SANDBOX, SHOTS
from browser.served_site import ROOT, SITE, built, served
from playwright.sync_api import sync_playwright

PAGES = ("index.html", "read/notebooks/05_autoscaling.html", "read/GLOSSARY.html", "licences/index.html")
WIDTHS = {"wide": 1280, "narrow": 390}


class Page(HTMLParser):
    """What matters of a page: its links, anchors, headings, landmarks, and pictures without words."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.links, self.fetched = list[str](), list[str]()
        self.ids, self.tags, self.mute = set[str](), list[str](), list[str]()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.tags.append(tag)
        self.ids.add(given.get("id", ""))
        if tag == "a":
            self.links.append(given["href"])
        elif "src" in given or tag == "link":
            self.fetched.append(given.get("src") or given["href"])
        if (tag == "img" and not given.get("alt")) or (tag == "svg" and not given.get("aria-label")):
            self.mute.append(str(given))


@pytest.fixture(scope="module")
def pages() -> dict[Path, Page]:
    """Our own pages, by their files: those of JupyterLab are not ours."""
    if not (SITE / "index.html").exists():
        built()
    ours = [
        SITE / "index.html",
        *(path for part in ("read", "interview", "licences") for path in (SITE / part).rglob("*.html")),
    ]
    return {path: Page(path) for path in ours}


def test_every_link_leads_to_a_file_and_to_an_anchor_in_it(
    pages: dict[Path, Page], record_property: Callable[..., None]
) -> None:
    links = 0
    for path, page in pages.items():
        for link in [*page.links, *page.fetched]:
            if link.startswith(("http:", "https:", "mailto:", "data:")):
                continue
            name, _, anchor = unquote(link).partition("#")
            target = (path.parent / name.partition("?")[0]).resolve() if name else path
            assert target.is_file(), f"{path}: {link}"
            assert not anchor or target not in pages or anchor in pages[target].ids, f"{path}: {link}"
            links += 1
    record_property("links of the site followed", links)


def test_all_notebooks_are_there_with_their_pictures(pages: dict[Path, Page]) -> None:
    for original in sorted((ROOT / "notebooks").glob("*.ipynb")):
        page = pages[SITE / "read" / "notebooks" / f"{original.stem}.html"]
        assert page.tags.count("svg") == original.read_text("utf-8").count('"application/vnd.mlinfra.svg"')


def test_pages_can_be_heard_and_walked_by_keyboard(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert page.mute == [], path
        assert {"header", "nav", "main", "footer", "title", "h1"} <= set(page.tags), path
        assert page.links[0] == "#main", path
        assert '<html lang="en">' in path.read_text("utf-8"), path


def test_pages_fetch_nothing_from_elsewhere(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert [each for each in page.fetched if re.match("(https?:)?//", each)] == [], path


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; on Debian: apt install chromium")
def test_pages_fit_their_window_in_light_and_dark(pages: dict[Path, Page]) -> None:
    """Nothing is wider than the window, the first key press reaches the skip link, and a dark page is dark."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    with served(SITE) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *SANDBOX])
        for scheme in ("light", "dark"):
            for name, width in WIDTHS.items():
                page = browser.new_page(viewport={"width": width, "height": 1000}, color_scheme=scheme)
                for path in PAGES:
                    page.goto(f"{server.address}/{path}")
                    too_wide = page.evaluate(
                        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
                    )
                    assert too_wide <= 0, (path, width)
                    page.keyboard.press("Tab")
                    assert page.evaluate("document.activeElement.textContent") == "Skip to the text"
                    page.screenshot(path=SHOTS / f"site_{Path(path).stem}_{scheme}_{name}.png")
                back = page.evaluate("getComputedStyle(document.body).backgroundColor")
                assert (back == "rgb(255, 255, 255)") == (scheme == "light")
        browser.close()
