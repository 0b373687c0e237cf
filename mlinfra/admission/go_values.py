"""Values in text as Go's strconv and time read them, with their errors, and durations as Go prints them."""

from __future__ import annotations

import math
import re
from fractions import Fraction

MAX_INT32 = 2**31 - 1
NUMBER = re.compile(r"[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|inf|infinity|nan)", re.I)
UNITS = {"ns": "1e-9", "us": "1e-6", "ms": "1e-3", "s": "1", "m": "60", "h": "3600"}
AMOUNT_AND_UNIT = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([^0-9.]*)")


def boolean(text: str) -> bool:
    """strconv.ParseBool."""
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def integer(text: str) -> int:
    """strconv.ParseInt, to the base of 10."""
    if not re.fullmatch("[+-]?[0-9]{1,19}", text):
        raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def int32(text: str) -> int:
    if not -(2**31) <= integer(text) <= MAX_INT32:
        raise ValueError(f'strconv.ParseInt: parsing "{text}": value out of range')
    return integer(text)


def number(text: str) -> float:
    """strconv.ParseFloat, which takes NaN and Inf too."""
    if not NUMBER.fullmatch(text):
        raise ValueError(f'strconv.ParseFloat: parsing "{text}": invalid syntax')
    return float(text)


def seconds(text: str) -> float:
    """time.ParseDuration: amounts with their units, such as "1m30s"; only 0 needs none."""
    unsigned = text[1:] if text[:1] in ("+", "-") else text
    parts = AMOUNT_AND_UNIT.findall(unsigned)
    if not parts or "".join(amount + unit for amount, unit in parts) != unsigned:
        raise ValueError(f'time: invalid duration "{text}"')
    if unsigned == "0":
        return 0.0
    total = Fraction(0)
    for amount, unit in parts:
        if unit not in UNITS:
            wrong = f'unknown unit "{unit}"' if unit else "missing unit"
            raise ValueError(f'time: {wrong} in duration "{text}"')
        total += Fraction(amount) * Fraction(UNITS[unit])
    return float(-total if text[0] == "-" else total)


def go_number(value: float) -> str:
    """The number exactly, and a whole one without a point."""
    return str(int(value) if math.isfinite(value) and value == int(value) else value)


def go_duration(time_s: float) -> str:
    """A duration as Go prints it: 60 is "1m0s"."""
    if 0 < abs(time_s) < 1:
        return f"{1000 * time_s:g}ms"
    minutes, rest_s = divmod(abs(time_s), 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest_s:g}s"
    if hours or minutes:
        text = f"{minutes:g}m{text}"
    if hours:
        text = f"{hours:g}h{text}"
    return f"-{text}" if time_s < 0 else text
