"""Text of YAML and JSON as kubectl reads it; objects, lists and what the cluster added to them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlinfra import manifest
from mlinfra.documents import parse, read_text

SCALARS = {
    "yes": True,
    "n": False,
    "Off": False,
    "~": None,
    "1": 1,
    "0o17": "0o17",
    "017": 15,
    "0x1F": 31,
    "1_000": 1000,
    "1:30": "1:30",
    "2026-03-01": "2026-03-01",
    "1.5": 1.5,
    "1e3": 1000.0,
    ".5": 0.5,
    "1.0.0": "1.0.0",
    "500m": "500m",
    "=": "=",
}


@pytest.mark.parametrize("text", SCALARS)
def test_a_plain_scalar_is_what_go_takes_it_for(text: str) -> None:
    ((value,),) = parse(f"- {text}")
    assert value == SCALARS[text]
    assert type(value) is type(SCALARS[text])


def test_keys_are_text_as_in_json() -> None:
    assert parse("2: a\ny: b\n1.5: c\n") == [{"2": "a", "true": "b", "1.5": "c"}]


def test_documents_that_are_empty_are_left_out() -> None:
    assert parse("---\na: 1\n---\n---\n# nothing\n---\nb: 2\n...\n") == [{"a": 1}, {"b": 2}]


def test_anchors_and_merges_are_read() -> None:
    assert parse("a: &a {b: 1, c: 2}\nd: {<<: *a, c: 3}\n") == [{"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}]


def test_a_flow_mapping_of_yaml_is_no_torn_json() -> None:
    assert parse("{a: 1}") == [{"a": 1}]
    assert parse("[a, b]") == [["a", "b"]]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
        max_leaves=10,
    ).filter(lambda value: isinstance(value, dict | list))
)
def test_json_is_read_as_json(value: Any) -> None:
    assert parse(json.dumps(value)) == [value]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_names_the_encoding(encoding: str) -> None:
    assert read_text(io.BytesIO("für: 1".encode(encoding))) == "für: 1"


# -------------------------------------------------------------------------------------------------------------- objects

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "b"}}


@pytest.mark.parametrize(
    "document",
    [
        {"apiVersion": "v1", "kind": "List", "items": [POD, NODE]},
        [POD, [NODE]],
        {"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "PodList", "items": [POD]}, NODE]},
    ],
)
def test_lists_are_taken_apart(document: Any) -> None:
    assert manifest.loads(json.dumps(document)) == [POD, NODE]


def test_the_items_of_a_typed_list_may_come_without_kind() -> None:
    items = [{"metadata": {"name": "a"}}]
    assert manifest.loads(json.dumps({"apiVersion": "v1", "kind": "PodList", "items": items})) == [POD]
    assert manifest.loads(json.dumps({"apiVersion": "v1", "kind": "PodList", "items": []} | {"items": items})) == [POD]


def test_a_file_a_stream_and_a_text_are_read_alike(tmp_path: Path) -> None:
    text = "\n---\n".join(map(manifest.to_yaml, (POD, NODE)))
    (tmp_path / "objects.yaml").write_text(text)
    assert manifest.load(tmp_path / "objects.yaml") == manifest.load(io.StringIO(text)) == manifest.loads(text)


@pytest.mark.parametrize("text", ["", "# nothing", "---\n---\n", '{"kind": "List", "items": []}'])
def test_nothing_is_said_to_be_nothing(text: str) -> None:
    with pytest.raises(ValueError, match=r"^text: holds no object$"):
        manifest.loads(text)


def test_what_the_cluster_added_is_dropped_and_nothing_else() -> None:
    added = {"uid": "u", "resourceVersion": "1", "generation": 2, "creationTimestamp": None, "managedFields": []}
    notes = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "deployment.kubernetes.io/revision": "3"}
    own = {"name": "a", "labels": {"app": "a"}, "finalizers": ["x"]}
    obj = {"kind": "Job", "metadata": {**own, **added, "annotations": {**notes, "mine": "1"}}, "status": {"active": 1}}
    assert manifest.as_given(obj) == {"kind": "Job", "metadata": {**own, "annotations": {"mine": "1"}}}
    obj["metadata"] = {**own, "annotations": notes}
    assert manifest.as_given(obj) == {"kind": "Job", "metadata": own}


@pytest.mark.parametrize("kind", ["Node", "Pod", "PodDisruptionBudget"])
def test_the_status_stays_where_it_is_read(kind: str) -> None:
    obj = {"kind": kind, "metadata": {}, "status": {"phase": "Running"}, "spec": {"nodeName": "n"}}
    assert manifest.as_given(obj) == obj


@pytest.mark.parametrize("metadata", [None, [], "x", {"annotations": None}, {"annotations": [1]}])
def test_what_is_no_metadata_stays_for_validate(metadata: Any) -> None:
    assert manifest.as_given({"kind": "Job", "metadata": metadata}) == {"kind": "Job", "metadata": metadata}
