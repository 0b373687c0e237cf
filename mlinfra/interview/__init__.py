"""The interview bank and its views: cards, a mock of 45 minutes, a printable sheet, flash cards, what to review."""

from mlinfra.interview.bank import RUBRIC, Card, bank, card
from mlinfra.interview.review import review
from mlinfra.interview.views import (
    CHAINS,
    Attempt,
    Mock,
    Result,
    chain,
    chain_answers,
    chain_questions,
    flash_cards,
    mock,
    result,
    sheet,
)

__all__ = [
    "CHAINS",
    "RUBRIC",
    "Attempt",
    "Card",
    "Mock",
    "Result",
    "bank",
    "card",
    "chain",
    "chain_answers",
    "chain_questions",
    "flash_cards",
    "mock",
    "result",
    "review",
    "sheet",
]
