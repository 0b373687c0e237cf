"""The course without installation: the built site in headless Chromium, cell by cell as it is committed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser.hands import CHROMIUM, QUIET, SANDBOX, check_choices, check_narrow, check_sliders, panels
from browser.served_site import (
    HERE,
    ROOT,
    SITE,
    Notebook,
    Server,
    asked_elsewhere,
    built,
    megabytes,
    plain,
    served,
    stored,
)
from playwright.sync_api import Browser, expect, sync_playwright
from waiting import HANG_S

from mlinfra import interview
from mlinfra.__main__ import main as command

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; on Debian: apt install chromium")

SCALING, PLACING = "05_autoscaling", "04_gpu_scheduling"
SKIPPED = "Skipped: numpy is not here.\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    built()
    with served(SITE) as running:
        yield running


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("network") / "log.json"


@pytest.fixture(scope="module")
def browser(log: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        expect.set_options(timeout=1000 * HANG_S)
        arguments = [*QUIET, *SANDBOX, f"--log-net-log={log}", f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {HERE}"]
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def scaling(browser: Browser, server: Server) -> Notebook:
    return Notebook(browser, server.address, SCALING)


@pytest.fixture(scope="module")
def placing(browser: Browser, server: Server) -> Notebook:
    return Notebook(browser, server.address, PLACING)


def expected(name: str, copied: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """What each cell must show: what is committed, but for cells without numpy and the review of a working copy."""
    outputs = {}
    for key, cell in stored(name).items():
        if copied[key].source.startswith("%%only_with"):
            outputs[key] = [{"output_type": "stream", "name": "stdout", "text": SKIPPED}]
        elif not cell.source.startswith(("interview.review(", "study.needs(")):
            outputs[key] = plain(cell)
    return outputs


def differing(ran: dict[str, Any], name: str) -> list[str]:
    """The ids of cells that show something else than they must, or another source."""
    outputs, committed = expected(name, ran), stored(name)
    changed = [key for key, cell in ran.items() if not cell.source.endswith(committed[key].source)]
    return changed + [key for key, shown in outputs.items() if plain(ran[key]) != shown]


def check_review(cell: Any, number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last cell says what it says in a working copy here."""
    monkeypatch.chdir(SITE / "files" / "notebooks")
    assert plain(cell)[0]["data"] == interview.review(number)._repr_mimebundle_()
    assert "Cards not tried yet" in str(plain(cell))


def test_every_cell_of_autoscaling_is_as_committed(
    scaling: Notebook, monkeypatch: pytest.MonkeyPatch, record_property: Callable[..., None]
) -> None:
    ran = scaling.run_all()
    assert ran.keys() == stored(SCALING).keys()
    assert differing(ran, SCALING) == []
    check_review(ran["review-run"], "05", monkeypatch)
    record_property("cells compared in the browser, without installation", len(ran))


def test_every_slider_moves_its_picture_there(scaling: Notebook, record_property: Callable[..., None]) -> None:
    page, sliders = scaling.page, 0
    page.keyboard.press("Control+b")  # the file browser away
    page.evaluate("window.jupyterapp.commands.execute('notebook:expand-all-headings')")
    for panel in panels(page, f"{SCALING}.ipynb"):
        sliders += check_sliders(page, panel)
        check_choices(panel)
        check_narrow(page, panel)
    page.keyboard.press("Control+b")
    assert sliders == sum(cell.source.count("study.Slider(") for cell in stored(SCALING).values())
    record_property("sliders moved without installation", sliders)


