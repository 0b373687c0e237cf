"""The exercises of notebook 03: a component, a pipeline, the gate, pods and the cache."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp import dsl
from kfp.dsl import Dataset, Input, Output

from mlinfra.course.pipeline import on_a_gpu, prepare, small, train, training_pipeline
from mlinfra.course.plans import fan_out, minutes
from mlinfra.course.steps import IMAGE
from mlinfra.pipelines import KubeflowPipeline, argo, cache
from mlinfra.study import Exercise

COURSE = KubeflowPipeline.compiled(training_pipeline)

# ------------------------------------------------------------------------------------------------ write a component


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def count_word_right(messages: Input[Dataset], word: str, found: Output[Dataset]) -> int:
    from pathlib import Path

    lines = [line for line in Path(messages.path).read_text().splitlines() if word in line.split()]
    Path(found.path).write_text("\n".join(lines))
    return len(lines)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def count_word_in_path(messages: str, word: str, found: Output[Dataset]) -> int:
    return 0


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def count_word_without_file(messages: Input[Dataset], word: str) -> int:
    return 0


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def count_word_without_number(messages: Input[Dataset], word: str, found: Output[Dataset]) -> None:
    return None


def plain_function(messages: Input[Dataset], word: str, found: Output[Dataset]) -> int:
    return 0


def interface(component: Any) -> Any:
    """The types of a component's inputs and outputs; of one with the right types, also what it does with a file."""
    if not hasattr(component, "component_spec"):
        return "a plain function"
    spec = component.component_spec
    types = [{name: str(each.type) for name, each in (side or {}).items()} for side in (spec.inputs, spec.outputs)]
    right = [
        {"messages": "system.Dataset@0.0.1", "word": "String"},
        {"found": "system.Dataset@0.0.1", "Output": "Integer"},
    ]
    return (*types, _tried(component.python_func)) if types == right else tuple(types)


def _tried(function: Any) -> tuple[Any, list[str]]:
    """What the function returns for three messages, and the lines that it writes."""
    with tempfile.TemporaryDirectory() as folder:
        messages, found = (Dataset(name=name, uri=f"{folder}/{name}") for name in ("messages", "found"))
        Path(messages.path).write_text("the app is slow\nsupport was very slow today\nthe slowest upload\n")
        return function(messages=messages, word="slow", found=found), Path(found.path).read_text().split("\n")[:2]


count_word = Exercise(
    "count-word",
    right=count_word_right,
    mistakes=[
        (plain_function, "A plain function is not a component: put `@dsl.component(...)` above it."),
        (
            count_word_in_path,
            "`messages: str` passes the text of a path. Two pods share no files: take an `Input[Dataset]`.",
        ),
        (count_word_without_file, "The messages that it finds are a file: declare `found: Output[Dataset]`."),
        (count_word_without_number, "The count is a parameter: return it, and annotate the function with `-> int`."),
    ],
    effect=interface,
    praise="Files go in and out as artifacts, small values as parameters.",
)

# ------------------------------------------------------------------------------------------------- write a pipeline


def seeds(parallelism: int | None = 2, longest: str = "86400s", cached: bool = False) -> Any:
    """Three trainings in a loop; each argument is one way to do it wrongly."""

    @dsl.pipeline(name="three-seeds")
    def three_seeds(count: int = 400) -> None:
        prepared = small(prepare(count=count, seed=0))
        with dsl.ParallelFor([1, 2, 3], parallelism=parallelism) as seed:
            trained = on_a_gpu(train(training=prepared.outputs["training"], seed=seed, epochs=60))
            trained.set_retry(2, backoff_max_duration=longest).set_caching_options(cached)

    return three_seeds


@dsl.pipeline(name="three-seeds")
def seeds_by_hand(count: int = 400) -> None:
    prepared = small(prepare(count=count, seed=0))
    for seed in (1, 2, 3):
        trained = on_a_gpu(train(training=prepared.outputs["training"], seed=seed, epochs=60))
        trained.set_retry(2, backoff_max_duration="86400s").set_caching_options(False)


def trainings(pipeline: Any) -> list[dict[str, Any]]:
    """What the compiled file says of each task that trains."""
    tasks = [task for task in KubeflowPipeline.compiled(pipeline).tasks if task.name.startswith("train")]
    retries = ("maxRetryCount", "backoffMaxDuration")
    return [
        {
            "loops": task.loops,
            "data": task.sources["training"],
            "gpus": task.gpus,
            "cache": task.enable_cache,
            **{name: task.retry.get(name) for name in retries},
        }
        for task in tasks
    ]


