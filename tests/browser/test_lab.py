"""JupyterLab in headless Chromium: every notebook runs, every slider moves its picture, nobody else is called."""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from browser.hands import (
    CHROMIUM,
    QUIET,
    ROOT,
    SANDBOX,
    SHOTS,
    check_choices,
    check_narrow,
    check_sliders,
    panels,
    use_theme,
)
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from waiting import HANG_S, until

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PRESSES, WARM_UP = 40, 5
CONTENT = "window.jupyterapp.shell.currentWidget.content"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; on Debian: apt install chromium")

MEASURE = """
([picture, handle, steps]) => new Promise(done => {
  const times = []; let pressed = 0, forward = true;
  const press = () => {
    if (times.length == steps) { observer.disconnect(); return done(times); }
    const end = handle.getAttribute(forward ? 'aria-valuemax' : 'aria-valuemin');
    if (handle.getAttribute('aria-valuenow') == end) forward = !forward;
    pressed = performance.now();
    const key = forward ? 'ArrowRight' : 'ArrowLeft';
    handle.dispatchEvent(new KeyboardEvent('keydown', {key, code: key, keyCode: forward ? 39 : 37, bubbles: true}));
  };
  const observer = new MutationObserver(() => requestAnimationFrame(() => {
    if (!pressed) return;
    times.push(performance.now() - pressed); pressed = 0; setTimeout(press, 30);
  }));
  observer.observe(picture, {childList: true, subtree: true, characterData: true});
  handle.focus(); press();
})
"""


@pytest.fixture(scope="module", autouse=True)
def screenshots() -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def jupyterlab(folder: Path) -> Iterator[str]:
    """The address of a JupyterLab over copies of the notebooks, without its news."""
    settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    tracker = folder / "settings" / "@jupyterlab" / "notebook-extension"
    tracker.mkdir(parents=True)
    (tracker / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')  # cells stay where they are
    shutil.copytree(ROOT / "examples", folder / "examples")  # which the notebooks read
    (folder / "notebooks").mkdir()
    for path in NOTEBOOKS:
        nbformat.write(_without_outputs(path), folder / "notebooks" / path.name)
    port, environment = free_port(), dict(os.environ)
    environment |= {
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "ws"),
    }
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--IdentityProvider.token=t", f"--ServerApp.root_dir={folder / 'notebooks'}"]
    command += ["--LabApp.expose_app_in_browser=True", *(["--allow-root"] if SANDBOX else [])]
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            until("JupyterLab to answer", lambda: _answers(f"http://127.0.0.1:{port}/api?token=t"))
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def _without_outputs(path: Path) -> nbformat.NotebookNode:
    """So that what the browser shows is what it ran."""
    notebook: nbformat.NotebookNode = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        expect.set_options(timeout=1000 * HANG_S)
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET + SANDBOX)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with jupyterlab(tmp_path_factory.mktemp("lab")) as address:
        yield address


def open_and_run(browser: Browser, address: str, notebook: str) -> tuple[Page, list[str]]:
    """The page once all cells have run, and the hosts that it asked for anything; a workspace of its own each."""
    page, hosts = browser.new_page(viewport={"width": 1280, "height": 1000}), []
    page.set_default_timeout(1000 * HANG_S)
    page.on("request", lambda request: hosts.append(request.url.split("/")[2].split(":")[0]))
    page.goto(f"{address}/lab/workspaces/{notebook.partition('.')[0]}/tree/{notebook}?token=t")
    page.get_by_text("| Idle").wait_for()
    page.keyboard.press("Control+b")  # the file browser away
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    cells = nbformat.read(ROOT / "notebooks" / notebook, as_version=4).cells
    last = max(i for i, cell in enumerate(cells) if cell.cell_type == "code")
    model = f"{CONTENT}.widgets[{last}].model"
    page.wait_for_function(f"{model}.executionState == 'idle' && {model}.executionCount")
    page.evaluate("window.jupyterapp.commands.execute('notebook:expand-all-headings')")  # deep dives have panels, too
    return page, hosts


def step_times(page: Page, panel: Locator, presses: int) -> list[float]:
    """Milliseconds from key press to painted picture, of a panel that follows its slider live."""
    handle, where = panel.get_by_role("slider").first, panel.locator(".widget-html").first
    times: list[float] = page.evaluate(MEASURE, [where.element_handle(), handle.element_handle(), presses + WARM_UP])
    return times[WARM_UP:]


LATENCIES: list[float] = []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.stem))
def test_every_slider_moves_its_picture(
    browser: Browser, lab: str, path: Path, record_property: Callable[..., None]
) -> None:
    page, hosts = open_and_run(browser, lab, path.name)
    sliders = 0
    for number, panel in enumerate(panels(page, path.name)):
        sliders += check_sliders(page, panel)
        check_choices(panel)
        check_narrow(page, panel)
        if "mlinfra-live" in (panel.get_attribute("class") or "") and panel.get_by_role("slider").count():
            LATENCIES.extend(step_times(page, panel, presses=10))
        for theme in ("Dark", "Light"):
            use_theme(page, theme)
            panel.screenshot(path=SHOTS / f"{path.stem}_{number}_{theme.lower()}.png")
    assert sliders == path.read_text("utf-8").count("study.Slider(")
    assert set(hosts) == {"127.0.0.1"}
    record_property("sliders moved in the browser", sliders)
    page.close()


def test_how_quick_a_slider_step_is_is_recorded(record_property: Callable[..., None]) -> None:
    """Over the live panels just moved, beside whatever runs; `make bench` measures on a quiet machine."""
    assert LATENCIES, "no live panel was measured: see the test before"
    record_property("slider step p50", f"{statistics.median(LATENCIES):.0f} ms")
    record_property("slider step p95", f"{statistics.quantiles(LATENCIES, n=20)[-1]:.0f} ms")
