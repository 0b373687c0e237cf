"""The canary: sample sizes, boundaries, what each rollout decides, and what the test promises over many trials."""

from __future__ import annotations

import math
import random
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from builders import BERT_MODEL, KNATIVE, OWN_SERVER, OWN_SERVICE, STANDARD
from hypothesis import given
from hypothesis import strategies as st

from mlinfra.admission import validate
from mlinfra.admission.kserve import pitfalls
from mlinfra.admission.rules import Invalid
from mlinfra.kserve import CanaryRollout, InferenceService, canary, reconcile
from mlinfra.kserve.canary import PROMOTED, ROLLED_BACK, Counts, Progress, Traffic, sequential, traffic, trial

NEW = replace(BERT_MODEL, storage_uri="s3://models/bert-classifier/v2")
SERVICE = replace(KNATIVE, predictor=replace(KNATIVE.predictor, canary_traffic_percent=None))
ROLLOUT = CanaryRollout(SERVICE, NEW, "v2")
STANDARD_ROLLOUT = CanaryRollout(replace(STANDARD, canary=()), NEW, "v2")


# ----------------------------------------------------------------------------------------------------- the statistics


def test_the_sample_for_half_a_percent_against_one() -> None:
    assert canary.sample_size(0.005, 0.01) == 4673
    assert canary.largest_sample(0.005, 0.01) == 4804


def crossing(drift: float, constant: float, looks: int = 5) -> float:
    """The chance that a drifting random walk crosses O'Brien and Fleming's boundary above, by integration.

    Its sum after look k has mean `drift` * k and variance k; it stops where sum >= constant * sqrt(looks).
    """
    grid = np.linspace(-14, 14, 4001)
    step, alive = grid[1] - grid[0], grid < constant * math.sqrt(looks)
    jump = np.exp(-((grid - drift) ** 2) / 2) / math.sqrt(2 * math.pi)
    density, crossed = jump.copy(), 0.0
    for look in range(looks):
        crossed += density[~alive].sum() * step
        density = np.where(alive, density, 0.0)
        if look < looks - 1:
            density = np.convolve(density, jump, mode="same") * step
    return crossed


def test_the_boundary_spends_half_of_five_percent_on_each_side() -> None:
    assert crossing(0.0, sequential.BOUNDARY) == pytest.approx(sequential.SIGNIFICANCE / 2, abs=1e-4)


def test_the_larger_sample_restores_the_power() -> None:
    whole = 1.959964 + 0.841621  # the drift of a single test with these errors
    drift = whole * math.sqrt(sequential.INFLATION / sequential.LOOKS)
    assert crossing(drift, sequential.BOUNDARY) == pytest.approx(sequential.POWER, abs=1e-3)


def test_z_is_the_pooled_two_proportion_z() -> None:
    stable, new = Counts(9000, 45), Counts(1000, 10)
    pooled = 55 / 10000
    expected = (10 / 1000 - 45 / 9000) / math.sqrt(pooled * (1 - pooled) * (1 / 1000 + 1 / 9000))
    assert canary.evidence([(stable, new)]).z == pytest.approx(expected)


def test_stages_are_compared_within_themselves() -> None:
    """Both versions fail alike, and more in the second stage, where the canary has more traffic."""
    stages = [(Counts(9000, 9), Counts(1000, 1)), (Counts(5000, 250), Counts(5000, 250))]
    assert canary.evidence(stages).z == pytest.approx(0)
    together = (stages[0][0] + stages[1][0], stages[0][1] + stages[1][1])
    assert canary.evidence([together]).z > 5, "pooled over stages it looks guilty"


def test_equal_arms_are_worth_what_they_have() -> None:
    assert canary.effective_sample([(Counts(500), Counts(500))]) == 500
    assert canary.effective_sample([(Counts(9000), Counts(1000))]) == 1800
    assert canary.effective_sample([(Counts(), Counts(1000))]) == 0


def test_a_small_arm_moves_the_boundary_up_and_a_large_one_leaves_it() -> None:
    small, large = ((Counts(9000, 45), Counts(1000, 5)), (Counts(1000, 5), Counts(9000, 45)))
    assert canary.evidence([small]).adjusted_boundary(5) > canary.boundary(5)
    assert canary.evidence([large]).adjusted_boundary(5) == canary.boundary(5)
    assert canary.evidence([(Counts(10), Counts(10))]).adjusted_boundary(1) == canary.boundary(1)


