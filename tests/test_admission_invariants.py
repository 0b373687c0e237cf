"""Hostile input: whatever a reader types gives an answer or one error that we raise ourselves, and changes nothing."""

from __future__ import annotations

import copy
import importlib
import math
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from builders import BERT_APPLICATION, GOOD, LLM_SERVICES, RAY_SERVICE, SERVICES, paths
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mlinfra import admission, interview, manifest, quantity, study
from mlinfra.admission import validate
from mlinfra.gpu import profile, quota
from mlinfra.kserve.picker import kserve_default

quick = settings(max_examples=40, derandomize=True, database=None, phases=[Phase.generate])
ODD: list[Any] = [None, True, 0, -1, 2**63, 10**400, 0.5, math.nan, math.inf, 5e-324, 1e308, [], [5], {}, {"a": None}]
ODD += ["", "5", "1" * 5000, "٣", "²", "\x00", "\ud800"]
odd = st.sampled_from([*ODD, ...])
leaves = st.sampled_from(ODD) | st.text(max_size=5) | st.integers() | st.floats()
values = st.recursive(leaves, lambda v: st.lists(v, max_size=2) | st.dictionaries(st.text(max_size=5), v, max_size=2))
Judge = Callable[[Any], list[admission.Problem | admission.ApiWarning]]
RAY, PACKING, FLAVOR = (
    RAY_SERVICE.manifest(),
    profile.packing().manifest(),
    quota.ResourceFlavor("a100", {"a": "b"}).manifest(),
)
TARGETS: list[tuple[Judge, manifest.Manifest]] = [*[(admission.validate, obj) for obj in GOOD.values()]]
TARGETS += [(validate, SERVICES[0].manifest()), (validate, FLAVOR), (validate, PACKING)]
TARGETS += [(validate, service.manifest()) for service in LLM_SERVICES]
TARGETS += [(validate, kserve_default(prefill=True).manifest())]
TARGETS += [(validate, RAY), (validate, BERT_APPLICATION.config())]


def outcome(call: Callable[[], Any]) -> Any:
    """What the call gives; None when it is refused by a `raise` of our own, and any other error passes through."""
    try:
        return call()
    except ValueError as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        assert ("/mlinfra/" in last.filename, str(last.line)[:6]) == (True, "raise "), f"{last}: {error!r:.200}"  # noqa: PT017
        return None


def put(obj: manifest.Manifest, path: tuple[Any, ...], value: Any) -> Any:
    root: Any = [copy.deepcopy(obj)]
    branch, steps = root, (0, *path)
    for step in steps[:-1]:
        branch = branch[step]
    branch[steps[-1]] = value
    return root[0]


@settings(quick, max_examples=200)
@given(st.sampled_from(TARGETS), values, st.data())
def test_any_value_anywhere_gives_problems_and_changes_nothing(target: Any, value: Any, data: st.DataObject) -> None:
    judge, obj = target
    wrong = put(obj, data.draw(st.sampled_from([*paths(obj), ("metadata",)])), value)
    before = repr(wrong)
    assert all(isinstance(text, str) for problem in judge(wrong) for text in problem)
    assert repr(wrong) == before


POD, DEPLOYED = GOOD["Pod"], "applications: [{import_path: 'a:b', deployments: [%s]}]"
LIMITED = DEPLOYED % "{name: d, max_ongoing_requests: '5', autoscaling_config: {target_ongoing_requests: 3}}"
ROWS: list[tuple[Judge, manifest.Manifest, tuple[Any, ...], Any]] = [
    *[(validate, RAY, ("spec", "serveConfigV2"), t) for t in ("a: 2024-13-45", "a: 0b_", DEPLOYED % 5, LIMITED, 5)],
    *[(validate, RAY, ("metadata", "labels"), value) for value in (5, True, "ab")],
    (admission.validate, POD, ("spec", "volumes", 0), {"name": "model", "emptyDir": {}, "flexVolume": {"driver": "a"}}),
    (validate, FLAVOR, ("spec", "nodeLabels"), 5),
    (validate, PACKING, ("profiles",), "gpu-packing"),
]  # fmt: skip


@pytest.mark.parametrize(("judge", "obj", "path", "value"), ROWS, ids=range(len(ROWS)))
def test_refused_with_a_problem(judge: Judge, obj: manifest.Manifest, path: tuple[Any, ...], value: Any) -> None:
    assert judge(put(obj, path, value))


