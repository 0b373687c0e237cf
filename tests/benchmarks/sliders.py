"""Live panels: from key press to picture in headless Chromium, and the callback alone in its kernel."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.rows import Row
from browser.hands import CHROMIUM, QUIET, SANDBOX, panels
from browser.test_lab import NOTEBOOKS, PRESSES, jupyterlab, open_and_run, step_times
from playwright.sync_api import Page, sync_playwright

TIME_CALLBACKS = """
import gc, time
for panel in [found for found in gc.get_objects() if type(found).__name__ == "Panel"]:
    slider = next((handle for handle in panel._handles.values() if hasattr(handle, "min")), None)
    if slider and "mlinfra-live" in panel._dom_classes:
        values, times = [slider.min, slider.max] * 10, []
        for value in values:
            started = time.perf_counter()
            slider.value = value
            times.append(time.perf_counter() - started)
        print(sorted(times)[len(times) // 2], slider.description, sep="\\t")
"""

EXECUTE = """
code => new Promise(done => {
  const future = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({code});
  let printed = '';
  future.onIOPub = message => { if (message.header.msg_type == 'stream') printed += message.content.text; };
  future.done.then(() => done(printed));
})
"""


def rows() -> Iterator[Row]:
    if CHROMIUM is None:
        print("no Chromium here: sliders are not measured")
        return
    with tempfile.TemporaryDirectory() as folder, jupyterlab(Path(folder)) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET + SANDBOX)
        for path in NOTEBOOKS:
            page, _ = open_and_run(browser, address, path.name)
            yield from callbacks(page, path)
            yield from presses(page, path)
            page.close()
        browser.close()


def callbacks(page: Page, path: Path) -> Iterator[Row]:
    """Each live panel's first slider, thrown from end to end in the notebook's kernel: the median of twenty."""
    for line in page.evaluate(EXECUTE, TIME_CALLBACKS).splitlines():
        took, label = float(line.partition("\t")[0]), line.partition("\t")[2]
        yield Row("slider callback", f"{path.stem[:2]}: {label}", 1, took, target="10 ms", met=took <= 0.01)


def presses(page: Page, path: Path) -> Iterator[Row]:
    """Forty presses on each live panel; beside the median stands the 95th percentile."""
    for panel in panels(page, path.name):
        if "mlinfra-live" in (panel.get_attribute("class") or ""):
            times = step_times(page, panel, PRESSES)
            p50, p95 = statistics.median(times) / 1000, statistics.quantiles(times, n=20)[-1] / 1000
            size = f"{path.stem[:2]}: {panel.locator('label').first.text_content()}"
            met = p50 <= 0.06 and p95 <= 0.1
            yield Row("slider key press to picture", size, 1, p50, "p95", p95, "60 ms, p95 100 ms", met)
