"""A formula of KEDA's scalingModifiers, in the language of expr-lang/expr: its names, its operands and its brackets.

KEDA 2.20.2, `castToFloatIfNecessary` and `validateScalingModifiersFormula` of `scaledobject_webhook.go`. The types of
operands and arguments are not looked at, and nothing is computed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from itertools import pairwise

TOKEN = re.compile(
    r"""(?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)"""
    r"""|(?P<number>\.?[0-9][0-9A-Za-z_.]*)"""
    r"""|(?P<name>[A-Za-z_$][A-Za-z0-9_$]*)"""
    r"""|(?P<sign>\?\.|\?\?|&&|\|\||\*\*|[=!<>]=|\S)"""
)
KEYWORD = re.compile(r"and|or|not|in|matches|contains|startsWith|endsWith|true|false|nil|let|if|else|\$env")
FUNCTION = re.compile(
    "all|none|any|one|filter|map|find|findIndex|findLast|findLastIndex|count|sum|groupBy|sortBy|reduce|len|type|abs|ceil|"
    "floor|round|int|float|string|trim|trimPrefix|trimSuffix|upper|lower|split|splitAfter|replace|repeat|join|indexOf|"
    "lastIndexOf|hasPrefix|hasSuffix|max|min|mean|median|toJSON|fromJSON|toBase64|fromBase64|now|duration|date|timezone|"
    "first|last|get|take|keys|values|toPairs|fromPairs|reverse|uniq|concat|flatten|sort|bitand|bitor|bitxor|bitnand|"
    "bitnot|bitshl|bitshr|bitushr"
)
CLOSING = {"(": ")", "[": "]", "{": "}"}
OPERATOR = re.compile(r"[-+*/%^<>!?]|\*\*|&&|\|\||\?\?|[=!<>]=")
KINDS = {"name": "Identifier", "number": "Number", "text": "String"}
Tokens = list[re.Match[str]]


def formula_objections(formula: str, triggers: Collection[str]) -> Iterator[str]:
    """Why the formula does not compile with these names of triggers, in the words of expr-lang."""
    tokens = list(TOKEN.finditer(cast_to_float(formula)))
    yield from unknown_names(tokens, triggers)
    yield from operands_in_a_row(tokens)
    yield from misplaced_brackets(tokens)


def cast_to_float(formula: str) -> str:
    """The formula that KEDA compiles, in which the columns of the messages count."""
    if "??" in formula:
        result = "_kedaCompositeResult"
        return f"let {result} = ({formula}); {result} == nil ? nil : float({result})"
    return formula if formula.startswith("float(") else f"float({formula})"


def unknown_names(tokens: Tokens, triggers: Collection[str]) -> Iterator[str]:
    """Names that are no trigger, no variable of `let`, no function that is called, and no member of something."""
    texts = ["", *(token.group() for token in tokens), ""]
    variables = {name for let, name in pairwise(texts) if let == "let"}
    for before, token, after in zip(texts, tokens, texts[2:], strict=False):
        name = token.group()
        known = name in variables or name in triggers or KEYWORD.fullmatch(name)
        called = after == "(" and FUNCTION.fullmatch(name)
        if token["name"] and not known and not called and before not in (".", "?.", "#"):
            yield f"unknown name {name} (1:{token.start() + 1})"


def operands_in_a_row(tokens: Tokens) -> Iterator[str]:
    """An operand where an operator is due."""
    for before, token in pairwise(tokens):
        if _is_operand(token) and (_is_operand(before) or before.group() in (")", "]")):
            yield f'unexpected token {KINDS[str(token.lastgroup)]}("{token.group()}")'


def _is_operand(token: re.Match[str]) -> bool:
    """A number, a text, or a name that is no keyword."""
    return token["sign"] is None and not KEYWORD.fullmatch(token.group())


def misplaced_brackets(tokens: Tokens) -> Iterator[str]:
    """The first bracket that closes nothing, or closes what ends in an operator; or the end while one is open."""
    open_brackets: list[str] = []
    for before, token in pairwise([None, *tokens]):
        sign = token.group() if token else ""
        if sign in CLOSING:
            open_brackets.append(CLOSING[sign])
        elif sign in CLOSING.values() and (_dangling(before) or not open_brackets or open_brackets.pop() != sign):
            yield f'unexpected token Bracket("{sign}")'
            return
    if open_brackets:
        yield "unexpected token EOF"


def _dangling(token: re.Match[str] | None) -> bool:
    """Whether it is an operator that waits for something."""
    return bool(token and OPERATOR.fullmatch(token.group()))
