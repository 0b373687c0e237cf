"""The pictures of notebook 2 say what the simulations compute."""

from __future__ import annotations

import pytest

from mlinfra.course import measured, predicted, ray_loads
from mlinfra.course.pictures import open_loop
from mlinfra.course.pictures import ray_serve as pictures
from mlinfra.ray_serve import AutoscalingConfig
from mlinfra.study import Figure


def test_actors_show_that_no_request_passes_through_the_controller() -> None:
    drawn = pictures.actors()
    assert "no request passes through it" in drawn.description
    assert all(
        name in drawn.svg for name in ("controller", "proxy, head node", "Classifier replica", "Encoder replica")
    )


def test_the_way_of_a_request_has_five_places_to_wait() -> None:
    drawn = pictures.request_path()
    assert "five places" in drawn.description
    assert "max_queued_requests" in drawn.svg


@pytest.mark.parametrize(("ingress", "last"), [(3, 250), (8, 425)])
def test_the_ingress_decides_where_the_latency_leaves_the_picture(ingress: int, last: int) -> None:
    assert pictures.stages(ingress, 18).description.endswith(f"up to {last} requests per second.")


def test_the_best_wait_is_the_one_with_the_lowest_p99() -> None:
    tails = {ms: ray_loads.batched(1_000, ms / 1000, count=1_200).latency_s(0.99) or 0.0 for ms in pictures.WAITS_MS}
    best = min(tails, key=lambda wait_ms: tails[wait_ms])
    assert pictures.batches(1_000, 16).description.endswith(f"{1000 * tails[best]:.0f} ms, is at {best} ms.")


def test_the_wave_shows_traffic_first_then_desired_and_ready() -> None:
    drawn = pictures.replicas(2, 30, 600)
    outcome = ray_loads.wave(AutoscalingConfig(1, 12))
    assert f"p99 {outcome.latency_s(0.99):.1f} s, {outcome.replica_s / 3600:.2f} replica-hours" in drawn.description
    assert order(drawn, "requests per second", ">replicas<", "requests in flight")
    assert order(drawn, ">desired<", ">ready<")


def order(drawn: Figure, *texts: str) -> bool:
    """Whether the texts stand in the picture in this order."""
    places = [drawn.svg.index(text) for text in texts]
    return places == sorted(places)


@pytest.mark.parametrize("values", [(0.5, 0, 0), (5.0, 60, 600)])
def test_every_setting_of_the_wave_fits_the_axes(values: tuple[float, int, int]) -> None:
    assert pictures.replicas(*values).svg


@pytest.mark.parametrize("values", [(100, 1), (1_500, 32), (1_500, 1)])
def test_every_setting_of_the_batches_fits_the_axes(values: tuple[int, int]) -> None:
    assert pictures.batches(*values).svg


def test_a_burst_of_ten_seconds_starts_replicas_when_it_is_over() -> None:
    course = ray_loads.burst(AutoscalingConfig(1, 100, 2), before=5, burst=46, burst_s=10)
    assert [course[second].replicas for second in (0, 20, 32, 33, 39)] == [5, 5, 5, 7, 7]
    assert round(course[20].mean, 1) == 19.1


def test_the_measured_gpu_is_drawn_beside_its_prediction() -> None:
    drawn = open_loop.measured_and_simulated()
    assert "1,200 with batches of up to 1, 5,000 with batches of up to 4, 8,000" in drawn.description
    assert drawn.svg.count("<circle") == len(measured.open_loop()) + 1  # and the one of the legend


def test_measured_and_simulated_break_at_the_same_rate() -> None:
    for _, _, p99 in predicted.open_loop_table():
        assert (p99.measured < 10) == (p99.predicted < 10)


def test_a_rule_of_its_own_needs_no_wait() -> None:
    """A server that takes all that wait is faster than the best wait of a clock."""
    best = min(ray_loads.batched(1_000, ms / 1000).latency_s(0.99) or 0.0 for ms in pictures.WAITS_MS)
    assert (ray_loads.taken_when_free(1_000).latency_s(0.99) or 0.0) < best


def test_defaults_are_rays_own() -> None:
    assert ray_loads.defaults() | {"max_ongoing_requests": 5, "downscale_delay_s": 600.0} == ray_loads.defaults()
