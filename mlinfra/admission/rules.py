"""The language of the rules: a field with its path, checks that object to it, and tables of paths and checks."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

from mlinfra.quantity import quantity


class Problem(NamedTuple):
    """One objection: the path of the field, and what is wrong with it in the API server's words."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class ApiWarning(NamedTuple):
    """What is accepted with a word: a version that is deprecated, or something that was not checked here."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"Warning: {self.path}: {self.message}"


class Invalid(ValueError):
    """Raised for input that the real system would refuse; `problems` holds every objection."""

    def __init__(self, what: str, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__(f"{what} is invalid: {'; '.join(map(str, problems))}")


def refuse(what: str, verdict: Iterable[Problem | ApiWarning]) -> None:
    """Raise Invalid when there is any problem; warnings pass."""
    problems = [problem for problem in verdict if isinstance(problem, Problem)]
    if problems:
        raise Invalid(what, problems)


@dataclass(frozen=True)
class Field:
    """A value inside a manifest together with its path; the rules below read like the API server's."""

    value: Any
    path: str = ""

    def __getitem__(self, key: str) -> Field:
        child = self.value.get(key) if isinstance(self.value, Mapping) else None
        return Field(child, f"{self.path}.{key}" if self.path else key)

    def each(self) -> Iterator[Field]:
        """The items of a list, or of a map, each with its path."""
        if isinstance(self.value, Mapping):
            yield from (Field(v, f"{self.path}[{k}]") for k, v in self.value.items())
        elif isinstance(self.value, list | tuple):
            yield from (Field({} if v is None else v, f"{self.path}[{i}]") for i, v in enumerate(self.value))

    def required(self, why: str = "") -> Problem:
        return Problem(self.path, "Required value" + (f": {why}" if why else ""))

    def invalid(self, why: str) -> Problem:
        return Problem(self.path, f"Invalid value: {json.dumps(self.value, default=str)}: {why}")

    def forbidden(self, why: str) -> Problem:
        return Problem(self.path, f"Forbidden: {why}")

    def unsupported(self, supported: list[str]) -> Problem:
        names = ", ".join(f'"{name}"' for name in supported)
        return Problem(self.path, f'Unsupported value: "{self.value}": supported values: {names}')


Check = Callable[[Field], Iterator[Problem]]


class Needed(NamedTuple):
    """The field may not be missing or empty (`""`, `[]` or `{}`)."""

    why: str = ""


Rules = list[tuple[Any, ...]]
"""Rows of a path below an object, such as "containers[].ports[].name", and the checks that hold there."""


def broken(field: Field, rules: Rules) -> Iterator[Problem]:
    """The problems that the rules find, none for a sound field; one that is not given passes all but Needed."""
    for path, *checks in rules:
        for place in select(field, path):
            yield from _first_objection(place, checks)


def below(path: str, rules: Rules) -> Rules:
    """The same rules at another place."""
    return [(f"{path}.{row[0]}" if row[0] else path, *row[1:]) for row in rules]


def select(field: Field, path: str) -> Iterator[Field]:
    """The fields at a path; `[]` steps into each item, and `(a|b)` is both.

    A branch that is not given has no fields, but a last step that is not given is a field of None.
    """
    before, several, after = path.partition("(")
    if several:
        names, _, after = after.partition(")")
        for name in names.split("|"):
            yield from select(field, before + name + after)
        return
    head, _, rest = path.partition(".")
    children = field[head.removesuffix("[]")] if head else field
    for child in children.each() if head.endswith("[]") else [children]:
        if not rest:
            yield child
        elif child.value is not None:
            yield from select(child, rest)


def _first_objection(field: Field, checks: list[Check | Needed]) -> list[Problem]:
    """The problems of the first check that has any."""
    for check in checks:
        if isinstance(check, Needed):
            problems = [] if field.value not in (None, "", [], {}) else [field.required(check.why)]
        else:
            problems = [] if field.value is None else list(check(field))
        if problems:
            return problems
    return []


def holds(test: Callable[[Any], bool], why: str) -> Check:
    """The field passes a test; `why` are upstream's words for one that does not."""
    return lambda field: iter([] if test(field.value) else [field.invalid(why)])


def forbidden(why: str) -> Check:
    """The field may not be given at all."""
    return lambda field: iter([field.forbidden(why)])


def one_of(*names: str) -> Check:
    """The field is one of the names that the API knows, or empty and left to the default."""
    return lambda field: iter([] if field.value in ("", *names) else [field.unsupported(sorted(names))])


def whole(low: int, high: int = 2**31 - 1, why: str = "") -> Check:
    """The field is an integer from `low` to `high`; `why` are upstream's words for one that is too low."""

    def check(field: Field) -> Iterator[Problem]:
        if type(field.value) is not int:
            yield field.invalid("must be an integer")
        elif field.value < low:
            yield field.invalid(why or f"must be greater than or equal to {low}")
        elif field.value > high:
            yield field.invalid(f"must be less than or equal to {high}")

    return check


def between(low: int, high: int) -> Check:
    """The field is an integer of the range, said in one sentence."""

    def check(field: Field) -> Iterator[Problem]:
        if type(field.value) is not int or not low <= field.value <= high:
            yield field.invalid(f"must be between {low} and {high}, inclusive")

    return check