def test_own_files_are_replayed_there(
    scaling: Notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An HPA that is uploaded and traffic that is pasted give the command's own answer."""
    hpa = (ROOT / "examples" / "hpa.yaml").read_text("utf-8").replace("bert-classifier", "own-service")
    traffic = "time,requests\n" + "".join(f"2026-03-02T08:{i:02}:00Z,{40 * (1 + i % 7)}\n" for i in range(30))
    (tmp_path / "own-hpa.yaml").write_text(hpa, "utf-8")
    (tmp_path / "own-traffic.csv").write_text(traffic, "utf-8")
    page = scaling.page
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload Files").click()
    chooser.value.set_files(tmp_path / "own-hpa.yaml")
    page.get_by_role("listitem", name="own-hpa.yaml").wait_for()
    scaling.run("review-run", f"%%writefile own-traffic.csv\n{traffic}")
    call = ["replay", "own-hpa.yaml", "--traffic", "own-traffic.csv", "--service-time", "2", "--concurrency", "4"]
    ran = scaling.run("your-own-files", f"exit_code = main({call})")
    monkeypatch.chdir(tmp_path)
    assert command(call) == 0
    assert [output.text for output in ran.outputs] == [capsys.readouterr().out]
    assert "own-service" in ran.outputs[0].text


def test_a_broken_cell_is_noticed(scaling: Notebook) -> None:
    before = set(differing(scaling.cells(), SCALING))
    scaling.run("tolerance-table", stored(SCALING)["tolerance-table"].source.replace("60, 61", "60, 62"))
    assert set(differing(scaling.cells(), SCALING)) - before == {"tolerance-table"}


def test_every_cell_of_gpu_scheduling_is_as_committed(
    placing: Notebook, monkeypatch: pytest.MonkeyPatch, record_property: Callable[..., None]
) -> None:
    ran = placing.run_all()
    assert ran.keys() == stored(PLACING).keys()
    assert differing(ran, PLACING) == []
    check_review(ran["review-04"], "04", monkeypatch)
    skipped = sum(cell.source.startswith("%%only_with") for cell in ran.values())
    record_property("cells compared in the browser, without installation", len(ran) - skipped - 1)
    record_property("cells skipped there, which need numpy", skipped)


def test_numpy_is_offered_and_asked_for_by_a_click_alone(placing: Notebook, log: Path) -> None:
    """This browser reaches no other host; the page says what came of the click."""
    placing.run("setup", "from mlinfra import study")
    placing.run("openb-needs", stored(PLACING)["openb-needs"].source)
    placing.page.evaluate("window.jupyterapp.commands.execute('notebook:expand-all-headings')")
    assert asked_elsewhere(log) == set()
    placing.page.get_by_role("button", name="Get numpy from cdn.jsdelivr.net").click()
    placing.page.get_by_text("numpy could not be fetched from cdn.jsdelivr.net").wait_for()
    there = placing.run("openb-ties", "%%only_with yaml\n40 + 2")  # as with numpy, once it is there
    assert plain(there) == [{"output_type": "execute_result", "data": {"text/plain": "42"}}]


def test_it_starts_again_without_a_network(scaling: Notebook, server: Server) -> None:
    """The server is gone; the notebook opens, Python starts, and a cell runs."""
    server.stop()
    scaling.page.goto(f"{server.address}/lab/index.html?path=notebooks/{SCALING}.ipynb")
    scaling.wait_for_kernel()
    setup = scaling.run("setup", stored(SCALING)["setup"].source)
    assert plain(setup) == plain(stored(SCALING)["setup"])


def test_no_other_host_was_asked_for_anything_else(browser: Browser, log: Path) -> None:
    browser.close()  # which ends the log
    lock = json.loads((SITE / "static" / "pyodide" / "pyodide-lock.json").read_text("utf-8"))
    assert asked_elsewhere(log) <= {lock["packages"]["numpy"]["file_name"]}


def test_a_run_downloads_what_the_readme_says(log: Path, record_property: Callable[..., None]) -> None:
    """Both notebooks, whose files are nearly the same."""
    whole, packed = megabytes(log)
    readme = (ROOT / "README.md").read_text("utf-8")
    (told,) = re.findall(r"downloads (\d+) MB, or (\d+) MB where the host compresses", readme)
    assert abs(whole - int(told[0])) < 2
    assert abs(packed - int(told[1])) < 2
    record_property("the site's download", f"{whole:.1f} MB, compressed {packed:.1f} MB")