three_seeds = Exercise(
    "three-seeds",
    right=seeds(),
    mistakes=[
        (
            seeds_by_hand,
            "Python's own loop writes three tasks into the file. `dsl.ParallelFor` writes one, with items.",
        ),
        (seeds(parallelism=None), "All three start at once: `parallelism=2` keeps it to two."),
        (seeds(longest="3600s"), "The default of `backoff_max_duration` is an hour from the first attempt's start."),
        (seeds(cached=True), "The trainings may be found in the cache: `set_caching_options(False)`."),
    ],
    effect=trainings,
    praise="One task in the file, three items, two at a time.",
)

# ---------------------------------------------------------------------------------------------- pods, gate and cache

cached_pods = Exercise(
    "cached-pods",
    right=sum(name.endswith("-driver") for name in argo.pods(argo.workflow(COURSE.ir, COURSE.platform))) + 1,
    mistakes=[
        (13, "A task that is found in the cache has no executor."),
        (1, "The drivers run all the same: the driver is what asks the cache."),
        (2, "Each task has its own driver, and each graph has one too."),
        (6, "Five drivers of tasks and one executor. The three graphs have drivers as well."),
        (8, "All drivers, yes. But `report` is not cached."),
        (5, "The tasks have five drivers. The graphs have drivers as well, and `report` is not cached."),
        (4, "Those are the tasks that are found. Each of them has its driver all the same."),
    ],
    praise="A cached run is fast and not free: every driver is a pod that must be scheduled.",
)

Accuracies = Mapping[str, float]


def passes(ours: Accuracies, champion: Accuracies) -> bool:
    return all(round(ours[name] - champion[name], 6) >= -0.01 for name in champion)


gate = Exercise(
    "gate",
    right=passes,
    cases=[
        ({"all": 0.95, "plain": 0.90}, {"all": 0.92, "plain": 1.0}),
        ({"all": 0.883, "plain": 0.98, "turned": 0.0}, {"all": 0.883, "plain": 0.98, "turned": 0.0}),
        ({"all": 272 / 300, "plain": 0.99}, {"all": 275 / 300, "plain": 1.0}),
        ({"all": 0.89, "plain": 1.0}, {"all": 0.91, "plain": 1.0}),
        ({"all": 0.95, "turned": 0.4, "plain": 0.985}, {"all": 0.9, "turned": 0.0, "plain": 1.0}),
        ({"all": 0.95, "plain": 1.0, "turned": 0.2}, {"all": 0.9, "plain": 1.0, "turned": 0.4}),
        ({"all": 0.9, "plain": 0.988}, {"all": 0.9, "plain": 1.0}),
        ({"all": 0.8905}, {"all": 0.9}),
    ],
    mistakes=[
        (
            lambda ours, champion: round(ours["all"] - champion["all"], 6) >= -0.01,
            "Only the whole: a slice that breaks is hidden in it.",
        ),
        (
            lambda ours, champion: sum(ours[n] - champion[n] for n in champion) / len(champion) >= -0.01 - 1e-9,
            "A mean lets a gain on one slice pay for a loss on another.",
        ),
        (
            lambda ours, champion: all(ours[n] > champion[n] for n in champion),
            "An equal model would never pass. It may lose up to a point.",
        ),
        (
            lambda ours, champion: all(ours[n] >= 0.99 * champion[n] for n in champion),
            "One per cent of the champion is not one point.",
        ),
        (
            lambda ours, champion: all(ours[n] - champion[n] >= -0.01 for n in champion),
            "Nearly. 272/300 - 275/300 is -0.010000000000000009 in binary: round first, as `smallest_gain` does.",
        ),
    ],
    praise="Every slice for itself, and no model is refused for a rounding error.",
)


def again(arguments: Mapping[str, Any]) -> set[str]:
    """The tasks that run when the arguments have changed since the first run."""
    known = cache.Cache()
    known.run(COURSE)
    return {name for name, state in known.run(COURSE, arguments).items() if state == "ran"} - {"report"}


rerun = Exercise(
    "rerun",
    right=again({"seed": 1}),
    mistakes=[
        (again({"epochs": 80}), "`train` takes the seed, yes. So does another task, before it."),
        ({"train"}, "The tasks behind `train` get an artifact with a new id."),
        ({"prepare", "train"}, "Those two take the seed. What about the tasks that take their outputs?"),
        (set(), "The value of a parameter is in the key."),
    ],
    effect=set,
    praise="The seed is an input of `prepare` and of `train`, and the other two take their outputs.",
)

longer = Exercise(
    "longer",
    right=round(minutes(fan_out(3, first_min=90), 2)),
    mistakes=[
        (185, "The longer training is not on the path that decides: the other GPU has two of 60."),
        (125, "That is with three GPUs, where the longest training decides."),
        (140, "The trainings divided by two GPUs. But a training cannot be cut in two."),
    ],
    praise="The longer training runs beside the two others and costs nothing.",
)
