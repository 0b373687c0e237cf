"""One server of the chat model and the race on signals of notebook 05: the tables say what the simulators compute."""

from __future__ import annotations

import re

import pytest

from mlinfra.autoscaling import loop
from mlinfra.autoscaling.llm.pool import PoolSnapshot
from mlinfra.course import llm_race, llm_server, measured
from mlinfra.course.exercises import llm as exercises


def test_the_signals_of_one_server_read_what_the_section_says() -> None:
    knee = llm_server.knee(rates=(1, 4, 5))
    assert llm_server.promised(knee) == 4
    assert all(llm_server.busy(run) > 0.99 for run in knee.values())
    assert all(llm_server.readings(run)[-1] == "0.0" for run in knee.values())
    usage = [llm_server.mean(run.steps, "kv_cache_usage_perc") for run in knee.values()]
    assert usage == sorted(usage)
    lines = llm_server.knee_table(knee).splitlines()
    assert [line.split()[0] for line in lines] == ["REQUESTS/S", "1", "4", "5"]


def test_the_limit_of_the_batch_decides_which_promise_breaks() -> None:
    wide, narrow = (llm_server.knee(batch, rates=(5,))[5] for batch in (1024, 32))
    assert (wide.ttft_s(0.99) or 0) < llm_server.TTFT_S < (narrow.ttft_s(0.99) or 0)
    assert (narrow.tpot_s(0.99) or 0) < llm_server.TPOT_S < (wide.tpot_s(0.99) or 0)


def test_steps_stand_beside_the_measured_ones() -> None:
    lines = llm_server.steps_table().splitlines()[1:]
    rows = [row for row in llm_server.beside_chunks() if row["prefill_chunk_tokens"] in llm_server.CHUNKS]
    for row, line in zip(rows, lines, strict=True):
        assert f"{row['step_ms']:.1f} ms" in line
    assert max(abs(int(line.split()[-1][:-1])) for line in lines) <= 8


def test_a_stall_shows_in_the_tail_of_the_gaps_and_not_in_their_mean() -> None:
    gaps = {budget: llm_server.gaps_s(llm_server.stalled(budget)) for budget in llm_server.BUDGETS}
    means = [sum(each) / len(each) for each in gaps.values()]
    assert max(means) < 1.2 * min(means)
    assert gaps[8192][-1] > 9 * gaps[512][-1]
    whole, chunked = (measured_step_ms(chunk) / 1000 for chunk in (2048, 512))
    assert gaps[2048][-1] == pytest.approx(whole, rel=0.03)
    assert gaps[512][-1] == pytest.approx(chunked, rel=0.03)


def measured_step_ms(chunk: int) -> float:
    rows = {(row["decoding_requests"], row["prefill_chunk_tokens"]): row for row in measured.llm_mixed_step()}
    return float(rows[32, chunk]["step_ms"])


def test_the_second_of_two_requests_is_preempted_when_eight_blocks_are_full() -> None:
    run = llm_server.two_in_eight_blocks()
    number = llm_server.preempting(run)
    assert run.steps[number].preempted == ("second",)
    assert run.steps[number - 1].kv_cache_usage_perc == 1
    assert [request.preemptions for request in run.requests] == [0, 1]
    page = llm_server.metrics_page(run, number).splitlines()
    assert all(re.fullmatch(r'vllm:\w+\{engine="0",model_name="[\w/.-]+"\} \d+\.\d+', line) for line in page)
    assert [line.split()[-1] for line in page] == ["1.0", "1.0", "0.625", "1.0"]


def test_a_fuller_batch_makes_tokens_cheaper() -> None:
    dollars = [float(line.split()[4]) for line in llm_server.capacity_table().splitlines()[1:]]
    assert dollars == sorted(dollars, reverse=True)
    twice = [float(line.split()[4]) for line in llm_server.capacity_table(6.0).splitlines()[1:]]
    assert twice == pytest.approx([2 * each for each in dollars], abs=0.011)


# ---------------------------------------------------------------------------------------------------------- the race


