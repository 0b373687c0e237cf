"""Quantities, exactly as the API server reads and shows them."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from functools import lru_cache

Quantity = str | int | float
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_UNITS = {s: Fraction(10) ** n for s, n in _DECIMAL.items()} | {s: Fraction(1024) ** n for s, n in _BINARY.items()}
_EXPONENT = re.compile(r"[eE][-+]?[0-9]+")
_QUANTITY = re.compile(r"([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)")
WRONG_FORMAT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


_LARGEST = Fraction(2**63 - 1)


def quantity(text: Quantity) -> Fraction:
    """Exact amount of a quantity in base units (cores, bytes, pieces): "250m" is 1/4, "1Ki" is 1024.

    ValueError in the words of apimachinery `pkg/api/resource/quantity.go` (v1.37) for anything else;
    amounts beyond 2^63-1 are cut to it, as there.
    """
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise ValueError(WRONG_FORMAT)
    return _parse(str(text))


@lru_cache(maxsize=4096)
def _parse(text: str) -> Fraction:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(WRONG_FORMAT)
    number, suffix = match.groups()
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)", number):
        raise ValueError("unable to parse numeric part of quantity")
    return max(-_LARGEST, min(_LARGEST, Fraction(number.rstrip(".")) * _unit(suffix)))


def _unit(suffix: str) -> Fraction:
    """Factor of a suffix; 1E is an exa, 1E3 a thousand."""
    if _EXPONENT.fullmatch(suffix):
        return Fraction(10) ** max(-99, min(99, int(suffix[1:])))
    if suffix not in _UNITS:
        raise ValueError("unable to parse quantity's suffix")
    return _UNITS[suffix]


@lru_cache(maxsize=4096, typed=True)
def milli_value(text: Quantity) -> int:
    """Thousandths of a quantity, rounded away from zero as Quantity.MilliValue does."""
    return _away_from_zero(quantity(text) * 1000)


def _away_from_zero(amount: Fraction) -> int:
    return math.ceil(amount) if amount > 0 else math.floor(amount)


def canonical(text: Quantity) -> str:
    """The form that `kubectl get` shows: the largest suffix of the same family that leaves a whole number."""
    size = quantity(text)
    for suffix, unit in _family(str(text)).items():
        if (size / unit).denominator == 1 and (size or unit == 1):
            return f"{size / unit}{suffix}"
    return f"{_away_from_zero(size / _UNITS['n'])}n"


def _family(text: str) -> dict[str, Fraction]:
    """Suffixes that a quantity written like `text` may be shown with, the largest first."""
    decimal = {s: _UNITS[s] for s in reversed(_DECIMAL)}
    if _EXPONENT.search(text):
        return {f"e{_DECIMAL[s]}" if s else "": unit for s, unit in decimal.items()}
    return {s: _UNITS[s] for s in reversed(_BINARY)} | decimal if text.endswith("i") else decimal


def shown(amount: Quantity) -> Quantity:
    """The canonical form; what is no quantity stays as it is, and validation names its field."""
    try:
        return canonical(amount)
    except ValueError:
        return amount
