"""The computations of the cards on language models, which stand in notebook 01."""

from __future__ import annotations

import math
from dataclasses import replace

from mlinfra.autoscaling.llm.config import LLAMA_8B_BYTES_PER_TOKEN, kv_blocks, kv_bytes_per_token, max_concurrency
from mlinfra.autoscaling.step_time import H100
from mlinfra.course import llm_loads, llm_server, measured, predicted
from mlinfra.interview.computations.computed import Numbers
from mlinfra.simulation import percentile


def prefill_and_decode() -> Numbers:
    """Times as many tokens a second as an H100 reads of a prompt of 2,048 tokens as it writes for one user."""
    rows = {row["batch"]: row for row in measured.llm_decode() if row["context_tokens"] == 2048}
    alone, many = rows[1], rows[64]
    ratio = alone["prefill_tokens_per_s"] / alone["tokens_per_s"]
    even_tokens = (H100.weights_ms - H100.compute_ms) / (H100.compute_token_ms - H100.token_ms)
    prefill_s, decode_s = alone["prefill_one_s"], 256 * alone["step_ms"] / 1000
    named = {
        "read_per_s": alone["prefill_tokens_per_s"],
        "write_per_s": alone["tokens_per_s"],
        "write_for_64_per_s": many["tokens_per_s"],
        "ratio": ratio,
        "ratio_at_64": alone["prefill_tokens_per_s"] / many["tokens_per_s"],
        "even_tokens": even_tokens,
        "prefill_share": prefill_s / (prefill_s + decode_s),
    }
    return Numbers(round(ratio), named)


def quantization() -> Numbers:
    """Users with 4,096 tokens each on an H100 whose weights and cache are in 8 bit."""

    def users(weights_gib: float, bytes_per_value: int) -> int:
        per_token = kv_bytes_per_token(32, 8, 128, bytes_per_value)
        return int(max_concurrency(kv_blocks(weights_gib=weights_gib, bytes_per_token=per_token), 4096))

    halved = replace(H100, weights_ms=H100.weights_ms / 2)

    def gain(batch: int) -> float:
        """Times as fast a decoding step with 2,048 tokens of context each."""
        context = batch * 2048
        return H100.step_ms(batch, context) / halved.step_ms(batch, context)

    named = {
        "in_16": users(15, 2),
        "weights_in_8": users(7.5, 2),
        "both_in_8": users(7.5, 1),
        "gain_alone": gain(1),
        "gain_at_64": gain(64),
        "prefill_gain": H100.step_ms(2048) / halved.step_ms(2048),
    }
    return Numbers(named["both_in_8"], named)


def lora_adapters() -> Numbers:
    """Megabytes of an adapter of rank 16 for all linear layers of Llama 3 8B, in 16 bit."""
    hidden, kv, inner, layers, rank = 4096, 1024, 14336, 32, 16
    sides = [(hidden, hidden), (hidden, kv), (hidden, kv), (hidden, hidden), (hidden, inner), (hidden, inner)]
    sides.append((inner, hidden))
    parameters = layers * rank * sum(rows + columns for rows, columns in sides)
    megabytes, customers = parameters * 2 / 1e6, 40
    named = {
        "parameters_m": parameters / 1e6,
        "megabytes": megabytes,
        "share": parameters / 8.03e9,
        "all_gb": customers * megabytes / 1e3,
        "copies_gb": customers * 16.06,
    }
    return Numbers(round(megabytes), named)


def prefix_routing() -> Numbers:
    """Per cent of a prompt that a pod has to know so that KServe's picker chooses it, however long its queue is."""
    percent = next(
        shared for shared in range(1, 101) if llm_loads.two_replicas(shared, 100, 1000).best() == ["replica-0"]
    )
    hot = replace(llm_loads.HOT, count=100)
    default, counted = (llm_loads.served(hot, name) for name in ("KServe's picker", "in flight added"))
    named = {
        "percent": percent,
        "busiest": default.largest_share,
        "busiest_counted": counted.largest_share,
        "saved_ms": predicted.decoding("h100", 1, 2048)["prefill_one_s"] * 1000,
    }
    return Numbers(percent, named)


def llm_monitoring() -> Numbers:
    """Milliseconds of the p99 of the gaps between tokens while long prompts come in whole."""
    gaps = llm_server.gaps_s(llm_server.stalled(8192))
    in_chunks = llm_server.gaps_s(llm_server.stalled(512))
    p99_ms, chunked_ms = (1000 * (percentile(each, 0.99) or 0) for each in (gaps, in_chunks))
    named = {
        "mean_ms": 1000 * sum(gaps) / len(gaps),
        "p99_ms": p99_ms,
        "chunked_mean_ms": 1000 * sum(in_chunks) / len(in_chunks),
        "chunked_p99_ms": chunked_ms,
    }
    return Numbers(round(p99_ms), named)


def ttft_jumped() -> Numbers:
    """Times as long as the p99 of the time to first token gets from 6 to 7 requests a second on one H100."""
    before, after = (llm_server.knee(rates=(per_s,))[per_s] for per_s in (6, 7))
    times_s = [run.ttft_s(0.99) or 0.0 for run in (before, after)]
    factor = times_s[1] / times_s[0]
    named = {
        "before_s": times_s[0],
        "after_s": times_s[1],
        "factor": factor,
        "queue_p99_s": after.queue_s(0.99),
        "waiting": llm_server.mean(after.steps, "num_requests_waiting"),
        "preemptions": after.preemptions,
    }
    return Numbers(round(factor, 1), named)


def disaggregation() -> Numbers:
    """Milliseconds for the KV cache of a prompt of 4,000 tokens over a link of 400 Gb/s."""
    tokens, answer, batch = 4000, 400, 32
    megabytes = tokens * LLAMA_8B_BYTES_PER_TOKEN / 1e6
    transfer_ms, slow_ms = megabytes * 8 / 400, megabytes * 8 / 10
    prefill_ms = H100.step_ms(tokens)
    decode_ms = answer * H100.step_ms(batch, batch * tokens) / batch
    named = {
        "megabytes": megabytes,
        "transfer_ms": transfer_ms,
        "slow_ms": slow_ms,
        "prefill_ms": prefill_ms,
        "step_ms": H100.step_ms(batch, batch * tokens),
        "per_prefill": decode_ms / prefill_ms,
    }
    return Numbers(round(transfer_ms, 1), named)


def gpus_for_users() -> Numbers:
    """H100 cards for 10,000 users who ask every two minutes, at 70 % of what a card does within both promises."""
    per_s = 10_000 / 120
    knee = llm_server.knee(rates=(4, 5))
    promised = llm_server.promised(knee)
    run = knee[promised]
    in_flight = per_s * sum(run.latencies_s) / len(run.latencies_s)
    by_memory = max_concurrency(llm_server.SERVER.num_blocks, 3200, llm_server.BLOCK)
    cards = math.ceil(per_s / (0.7 * promised))
    named = {
        "per_s": per_s,
        "promised": promised,
        "full": math.ceil(per_s / promised),
        "cards": cards,
        "in_flight": in_flight,
        "by_memory": math.ceil(in_flight / by_memory),
    }
    return Numbers(cards, named)
