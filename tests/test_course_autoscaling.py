"""The loads and the race of notebook 05."""

from __future__ import annotations

import math

from mlinfra.autoscaling import hpa
from mlinfra.course import loads, race


def test_a_shared_demand_stops_at_the_limits_of_the_pods() -> None:
    observe = loads.shared(loads.jump(5))
    used = [sum(sample.milli for sample in observe(120, n).readings[0].values()) for n in (2, 4, 8)]  # type: ignore[misc, union-attr]
    assert used == [2000, 4000, 5000]


def test_noise_is_the_same_each_time_and_within_its_share() -> None:
    demand, again = loads.noise(15), loads.noise(15)
    levels = [demand(t) for t in range(0, 3601, 15)]
    assert levels == [again(t) for t in range(0, 3601, 15)]
    assert 3400 <= min(levels) < max(levels) <= 4600


def test_the_gpu_service_keeps_what_it_cannot_serve() -> None:
    service = loads.GPUService()
    cpu = service.by_cpu(120, replicas=2)
    assert isinstance(cpu.readings[0], dict)
    assert sum(sample.milli for sample in cpu.readings[0].values()) == 300  # 30 % of the 1,000m that two pods request
    assert service.queue == 15 * (60 - 20)


def test_in_flight_counts_the_waiting_and_by_littles_law_the_served() -> None:
    service = loads.GPUService()
    observation = service.by_in_flight(120, replicas=2)
    assert observation.readings == ([1000 * (600 + 20)],)


def test_pod_hours_leave_out_the_pass_at_the_end() -> None:
    run = loads.noisy_hour("0.1", 300)
    assert loads.scale_events(run) == 0
    assert math.isclose(loads.pod_hours(run), 14)


def test_headroom_is_ramp_times_reaction() -> None:
    assert math.isclose(race.headroom(12 / 60, start_s=65, signal_s=15, per_replica=2), 8)


def test_tables_have_a_line_for_each() -> None:
    results = race.race("conversation")
    assert [line.split("  ")[0] for line in race.race_table(results).splitlines()[1:]] == list(results)
    assert len(race.causes_table(results).splitlines()) == len(results)
    assert len(race.plans_table().splitlines()) == 4
    assert len(race.starts_table().splitlines()) == 7


def test_a_batching_server_is_busy_long_before_it_is_full() -> None:
    busy, in_flight, p99_s = race.batching_at(10)
    assert busy > 0.9
    assert in_flight < 4
    assert p99_s < 0.5


def test_an_hpa_of_the_race_reads_what_it_says() -> None:
    assert race.by_busy().scaler.metrics == (hpa.Resource("cpu", hpa.Utilization(70)),)
    assert race.by_queue(target="7").scaler.metrics == (race.in_flight("7"),)
