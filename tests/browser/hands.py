"""Panels in JupyterLab's page, as a hand moves them, and the Chromium that shows it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import nbformat
from playwright.sync_api import Locator, Page, expect
from waiting import until

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "build" / "screenshots"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
SANDBOX = ["--no-sandbox"] if os.name == "posix" and os.getuid() == 0 else []


def panels(page: Page, notebook: str) -> Iterator[Locator]:
    """Each panel once, brought into the window."""
    cells = nbformat.read(ROOT / "notebooks" / notebook, as_version=4).cells
    for i, cell in enumerate(cells):
        if cell.cell_type == "code" and "study.panel(" in cell.source:
            panel = page.locator(".jp-Notebook-cell").nth(i).locator(".widget-vbox").first
            panel.scroll_into_view_if_needed()
            yield panel


def picture(panel: Locator) -> str:
    """The drawing and its sentence, or the sentence that says why a setting has none."""
    return panel.locator(".widget-html-content").last.inner_html()


def moved(panel: Locator, act: Callable[[], None]) -> bool:
    """Waits for another picture after the act."""
    before = picture(panel)
    act()
    until("another picture", lambda: picture(panel) != before, lambda: panel.get_by_role("status").text_content())
    return True


def drag(page: Page, handle: Locator, pixels: float) -> None:
    """Presses once the handle rests: after a scroll JupyterLab still measures cells, and they move."""
    handle.hover()
    page.mouse.down()
    box = handle.bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x + pixels, y, steps=4)
    page.mouse.up()


def towards_the_far_end(row: Locator, handle: Locator) -> float:
    """Pixels that move the handle by nearly half of the track, whatever a step is wide."""
    low, now, high = (float(handle.get_attribute(f"aria-value{end}") or 0) for end in ("min", "now", "max"))
    track = row.locator(".noUi-target").bounding_box()
    assert track
    return 0.45 * track["width"] * (1 if now - low <= high - now else -1)


def check_names(row: Locator) -> None:
    """A slider's label is visible and whole, and names the number box for a screen reader."""
    label = row.locator(".widget-slider label")
    label.hover()  # once it rests: JupyterLab hides and shows cells while it measures them
    assert label.evaluate("label => 0 < label.scrollWidth && label.scrollWidth <= label.clientWidth"), (
        "the label is cut"
    )
    name = label.text_content() or ""
    expect(row.get_by_role("spinbutton", name=name, exact=True)).to_have_count(1)


def key_with_room(handle: Locator) -> str:
    """To the right, unless the handle stands at its right end."""
    at_the_end = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
    return "ArrowLeft" if at_the_end else "ArrowRight"


def check_sliders(page: Page, panel: Locator) -> int:
    """Each slider by keyboard and by mouse; how many there were."""
    rows = panel.locator(".widget-hbox:has(.widget-slider)").all()
    for row in rows:
        handle, box = row.get_by_role("slider"), row.get_by_role("spinbutton")
        check_names(row)
        assert moved(panel, partial(handle.press, key_with_room(handle))), "by keyboard"
        expect(box).to_have_value(f"{float(handle.get_attribute('aria-valuenow') or 0):g}")  # the twin follows
        assert moved(panel, partial(drag, page, handle, towards_the_far_end(row, handle))), "by mouse"
    return len(rows)


def choose(box: Locator, option: int) -> None:
    """By its place: the widget shows a text's spaces as spaces that do not break."""
    box.select_option(index=option)


def check_choices(panel: Locator) -> None:
    """Each dropdown has a name for a screen reader, and its other option changes the picture, there and back."""
    for row in panel.locator(".widget-dropdown").all():
        box = row.get_by_role("combobox", name=row.locator("label").text_content() or "", exact=True)
        before = int(box.evaluate("box => box.selectedIndex"))
        other = 1 if before == 0 else 0
        assert moved(panel, partial(choose, box, other)), "by choice"
        assert moved(panel, partial(choose, box, before)), "and back"


def check_narrow(page: Page, panel: Locator) -> None:
    """In a window half as wide nothing is cut off."""
    page.set_viewport_size({"width": 640, "height": 1000})
    window, drawn = page.locator(".jp-WindowedPanel-outer"), panel.locator("svg[role=img]")
    edges = [box["x"] + box["width"] for box in (window.bounding_box(), drawn.bounding_box()) if box]
    assert edges[1] <= edges[0] + 1
    page.set_viewport_size({"width": 1280, "height": 1000})


def use_theme(page: Page, theme: str) -> None:
    page.evaluate(
        "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", f"JupyterLab {theme}"
    )
    page.locator(f"body[data-jp-theme-name='JupyterLab {theme}']").wait_for(state="attached")
