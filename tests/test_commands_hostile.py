"""Whatever stands in a file: each command answers with 0, 1 or 2 and a sentence, and never with a traceback."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import GOOD, RAY_SERVICE, VALUES, damaged, paths
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlinfra.__main__ import main
from mlinfra.documents import LARGEST_BYTES

EXAMPLES = Path(__file__).parents[1] / "examples"
TRAFFIC = "0,3\n10,5\n20,1\n30,4\n40,4\n50,2\n"
COMMANDS = (
    ("validate", "FILE"),
    ("explain", "FILE", "--replicas", "3", "--metric", "requests_in_flight=9"),
    ("replay", "FILE", "--traffic", "TRAFFIC"),
    ("replay", str(EXAMPLES / "hpa.yaml"), "--against", "FILE", "--traffic", "TRAFFIC"),
    ("replay", str(EXAMPLES / "hpa.yaml"), "--traffic", "FILE"),
    ("place", "FILE"),
    ("place", "CLUSTER", "--profile", "FILE"),
    ("tune", "FILE", "--traffic", "TRAFFIC", "--p99", "1s", "--settings", "2", "--jobs", "1"),
)


CLUSTER = json.loads((EXAMPLES / "cluster.json").read_text("utf-8"))["items"]
FEW_ITEMS = [CLUSTER[0], CLUSTER[6], CLUSTER[9], *CLUSTER[27:29], *CLUSTER[-4:]]
"""A node, bound and pending pods, priority classes and a budget."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "traffic.csv").write_text(TRAFFIC)
    (folder / "cluster.json").write_text(json.dumps(FEW_ITEMS))
    return folder


def answers(folder: Path, content: bytes) -> list[int]:
    """The exit code of every command on a file of this content."""
    path = folder / "hostile"
    path.write_bytes(content)
    files = {"FILE": str(path), "TRAFFIC": str(folder / "traffic.csv"), "CLUSTER": str(folder / "cluster.json")}
    return [main([files.get(word, word) for word in command]) for command in COMMANDS]


HOSTILE = {
    "empty": (b"", "holds no object"),
    "torn JSON": (b'{"kind": "Pod", "meta', "line 1: "),
    "torn YAML": (b"kind: Pod\nmetadata: {name: a\n", "line 3: "),
    "binary": (bytes(range(256)), "byte 128 is not UTF-8"),
    "zeros": (b"kind: Pod\0", "is a binary file"),
    "Latin-1": ("kind: Pod # für".encode("latin-1"), "byte 13 is not UTF-8: save it as UTF-8"),
    "huge": (b" " * (LARGEST_BYTES + 1), "is too large: at most 80 MB are read"),
    "text": (b"hello", 'holds "hello" where an object must be'),
    "a number that is none": (b'{"kind": "Pod", "x": NaN}', "NaN is not a number that JSON has"),
    "a number too large": (b'{"kind": "Pod", "x": 1e999}', "1e999 is too large for a number"),
    "YAML's not-a-number": (b"kind: Pod\nx: .nan\n", "line 2: .nan is not a number that JSON has"),
    "a key twice": (b"kind: Pod\nspec: {a: 1, a: 2}\n", 'line 2: key "a" is given twice'),
    "a key twice in JSON": (b'{"kind": "Pod", "kind": "Node"}', 'key "kind" is given twice'),
    "a bomb": (
        b"a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 10)) for i in range(8)),
        "its aliases unfold to more than 10,000,000 values",
    ),
    "a snake": (b"a: &a [*a]\n", "*a contains itself"),
    "deep": (b"[" * 100_000, "is nested more than 100 deep"),
    "deep YAML": (b"- " * 100_000, "is nested more than 100 deep"),
    "a list within a list": (b"[[{}, [1]]]", "holds 1 where an object must be"),
    "a tag": (b"!!python/object/apply:os.system [ls]", "could not determine a constructor"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_gets_one_sentence(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, sentence = HOSTILE[name]
    for command, code in zip(COMMANDS, answers(folder, content), strict=True):
        assert code == 2, command
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(COMMANDS), "one sentence each"
    assert all(line.startswith("mlinfra ") for line in lines)
    objects = [line for command, line in zip(COMMANDS, lines, strict=True) if "FILE" not in command[3:4]]
    assert all(sentence in line for line in objects), objects


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_may_have_a_byte_order_mark(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "hpa.yaml"
    path.write_bytes((EXAMPLES / "hpa.yaml").read_text("utf-8").encode(encoding))
    assert main(["validate", str(path)]) == 0


def test_what_is_no_file_gets_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, sentence in ((tmp_path, "Is a directory"), (tmp_path / "none", "No such file"), ("a\0b", "null byte")):
        assert main(["explain", str(path), "--replicas", "1"]) == 2
        assert sentence in capsys.readouterr().err


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=8,
)
KINDS = st.sampled_from(["Node", "Pod", "HorizontalPodAutoscaler", "List", "RayService", "VerticalPodAutoscaler"])
VERSIONS = st.sampled_from(["v1", "autoscaling/v2", "ray.io/v1", "autoscaling.k8s.io/v1", "keda.sh/v1alpha1"])
PARTS = st.sampled_from(["apiVersion", "kind", "metadata", "spec", "status", "items", "applications", "data"])
OBJECTS = st.builds(
    lambda head, parts: {**parts, **head},
    st.fixed_dictionaries({}, optional={"apiVersion": VERSIONS | JSON, "kind": KINDS | JSON}),
    st.dictionaries(PARTS, JSON, max_size=4),
)
CHANCE = st.randoms(use_true_random=False)
FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@FEW
@given(objects=st.lists(OBJECTS, min_size=1, max_size=3))
def test_random_objects_never_give_a_traceback(objects: list[Any], folder: Path) -> None:
    assert set(answers(folder, json.dumps(objects).encode())) <= {0, 1, 2}


def known() -> list[Any]:
    """One good object of every kind that a command reads."""
    files = ("hpa", "scaledobject", "vpa", "serve_config", "scheduler", "inferenceservice")
    objects = [yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text("utf-8")) for name in files]
    service = RAY_SERVICE.manifest()
    return [*objects, service, *(GOOD[kind] for kind in ("PodDisruptionBudget", "PriorityClass") if kind in GOOD)]


@FEW
@given(obj=st.sampled_from(known()), chance=CHANCE, value=st.sampled_from(VALUES) | JSON)
def test_a_damaged_object_never_gives_a_traceback(obj: Any, chance: random.Random, value: Any, folder: Path) -> None:
    broken = damaged(obj, chance.choice(list(paths(obj))), value)
    assert set(answers(folder, json.dumps(broken).encode())) <= {0, 1, 2}


@FEW
@given(i=st.integers(0, len(FEW_ITEMS) - 1), chance=CHANCE, value=st.sampled_from(VALUES) | JSON)
def test_a_damaged_cluster_never_gives_a_traceback(
    i: int, chance: random.Random, value: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    items = copy.deepcopy(FEW_ITEMS)
    items[i] = damaged(items[i], chance.choice(list(paths(items[i]))), value)
    path = tmp_path_factory.getbasetemp() / "cluster.json"
    path.write_text(json.dumps({"kind": "List", "items": items}))
    assert main(["place", str(path)]) in (0, 1, 2)
