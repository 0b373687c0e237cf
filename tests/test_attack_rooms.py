"""Pipelines and Helm under attack: one clear refusal or a sound answer, and nothing in between."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlinfra.admission import validate
from mlinfra.admission.argo import pitfalls
from mlinfra.admission.rules import Invalid
from mlinfra.course import steps
from mlinfra.helm import Chart, chart
from mlinfra.helm.upgrade import HELM, Managed, three_way_merge
from mlinfra.pipelines import Component, Pipeline, Task, argo
from mlinfra.pipelines.execution import Step, schedule, shortest

ODD: list[Any] = [None, True, 0, -1, 10**400, 0.5, math.nan, math.inf, "", "5", "é", "\ud800", [], [None], {}, {"a": 1}]
QUICK = settings(max_examples=80, derandomize=True)
CHART = Chart.inference()
ECHO = Component("a:1", command=("echo", "{{$.inputs.parameters['a']}}"), inputs={"a": int})
MAIN = {"name": "main", "dag": {"tasks": [{"name": "a", "template": "s"}]}}
HAND = {"apiVersion": argo.API_VERSION, "kind": "Workflow", "metadata": {"generateName": "x-"}}
LEAF = {"name": "s", "container": {"image": "a:1", "resources": {"limits": {"nvidia.com/gpu": "1"}}}}
SPEC = {"entrypoint": "main", "templates": [MAIN, LEAF]}
WORKFLOW = argo.workflow(steps.pipeline().ir()) | {"spec": SPEC}


def sound(call: Callable[[], object]) -> None:
    """The call works, or is refused as bad input is."""
    with suppress(Invalid):
        call()


def damaged(value: Any) -> Iterator[Any]:
    """The document with each odd thing in each place."""
    yield from ODD
    for key, child in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        for broken in damaged(child):
            yield {**value, key: broken} if isinstance(value, dict) else [*value[:key], broken, *value[key + 1 :]]


@QUICK
@given(st.sampled_from([*damaged(WORKFLOW)]))
@example(WORKFLOW | {"spec": SPEC | {"entrypoint": "s"}})
def test_what_argo_accepts_has_pods(document: Any) -> None:
    sound(lambda: pitfalls(document))
    if not validate(document):
        sound(lambda: argo.pods(document))


CALLS: dict[str, Callable[[Any], object]] = {
    "step": lambda x: (schedule([Step("a", 1, (), x)], 2), schedule([Step("a", x)]).makespan),
    "gpus": lambda x: (shortest([Step("a", 1, (), 1)], x), schedule([Step("a", 1)], 1, x)),
    "values": CHART.render,
}


@pytest.mark.parametrize("name", CALLS)
def test_an_odd_value_is_refused_in_one_way(name: str) -> None:
    for thing in ODD:
        sound(lambda x=thing: CALLS[name](x))  # type: ignore[misc]


@QUICK
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 63)), max_size=6), st.integers(2, 4))
def test_schedules_keep_to_dependencies_gpus_and_bounds(sizes: list[Any], gpus: int) -> None:
    after = [tuple(f"s{j}" for j in range(i) if bits >> j & 1) for i, (_, _, bits) in enumerate(sizes)]
    plan = [Step(f"s{i}", minutes, after[i], held) for i, (minutes, held, _) in enumerate(sizes)]
    spans = schedule(plan, gpus).spans
    for step in plan:
        start = spans[step.name][0]
        assert all(spans[name][1] <= start for name in step.after)
        assert sum(s.gpus for s in plan if spans[s.name][0] <= start < spans[s.name][1]) <= gpus
    assert shortest(plan, gpus) <= schedule(plan, gpus).makespan <= sum(step.minutes for step in plan)


BAD = {"kserve.enabled": True, "serviceAccount.annotations": {"a b": "c"}}


@pytest.mark.parametrize("release", ["a", "1", "null", "x" * 53])
@pytest.mark.parametrize("path", BAD)
def test_what_the_schema_accepts_the_server_accepts(path: str, release: str) -> None:
    with suppress(Invalid):
        objects = CHART.objects(chart.with_values(path, BAD[path]), release)
        assert chart.validate(objects) == []
        assert {obj["metadata"]["labels"]["app.kubernetes.io/instance"] for obj in objects} == {release}


leaf = st.integers(0, 2)
item = st.fixed_dictionaries({"name": st.sampled_from("abc")}, optional={"value": leaf})
items = st.lists(item, max_size=3, unique_by=lambda each: str(each["name"]))
inner = st.dictionaries(st.sampled_from("cd"), leaf)
documents = st.fixed_dictionaries({}, optional={"a": leaf, "b": inner, "env": items | leaf})


@QUICK
@given(documents, documents, documents)
@example({"env": 1}, {"env": [{"name": "a"}]}, {"env": [{"name": "a"}]})
def test_merges_are_idempotent_and_change_nothing_given(old: Any, new: Any, live: Any) -> None:
    before = deepcopy((old, new, live))
    merged = three_way_merge(old, new, live)
    assert three_way_merge(old, new, merged) == three_way_merge(new, new, merged) == merged
    once = Managed({}).apply(HELM, old).apply(HELM, new)
    assert once.apply(HELM, new) == once
    assert (old, new, live) == before


def test_what_cannot_start_is_refused() -> None:
    with pytest.raises(Invalid, match="must begin with a letter"):
        Pipeline("p", [Task("1a", ECHO, {"a": 1})])
    with pytest.raises(Invalid, match="inf"):
        Pipeline("p", [Task("a", ECHO, {"a": 1})], {"x": math.inf})
