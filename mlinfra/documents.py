"""Text of YAML or JSON as documents, read as kubectl reads it; what would exhaust the machine is refused.

sigs.k8s.io/yaml has no dates and no numbers to base 60: both stay text. A key that stands twice is an error.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, ClassVar

LARGEST_BYTES = 80_000_000
MOST_VALUES = 10_000_000
DEEPEST = 100
TOO_DEEP = f"is nested more than {DEEPEST} deep"
BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_text(source: str | Path | IO[str] | IO[bytes], name: str = "") -> str:
    """The text of a file or a stream, in UTF-8 or with a byte order mark; ValueError names what else it is."""
    name = name or name_of(source)
    if isinstance(source, str | Path):
        with Path(source).open("rb") as file:
            content: str | bytes = file.read(LARGEST_BYTES + 1)
    else:
        content = source.read(LARGEST_BYTES + 1)
    if len(content) > LARGEST_BYTES:
        raise ValueError(f"{name}: is too large: at most {LARGEST_BYTES / 1e6:g} MB are read")
    return content if isinstance(content, str) else _decoded(content, name)


def name_of(source: str | Path | IO[str] | IO[bytes]) -> str:
    """How messages call a source: its path, or `<stdin>`."""
    return str(source) if isinstance(source, str | Path) else str(getattr(source, "name", "<stream>"))


def _decoded(content: bytes, name: str) -> str:
    encoding = next((code for mark, code in BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: byte {error.start} is not {encoding.upper()}: save it as UTF-8") from None
    if "\0" in text:
        raise ValueError(f"{name}: is a binary file, not text")
    return text


def parse(text: str, name: str = "text") -> list[Any]:
    """The documents of a text: one of JSON, or those of YAML that are not empty; ValueError names the line."""
    if text.lstrip().startswith(("{", "[")):
        try:
            return [_json(text)]
        except json.JSONDecodeError as error:
            json_error = f"{name}: line {error.lineno}: {error.msg}"
        except RecursionError:
            raise ValueError(f"{name}: {TOO_DEEP}") from None
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        if text.lstrip().startswith('{"'):  # no flow mapping of YAML is written so
            raise ValueError(json_error)
    return [document for document in _yaml(text, name) if document is not None]


def _json(text: str) -> Any:
    document = json.loads(
        text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_without_duplicates
    )
    if _depth(document) > DEEPEST:
        raise RecursionError
    return document


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number that JSON has")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is too large for a number")
    return number


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object; a key that stands twice would lose one of its values."""
    obj = dict(pairs)
    if len(obj) < len(pairs):
        times = Counter(key for key, _ in pairs)
        raise ValueError(f'key "{max(times, key=times.__getitem__)}" is given twice')
    return obj


def _depth(value: Any) -> int:
    """How deep lists and objects stand in each other; level by level, so that no depth exhausts the stack."""
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [child for parent in level for child in _children(parent)]
    return depth - 1


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _yaml(text: str, name: str) -> list[Any]:
    import yaml

    try:
        _check_size(yaml.parse(text, _loader()))
        return list(yaml.load_all(text, _loader()))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        raise ValueError(f"{name}: {where}{what}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: {error}") from None


def _check_size(events: Iterator[Any]) -> None:
    """ValueError when the text is nested too deep, or when its aliases unfold to too many values."""
    import yaml

    sizes: dict[str, int] = {}  # what each anchor unfolds to
    open_nodes: list[tuple[str | None, int]] = [(None, 0)]
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, 1))
            if len(open_nodes) > DEEPEST + 1:
                raise ValueError(TOO_DEEP)
            continue
        size, anchor = 0, None
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_nodes.pop()
        elif isinstance(event, yaml.ScalarEvent):
            anchor, size = event.anchor, 1
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in {outer for outer, _ in open_nodes}:
                raise ValueError(f"*{event.anchor} contains itself")
            size = sizes.get(str(event.anchor), 1)
        if anchor:
            sizes[anchor] = size
        outer, so_far = open_nodes[-1]
        if so_far + size > MOST_VALUES:
            raise ValueError(f"its aliases unfold to more than {MOST_VALUES:,} values")
        open_nodes[-1] = (outer, so_far + size)


@lru_cache(maxsize=1)
def _loader() -> Any:
    """PyYAML's safe loader with the scalars of Go's YAML and without duplicate keys."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        yaml_implicit_resolvers: ClassVar[dict[str, list[Any]]] = {}
        bool_values = yaml.SafeLoader.bool_values | {"y": True, "n": False}

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            taken = set()
            for key, _ in node.value:
                if str(key.value) in taken and key.tag != "tag:yaml.org,2002:merge":
                    raise ValueError(f'line {key.start_mark.line + 1}: key "{key.value}" is given twice')
                taken.add(str(key.value))
            return {_key(key): value for key, value in super().construct_mapping(node, deep).items()}

        def construct_number(self, node: Any) -> float:
            number = float(self.construct_yaml_float(node))
            if not math.isfinite(number):
                raise ValueError(f"line {node.start_mark.line + 1}: {node.value} is not a number that JSON has")
            return number

    Loader.add_constructor("tag:yaml.org,2002:float", Loader.construct_number)
    for tag, pattern, first in SCALARS:
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))
    return Loader


def _key(key: Any) -> Any:
    """A key of JSON is text: `1` and `true` are written so."""
    return json.dumps(key) if isinstance(key, bool | int | float) else key


SCALARS = (
    ("bool", r"^(?:y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$", "yYnNtTfFoO"),
    ("int", r"^[-+]?(?:0b[01_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+0123456789."),
    ("float", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", "-+."),
    ("null", r"^(?:~|null|Null|NULL|)$", ("~", "n", "N", "")),
    ("merge", r"^<<$", "<"),
)
"""What a plain scalar is by its text, as gopkg.in/yaml.v2 `resolve.go` has it."""