@quick
@given(odd | st.from_regex(r"[+-]?[0-9.]{0,6}[eEinumkKMGTP]{0,2}[+-]?[0-9]{0,4}", fullmatch=True))
def test_a_quantity_is_a_number_or_refused(text: Any) -> None:
    if (size := outcome(lambda: quantity.quantity(text))) is not None:
        shown = quantity.canonical(text)
        assert quantity.canonical(shown) == shown
        assert 0 <= abs(quantity.quantity(shown)) - abs(size) < 1e-9, "rounded away from zero, as upstream"
    for block in ({"cpu": text}, {"nvidia.com/gpu": text}):
        outcome(lambda limits=block: manifest.Resources(limits=limits).manifest())  # type: ignore[misc]


@quick
@given(st.text(max_size=9) | st.sampled_from(["\x85\n", "\ufeffa\nb", " a\nb", "1:30", "0b_", "=", "<<", "2024-13-45"]))
def test_what_is_accepted_is_written_and_read_back(text: str) -> None:
    obj = put(GOOD["ConfigMap"] | {"data": {"k": text}}, ("metadata", "annotations"), {"note": text})
    assert admission.validate(obj) == []
    assert yaml.safe_load(manifest.to_yaml(obj)) == obj


sizes = st.floats() | st.sampled_from([0.0, -1.0, 10**400, 5e-324, 1e308, math.nan, math.inf])
names = st.text(st.characters(), max_size=3) | st.sampled_from(["\x00", "\ufffe", "\x1b", "<&>"])
pairs = st.lists(st.tuples(sizes, sizes), max_size=6)
DRAWN: dict[str, Callable[[list[tuple[float, float]], str], study.Figure]] = {
    "steps": lambda v, s: study.steps("t", s, study.Row(s, {str(i): v[i:] for i in range(len(v))}, {s: 1})),
    "bars": lambda v, s: study.bars("t", "d", {s: {str(i): x for i, (x, _) in enumerate(v)}}, s),
    "timeline": lambda v, s: study.timeline(f"t{s}", "d", {s: [study.Span(*p, s) for p in v]}),
    "grid": lambda v, s: study.grid("t", "d", study.Boxes(s, [study.Cell(s, 1)] * 10 * len(v), s)),
}  # fmt: skip


@settings(quick, max_examples=300)
@given(st.sampled_from(sorted(DRAWN)), pairs, names)
def test_a_figure_is_well_formed_and_finite_or_refused(kind: str, numbers: list[Any], name: str) -> None:
    drawn = outcome(lambda: DRAWN[kind](numbers, name))
    for shape in ElementTree.fromstring(drawn.svg).iter() if drawn else ():
        x, y, *lengths = (float(shape.get(key, 0)) for key in ("x", "y", "width", "height"))
        assert math.isfinite(x + y)
        assert all(0 <= length < math.inf for length in lengths), lengths
        assert not any(word in shape.get("d", "") for word in ("nan", "inf"))


@quick
@given(odd | st.floats(), odd | st.floats(50, 100), odd | st.integers(0, 4))
def test_a_guess_is_scored_or_refused(guess: Any, confidence: Any, score: Any) -> None:
    card = interview.card("fits-and-users")
    outcome(lambda: card.answer(guess, confidence))
    outcome(lambda: study.reveal(guess, 5, "pods"))
    attempt = outcome(lambda: interview.Attempt(card, score, guess, confidence))
    assert attempt is None or 0 <= interview.result([attempt]).brier <= 1
    drawn = outcome(lambda: interview.mock(score))
    assert (drawn is not None) == (type(score) is int), "a seed is a whole number"


@pytest.mark.parametrize("text", ["", "a", "- a", "-", "- {id: a}", "- {id: [a", "[{points: 5, follow_ups: 5}]"])
def test_a_torn_bank_is_refused(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "questions.yaml").write_text(text, "utf-8")
    monkeypatch.setattr(importlib.import_module("mlinfra.interview.bank"), "files", lambda _: tmp_path)
    assert outcome(interview.bank.__wrapped__) is None


@quick
@given(*[odd | st.integers(0, 9)] * 4)
def test_a_slider_shows_what_was_asked_or_refuses(low: Any, high: Any, value: Any, moved: Any) -> None:
    if board := outcome(
        lambda: study.panel(lambda x: study.grid("t", f"{x!r}"), x=study.Slider("x", low, high, value))
    ):
        assert board.at().description == f"{value!r}"
        shown = outcome(lambda: board.at(x=moved))
        assert shown is None or float(shown.description) == moved
