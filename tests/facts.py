"""What the course says of a release or a date, and where it read it: `make facts` lists what is older than six months.

The table is `docs/facts.csv`; the cards of the bank carry their own source and date.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import nbformat

from mlinfra.interview.bank import bank
from mlinfra.tables import columns

ROOT = Path(__file__).parents[1]
MONTHS = 6
PRODUCTS = "Kubernetes|KEDA|Ray|KServe|vLLM|Knative|Helm|CUDA|VPA|Kueue|KFP|Argo|KubeRay|Karpenter|llm-d|MPS"
MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December) 20[0-9]{2}"
DATED = re.compile(rf"{MONTH}|(?:{PRODUCTS}|[Ss]ince|[Uu]p to|alpha in|beta in|stable in) v?[0-9]+\.[0-9]+")


@dataclass(frozen=True)
class Fact:
    """Words that stand in a place (a page, or a cell of a notebook), the source that says so, and when it was read."""

    place: str
    words: str
    source: str
    read: date


def facts() -> list[Fact]:
    with (ROOT / "docs" / "facts.csv").open(encoding="utf-8", newline="") as table:
        rows = [Fact(row["place"], row["words"], row["source"], month(row["read"])) for row in csv.DictReader(table)]
    cards = [Fact(f"card {card.id}", card.prompt, card.source, month(card.as_of)) for card in bank().values()]
    return rows + cards


def month(text: str) -> date:
    """The month that a text begins with: 2026-08, or August 2026."""
    for form, length in (("%Y-%m", 7), ("%B %Y", len(" ".join(text.split()[:2])))):
        try:
            return datetime.strptime(text[:length], form).date()
        except ValueError:
            continue
    raise ValueError(f"read: {text!r}: must begin with a month, as 2026-08 or August 2026")


def places() -> Iterator[tuple[str, str]]:
    """Every page and every text cell of a notebook, by its name."""
    for page in ("GLOSSARY.md", "docs/your-own.md"):
        yield page, (ROOT / page).read_text("utf-8")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":
                yield f"{path.name[:2]} {cell.id}", cell.source


def dated_sentences(text: str) -> list[str]:
    return [sentence for sentence in re.split(r"(?<=[.!?:])\s+|\n", text) if DATED.search(sentence)]


def is_old(fact: Fact, today: date) -> bool:
    return (today.year - fact.read.year) * 12 + today.month - fact.read.month > MONTHS


def main() -> int:
    old = sorted((fact for fact in facts() if is_old(fact, date.today())), key=lambda fact: fact.read)
    print(f"{len(facts())} facts of releases and dates, {len(old)} read more than {MONTHS} months ago")
    if old:
        print(*columns([(f"{fact.read:%Y-%m}", fact.place, fact.words, fact.source) for fact in old]), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
