"""python -m web    builds build/site from this working copy: static files, to be served by anything"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from mlinfra import interview
from web import fetch, licences, lite, pages

ROOT = Path(__file__).parents[1]
CACHE, SITE = ROOT / "build" / "web", ROOT / "build" / "site"


def interview_sheet(folder: Path) -> None:
    """The questions on one page, to read or to print, and the flash cards."""
    inside = interview.sheet().partition("</style>")[2]
    pages.written(folder / "sheet.html", "Interview questions", inside, to_start=1)
    (folder / "flashcards.csv").write_text(interview.flash_cards(), "utf-8")


def main(arguments: list[str]) -> int:
    if arguments:
        print(__doc__)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    began = time.monotonic()
    CACHE.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(SITE, ignore_errors=True)
    try:
        lite.build(ROOT, CACHE, SITE)
        pages.build(ROOT, SITE, lite.RUNNABLE)
        licences.build(ROOT, fetch.tools(CACHE), SITE)
        interview_sheet(SITE / "interview")
    except fetch.Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in SITE.rglob("*") if path.is_file())
    print(f"build/site: {size / 2**20:.0f} MB in {time.monotonic() - began:.0f} s. To look at it:")
    print("  python -m http.server --bind 127.0.0.1 --directory build/site")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
