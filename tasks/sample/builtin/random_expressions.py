"""Generates random expressions of a wanted kind over the names in scope, as in Koza's "grow" (1992, ch. 6)."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

from tasks.sample.builtin.expression_types import (
    ARRAY,
    BOOL,
    FLOAT,
    INDEX,
    INT,
    MASK,
    MATH,
    NUMBERS,
    NUMPY,
    OTHER,
    Base,
    Env,
    Kind,
    can_stand_for,
)
from tasks.sample.builtin.trees import binary, call, clone, compare, loaded, name, negative, number, same, value_of

_ARITHMETIC: tuple[type[ast.operator], ...] = (ast.Add, ast.Sub, ast.Mult)
_COMPARISONS: tuple[type[ast.cmpop], ...] = (ast.Lt, ast.Gt, ast.LtE, ast.GtE, ast.Eq, ast.NotEq)
_COMPARISON_WEIGHTS = (6, 6, 2, 2, 1, 1)
_MATH_FUNCTIONS = ("sin", "cos", "tanh", "atan", "floor")
_NUMPY_FUNCTIONS = ("abs", "square", "sqrt", "sign", "floor", "tanh", "sin")
_P_REUSE = 0.35
_P_CONSTANT_THRESHOLD = 0.7
_LOOP_NAMES = ("v", "w", "u", "t", "s")

_Maker = Callable[[Env, int], ast.expr | None]


@dataclass(slots=True)
class Grower:
    """Generator of random expressions.

    Attributes:
        random: Source of all random choices.
        typical: Numbers that the prompt mentions.
        reusable: Expressions of the parents with their kinds. Reusing them makes expressions such as `bins - item`
            available as one unit, similar to Koza's automatically defined functions (1994).
        makers: Functions that make an expression of each kind, with their weights.
    """

    random: Random
    typical: tuple[float, ...]
    reusable: tuple[tuple[ast.expr, Kind], ...]
    makers: dict[Kind, list[tuple[_Maker, float]]] = field(init=False)

    def __post_init__(self) -> None:
        self.makers = {
            ARRAY: [
                (self._array_operation, 5),
                (self._array_choice, 3),
                (self._array_extreme, 1.5),
                (self._array_function, 0.6),
                (self._array_quotient, 1.5),
            ],
            MASK: [(self._array_comparison, 8), (self._array_both, 1)],
            FLOAT: [
                (self._operation, 5),
                (self._quotient, 1),
                (self._remainder, 0.7),
                (self._choice, 1),
                (self._extreme, 1.5),
                (self._function, 1),
                (self._reduction, 2),
                (self._sum_over, 1.5),
                (self._helper, 1),
            ],
            BOOL: [(self._comparison, 6), (self._both, 1)],
            INT: [(self._whole, 1)],
        }

    def grow(self, wanted: Kind, env: Env, depth: int) -> ast.expr:
        """Return a random expression of the wanted kind, or a number if that kind cannot be made."""
        if wanted.base is Base.SEQUENCE:
            return self._sequence(wanted, env, depth)
        wanted = FLOAT if wanted in NUMBERS and wanted != INT else wanted
        is_test = wanted in (MASK, BOOL)
        # Only differences between elements of an array matter, so plain numbers beside arrays need no depth.
        depth = min(depth, 1) if wanted == FLOAT and ARRAY in env.values() else depth
        if is_test or (depth > 0 and self.random.random() < 0.9):
            makers, weights = zip(*self.makers.get(wanted, self.makers[FLOAT]), strict=True)
            for maker in self.random.choices(makers, weights, k=4):
                made = maker(env, depth - 1)
                if made is not None:
                    return made
        return self.terminal(wanted, env)

    def terminal(self, wanted: Kind, env: Env) -> ast.expr:
        """Return a name in scope, an element or a number."""
        if wanted == BOOL:
            return ast.Constant(self.random.random() < 0.5)
        block = self._reused(wanted, env) if self.random.random() < _P_REUSE else None
        if block is not None:
            return block
        names = _names(env, wanted)
        if wanted == ARRAY:
            return name(self._latest(names)) if names else self.constant()
        if wanted == INT:
            return name(self.random.choice(names)) if names and self.random.random() < 0.7 else self._small()
        pick = self.random.random()
        element = self._element(env) if pick < 0.35 else None
        if element is not None:
            return element
        return name(self.random.choice(names)) if names and pick < 0.65 else self.constant()

    def _reused(self, wanted: Kind, env: Env) -> ast.expr | None:
        """Return an expression of a parent that has the wanted kind and reads only names in scope, if there is one."""
        suitable = [tree for tree, kind in self.reusable if can_stand_for(kind, wanted) and loaded(tree) <= env.keys()]
        return clone(self.random.choice(suitable)) if suitable else None

    def constant(self) -> ast.expr:
        """Return a number: one that the prompt mentions or uses, a small one, or one of any magnitude."""
        pick = self.random.random()
        if self.typical and pick < 0.5:
            value = self.random.choice(self.typical)
            # A threshold is most likely between 0 and a number that the text mentions.
            return number(value if pick < 0.2 else float(f"{self.random.uniform(0, value):.2g}"))
        if pick < 0.75:
            return number(self.random.choice((0, 1, 1, 2, 2, 3, 4, 5, 10, 0.5, 0.1, 100)))
        return number(float(f"{10 ** self.random.uniform(-2, 3):.2g}"))

    def operand(self, env: Env, depth: int) -> ast.expr:
        """Return an array or a number, to be combined with an array."""
        return self.grow(ARRAY if self.random.random() < 0.6 else FLOAT, env, depth)

    def _latest(self, names: list[str]) -> str:
        """Return one of the names, preferably a late one, because computed values are meant to be used."""
        return names[max(self.random.randrange(len(names)) for _ in range(2))]

    def _variable(self, env: Env) -> ast.expr | None:
        """Return a name or an element, for the other side of a comparison with a number."""
        names = _names(env, FLOAT)
        element = self._element(env) if self.random.random() < 0.7 else None
        return element or (name(self.random.choice(names)) if names else None)

    def _small(self) -> ast.expr:
        return number(self.random.choice((0, 1, 1, 2, 2, 3, 4, 5)))

    def _pair(self, first: ast.expr, second: ast.expr) -> tuple[ast.expr, ast.expr]:
        return (first, second) if self.random.random() < 0.5 else (second, first)

    # Arrays

    def _array_operation(self, env: Env, depth: int) -> ast.expr:
        left, right = self._pair(self.grow(ARRAY, env, depth), self.operand(env, depth))
        return binary(left, self.random.choice(_ARITHMETIC)(), self.constant() if same(left, right) else right)

    def _array_quotient(self, env: Env, depth: int) -> ast.expr:
        left, right = self._pair(self.grow(ARRAY, env, depth), self.operand(env, depth))
        return binary(left, self.random.choices((ast.Div, ast.Mod, ast.FloorDiv), (10, 0.5, 0.2))[0](), right)

    def _array_choice(self, env: Env, depth: int) -> ast.expr | None:
        numpy = _module(env, NUMPY)
        if numpy is None:
            return None
        left, right = self._pair(self.grow(ARRAY, env, depth), self.operand(env, depth))
        return call(f"{numpy}.where", self.grow(MASK, env, depth), left, right)

    def _array_extreme(self, env: Env, depth: int) -> ast.expr | None:
        numpy = _module(env, NUMPY)
        function = self.random.choice(("minimum", "maximum"))
        if numpy is None:
            return None
        return call(f"{numpy}.{function}", self.grow(ARRAY, env, depth), self.operand(env, depth))

    def _array_function(self, env: Env, depth: int) -> ast.expr | None:
        numpy = _module(env, NUMPY)
        inner = self.grow(ARRAY, env, depth)
        if numpy is None or self.random.random() < 0.3:
            return negative(inner)
        function = self.random.choice(_NUMPY_FUNCTIONS)
        # The square root of a negative number is NaN, and comparisons with NaN are always false.
        inner = call(f"{numpy}.abs", inner) if function == "sqrt" else inner
        return call(f"{numpy}.{function}", inner)

    def _array_comparison(self, env: Env, depth: int) -> ast.expr | None:
        if not _names(env, ARRAY):
            return None
        op = self.random.choices(_COMPARISONS, _COMPARISON_WEIGHTS)[0]()
        left = self._reused(ARRAY, env) if self.random.random() < 0.5 else None
        left = left or self.grow(ARRAY, env, min(depth, 1))
        is_constant = self.random.random() < _P_CONSTANT_THRESHOLD
        right = self.constant() if is_constant else self.operand(env, min(depth, 1))
        return compare(left, op, self.constant() if same(left, right) else right)

    def _array_both(self, env: Env, depth: int) -> ast.expr:
        op = self.random.choice((ast.BitAnd, ast.BitOr))()
        return binary(self.grow(MASK, env, depth), op, self.grow(MASK, env, depth))

    # Numbers

    def _operation(self, env: Env, depth: int) -> ast.expr:
        op = self.random.choice(_ARITHMETIC)()
        return binary(self.grow(FLOAT, env, depth), op, self.grow(FLOAT, env, depth))

    def _quotient(self, env: Env, depth: int) -> ast.expr:
        return binary(self.grow(FLOAT, env, depth), ast.Div(), self.divisor(env, depth))

    def divisor(self, env: Env, depth: int) -> ast.expr:
        """Return a number that is rarely zero, because a scalar division by zero crashes the program."""
        if self.random.random() < 0.5:
            return number(self.random.choice((2, 3, 4, 5, 10, 100)))
        names = _names(env, FLOAT)
        if names and self.random.random() < 0.5:
            return name(self.random.choice(names))
        return binary(number(1), ast.Add(), call("abs", self.grow(FLOAT, env, depth)))

    def _remainder(self, env: Env, depth: int) -> ast.expr:
        divisor = number(self.random.choice((2, 3, 3, 4, 5, 7, 10)))
        names = _names(env, INT)
        if names and self.random.random() < 0.2:
            divisor = name(self.random.choice(names))
        op = self.random.choices((ast.Mod, ast.FloorDiv), (4, 1))[0]()
        return binary(self.grow(FLOAT, env, depth), op, divisor)

    def _choice(self, env: Env, depth: int) -> ast.expr:
        test, body = self.grow(BOOL, env, depth), self.grow(FLOAT, env, depth)
        return ast.IfExp(test, body, self.grow(FLOAT, env, depth))

    def _extreme(self, env: Env, depth: int) -> ast.expr:
        function = self.random.choice(("min", "max"))
        return call(function, self.grow(FLOAT, env, depth), self.grow(FLOAT, env, depth))

    def _function(self, env: Env, depth: int) -> ast.expr:
        inner = self.grow(FLOAT, env, depth)
        module = _module(env, MATH) or _module(env, NUMPY)
        pick = self.random.random()
        if pick < 0.3 or module is None:
            return call("abs", inner)
        if pick < 0.5:
            return negative(inner)
        functions = _MATH_FUNCTIONS if _module(env, MATH) else _NUMPY_FUNCTIONS[3:]
        return call(f"{module}.{self.random.choice(functions)}", inner)

    def _comparison(self, env: Env, depth: int) -> ast.expr:
        op = self.random.choices(_COMPARISONS, _COMPARISON_WEIGHTS if depth % 2 else (3, 3, 1, 1, 4, 2))[0]()
        left, right = self.grow(FLOAT, env, depth), self.grow(FLOAT, env, min(depth, 1))
        if value_of(left) is not None:
            left = self._variable(env) or left
        return compare(left, op, self.constant() if same(left, right) else right)

    def _both(self, env: Env, depth: int) -> ast.expr | None:
        if depth < 1:
            return None
        op = self.random.choice((ast.And, ast.Or))()
        return ast.BoolOp(op, [self.grow(BOOL, env, depth - 1), self.grow(BOOL, env, depth - 1)])

    def _whole(self, env: Env, depth: int) -> ast.expr:
        op = self.random.choice((ast.Add, ast.Sub))()
        return binary(self.terminal(INT, env), op, self.terminal(INT, env) if depth > 1 else self._small())

    def _helper(self, env: Env, depth: int) -> ast.expr | None:
        """Return a call of a helper function of the prompt, if its arguments and its result are of known kinds."""
        helpers = [
            n for n, k in env.items() if k.base is Base.FUNCTION and k.item in NUMBERS and OTHER not in k.parameters
        ]
        if not helpers:
            return None
        helper = self.random.choice(helpers)
        return call(helper, *(self.grow(kind, env, min(depth, 1)) for kind in env[helper].parameters))

    # Sequences

    def _reduction(self, env: Env, _depth: int) -> ast.expr | None:
        """Return a number that is computed from a whole array or sequence, if there is one."""
        arrays = _names(env, ARRAY)
        if arrays and self.random.random() < 0.3:
            function = self.random.choice(("max", "min", "mean", "sum"))
            return ast.Call(ast.Attribute(name(self.random.choice(arrays)), function, ast.Load()), [], [])
        sequences = number_sequences(env)
        if not sequences:
            return None
        owner = self.random.choice(sequences)
        if self.random.random() < 0.4:
            return ast.Call(ast.Attribute(name(owner), "count", ast.Load()), [self._small()], [])
        return call(self.random.choice(("sum", "len", "sum")), name(owner))

    def _sum_over(self, env: Env, depth: int) -> ast.expr | None:
        """Return a sum over the elements of a sequence, or over pairs of neighbours, if there is a sequence."""
        sequences = number_sequences(env)
        fresh = [n for n in _LOOP_NAMES if n not in env]
        if not sequences or len(fresh) < 3:
            return None
        owner, item = name(self.random.choice(sequences)), fresh[0]
        pick = self.random.random()
        kind = env[owner.id].item or FLOAT
        if pick < 0.4:
            target, iterated, names = ast.Name(item, ast.Store()), owner, {item: kind}
        elif pick < 0.7:
            target, iterated = _pair_of_targets("i", item), call("enumerate", owner)
            names = {"i": INDEX, item: kind}
        else:
            distance = number(self.random.choice((1, 1, 2, 3)))
            later = ast.Subscript(owner, ast.Slice(distance), ast.Load())
            target, iterated = _pair_of_targets(item, fresh[1]), call("zip", owner, later)
            names = {item: kind, fresh[1]: kind}
        body = self.grow(FLOAT, env | names, max(depth, 1))
        return call("sum", ast.GeneratorExp(body, [ast.comprehension(target, iterated, [], 0)]))

    def _element(self, env: Env) -> ast.expr | None:
        """Return an element of a sequence of numbers, with an index that is most likely in range."""
        sequences = number_sequences(env)
        if not sequences:
            return None
        owner = self.random.choice(sequences)
        counters = _names(env, INDEX)
        index: ast.expr = self._small() if self.random.random() < 0.7 else negative(number(self.random.randint(1, 3)))
        if counters and self.random.random() < 0.8:
            index = name(self.random.choice(counters))
            pick = self.random.random()
            if pick < 0.25:
                index = binary(index, ast.Sub(), number(self.random.randint(1, 3)))
            elif pick < 0.5:
                shifted = binary(index, ast.Add(), number(self.random.randint(1, 3)))
                index = binary(shifted, ast.Mod(), call("len", name(owner)))
        return ast.Subscript(name(owner), index, ast.Load())

    def _sequence(self, wanted: Kind, env: Env, depth: int) -> ast.expr:
        """Return a sequence of the wanted kind that is in scope, or a new list of such items."""
        names = [n for n, k in env.items() if k.base is Base.SEQUENCE and k.item == wanted.item]
        if names and (depth <= 0 or self.random.random() < 0.6):
            return name(self.random.choice(names))
        item = wanted.item or FLOAT
        return ast.List([self.grow(item, env, max(depth - 2, 0)) for _ in range(self.random.randint(1, 3))], ast.Load())


def number_sequences(env: Env) -> list[str]:
    """Return the names of sequences of numbers."""
    return [n for n, k in env.items() if k.base is Base.SEQUENCE and k.item in NUMBERS]


def _names(env: Env, wanted: Kind) -> list[str]:
    return [n for n, k in env.items() if can_stand_for(k, wanted)]


def _module(env: Env, kind: Kind) -> str | None:
    return next((n for n, k in env.items() if k == kind), None)


def _pair_of_targets(first: str, second: str) -> ast.expr:
    return ast.Tuple([ast.Name(first, ast.Store()), ast.Name(second, ast.Store())], ast.Store())


def fresh_name(taken: Iterable[str]) -> str:
    """Return a name for a new local that is not taken."""
    used = set(taken)
    return next(n for n in ("x", "y", "z", "u", "v", "w", *(f"x{k}" for k in range(1, 1000))) if n not in used)
