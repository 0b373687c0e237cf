"""The course to read: the notebooks with their outputs and pictures, the pages around them, and the start page.

Pages lie in `read/` as their originals lie in the repository, so that a link leads where it leads there.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from html import escape
from pathlib import Path, PurePosixPath

import nbformat
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from pygments.formatters import HtmlFormatter

from mlinfra.study.figure import MIME

HERE = Path(__file__).parent
START = ("README.md", "GLOSSARY.md")
LINK = re.compile(r'\b(href|src)="(?!https?:|mailto:|data:|#)([^"#]+)(#[^"]*)?"')
EMPTY_ANCHOR = re.compile(r'<a class="anchor-link" href="[^"]*"></a>')
HEADING = re.compile(r"<(h[1-6])>(.*?)</\1>", re.S)
TAG = re.compile(r"<[^>]+>")
COMMENT = re.compile(r"<!--.*?-->\s*", re.S)


def build(root: Path, site: Path, runnable: tuple[str, ...]) -> None:
    """Every page that can be reached from the start, and the files that they link to."""
    folder = site / "read"
    waiting = [*START, *(f"notebooks/{path.name}" for path in sorted((root / "notebooks").glob("*.ipynb")))]
    done = set[str]()
    while waiting:
        name = waiting.pop()
        if name in done:
            continue
        done.add(name)
        body = rendered(root, name)
        if body is None:
            copied(root / name, folder / name)
            continue
        waiting += targets(root, name, body)
        page = f"{name}/index.html" if (root / name).is_dir() else page_of(name)
        written(folder / page, title(body), with_links(root, name, body), to_start=page.count("/") + 1)
    written(site / "index.html", "mlinfra", start(root, runnable), to_start=0)
    shutil.copy(HERE / "page.css", site / "page.css")
    shutil.copy(site / "lab" / "favicon.ico", site / "favicon.ico")
    (site / "code.css").write_text(code_style(), "utf-8")


def page_of(name: str) -> str:
    """The page of a notebook or of a Markdown file; another file is its own."""
    return re.sub(r"\.(ipynb|md)$", ".html", name)


def rendered(root: Path, name: str) -> str | None:
    """The inside of a page; None for what is no text to read."""
    path = root / name
    if path.is_dir():
        return listing(path)
    if path.suffix == ".ipynb":
        return notebook(path)
    return with_ids(markdown2html(COMMENT.sub("", path.read_text("utf-8")))) if path.suffix == ".md" else None


def notebook(path: Path) -> str:
    """Cells with their outputs; a picture is its SVG, which a screen reader reads."""
    whole = nbformat.read(path, as_version=4)
    for cell in whole.cells:
        for output in cell.get("outputs", ()):
            if MIME in output.get("data", {}):
                output.data = nbformat.from_dict({"text/html": output.data[MIME]})
    exporter = HTMLExporter(template_name="basic", anchor_link_text="", exclude_input_prompt=True)
    exporter.exclude_output_prompt = True
    body, _ = exporter.from_notebook_node(whole)
    return EMPTY_ANCHOR.sub("", str(body))


def with_ids(body: str) -> str:
    """Headings of a Markdown page, with the anchors that GitHub gives them."""

    def named(heading: re.Match[str]) -> str:
        words = re.sub(r"[^\w\- ]", "", TAG.sub("", heading[2]).lower()).strip().replace(" ", "-")
        return f'<{heading[1]} id="{words}">{heading[2]}</{heading[1]}>'

    return HEADING.sub(named, body)


def listing(folder: Path) -> str:
    """A page for a folder: its files."""
    files = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    return f"<h1>{folder.name}</h1><ul>" + "".join(f'<li><a href="{name}">{name}</a></li>' for name in files) + "</ul>"


def place(root: Path, name: str) -> PurePosixPath:
    """The folder that the links of a page start from."""
    return PurePosixPath(name) if (root / name).is_dir() else PurePosixPath(name).parent


def targets(root: Path, name: str, body: str) -> Iterator[str]:
    """The files of the repository that a page links to."""
    here = place(root, name)
    for link in LINK.finditer(body):
        path = (root / here / link[2]).resolve()
        if not path.exists() or not path.is_relative_to(root.resolve()):
            raise FileNotFoundError(f"{name} links to {link[2]}, which is not there")
        yield path.relative_to(root.resolve()).as_posix()


def with_links(root: Path, name: str, body: str) -> str:
    """Links to notebooks and Markdown lead to their pages, a link to a folder to its list."""
    here = place(root, name)

    def moved(link: re.Match[str]) -> str:
        path = page_of(link[2])
        inside = "/index.html" if (root / here / path).is_dir() else ""
        return f'{link[1]}="{path}{inside}{link[3] or ""}"'

    return LINK.sub(moved, body)


def title(body: str) -> str:
    heading = re.search(r"<h1[^>]*>(.*?)</h1>", body, re.S)
    return TAG.sub("", heading[1]) if heading else "mlinfra"


def copied(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def written(path: Path, name: str, body: str, to_start: int) -> None:
    """A whole page, with its way to the start; `to_start` folders up."""
    up = "../" * to_start
    text = (HERE / "page.html").read_text("utf-8")
    filled = {"title": escape(name, quote=False), "up": up or "./", "body": body}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(re.sub(r"\{\{(\w+)\}\}", lambda slot: filled[slot[1]], text), "utf-8")


def start(root: Path, runnable: tuple[str, ...]) -> str:
    """The inside of the start page: a row for each notebook."""
    rows = [row(path, path.stem in runnable) for path in sorted((root / "notebooks").glob("*.ipynb"))]
    return (HERE / "start.html").read_text("utf-8").replace("{{rows}}", "\n".join(rows))


def row(path: Path, runs: bool) -> str:
    """What a notebook promises, the way to read it, and the way to run it where that is possible."""
    first = "".join(json.loads(path.read_text("utf-8"))["cells"][0]["source"])
    name, promise = re.findall(r"^# (.*)$", first, re.M)[0], re.findall(r"\*\*(.*?)\*\*", first)[0]
    read = f'<a href="read/notebooks/{path.stem}.html">read<span class="said"> {escape(name)}</span></a>'
    run = f'<a href="lab/index.html?path=notebooks/{path.name}">run<span class="said"> {escape(name)}</span></a>'
    return (
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(promise)}</td>'
        f"<td>{read}</td><td>{run if runs else 'on your machine'}</td></tr>"
    )


def code_style() -> str:
    """Colours of code, for light and for dark."""
    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"
