"""`mlinfra tune`: many settings of an HPA on recorded traffic, what they cost, and which is the cheapest in time."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from mlinfra.autoscaling import hpa
from mlinfra.autoscaling import tune as tuning
from mlinfra.commands.flags import (
    WorkProgress,
    add_service_arguments,
    add_traffic_arguments,
    assumptions,
    count,
    read_traffic,
    service_of,
    traffic_words,
)
from mlinfra.commands.report import FINE, REFUSED, Report, UsageError, bullets, paragraphs, read_one, table, write
from mlinfra.commands.scalers import add_measure_argument, candidate_of, measured
from mlinfra.manifest import Manifest, to_yaml

EXAMPLE = """example:
  python -m mlinfra tune hpa.yaml --traffic requests.csv --p99 2s --service-time 0.2 --settings 1000
  RAY_ADDRESS=auto python -m mlinfra tune hpa.yaml --traffic requests.csv --p99 2s --ray"""
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "": 1.0}
HEAD = ("DOLLARS", "P99", "REPLICAS", "TURNS", "TARGET", "UP WINDOW", "DOWN WINDOW", "UP", "DOWN", "MIN", "MAX")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", metavar="HPA.yaml")
    add("--p99", type=in_seconds, required=True, metavar="2s", help="99 of 100 requests are to take no longer")
    add("--settings", type=count(1, 1_000_000), default=200, help="how many are tried (200)")
    add("--seed", type=int, default=0, help="of the sample (0)")
    add("--jobs", type=count(1), default=-1, help="processes (one a core)")
    add("--ray", action="store_true", help="spread the work over a Ray cluster")
    add("--picture", metavar="OUT.svg", help="the Pareto front of cost and latency")
    add_traffic_arguments(parser)
    add_measure_argument(parser)
    add_service_arguments(parser)


def in_seconds(text: str) -> float:
    """The value of a flag: 2s, 300ms or 1.5m."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|)", text)
    if match is None or not float(match[1]):
        raise argparse.ArgumentTypeError(f"{text}: must be a time such as 2s or 300ms")
    return float(match[1]) * UNITS[match[2]]


def run(arguments: argparse.Namespace) -> Report:
    """The Pareto front, and the manifest of the cheapest setting that keeps the latency."""
    trial, read, assumed = trial_of(arguments)
    settings = tuning.around(trial.scaler).settings(arguments.settings, arguments.seed)
    outcomes = tune(trial, settings, arguments)
    if not outcomes:  # interrupted before anything was done
        raise KeyboardInterrupt
    answer = TuningAnswer(trial, arguments.p99, outcomes, len(settings))
    if arguments.picture:
        write(arguments.picture, picture(answer))
    text = paragraphs(as_text(answer, read), bullets("Assumed:", assumed))
    return Report(text, {**as_data(answer), "assumed": assumed}, FINE if answer.best else REFUSED)


def trial_of(arguments: argparse.Namespace) -> tuple[tuning.Trial, str, list[str]]:
    """What the settings are tried on, what was read for it, and what is assumed."""
    obj = read_one(arguments.file, "HorizontalPodAutoscaler")
    candidate_of(arguments.file, [obj], arguments.measure, 2 * arguments.concurrency)  # half as many again are tried
    known, measures, words = measured(hpa.HorizontalPodAutoscaler.of(obj), dict(arguments.measure))
    counts = read_traffic(arguments)
    trial = tuning.Trial(known, counts.counts, counts.bin_s, service_of(arguments), measures)
    return trial, traffic_words(counts, arguments), [*assumptions(arguments), *words]


def tune(
    trial: tuning.Trial, settings: Sequence[tuning.Setting], arguments: argparse.Namespace
) -> list[tuning.Outcome]:
    """The same call on this machine's cores, or on a Ray cluster."""
    progress = WorkProgress(len(settings), "settings")
    try:
        with backend(arguments.ray):
            return tuning.tune(trial, settings, arguments.jobs, progress)
    finally:
        progress.end()


