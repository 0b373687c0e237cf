"""`mlinfra tune`: many settings of an HPA on recorded traffic, what they cost, and which is the cheapest in time."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlinfra import traffic
from mlinfra.autoscaling import hpa
from mlinfra.autoscaling import tune as tuning
from mlinfra.commands.replay import (
    add_service_arguments,
    add_traffic_arguments,
    assumptions,
    read_traffic,
    service_of,
    traffic_words,
)
from mlinfra.commands.report import FINE, REFUSED, Report, UsageError, bullets, paragraphs, read_one, table
from mlinfra.commands.scalers import choices, measured
from mlinfra.manifest import to_yaml

EXAMPLE = """example:
  python -m mlinfra tune hpa.yaml --traffic requests.csv --p99 2s --service-time 0.2 --settings 1000
  RAY_ADDRESS=auto python -m mlinfra tune hpa.yaml --traffic requests.csv --p99 2s --ray"""
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
HEAD = ("DOLLARS", "P99", "REPLICAS", "TURNS", "TARGET", "UP WINDOW", "DOWN WINDOW", "UP", "DOWN", "MIN", "MAX")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="HPA.yaml")
    parser.add_argument("--p99", required=True, metavar="2s", help="99 of 100 requests are to be answered in this time")
    parser.add_argument("--settings", type=int, default=200, help="how many are tried (200)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (0)")
    parser.add_argument("--jobs", type=int, default=-1, help="processes (one a core)")
    parser.add_argument("--ray", action="store_true", help="spread the work over a Ray cluster")
    parser.add_argument("--picture", metavar="OUT.svg", help="the Pareto front of cost and latency")
    add_traffic_arguments(parser)
    add_service_arguments(parser)


def run(arguments: argparse.Namespace) -> Report:
    """The Pareto front, and the manifest of the cheapest setting that keeps the latency."""
    limit_s = in_seconds(arguments.p99)
    scaler = hpa.HorizontalPodAutoscaler.of(read_one(arguments.file, "HorizontalPodAutoscaler"))
    known, measures, assumed = measured(scaler, choices(arguments.measure))
    counts = read_traffic(arguments)
    trial = tuning.Trial(known, counts.counts, counts.bin_s, service_of(arguments), measures)
    settings = tuning.around(known).settings(arguments.settings, arguments.seed)
    outcomes = with_backend(trial, settings, arguments)
    front, best = tuning.pareto_front(outcomes), tuning.cheapest(outcomes, limit_s)
    if arguments.picture:
        draw(front, limit_s, Path(arguments.picture))
    lines = [*assumptions(arguments), *assumed]
    text = paragraphs(
        traffic_words(counts, arguments),
        f"{len(outcomes)} of {len(settings)} settings tried; none is better in both cost and latency than these:",
        table(HEAD, [row(outcome) for outcome in front]),
        verdict(best, trial, limit_s),
        bullets("Assumed:", lines),
    )
    return Report(text, data(front, best, trial, counts), FINE if best else REFUSED)


def in_seconds(text: str) -> float:
    match = re.fullmatch(r"([0-9.]+)(ms|s|m)?", text)
    if match is None:
        raise UsageError(f"--p99 {text}: must be a time such as 2s or 300ms")
    return float(match[1]) * UNITS[match[2] or "s"]


def with_backend(
    trial: tuning.Trial, settings: Sequence[tuning.Setting], arguments: argparse.Namespace
) -> list[tuning.Outcome]:
    """The same call on this machine's cores, or on a Ray cluster."""
    progress = bar(len(settings))
    if not arguments.ray:
        return tuning.tune(trial, settings, arguments.jobs, progress)
    import joblib
    from ray.util.joblib import register_ray

    register_ray()  # type: ignore[no-untyped-call]
    with joblib.parallel_config(backend="ray"):
        return tuning.tune(trial, settings, arguments.jobs, progress)


def bar(whole: int) -> Any:
    """A line on a terminal that says how far the work is."""

    def show(done: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done == whole else ""
            print(f"\r{done:,} of {whole:,} settings", end=end, file=sys.stderr, flush=True)

    return show


def row(outcome: tuning.Outcome) -> tuple[str, ...]:
    setting = outcome.setting
    return (
        f"{outcome.dollars:.2f}",
        f"{outcome.p99_s:.3g} s",
        f"{outcome.mean_replicas:.2f}",
        str(outcome.flaps),
        f"{setting.target_percent} %",
        f"{setting.up_window_s} s",
        f"{setting.down_window_s} s",
        f"{setting.up_percent} %",
        f"{setting.down_percent} %",
        str(setting.min_replicas),
        str(setting.max_replicas),
    )


def verdict(best: tuning.Outcome | None, trial: tuning.Trial, limit_s: float) -> str:
    if best is None:
        return f"None of them answers 99 of 100 requests within {limit_s:g} s."
    manifest = to_yaml(tuning.applied(trial.scaler, best.setting).manifest()).rstrip()
    head = f"The cheapest that answers 99 of 100 requests within {limit_s:g} s, for {best.dollars:.2f} dollars:"
    return f"{head}\n\n{manifest}"


def data(
    front: Sequence[tuning.Outcome], best: tuning.Outcome | None, trial: tuning.Trial, counts: traffic.RequestCounts
) -> dict[str, Any]:
    return {
        "requests": counts.requests,
        "front": [as_data(outcome) for outcome in front],
        "chosen": best and {**as_data(best), "manifest": tuning.applied(trial.scaler, best.setting).manifest()},
    }


def as_data(outcome: tuning.Outcome) -> dict[str, Any]:
    return {**outcome._asdict(), "setting": outcome.setting._asdict()}


def draw(front: Sequence[tuning.Outcome], limit_s: float, path: Path) -> None:
    from mlinfra.study import Row, steps

    points = [(outcome.dollars, outcome.p99_s) for outcome in front]
    row = Row("p99, s", {"front": points}, marks={"wanted": limit_s}, steps=False)
    figure = steps("Cost and latency", "Settings that none other beats in both.", row, x_label="dollars")
    path.write_text(figure.svg, "utf-8")
