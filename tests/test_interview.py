"""The bank: complete cards, computed numbers, and a fair score."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import pytest

from mlinfra import interview

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
CARDS = list(interview.bank().values())
# From the published list of questions: question 2 (4,673 a side: 15.6 min; for the pair 8.2), 3 (172 s), 4 (13), 5 (prefill 81 ms), 6 (19), 7 (84), 9 (23), 10 (18), 11 (500), 16 (15 of 105), 17 (155), 18 (4.24), 23 (8 packed), 24 (6 each), 25 (24 and 10), 26 (4.9 s), 27 (133 minutes), 28 (5.2 ms), 29 (third pass), 30 (415 ms at 8 servers), 31 (8 pods), 32 (10 pods), 34 (18), 35 ($8.89), 40 (11.5 minutes).
PUBLISHED = {
    "isvc-path": 3,
    "canary-by-hand": 8.2,
    "cold-start-70b": 172,
    "concurrency-knobs": 13,
    "beyond-isvc": 80.5,
    "many-small-models": 19,
    "fits-and-users": 84,
    "zero-downtime": 3,  # 25 % of 4 may be unavailable
    "multi-region": 645,  # 3 x 215: two regions carry 3,000/s at 7/s a replica
    "ray-request": 12,  # 30, less 2 x 5 accepted and 8 that wait
    "ray-targets": 23,
    "three-stages": 18,
    "dynamic-batching": 500,
    "rayservice-upgrade": 16,  # twice the eight
    "which-server": 16,  # two hops, there and back
    "compiled-pipeline": 9,  # four times driver and executor, and the driver of the root
    "parameter-or-artifact": 20,
    "stale-retrain": 15,
    "gpu-slots": 155,
    "spot-or-not": 4.24,
    "pipeline-release": 2924,
    "pod-gets-gpu": 3,
    "fragmentation": 8,
    "gang-deadlock": 6,
    "fair-share": 24,
    "slow-network": 4.9,
    "sharing-a-gpu": 80,
    "pack-mig": 19,
    "goodput": 133,
    "busy-but-slow": 5.2,
    "hpa-by-hand": 3,
    "llm-signal": 415,
    "knative-burst": 8,
    "queue-workers": 10,
    "vpa-for-models": 14.0,  # 12 GiB, the end of its 5 % bucket, and 15 %
    "headroom": 18,
    "slo-and-cost": 8.89,
    "chart-rejected": 6,
    "upgrade-and-rollback": 1,
    "forty-models": 43,
    "broken-install": 3.6,
    "release-without-failures": 11.5,
}


@pytest.mark.parametrize("card", CARDS, ids=lambda card: str(card.id))
def test_a_card_is_complete(card: interview.Card) -> None:
    assert 4 <= len(card.points) <= 8
    assert len(card.follow_ups) == 2
    assert all(question.endswith("?") for question in card.follow_ups)
    assert re.search("20[0-9][0-9]", card.as_of)
    assert card.truth() == PUBLISHED[card.id]


@pytest.mark.parametrize("card", CARDS, ids=lambda card: str(card.id))
def test_an_answer_leaves_no_placeholder(card: interview.Card) -> None:
    text = card.answer(1, 90).text
    assert not re.search(r"\{[a-z_]+[\[:}]", text)
    assert all(f"- {score}: " in text for score in range(5))


@pytest.mark.parametrize("card", CARDS, ids=lambda card: str(card.id))
def test_the_notebooks_cell_is_the_computation_of_the_bank(card: interview.Card) -> None:
    cells = [cell for path in NOTEBOOKS.glob("*.ipynb") for cell in nbformat.read(path, as_version=4).cells]
    computed = [cell.source for cell in cells if cell.id == f"card-{card.id}-compute"]
    assert computed == [card.compute.strip()]


@pytest.mark.parametrize(
    ("guess", "verdict"),
    [(415, "excellent"), (500, "excellent"), (800, "within a factor of 2"), (50, "off by a factor of 8.3")],
)
def test_a_guess_is_scored_by_its_factor(guess: float, verdict: str) -> None:
    assert verdict in interview.card("llm-signal").score(guess)
    assert "80 % sure" in interview.card("llm-signal").score(guess, 80)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="must be one of isvc-path"):
        interview.card("hpa")
    with pytest.raises(ValueError, match="guess: 0: must be a number greater than 0"):
        interview.card("llm-signal").score(0)


def test_no_card_rebinds_a_name_of_its_notebook() -> None:
    """A card is run after the notebook's own cells, whose panels still call their functions."""
    for path in NOTEBOOKS.glob("*.ipynb"):
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        own = [cell.source for cell in cells if not cell.id.startswith("card-")]
        used = {name for source in own for statement in ast.parse(source).body for name in _bound_by(statement)}
        shown = {cell.id for cell in cells}
        for card in CARDS:
            if f"card-{card.id}-compute" in shown:
                bound = {name for statement in ast.parse(card.compute).body for name in _bound_by(statement)}
                assert not bound & used, f"{card.id}: {sorted(bound & used)}"


def _bound_by(statement: ast.stmt) -> set[str]:
    """Names that a statement of a cell leaves behind."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return {statement.name}
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
