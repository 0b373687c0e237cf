"""Live panels: from key press to picture in headless Chromium, and the callback alone in a kernel."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from benchmarks.rows import Row
from browser.test_lab import CHROMIUM, NOTEBOOKS, QUIET, SANDBOX, jupyterlab, open_and_run, panels, step_times
from nbclient import NotebookClient
from playwright.sync_api import Browser, sync_playwright

TIME_CALLBACKS = """
import gc, time
for panel in [found for found in gc.get_objects() if type(found).__name__ == "Panel"]:
    name, slider = next(iter(panel._sliders.items()))
    if "mlinfra-live" in panel._dom_classes:
        values, times = [slider.min, slider.max] * 10, []
        for value in values:
            started = time.perf_counter()
            slider.value = value
            times.append(time.perf_counter() - started)
        print(sorted(times)[len(times) // 2], slider.description, sep="\\t")
"""


def rows() -> Iterator[Row]:
    for path in NOTEBOOKS:
        yield from callbacks(path)
    if CHROMIUM is None:
        print("no Chromium here: sliders are not measured in the browser")
        return
    with tempfile.TemporaryDirectory() as folder, jupyterlab(Path(folder)) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET + SANDBOX)
        for path in NOTEBOOKS:
            yield from presses(browser, address, path)
        browser.close()


def callbacks(path: Path) -> Iterator[Row]:
    """Each live panel's first slider, thrown from end to end: the median of twenty."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(TIME_CALLBACKS))
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(path.parent)}}).execute()
    for line in "".join(output.text for output in notebook.cells[-1].outputs).splitlines():
        took, label = float(line.partition("\t")[0]), line.partition("\t")[2]
        yield Row("slider callback", f"{path.stem[:2]}: {label}", 1, took, target="10 ms", met=took <= 0.01)


def presses(browser: Browser, address: str, path: Path) -> Iterator[Row]:
    """Forty presses on each live panel; beside the median stands the 95th percentile."""
    page, _ = open_and_run(browser, address, path.name)
    for panel in panels(page):
        if "mlinfra-live" in (panel.get_attribute("class") or ""):
            times = step_times(page, panel)
            p50, p95 = statistics.median(times) / 1000, statistics.quantiles(times, n=20)[-1] / 1000
            size = f"{path.stem[:2]}: {panel.locator('label').first.text_content()}"
            met = p50 <= 0.06 and p95 <= 0.1
            yield Row("slider key press to picture", size, 1, p50, "p95", p95, "60 ms, p95 100 ms", met)
    page.close()