@given(st.integers(1, 2000), st.data(), st.sampled_from([0.005, 0.01, 0.2]))
def test_a_limit_breaks_when_the_binomial_tail_says_so(requests: int, data: st.DataObject, limit: float) -> None:
    bad = data.draw(st.integers(0, requests))
    terms = (
        math.exp(
            math.lgamma(requests + 1)
            - math.lgamma(k + 1)
            - math.lgamma(requests - k + 1)
            + k * math.log(limit)
            + (requests - k) * math.log(1 - limit)
        )
        for k in range(bad, requests + 1)
    )
    assert sequential.breaks(limit, bad, requests) == (math.fsum(terms) < sequential.DOUBT and bad > limit * requests)


@pytest.mark.parametrize(("requests", "rate"), [(1, 0.5), (7, 0.2), (400, 0.01), (50, 0.9)])
def test_made_up_errors_have_the_binomials_mean_and_variance(requests: int, rate: float) -> None:
    draw = random.Random(1)
    drawn = np.array([traffic.bad(requests, rate, draw) for _ in range(20_000)])
    assert drawn.min() >= 0
    assert drawn.max() <= requests
    assert drawn.mean() == pytest.approx(requests * rate, rel=0.02)
    assert drawn.var() == pytest.approx(requests * rate * (1 - rate), rel=0.05)


# ------------------------------------------------------------------------------------------------------- the decisions


def ended(traffic: Traffic, seed: int = 1, rollout: CanaryRollout = ROLLOUT) -> tuple[float, Progress]:
    *_, last = trial(rollout, traffic, seed)
    return last


def test_a_good_canary_goes_through_all_stages() -> None:
    end_s, progress = ended(Traffic(100, 0.005, 0.005))
    assert (progress.outcome, end_s) == (PROMOTED, 5 * 900)
    assert [d.percent for d in progress.history if d.action == "advance"] == [10, 25, 50, 75]
    assert progress.looks == 5


def test_little_traffic_holds_longer_than_fifteen_minutes() -> None:
    end_s, progress = ended(Traffic(1, 0.005, 0.005))
    first = next(d for d in progress.history if d.action == "advance")
    two_looks_s = 0.4 * 4804 / (2 * 0.1 * 0.9)  # at one request per second
    assert two_looks_s <= first.at_s <= two_looks_s + 60
    assert end_s > 5 * 900


def test_a_bad_canary_is_rolled_back_before_the_last_look() -> None:
    end_s, progress = ended(Traffic(100, 0.005, 0.02))
    assert (progress.outcome, ROLLOUT.percent(progress)) == (ROLLED_BACK, 0)
    assert end_s < 900
    assert "at or above" in progress.history[-1].reason


def test_a_broken_canary_does_not_wait_for_a_look() -> None:
    end_s, progress = ended(Traffic(2, 0.005, 0.5))
    assert (end_s, progress.looks) == (60, 0)
    assert progress.history[-1].reason == "7 errors in 12 requests breach the limit of 1.0 %"


def test_a_slow_canary_is_rolled_back() -> None:
    _, progress = ended(Traffic(100, 0.005, 0.005, canary_slow_rate=0.05))
    assert "above 500 ms breach the limit of the p99" in progress.history[-1].reason


def test_a_canary_that_breaks_under_full_load_is_still_rolled_back() -> None:
    progress = Progress()
    for minute in range(1, 61):
        progress = ROLLOUT.observe(progress, 60.0 * minute, Counts(3000, 15), Counts(3000, 15))
    assert ROLLOUT.percent(progress) == 100
    progress = ROLLOUT.observe(progress, 3660.0, Counts(), Counts(6000, 300))
    assert progress.outcome == ROLLED_BACK


def test_what_has_ended_stays_as_it_is() -> None:
    _, progress = ended(Traffic(100, 0.005, 0.005))
    assert ROLLOUT.observe(progress, 1e6, Counts(), Counts(1000, 1000)) is progress


def test_nothing_seen_decides_nothing() -> None:
    progress = ROLLOUT.observe(Progress(), 1e5, Counts(), Counts())
    assert (progress.outcome, progress.history, ROLLOUT.percent(progress)) == ("", (), 10)


def test_the_same_seed_gives_the_same_history() -> None:
    traffic = Traffic(20, 0.005, 0.008)
    assert ended(traffic, 3) == ended(traffic, 3)
    assert str(ended(traffic, 3)[1].history[0]).startswith("   5.0 min   10 %  go on: look 1 of 5: z = ")


@pytest.mark.slow
def test_ten_thousand_rollouts_keep_the_promises() -> None:
    """At most 2.5 % of the good ones are rolled back, and at least 80 % of the bad ones (two standard errors each)."""
    outcomes = {
        rate: sum(
            list(trial(ROLLOUT, Traffic(10, 0.005, rate), seed))[-1][1].outcome == ROLLED_BACK for seed in range(10_000)
        )
        for rate in (0.005, 0.01)
    }
    assert outcomes[0.005] / 10_000 <= 0.025 + 2 * math.sqrt(0.025 * 0.975 / 10_000)
    assert outcomes[0.005] / 10_000 >= 0.018, "a boundary that is never reached promises nothing"
    assert outcomes[0.01] / 10_000 >= 0.80 - 2 * math.sqrt(0.8 * 0.2 / 10_000)


