"""The built site as a reader meets it: served as files, opened in Chromium, and every address that it asked for."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import nbformat
from canonical import WIDGET_VIEW, merged
from playwright.sync_api import Browser, Page
from waiting import HANG_S, until

ROOT = Path(__file__).parents[2]
SITE, HERE = ROOT / "build" / "site", "127.0.0.1"
LESSON = "window.lesson"
CONTENT = f"{LESSON}.content"
CELLS = f"{CONTENT}.widgets.filter(cell => cell.model.type == 'code')"
SHOWN = f"""() => {{
  {LESSON} = window.jupyterapp?.shell.currentWidget;
  return {LESSON}?.content?.widgets?.length > 1 && {CELLS}.length;
}}"""
KERNEL = f"{LESSON}.sessionContext.session?.kernel?.status"
ENDED = f"""() => {{
  const ran = {CELLS}.filter(cell => cell.model.executionCount && cell.model.executionState == 'idle');
  const failed = ran.find(cell => cell.model.outputs.toJSON().some(output => output.output_type == 'error'));
  return {KERNEL} == 'idle' && (failed || ran.length == {CELLS}.filter(cell => cell.model.sharedModel.source).length);
}}"""
RUN = f"""([number, source]) => {{
  const cell = {CELLS}[number];
  window.jupyterapp.shell.activateById({LESSON}.id);
  cell.model.sharedModel.setSource(source);
  cell.model.clearExecution();
  {CONTENT}.activeCellIndex = {CONTENT}.widgets.indexOf(cell);
  void window.jupyterapp.commands.execute('notebook:run-cell');
}}"""
ONE_ENDED = f"""number => {{
  const model = {CELLS}[number].model;
  return {KERNEL} == 'idle' && model.executionState == 'idle' && model.executionCount;
}}"""


@cache
def built() -> None:
    """build/site, made anew, once in a run of the tests."""
    done = subprocess.run([sys.executable, "-m", "web"], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass
class Server:
    """Serves a folder as the README says, until it is stopped."""

    folder: Path
    port: int = field(init=False)

    def __post_init__(self) -> None:
        with socket.socket() as probe:
            probe.bind((HERE, 0))
            self.port = int(probe.getsockname()[1])
        command = [sys.executable, "-m", "http.server", str(self.port), "--bind", HERE, "--directory", str(self.folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until("the server", lambda: answers(self.port))

    @property
    def address(self) -> str:
        return f"http://{HERE}:{self.port}"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


@contextmanager
def served(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    try:
        yield server
    finally:
        server.stop()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HERE, port)) == 0


def asked_by_pages(log: Path) -> set[str]:
    """The addresses that pages and their workers asked for, by Chromium's own log of the network."""
    text = log.read_text("utf-8")
    try:
        events = json.loads(text)["events"]
    except ValueError:  # the browser has not closed the list yet
        events = json.loads(text.rstrip().rpartition("\n")[0].rstrip(",") + "]}")["events"]
    requests = [event.get("params", {}) for event in events]
    by_pages = {each["url"] for each in requests if "url" in each and str(each.get("initiator")).startswith("http")}
    assert by_pages, "the log has no request of a page"
    return {url for url in by_pages if url.startswith("http")}


def asked_elsewhere(log: Path) -> set[str]:
    """Those on other hosts."""
    return {url for url in asked_by_pages(log) if urlsplit(url).hostname != HERE}


def megabytes(log: Path) -> tuple[float, float]:
    """What the pages asked for here, each file once: as it is, and as a host compresses it."""
    paths = {SITE / unquote(urlsplit(url).path.lstrip("/")) for url in asked_by_pages(log)}
    contents = [path.read_bytes() for path in paths if path.is_file()]
    packed = [min(len(content), len(gzip.compress(content, 6))) for content in contents]
    return sum(map(len, contents)) / 1e6, sum(packed) / 1e6


@dataclass
class Notebook:
    """A notebook of the site in the page of a reader who was never there before."""

    browser: Browser
    address: str
    name: str
    page: Page = field(init=False)

    def __post_init__(self) -> None:
        self.page = self.browser.new_context(viewport={"width": 1280, "height": 1000}).new_page()
        self.page.set_default_timeout(1000 * HANG_S)
        self.page.goto(f"{self.address}/index.html")
        self.page.wait_for_function("navigator.serviceWorker.controller")  # from here on it keeps what is loaded
        self.page.locator(f"td a[href*='{self.name}']").last.click()
        self.wait_for_kernel()

    def wait_for_kernel(self) -> None:
        self.page.wait_for_function(SHOWN)
        self.page.wait_for_function(f"{KERNEL} == 'idle'")

    def run_all(self) -> dict[str, Any]:
        """The cells by their ids, once all have run or one has failed."""
        self.page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
        self.page.wait_for_function(ENDED)
        return self.cells()

    def cells(self) -> dict[str, Any]:
        whole = nbformat.from_dict(self.page.evaluate(f"{CONTENT}.model.toJSON()"))
        code = {cell.id: cell for cell in whole.cells if cell.cell_type == "code"}
        for cell in code.values():
            cell.outputs = merged(cell.outputs)
        return code

    def run(self, name: str, source: str) -> Any:
        """The cell with another source, once it has run."""
        number = list(self.cells()).index(name)
        self.page.evaluate(RUN, [number, source])
        self.page.wait_for_function(ONE_ENDED, arg=number)
        return self.cells()[name]


def plain(cell: Any) -> list[dict[str, Any]]:
    """Outputs as they are compared: text, Markdown and SVG; a PNG and HTML are one of the two places' alone."""
    outputs = []
    for output in cell.outputs:
        data = {k: v for k, v in output.get("data", {}).items() if k not in ("image/png", "text/html", WIDGET_VIEW)}
        rest = {k: v for k, v in output.items() if k not in ("data", "metadata", "execution_count")}
        outputs.append({**rest, "data": data} if data else rest)
    return outputs


def stored(name: str) -> dict[str, Any]:
    """The committed cells by their ids."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    return {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
