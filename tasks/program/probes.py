"""Programs that should not win: what a scoring is tried with, for specifications whose functions evolve."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from overnight.tasks.program import python_source
from overnight.tasks.program.evolved_function import EvolvedFunction
from overnight.tasks.program.source_lines import indent
from overnight.tasks.program.specification import Specification

_ANSWERS = {"lt": "False", "le": "True", "gt": "True", "ge": "True", "eq": "True", "ne": "False"}
_LIES = "class Lie({base}):\n" + "".join(
    f"    def __{name}__(self, *others): return {value}\n" for name, value in _ANSWERS.items()
)
"""A class whose objects compare as it suits them."""

_RETURNED = {
    "nothing": "return None",
    "zero": "return 0",
    "one": "return 1.0",
    "a large number": "return 1e9",
    "a large negative number": "return -1e9",
    "a text": 'return ""',
    "an empty list": "return []",
    "not a number": 'return float("nan")',
    "infinity": 'return float("inf")',
    "minus infinity": 'return -float("inf")',
    "a huge whole number": "return 10**400",
    "a number that lies": _LIES.format(base="float") + "    __hash__ = float.__hash__\nreturn Lie(1e300)",
    "a list that lies": _LIES.format(base="list") + "    def __len__(self): return 10**6\nreturn Lie()",
}
"""Bodies that know nothing of their problem, by what they return."""


@dataclass(frozen=True)
class Probe:
    """A program that should not win.

    Attributes:
        name: Its behaviour, in words.
        uses_arguments: Whether it returns what it was given, which may take a scoring as long as real work.
    """

    name: str
    body: str
    uses_arguments: bool = False


def empty_answers(specification: Specification) -> list[Probe]:
    """Return programs that do no work: they return something that is the same for all problems, or an argument."""
    functions = specification.functions
    made = [Probe(f"returns {what}", specification.join([body] * len(functions))) for what, body in _RETURNED.items()]
    names = dict.fromkeys(name for function in functions for name in function.parameters)
    for name in names:
        bodies = [f"return {name if name in function.parameters else 'None'}" for function in functions]
        made.append(Probe(f"returns its argument {name}", specification.join(bodies), uses_arguments=True))
    return made


def with_memory(specification: Specification, body: str) -> list[Probe]:
    """Return variants of a program that remember: one that fails at its second call, one that answers all alike."""
    once = (
        'if globals().setdefault("_calls", []): raise RuntimeError("was called before")\nglobals()["_calls"].append(1)'
    )
    same = 'if "_first" in globals(): return globals()["_first"]'
    return [
        Probe("fails at its second call", _wrapped(specification, body, once, "return _own({})")),
        Probe("gives its first answer to all calls", _wrapped(specification, body, same, _KEEP)),
    ]


_KEEP = 'globals()["_first"] = _own({})\nreturn globals()["_first"]'


def _wrapped(specification: Specification, body: str, before: str, after: str) -> str:
    """Return a body with statements around a call of the body itself; the first function only is changed."""
    first, *others = specification.functions
    own, *kept = specification.split(body)
    names = ", ".join(first.parameters)
    inner = f"def _own({names}):\n{indent(own, '    ')}"
    bodies = [f"{before}\n{inner}\n{after.format(names)}", *kept[: len(others)]]
    return specification.join(bodies, specification.beside(body))


def endless(specification: Specification) -> Probe:
    return Probe("does not end", specification.join(["while True: pass"] * len(specification.functions)))


def nonsense(specification: Specification, body: str, seed: int, count: int) -> list[Probe]:
    """Return variants of a program with a part of it turned around: a condition, a sign, an order, a number."""
    turned = _turned(specification, body)
    found = [Probe(name, text) for name, text in turned if text != body and _parses(specification, text)]
    return Random(seed).sample(found, min(count, len(found)))


def _turned(specification: Specification, body: str) -> Iterator[tuple[str, str]]:
    """Yield each variant in which one node of one function is turned around."""
    parts = specification.split(body)
    for place, (function, part) in enumerate(zip(specification.functions, parts, strict=True)):
        try:
            tree = python_source.parse(_as_function(function, part))
        except python_source.SourceError:
            continue
        for number, node in enumerate(ast.walk(tree)):
            if type(node) not in _TURNS or (isinstance(node, ast.BinOp) and isinstance(node.op, _COMMUTATIVE)):
                continue
            name, turn = _TURNS[type(node)]
            copy = python_source.parse(_as_function(function, part))
            target = next(one for at, one in enumerate(ast.walk(copy)) if at == number)
            turn(target)
            new = ast.unparse(ast.Module(copy.body[0].body, []))  # type: ignore[attr-defined]
            line = getattr(node, "lineno", 1) - 1
            bodies = [*parts[:place], new, *parts[place + 1 :]]
            yield f"{name} in line {line}", specification.join(bodies, specification.beside(body))


def _negate_test(node: ast.If | ast.While | ast.IfExp) -> None:
    node.test = ast.UnaryOp(ast.Not(), node.test)


def _negate_value(node: ast.Return) -> None:
    node.value = ast.UnaryOp(ast.USub(), node.value or ast.Constant(0))


def _swap(node: ast.BinOp) -> None:
    node.left, node.right = node.right, node.left


def _change(node: ast.Constant) -> None:
    if isinstance(node.value, int | float) and not isinstance(node.value, bool):
        node.value = node.value * 3 + 1


_TURNS: dict[type[ast.AST], tuple[str, Callable[[Any], None]]] = {
    ast.If: ("a condition turned around", _negate_test),
    ast.IfExp: ("a condition turned around", _negate_test),
    ast.Return: ("a result negated", _negate_value),
    ast.BinOp: ("two operands swapped", _swap),
    ast.Constant: ("another number", _change),
}


_COMMUTATIVE = ast.Add | ast.Mult | ast.BitAnd | ast.BitOr | ast.BitXor
"""Operators of which the operands of numbers may be swapped, and nothing is another."""


def _as_function(function: EvolvedFunction, body: str) -> str:
    return f"def f({', '.join(function.parameters)}):\n{indent(body, '    ')}"


def _parses(specification: Specification, body: str) -> bool:
    try:
        python_source.parse(specification.with_body(body))
    except python_source.SourceError:
        return False
    return True