# ------------------------------------------------------------------------------------------------------ the manifests


@pytest.mark.parametrize("rollout", [ROLLOUT, STANDARD_ROLLOUT], ids=["Knative", "Standard"])
def test_every_manifest_is_accepted(rollout: CanaryRollout) -> None:
    manifests = rollout.manifests()
    assert list(manifests) == ["10 %", "25 %", "50 %", "75 %", "100 %", "promotion", "rollback"]
    for obj in manifests.values():
        assert (validate(obj), pitfalls(obj)) == ([], [])


def test_the_traffic_of_each_knative_stage_is_what_the_controller_makes_of_it() -> None:
    state = reconcile.Revisions().apply("v1", None)
    for percent in ROLLOUT.stages:
        given_percent = ROLLOUT.stage_manifest(percent)["spec"]["predictor"]["canaryTrafficPercent"]
        assert state.apply("v2", given_percent).split(given_percent).get("v2") == percent
    assert ROLLOUT.rollback_manifest()["spec"]["predictor"]["canaryTrafficPercent"] == 0
    assert "canaryTrafficPercent" not in ROLLOUT.promotion_manifest()["spec"]["predictor"]


def test_the_weights_of_each_standard_stage() -> None:
    for percent in STANDARD_ROLLOUT.stages:
        weights = reconcile.weights(STANDARD_ROLLOUT.stage_manifest(percent))
        assert weights == {"bert-classifier-v1-predictor": 100 - percent, "bert-classifier-v2-predictor": percent}
    promoted = STANDARD_ROLLOUT.promotion_manifest()
    assert reconcile.weights(promoted) == {"bert-classifier-v2-predictor": 100}, (
        "the canary's pods become the stable ones"
    )
    assert promoted["spec"]["predictor"]["minReplicas"] == 2
    assert STANDARD_ROLLOUT.rollback_manifest() == replace(STANDARD, canary=()).manifest()


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"stages": (90, 10, 200)}, "must increase, from 1 at least to 100"),
        ({"stages": ()}, "must increase"),
        ({"stages": (100,)}, "with a stage below 100"),
        ({"hold_s": math.nan}, "hold_s: Invalid value: NaN: must be a number"),
        ({"hold_s": math.inf}, "must be finite"),
        ({"stages": (10, 50)}, "must increase, from 1 at least to 100"),
        ({"stages": (0, 100)}, "must increase"),
        ({"hold_s": -1}, "must be greater than or equal to 0"),
        ({"error_rate": 0.005}, "must be greater than base_error_rate"),
        ({"base_error_rate": 0.0}, "both between 0 and 1"),
        ({"model": BERT_MODEL}, "must differ from the model that runs"),
    ],
)
def test_bad_rollouts(changed: dict[str, object], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        replace(ROLLOUT, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"model": replace(BERT_MODEL, runtime_version="1.2")}, "predictor.name change requires a model change"),
        ({"service": STANDARD}, "the service has a canary already"),
        ({"service": replace(KNATIVE, mode="Standard", predictor=STANDARD.predictor)}, "a canary gets nothing"),
    ],
)
def test_what_standard_mode_could_not_promote(changed: dict[str, object], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        replace(STANDARD_ROLLOUT, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("now_s", "stable", "new", "why"),
    [
        (60.0, Counts(90), Counts(10, 12), "canary: Invalid value"),
        (60.0, Counts(90, 91), Counts(10), "stable: Invalid value"),
        (60.0, Counts(90), Counts(10, 0, 11), "must be from 0 to the requests"),
        (60.0, Counts(90), Counts(10, -1), "must be from 0 to the requests"),
        (math.nan, Counts(90), Counts(10), "now_s: Invalid value"),
        (-1.0, Counts(90), Counts(10), "now_s: Invalid value"),
    ],
)
def test_bad_observations(now_s: float, stable: Counts, new: Counts, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        ROLLOUT.observe(Progress(), now_s, stable, new)


def test_a_stage_without_a_request_does_not_end() -> None:
    progress = Progress()
    for minute in range(1, 61):
        progress = ROLLOUT.observe(progress, 60.0 * minute, Counts(3000, 15), Counts(3000, 15))
    assert ROLLOUT.percent(progress) == 100
    assert ROLLOUT.observe(progress, 1e5, Counts(), Counts()).outcome == ""


def test_the_boundaries_of_the_five_looks() -> None:
    assert [round(canary.boundary(look), 3) for look in range(1, 6)] == [4.562, 3.226, 2.634, 2.281, 2.04]


def test_evidence_of_all_stages_counts() -> None:
    bad, quiet = (Counts(1000, 5), Counts(1000, 40)), (Counts(10), Counts(10))
    assert canary.evidence([bad, quiet]).z == pytest.approx(canary.evidence([bad]).z)


def test_a_hopeless_canary_is_told_at_once() -> None:
    assert sequential.breaks(0.01, 2_000_000, 100_000_000)


def test_a_container_cannot_have_a_canary_in_standard_mode() -> None:
    other = replace(OWN_SERVER, image="registry.example.com/bert-server:1.1.0")
    with pytest.raises(Invalid, match="canary requires a stable predictor with a model"):
        CanaryRollout(OWN_SERVICE, other, "v2")
    CanaryRollout(InferenceService("own", OWN_SERVICE.predictor, mode="Knative"), other, "v2")


@pytest.mark.parametrize("rates", [{"per_s": 0}, {"canary_error_rate": 1.0}, {"stable_error_rate": -0.1}])
def test_bad_traffic(rates: dict[str, float]) -> None:
    with pytest.raises(Invalid, match=r"must be (greater|less) than or equal to"):
        replace(Traffic(10, 0.005, 0.005), **rates)


def exact_tail(limit: float, bad: int, requests: int) -> float:
    return math.fsum(
        math.comb(requests, k) * limit**k * (1 - limit) ** (requests - k) for k in range(bad, requests + 1)
    )


@pytest.mark.parametrize(("limit", "requests"), [(0.01, 100), (0.2, 50), (0.5, 30), (0.9, 200)])
def test_the_fewest_that_break_a_limit(limit: float, requests: int) -> None:
    counts = range(requests + 1)
    fewest = next(n for n in counts if n > limit * requests and exact_tail(limit, n, requests) < sequential.DOUBT)
    assert [sequential.breaks(limit, n, requests) for n in counts] == [n >= fewest for n in counts]


def test_how_far_a_skewed_arm_moves_the_boundary() -> None:
    """Cornish and Fisher: skewness / 6 x (z^2 - 1), with skewness = third moment / variance^1.5, here 1 / 2."""
    skewed = canary.Evidence(0.0, variance=4.0, third_moment=4.0)
    assert skewed.adjusted_boundary(5) == pytest.approx(2.040 + 0.5 / 6 * (2.040**2 - 1))


def test_what_never_fails_has_no_errors() -> None:
    assert traffic.bad(1000, 0.0, random.Random(1)) == 0


def test_stages_need_not_be_held() -> None:
    assert replace(ROLLOUT, hold_s=0).hold_s == 0


def test_the_history_is_told_as_events_and_as_lines() -> None:
    _, progress = ended(Traffic(2, 0.005, 0.5))
    reason = "7 errors in 12 requests breach the limit of 1.0 %"
    assert progress.events == ((60.0, "roll back", "10 %", reason),)
    assert progress.why() == f"   1.0 min   10 %  roll back: {reason}"


# ---------------------------------------------------------------------------------------------------- hostile numbers

HOSTILE = (math.nan, math.inf, -1, 0, 0.5, 99)


@pytest.mark.parametrize("name", ["per_s", "canary_error_rate", "every_s"])
@pytest.mark.parametrize("number", HOSTILE)
def test_shares_only_grow_whatever_the_traffic(name: str, number: float) -> None:
    numbers = {"per_s": 50, "canary_error_rate": 0.005, "every_s": 60} | {name: number}
    with suppress(Invalid):
        traffic = Traffic(numbers["per_s"], 0.005, numbers["canary_error_rate"])
        shares = [ROLLOUT.percent(progress) for _, progress in trial(ROLLOUT, traffic, 1, numbers["every_s"])]
        assert shares[:-1] == sorted(shares[:-1])


@pytest.mark.parametrize("rate", [*HOSTILE, 0.01])
def test_a_sample_is_finite_or_refused(rate: float) -> None:
    with suppress(Invalid):
        assert canary.sample_size(0.01, rate) > 0
        assert 0 <= rate <= 1
        assert rate != 0.01


def test_a_clock_that_goes_back_is_refused() -> None:
    progress = ROLLOUT.observe(Progress(), 60, Counts(10), Counts(10))
    with pytest.raises(Invalid, match="now_s: Invalid value: 30: must be greater than or equal to 60"):
        ROLLOUT.observe(progress, 30, Counts(10), Counts(10))
