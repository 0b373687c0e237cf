"""The bill: hours of nodes by what they were for, and what a million requests cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from mlinfra.admission import NotNegative, check

HOURS_PER_MONTH = 720


@dataclass(frozen=True)
class Line:
    """Hours of nodes in a month, at the price of one, and what they were for; what is empty on a node is paid, too."""

    what: str
    node_hours: NotNegative
    dollars_per_hour: NotNegative

    def __post_init__(self) -> None:
        check(self)

    @property
    def dollars(self) -> float:
        return self.node_hours * self.dollars_per_hour


@dataclass(frozen=True)
class Bill:
    """A month: its lines, and the requests that were answered meanwhile."""

    lines: tuple[Line, ...]
    requests: NotNegative

    def __post_init__(self) -> None:
        check(self)

    @property
    def node_hours(self) -> float:
        return sum(line.node_hours for line in self.lines)

    @property
    def dollars(self) -> float:
        return sum(line.dollars for line in self.lines)

    @property
    def dollars_per_million(self) -> float:
        """Infinite when nothing was answered."""
        return 1e6 * self.dollars / self.requests if self.requests else math.inf

    def by_line(self) -> dict[str, float]:
        """Dollars of each line; lines of one name are added up."""
        names = dict.fromkeys(line.what for line in self.lines)
        return {name: sum(line.dollars for line in self.lines if line.what == name) for name in names}


def worth(chosen: Bill, without: Mapping[str, Bill]) -> dict[str, float]:
    """Dollars a month that each decision is worth: the bill without it, less the bill as chosen."""
    return {decision: bill.dollars - chosen.dollars for decision, bill in without.items()}
