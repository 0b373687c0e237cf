"""Plans of steps with durations, for the questions about GPUs: a fan-out of trainings, and Graham's nine steps."""

from __future__ import annotations

from collections.abc import Sequence

from mlinfra.pipelines.timing import Step, schedule

MIN = 60


def fan_out(trainings: int, first_min: float = 60) -> list[Step]:
    """Prepare for 20 minutes, train some models on a GPU each (60 minutes, or the first longer), evaluate, deploy."""
    lengths = {f"train {i}": first_min if i == 1 else 60 for i in range(1, trainings + 1)}
    return [
        Step("prepare", 20 * MIN),
        *(Step(name, length * MIN, ("prepare",), gpus=1) for name, length in lengths.items()),
        Step("evaluate", 10 * MIN, tuple(lengths)),
        Step("deploy", 5 * MIN, ("evaluate",)),
    ]


def nine_steps(shorter_min: float = 0) -> list[Step]:
    """Graham's example of 1969: nine steps with a GPU each, or each of them some minutes shorter."""
    lengths = {"a": 3, "b": 2, "c": 2, "d": 2, "e": 4, "f": 4, "g": 4, "h": 4, "i": 9}
    after = {**dict.fromkeys("efgh", ("d",)), "i": ("a",)}
    return [Step(name, (length - shorter_min) * MIN, after.get(name, ()), gpus=1) for name, length in lengths.items()]


def minutes(plan: Sequence[Step], gpus: int) -> float:
    """How long a plan takes on so many GPUs."""
    return schedule(plan, gpus).makespan_s / MIN
