"""Bounds stand where a value is declared, and the constructor asks them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from mlinfra.admission import AtLeastOne, Count, Invalid, Share, check
from mlinfra.simulation import Event, Simulation, percentile


@dataclass(frozen=True)
class Fleet:
    name: str
    replicas: AtLeastOne
    busy: Share = 0.5
    limit: Count | None = None

    def __post_init__(self) -> None:
        check(self)


def test_a_value_within_its_bounds_passes_and_none_where_it_may_be() -> None:
    assert Fleet("a", 1, 0).limit is None


def test_the_field_the_value_and_the_bound_are_named() -> None:
    with pytest.raises(Invalid) as refusal:
        Fleet("a", 0, 1.5, -1)
    assert str(refusal.value) == (
        'Fleet "a" is invalid: replicas: Invalid value: 0: must be greater than or equal to 1; '
        "busy: Invalid value: 1.5: must be less than or equal to 1; "
        "limit: Invalid value: -1: must be greater than or equal to 0"
    )


def test_a_number_that_must_be_there_may_not_be_none() -> None:
    with pytest.raises(Invalid, match="replicas: Required value"):
        Fleet("a", None)  # type: ignore[arg-type]


def test_a_percentile_is_the_nearest_rank_and_none_of_nothing() -> None:
    assert [percentile([3, 1, 2], fraction) for fraction in (0, 1 / 3, 0.34, 0.99, 1)] == [1, 1, 2, 3, 3]
    assert percentile([], 0.5) is None
    with pytest.raises(ValueError, match=r"fraction: 99: must be from 0 to 1"):
        percentile([1], 99)


def test_a_simulation_tells_its_events_in_order() -> None:
    simulation = Simulation(latencies_s=[0.2, 0.1], events=[Event(1.5, "Scheduled", "a", "on node-1")])
    assert simulation.latency_s(0.5) == 0.1
    assert simulation.why() == "t=1.5 s  Scheduled  a: on node-1"