def real(low: float = -math.inf, high: float = math.inf, infinite: bool = False, why: str = "") -> Check:
    """The field is a number of that range, finite unless it may be infinite; `why` as in `whole`."""

    def check(field: Field) -> Iterator[Problem]:
        value = field.value
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            yield field.invalid("must be a number")
        elif isinstance(value, int) and abs(value) >= 2**63:
            yield Problem(field.path, "must be less than 2^63")
        elif value < low:
            yield field.invalid(why or f"must be greater than or equal to {low:g}")
        elif value > high:
            yield field.invalid(f"must be less than or equal to {high:g}")
        elif math.isinf(value) and not infinite:
            yield field.invalid("must be finite")

    return check


def quantity_check(positive: bool = False) -> Check:
    """The field is a quantity: not negative, or above zero."""

    def check(field: Field) -> Iterator[Problem]:
        try:
            size = quantity(field.value)
        except ValueError as error:
            yield field.invalid(str(error))
            return
        if positive and size <= 0:
            yield field.invalid("must be positive")
        elif size < 0:
            yield field.invalid("must be greater than or equal to 0")

    return check


@dataclass(frozen=True)
class TextCheck:
    """The check that a field is empty, or a string of that form; objections end in the expression, as upstream's do."""

    pattern: str
    longest: int
    why: str
    example: str

    def __call__(self, field: Field) -> Iterator[Problem]:
        if reason := self.objection(field.value):
            yield field.invalid(reason)

    def objection(self, value: Any) -> str:
        """What is wrong with the value; empty when nothing is."""
        if not isinstance(value, str):
            return "must be a string"
        if len(value) > self.longest:
            return f"must be no more than {self.longest} characters"
        if value and not re.fullmatch(self.pattern, value):
            return f"{self.why} (e.g. {self.example}, regex used for validation is '{self.pattern}')"
        return ""


_LABEL, _QUALIFIED = "[a-z0-9]([-a-z0-9]*[a-z0-9])?", "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_ENDS = "and must start and end with an alphanumeric character"
dns_label = TextCheck(
    _LABEL,
    63,
    f"a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', {_ENDS}",
    "'my-name'",
)
dns_subdomain = TextCheck(
    rf"{_LABEL}(\.{_LABEL})*",
    253,
    f"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', {_ENDS}",
    "'example.com'",
)
label_value = TextCheck(
    f"({_QUALIFIED})?",
    63,
    f"a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', {_ENDS}",
    "'MyValue'",
)
label_name = TextCheck(
    _QUALIFIED, 63, f"name part must consist of alphanumeric characters, '-', '_' or '.', {_ENDS}", "'MyName'"
)


def label_key(field: Field) -> Iterator[Problem]:
    """A name, or a DNS subdomain, a slash and a name."""
    prefix, slash, name = str(field.value).rpartition("/")
    if not name:
        yield field.invalid("name part must be non-empty")
    if slash and not prefix:
        yield field.invalid("prefix part must be non-empty")
    for reason in filter(None, (label_name.objection(name), dns_subdomain.objection(prefix))):
        yield field.invalid(reason)


def a_map(field: Field) -> Iterator[Problem]:
    """The field is a map."""
    if not isinstance(field.value, Mapping):
        yield field.invalid("must be a map")


def a(kind: type) -> Check:
    """The field is one of our nouns; a manifest is read by the noun's `of`."""
    reader = f"; {kind.__name__}.of reads a manifest" if hasattr(kind, "of") else ""
    words = f"must be a {kind.__name__}{reader}"
    return lambda field: iter([] if isinstance(field.value, kind) else [field.invalid(words)])


def expect(kind: type, name: str, value: Any) -> None:
    """Raise Invalid, which names the class, when an argument is no object of it: `submit("job")`."""
    refuse(name, a(kind)(Field(value, name)))


def labels(field: Field) -> Iterator[Problem]:
    """Keys and values that selectors can match; upstream names the map, not the entry."""
    for key in field.value:
        yield from label_key(Field(key, field.path))
    for entry in field.each():
        yield from (Problem(field.path, problem.message) for problem in label_value(entry))


def annotation_keys(field: Field) -> Iterator[Problem]:
    """As those of labels, whatever their case."""
    for key in field.value:
        yield from label_key(Field(str(key).lower(), field.path))


def circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """The names on a circle, each followed by one that it needs, the last equal to the first; empty without one."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


METADATA: Rules = [("namespace", dns_label), ("labels", labels), ("annotations", annotation_keys)]


def metadata_problems(metadata: Field, name: Check) -> Iterator[Problem]:
    """Every object has a name that DNS accepts, and labels that selectors can match."""
    if not metadata["name"].value and not metadata["generateName"].value:
        yield metadata["name"].required("name or generateName is required")
    elif metadata["name"].value:
        yield from name(metadata["name"])
    yield from broken(metadata, METADATA)


def decoded(value: Any) -> Any:
    """As Go decodes: a null field is one that was not given."""
    if isinstance(value, Mapping):
        return {str(name): decoded(child) for name, child in value.items() if child is not None}
    return [{} if child is None else decoded(child) for child in value] if isinstance(value, list | tuple) else value


def unknown_field(path: str) -> Problem:
    """The objection to a field that the kind does not have."""
    return Problem(path, f'strict decoding error: unknown field "{path}"')
