"""The computations of notebook 03's cards: Kubeflow Pipelines."""

from __future__ import annotations

import math

from mlinfra.interview.computations.computed import Numbers
from mlinfra.pipelines import KubeflowPipeline, argo
from mlinfra.pipelines.timing import Preemptible, Step, downstream, schedule, young_interval_s


def compiled_pipeline() -> Numbers:
    """Pods of a run of four tasks in a chain, the drivers included."""
    from kfp import dsl

    @dsl.container_component
    def step():  # type: ignore[no-untyped-def]
        return dsl.ContainerSpec(image="registry.example.com/step:1.0.0", command=["run"])

    @dsl.pipeline
    def chain():  # type: ignore[no-untyped-def]
        first, second, third, fourth = step(), step(), step(), step()
        fourth.after(third.after(second.after(first)))

    chain_pods = argo.pods(argo.workflow(KubeflowPipeline.compiled(chain).ir))
    chain_drivers = sum("driver" in name for name in chain_pods)
    return Numbers(len(chain_pods), {"chain_pods": chain_pods, "chain_drivers": chain_drivers})


def parameter_or_artifact() -> Numbers:
    """Seconds for a dataframe of 2 GB through object storage at 200 MB/s, up and down again."""
    dataframe_mb, storage_mb_per_s, parameter_bytes = 2000, 200, 262144
    one_way_s = dataframe_mb / storage_mb_per_s
    times_too_large = round(dataframe_mb * 1e6 / parameter_bytes)
    return Numbers(2 * one_way_s, {"one_way_s": one_way_s, "times_too_large": times_too_large})


def stale_retrain() -> Numbers:
    """Minutes of steps that run again after the last two of five were edited."""
    minutes = {"extract": 10, "clean": 20, "train": 60, "evaluate": 10, "publish": 5}
    names = list(minutes)
    steps = [Step(name, 60 * minutes[name], tuple(names[max(0, i - 1) : i])) for i, name in enumerate(names)]
    after_edit = sum(minutes[name] for name in downstream(steps, ["evaluate", "publish"]))
    return Numbers(after_edit, {"after_edit": after_edit, "all_of_it": sum(minutes.values())})


def gpu_slots() -> Numbers:
    """Minutes of a pipeline with three trainings of an hour, on two GPUs."""

    def minutes(gpus: int, first_training: int = 60) -> float:
        lengths = {"train-0": first_training, "train-1": 60, "train-2": 60}
        trainings = [Step(name, 60 * length, ("prep",), 1) for name, length in lengths.items()]
        after = [Step("eval", 10 * 60, tuple(lengths)), Step("deploy", 5 * 60, ("eval",))]
        return schedule([Step("prep", 20 * 60), *trainings, *after], gpus).makespan_s / 60

    by_gpus = {gpus: minutes(gpus) for gpus in (1, 2, 3)}
    named = {"by_gpus": by_gpus, "bound": 20 + 3 * 60 / 2 + 15, "longer": minutes(2, first_training=90)}
    return Numbers(by_gpus[2], named)


def spot_or_not() -> Numbers:
    """Expected hours of a training of 4 h on spot nodes that writes a checkpoint every half hour."""
    work_s, every_s, checkpoint_s = 4 * 3600, 30 * 60, 60
    from_nothing = Preemptible(work_s, 0.1)
    with_checkpoints_h = Preemptible(work_s, 0.1, every_s, checkpoint_s).expected_s() / 3600
    named = {
        "from_nothing_h": from_nothing.expected_s() / 3600,
        "with_checkpoints_h": with_checkpoints_h,
        "often_h": Preemptible(work_s, 0.5).expected_s() / 3600,
        "often_saved_h": Preemptible(work_s, 0.5, every_s, checkpoint_s).expected_s() / 3600,
        "slow_checkpoint_h": Preemptible(work_s, 0.1, every_s, 600).expected_s() / 3600,
        "young_min": young_interval_s(checkpoint_s, 0.1) / 60,
        "hit_share": 1 - from_nothing.attempts() ** -1,
    }
    return Numbers(round(with_checkpoints_h, 2), named)


def pipeline_release() -> Numbers:
    """Examples that the evaluation needs to know an accuracy of 91.7 % to one point, at 95 %."""
    accuracy, z = 0.917, 1.96

    def margin_points(examples: int) -> float:
        return 100 * z * math.sqrt(accuracy * (1 - accuracy) / examples)

    examples = math.ceil(z**2 * accuracy * (1 - accuracy) / 0.01**2)
    named = {"examples": examples, "with_300": margin_points(300), "in_a_slice": margin_points(25)}
    return Numbers(examples, named)