def backend(on_ray: bool) -> AbstractContextManager[Any]:
    """Where joblib has its workers; RAY_ADDRESS says where the cluster is."""
    if not on_ray:
        return nullcontext()
    try:
        import joblib
        from ray.util.joblib import register_ray
    except ImportError:
        raise UsageError("--ray: needs Ray and joblib: pip install ray joblib") from None
    register_ray()  # type: ignore[no-untyped-call]
    chosen: AbstractContextManager[Any] = joblib.parallel_config(backend="ray")
    return chosen


# --------------------------------------------------------------------------------------------------------- the answer


class TuningAnswer:
    """The outcomes, those that no other beats, the best one, and the HPA as it is now."""

    def __init__(self, trial: tuning.Trial, limit_s: float, outcomes: Sequence[tuning.Outcome], settings: int) -> None:
        self.trial, self.limit_s, self.tried, self.settings = trial, limit_s, len(outcomes), settings
        self.front, self.best = tuning.pareto_front(outcomes), tuning.cheapest(outcomes, limit_s)
        self.now = trial.figures(trial.scaler)

    def manifest(self) -> Manifest | None:
        return tuning.applied(self.trial.scaler, self.best.setting).manifest() if self.best else None


def as_text(answer: TuningAnswer, counts_words: str) -> str:
    tried = f"{answer.tried:,} of {answer.settings:,} settings were tried."
    return paragraphs(
        counts_words,
        f"{tried} None of them is better in both cost and latency than one of these (targets as a share of yours):",
        table(HEAD, [(*figure_cells(answer.now), "as it is now"), *map(row, answer.front)]),
        verdict(answer),
    )


def row(outcome: tuning.Outcome) -> tuple[str, ...]:
    setting = outcome.setting
    return (
        *figure_cells(outcome.figures),
        f"{setting.target_percent} %",
        f"{setting.up_window_s} s",
        f"{setting.down_window_s} s",
        f"{setting.up_percent} %",
        f"{setting.down_percent} %",
        str(setting.min_replicas),
        str(setting.max_replicas),
    )


def figure_cells(figures: tuning.Figures) -> tuple[str, ...]:
    return f"{figures.dollars:.2f}", f"{figures.p99_s:.3g} s", f"{figures.mean_replicas:.2f}", str(figures.turns)


def verdict(answer: TuningAnswer) -> str:
    if answer.best is None:
        return f"None of them answers 99 of 100 requests within {answer.limit_s:g} s."
    dollars = answer.best.figures.dollars
    head = f"The cheapest that answers 99 of 100 requests within {answer.limit_s:g} s, for {dollars:.2f} dollars:"
    return f"{head}\n\n{to_yaml(answer.manifest() or {}).rstrip()}"


def as_data(answer: TuningAnswer) -> dict[str, Any]:
    return {
        "tried": answer.tried,
        "now": answer.now._asdict(),
        "front": [outcome_data(outcome) for outcome in answer.front],
        "chosen": answer.best and {**outcome_data(answer.best), "manifest": answer.manifest()},
    }


def outcome_data(outcome: tuning.Outcome) -> dict[str, Any]:
    return {**outcome.figures._asdict(), "setting": outcome.setting._asdict()}


def picture(answer: TuningAnswer) -> str:
    """The front as points of cost and latency, with the HPA as it is now."""
    from mlinfra.study import Row, steps

    front = [(each.figures.dollars, each.figures.p99_s) for each in answer.front if math.isfinite(each.figures.p99_s)]
    lines = {"front": front or [(0.0, 0.0)]}
    row = Row("p99, s", lines, marks={"wanted": answer.limit_s}, steps=False)
    figure = steps("Cost and latency", "Settings that none other beats in both.", row, x_label="dollars")
    return figure.svg
