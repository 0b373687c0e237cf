"""What the rules of several core kinds share: lists, ports, paths, selectors.

From pkg/apis/{core,apps,autoscaling,networking,policy,resource,scheduling}/validation of Kubernetes 1.37. The tables
hold what a manifest of this course can get wrong; defaults are those that the server fills in first.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

from mlinfra.admission.rules import (
    Check,
    Field,
    Needed,
    Problem,
    Rules,
    between,
    label_key,
    label_value,
    labels,
    one_of,
    whole,
)


def exactly_one(names: list[str], none: str, more: str) -> Check:
    """One of the branches is given: a handler, a volume's source."""

    def check(field: Field) -> Iterator[Problem]:
        branches = [field[name] for name in names if field[name].value is not None]
        if not branches:
            yield field.required(none)
        yield from (branch.forbidden(more) for branch in branches[1:])

    return check


def distinct(place: str, *keys: str) -> Check:
    """No two items of the list have the same values under the keys; the problem is at the place in the second."""

    def check(items: Field) -> Iterator[Problem]:
        taken: list[Any] = []
        for item in items.each():
            values = [item[key].value for key in keys]
            if None not in values and values in taken:
                yield Problem(item[place].path, f'Duplicate value: "{values[0]}"')
            taken.append(values)

    return check


def percent_or_count(field: Field) -> Iterator[Problem]:
    """A count, or a percentage."""
    if not isinstance(field.value, str):
        yield from whole(0)(field)
    elif not re.fullmatch("[0-9]+%", field.value):
        yield field.invalid("a valid percent string must be a numeric followed by an ending '%' (e.g. '1%')")


def no_pods(count_or_share: int | str) -> bool:
    """Whether a count or a percentage is zero, however it is written."""
    return count_or_share == 0 or str(count_or_share).lstrip("0") == "%"


def at_most_all(field: Field) -> Iterator[Problem]:
    """A percentage, if it is one, up to 100 %."""
    if isinstance(field.value, str) and len(field.value.lstrip("0")) > 3 and field.value.lstrip("0") != "100%":
        yield field.invalid("must not be greater than 100%")


def pinned_image(field: Field) -> Iterator[Problem]:
    """An image names a version or a digest; what stands behind `latest`, or behind no tag, changes unseen."""
    image = str(field.value)
    if "@" not in image and image.rpartition("/")[2].partition(":")[2] in ("", "latest"):
        yield field.invalid("is not pinned: name a version or a digest")


not_negative = whole(0)
port_number = between(1, 65535)
protocol = one_of("SCTP", "TCP", "UDP")
user_id = between(0, 2**31 - 1)


def config_key(field: Field) -> Iterator[Problem]:
    """A file's name: what a ConfigMap's keys become when it is mounted."""
    for key in field.value:
        if not re.fullmatch("[-._a-zA-Z0-9]+", key):
            why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
            yield Problem(f"{field.path}[{key}]", f'Invalid value: "{key}": {why}')


def port_name(field: Field) -> Iterator[Problem]:
    """IANA_SVC_NAME: 15 characters, a letter among them, hyphens only inside and alone."""
    name = field.value
    if not name:
        return
    if len(name) > 15:
        yield field.invalid("must be no more than 15 characters")
    if not re.fullmatch("[-a-z0-9]+", name):
        yield field.invalid("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    elif not re.search("[a-z]", name):
        yield field.invalid("must contain at least one letter (a-z)")
    elif "--" in name:
        yield field.invalid("must not contain consecutive hyphens")
    elif name.startswith("-") or name.endswith("-"):
        yield field.invalid("must not begin or end with a hyphen")


def port_reference(field: Field) -> Iterator[Problem]:
    yield from (port_name if isinstance(field.value, str) else port_number)(field)


def target_port(field: Field) -> Iterator[Problem]:
    """Empty or 0 is left to the default, the port itself."""
    if field.value not in ("", 0):
        yield from port_reference(field)


def path_segment(field: Field) -> Iterator[Problem]:
    """A name that can stand in a URL: a string without slash and percent sign."""
    if not isinstance(field.value, str):
        yield field.invalid("must be a string")
    elif field.value in (".", ".."):
        yield field.invalid(f"may not be '{field.value}'")
    else:
        yield from (field.invalid(f"may not contain '{c}'") for c in "/%" if c in field.value)


def no_backsteps(field: Field) -> Iterator[Problem]:
    if ".." in field.value.split("/"):
        yield field.invalid("must not contain '..'")


def descending_path(field: Field) -> Iterator[Problem]:
    """A path that does not leave the place it starts from."""
    if (field.value or "").startswith("/"):
        yield field.invalid("must be a relative path")
    elif field.value:
        yield from no_backsteps(field)


def ip_address(field: Field) -> Iterator[Problem]:
    try:
        ipaddress.ip_address(field.value)
    except ValueError:
        yield field.invalid("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")


def match_expression(field: Field) -> Iterator[Problem]:
    """`In` and `NotIn` have values, `Exists` and `DoesNotExist` have none."""
    operator, values = field["operator"].value, field["values"]
    if operator in ("In", "NotIn"):
        if not values.value:
            yield values.required("must be specified when `operator` is 'In' or 'NotIn'")
    elif operator in ("Exists", "DoesNotExist"):
        if values.value:
            yield values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
    else:
        yield field["operator"].invalid("not a valid selector operator")


SELECTOR: Rules = [
    ("matchLabels", labels),
    ("matchExpressions[].key", Needed(), label_key),
    ("matchExpressions[]", match_expression),
    ("matchExpressions[].values[]", label_value),
]
