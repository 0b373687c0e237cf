"""Whole notebooks again: re-executed to the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from canonical import NOTEBOOKS, dumps, execute

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.stem))
def test_runs_again_to_identical_bytes(path: Path) -> None:
    assert dumps(execute(path)) == path.read_text("utf-8")
