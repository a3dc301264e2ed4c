"""Fills in forms with random expressions of a wanted kind, as in Koza's "grow" (1992, ch. 6)."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from overnight.tasks.sample.builtin.expression_types import (
    ARRAY,
    BOOL,
    FLOAT,
    INDEX,
    INT,
    MASK,
    MATH,
    NUMBERS,
    NUMPY,
    Base,
    Env,
    Kind,
    can_stand_for,
)
from overnight.tasks.sample.builtin.forms import ELEMENTS, GROWN, Form
from overnight.tasks.sample.builtin.mutation_sites import bind, infer
from overnight.tasks.sample.builtin.trees import clone, loaded, name, number, same, size

_P_REUSE, _P_REUSE_AS_PART = 0.35, 0.6
_P_LEAF, _P_FIELD, _P_ELEMENT, _P_NAME, _P_ARRAY = 0.1, 0.6, 0.35, 0.5, 0.6
_RATIO_PLACES = frozenset({"WORD", "OVER", "UNDER"})
_KINDS = {"ARRAY": ARRAY, "NUMBER": FLOAT, "MASK": MASK, "TEST": BOOL, "WHOLE": INT}
_ARRAY_PLACES = frozenset({"ARRAY", "MASK", "EITHER", "PART"})
_SMALL, _DIVISORS = (0, 1, 1, 2, 2, 3, 4, 5), (2, 2, 3, 4, 5, 7, 10)
_WHOLE_FROM = 10
_FEW = (0, 1, 1, 2, 2, 3, 4, 5, 10, 0.5, 0.1, 100)

Places = dict[str, ast.expr]


@dataclass(slots=True)
class Grower:
    """Generator of random expressions.

    Attributes:
        random: Source of all random choices.
        typical: Numbers that the prompt mentions or its versions use.
        reusable: Expressions of the versions with their kinds. Reusing them makes expressions such as `bins - item`
            available as one unit, similar to Koza's automatically defined functions (1994).
        arguments: Names of the function's arguments.
    """

    random: Random
    typical: tuple[float, ...]
    reusable: tuple[tuple[ast.expr, Kind], ...]
    arguments: Collection[str] = ()

    def grow(self, wanted: Kind, env: Env, depth: int) -> ast.expr:
        """Return a random expression of the wanted kind, or a number if that kind cannot be made."""
        if wanted.base is Base.SEQUENCE:
            return self._sequence(wanted, env, depth)
        wanted = FLOAT if wanted in NUMBERS and wanted != INT else wanted
        # Only differences between elements of an array matter, so plain numbers beside arrays need no depth.
        depth = min(depth, 1) if wanted == FLOAT and ARRAY in env.values() else depth
        if wanted in (MASK, BOOL) or (depth > 0 and self.random.random() > _P_LEAF):
            form = self.draw(GROWN.get(wanted, GROWN[FLOAT]), env)
            if form is not None:
                return self.fill_expression(form, env, depth - 1)
        return self._leaf(wanted, env)

    def draw(self, table: Sequence[Form], env: Env, places: Iterable[str] = ()) -> Form | None:
        """Return a form of a table that can be filled in with the names in scope and the given places, by weight."""
        possible = [form for form in table if self._is_possible(form, env, places)]
        return self.random.choices(possible, [form.weight for form in possible])[0] if possible else None

    def _is_possible(self, form: Form, env: Env, places: Iterable[str]) -> bool:
        words, kinds = {word.rstrip("1") for word in form.words}, set(env.values())
        return (
            (ARRAY in kinds or not words & _ARRAY_PLACES)
            and ("SEQUENCE" not in words or bool(number_sequences(env)))
            and ("RECORDS" not in words or bool(_record_sequences(env)))
            and (not words & _RATIO_PLACES or len(self.words(env)) > 1)
            and ("COUNTER" not in words or INDEX in kinds)
            and ("np" not in words or NUMPY in kinds)
            and ("math" not in words or MATH in kinds)
            and words & {"MINE", "RESULT"} <= set(places)
            and not words & {"i", "v", "w"} & env.keys()
        )

    def fill_expression(self, form: Form, env: Env, depth: int, places: Places | None = None) -> ast.expr:
        """Return an expression of a form, with some places given."""
        return _Filler(self, env, depth, places or {}).visit(clone(form.code))

    def fill_statements(self, form: Form, env: Env, depth: int, places: Places) -> list[ast.stmt]:
        """Return statements of a form, with some places given."""
        return _Filler(self, env, depth, places).visit(clone(form.code)).body

    def _leaf(self, wanted: Kind, env: Env) -> ast.expr:
        """Return an attribute or a key, a name in scope, a part of a version, an element or a number."""
        fields = [tree for tree, kind in fields_of(env) if can_stand_for(kind, wanted)]
        if fields and self.random.random() < _P_FIELD:
            return clone(self.random.choice(fields))
        if wanted == BOOL:
            return ast.Constant(self.random.random() < 0.5)
        if self.random.random() < _P_REUSE and (part := self._part(wanted, env)):
            return part
        if wanted == FLOAT and self.random.random() < _P_ELEMENT and (form := self.draw(ELEMENTS, env)):
            return self.fill_expression(form, env, 0)
        names = [n for n, k in env.items() if can_stand_for(k, wanted)]
        if names and (wanted == ARRAY or self.random.random() < _P_NAME):
            # A late name is likelier, because computed values are meant to be used.
            return name(names[max(self.random.randrange(len(names)) for _ in range(2))])
        return self.small() if wanted == INT else self.constant()

    def words(self, env: Env) -> list[ast.expr]:
        """Return the arguments, attributes and keys that are numbers; none if there are only arguments that count."""
        names = [(name(n), k) for n, k in env.items() if n in self.arguments and k in NUMBERS]
        words = names + [(tree, kind) for tree, kind in fields_of(env) if kind in NUMBERS]
        return [tree for tree, _ in words] if len(words) > len(names) or FLOAT in (kind for _, kind in words) else []

    def is_of_words(self, wanted: Kind, env: Env) -> bool:
        """Return whether a number is wanted of several words, and of no array and no sequence of numbers."""
        others = (kind for kind in env.values() if kind == ARRAY or kind.item in NUMBERS)
        return wanted == FLOAT and not any(others) and len(self.words(env)) > 1

    def _part(self, wanted: Kind, env: Env) -> ast.expr | None:
        """Return an expression of a version that has the wanted kind and reads only names in scope, if there is one."""
        suitable = [tree for tree, kind in self.reusable if can_stand_for(kind, wanted) and loaded(tree) <= env.keys()]
        if not suitable:
            return None
        # The larger of two random choices is taken, since a name is had anyway.
        return clone(max(self.random.choice(suitable), self.random.choice(suitable), key=size))

    def _sequence(self, wanted: Kind, env: Env, depth: int) -> ast.expr:
        """Return a sequence of the wanted kind that is in scope, or a new list of such items."""
        names = [n for n, k in env.items() if k.base is Base.SEQUENCE and k.item == wanted.item]
        if names and self.random.random() < _P_NAME:
            return name(self.random.choice(names))
        items = [self.grow(wanted.item or FLOAT, env, depth - 2) for _ in range(self.random.randint(1, 3))]
        return ast.List(items, ast.Load())

    def constant(self) -> ast.expr:
        """Return a number: one that the prompt mentions or uses, a small one, or one of any magnitude."""
        pick = self.random.random()
        if self.typical and pick < 0.5:
            value = self.random.choice(self.typical)
            # A threshold is most likely between 0 and a number that the text mentions.
            return number(value if pick < 0.2 else float(f"{self.random.uniform(0, value):.2g}"))
        if pick < 0.75:
            return number(self.random.choice(_FEW))
        return number(float(f"{10 ** self.random.uniform(-2, 3):.2g}"))

    def small(self) -> ast.expr:
        return number(self.random.choice(_SMALL))

    def fill_place(self, place: str, env: Env, depth: int) -> Places:
        """Return what fills in a place; the ends of an interval are filled in together."""
        if place in ("LOW", "HIGH"):
            low, high = self._interval()
            return {"LOW": number(low), "HIGH": number(high)}
        if place in ("OVER", "UNDER"):
            return dict(zip(("OVER", "UNDER"), self.random.sample(self.words(env), 2), strict=True))
        return {place: self._filling(place.rstrip("1"), env, depth)}

    def _interval(self) -> tuple[float, float]:
        """Return two numbers up to one that the prompt mentions, small ones likelier; whole if it is large."""
        size = self._size()
        low, high = sorted(size * self.random.random() ** 2 for _ in range(2))
        if size < _WHOLE_FROM:
            return float(f"{low:.2g}"), float(f"{high:.2g}")
        return 2 + round(low), 3 + round(max(low, high))

    def _filling(self, place: str, env: Env, depth: int) -> ast.expr:
        random = self.random
        match place:
            case "EITHER":
                return self.grow(ARRAY if random.random() < _P_ARRAY else FLOAT, env, depth)
            case "PART" | "VALUE":
                kind = ARRAY if place == "PART" else FLOAT
                part = self._part(kind, env) if random.random() < _P_REUSE_AS_PART else None
                leaves = [self._leaf(kind, env) for _ in range(3)]
                return part or next((leaf for leaf in leaves if not isinstance(leaf, ast.Constant)), leaves[0])
            case "CONSTANT":
                return self.constant()
            case "SMALL":
                return self.small()
            case "DIVISOR":
                return number(random.choice(_DIVISORS))
            case "LARGE":
                return number(self._size()) if random.random() < 0.5 else self.constant()
            case "WORD":
                return random.choice(self.words(env))
            case "SEQUENCE":
                return random.choice(number_sequences(env))
            case "RECORDS":
                return random.choice(_record_sequences(env))
            case "COUNTER":
                return name(random.choice([n for n, k in env.items() if k == INDEX]))
        return self.grow(_KINDS[place], env, depth)

    def _size(self) -> float:
        sizes = [one for one in self.typical if one > 1]
        return self.random.choice(sizes) if sizes else float(f"{10 ** self.random.uniform(0, 2):.2g}")


class _Filler(ast.NodeTransformer):
    """Transformer that fills in the places of a form."""

    def __init__(self, grower: Grower, env: Env, depth: int, places: Places) -> None:
        self._grower, self._env, self._depth, self._places = grower, env, depth, dict(places)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in ("np", "math"):
            module = NUMPY if node.id == "np" else MATH
            return name(next(n for n, k in self._env.items() if k == module))
        if not node.id.isupper():
            return node
        if node.id not in self._places:
            made = self._grower.fill_place(node.id, self._env, self._depth)
            if node.id[-1] != "1" and len(made) == 1:
                return made[node.id]
            self._places |= made
        filling = clone(self._places[node.id])
        if isinstance(filling, ast.Name):
            filling.ctx = node.ctx
        return filling

    def visit_BinOp(self, node: ast.BinOp) -> ast.BinOp:
        self.generic_visit(node)
        node.right = self._grower.constant() if same(node.left, node.right) else node.right
        return node

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> ast.GeneratorExp:
        outer = self._env
        (generator,) = node.generators
        generator.iter = self.visit(generator.iter)
        self._env = bind(generator.target, generator.iter, outer)
        node.elt = self.visit(node.elt)
        self._env = outer
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.Assign:
        self.generic_visit(node)
        target = node.targets[0]
        if isinstance(target, ast.Name):
            self._env = self._env | {target.id: infer(node.value, self._env)}
        return node

    def visit_For(self, node: ast.For) -> ast.For:
        node.iter = self.visit(node.iter)
        self._env = bind(node.target, node.iter, self._env)
        node.body = [self.visit(statement) for statement in node.body]
        return node


def number_sequences(env: Env) -> list[ast.expr]:
    """Return the sequences of numbers in scope."""
    return _sequences(env, lambda item: item in NUMBERS)


def _record_sequences(env: Env) -> list[ast.expr]:
    return _sequences(env, lambda item: item.base is Base.RECORD)


def _sequences(env: Env, is_wanted: Callable[[Kind], bool]) -> list[ast.expr]:
    known = [*((name(n), k) for n, k in env.items()), *fields_of(env)]
    return [tree for tree, kind in known if kind.item and is_wanted(kind.item)]


def fields_of(env: Env) -> list[tuple[ast.expr, Kind]]:
    """Return the attributes and keys of what is in scope, and the lengths of its sequences, with their kinds."""
    known = [(n, k) for n, k in env.items() if k.fields or (k.item and k.item.fields)]
    return [part for n, k in known for part in _fields(n, k)]


@lru_cache(maxsize=256)
def _fields(identifier: str, kind: Kind) -> tuple[tuple[ast.expr, Kind], ...]:
    """Return the parts of a name's value; they are shared, so clone them before a change."""
    known: list[tuple[ast.expr, Kind]] = [(name(identifier), kind)]
    lengths: list[tuple[ast.expr, Kind]] = []
    for tree, owner in known:
        if owner.base is Base.SEQUENCE:
            lengths.append((ast.Call(name("len"), [tree], []), INT))
        for word, own in owner.fields:
            key = ast.Subscript(tree, ast.Constant(word), ast.Load())
            known.append((key if owner.has_keys else ast.Attribute(tree, word, ast.Load()), own))
    return (*known[1:], *lengths)