def test_the_wave_is_calm_rises_and_stays() -> None:
    times_s = [each.request.arrival_s for each in llm_race.wave()]
    assert times_s == sorted(times_s)
    assert len([at_s for at_s in times_s if at_s < llm_race.RISE_S]) == pytest.approx(180, rel=0.15)
    top = len([at_s for at_s in times_s if at_s >= llm_race.TOP_S])
    assert top == pytest.approx(llm_race.TOP_PER_S * (llm_race.END_S - llm_race.TOP_S), rel=0.1)


def test_cpu_sleeps_and_gpu_util_wakes_with_the_first_request() -> None:
    one_request = PoolSnapshot(0.0, 1, 0, 1, 0.1, 1.0, 0.01)
    assert llm_race.by_cpu().decide(15.0, one_request, 1) == 1
    assert llm_race.by_gpu_util().decide(15.0, one_request, 1) == 2
    idle = PoolSnapshot(0.0, 1, 0, 0, 0.0, 0.0, 0.0)
    assert llm_race.by_gpu_util().decide(15.0, idle, 1) == 1


def test_the_contenders_are_the_five_signals() -> None:
    assert list(llm_race.contenders()) == ["CPU", "GPU-Util", "KV use", "waiting", "in flight"]


def test_a_line_of_the_table_is_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    calm = llm_race.wave()[:220]
    monkeypatch.setattr(llm_race, "wave", lambda: calm)
    run = llm_race.serve(loop.Fixed(2), 2)
    assert llm_race.kept(run) == 1
    assert llm_race.asks_first_s(run) is None
    assert llm_race.gpu_hours(run) == pytest.approx(2 * calm[-1].request.arrival_s / 3600)
    tokens = sum(each.request.max_tokens for each in calm)
    assert llm_race.dollars_per_million(run) == pytest.approx(3e6 * llm_race.gpu_hours(run) / tokens)
    line = llm_race.standings({"two": run}).splitlines()[1].split()
    assert line[:3] == ["two", "never", "2"]


def test_an_average_value_asks_for_the_same_count_however_many_run() -> None:
    rows = [line.split() for line in llm_race.ratio_table().splitlines()[1:]]
    assert rows == [["1", "3", "3"], ["2", "3", "6"], ["4", "3", "12"]]


# ------------------------------------------------------------------------------------------------------- the exercise


@pytest.mark.parametrize(
    ("query", "metric_type", "fault"),
    [
        ("sum(vllm:num_requests_running)", "AverageValue", ""),
        ("sum by (namespace) (vllm:num_requests_running)", "AverageValue", ""),
        ("sum(vllm:kv_cache_usage_perc)", "AverageValue", ""),
        ("avg(vllm:kv_cache_usage_perc)", "Value", ""),
        ("avg(vllm:kv_cache_usage_perc)", "AverageValue", "divided twice"),
        ("avg(vllm:num_requests_running)", "AverageValue", "divided twice"),
        ("sum(vllm:num_requests_running)", "Value", "a total as Value"),
        ("vllm:num_requests_running", "AverageValue", "several series"),
        ("max(vllm:kv_cache_usage_perc)", "Value", "several series"),
        ("sum(vllm:e2e_request_latency_seconds_sum)", "AverageValue", "not a gauge of vLLM's work"),
        ("sum(up)", "AverageValue", "not a gauge of vLLM's work"),
    ],
)
def test_a_trigger_is_read_before_anything_runs(query: str, metric_type: str, fault: str) -> None:
    assert exercises.fault_of(llm_race.trigger(query, "5", metric_type)) == fault


def test_a_query_measures_what_it_says() -> None:
    seen = PoolSnapshot(0.0, 4, 6, 10, 0.0, 1.0, 0.5)
    both = "sum(vllm:num_requests_running) + sum(vllm:num_requests_waiting)"
    assert exercises.measure(llm_race.trigger(both, "5"))(seen) == 16
    assert exercises.measure(llm_race.trigger("sum(vllm:kv_cache_usage_perc)", "0.3"))(seen) == 2
    assert exercises.measure(llm_race.trigger("avg(vllm:kv_cache_usage_perc)", "0.3", "Value"))(seen) == 0.5
