"""Mutates and crosses expressions.

The operators are those of FunSearch's random-mutation baseline (Romera-Paredes et al., Nature 625, 2023, SI A.2:
insert, delete and change an operation or an argument), and also subtree crossover (Koza, 1992), new subtrees and
conditionals. Every operator changes a function in place and returns whether it did.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tasks.sample.builtin.expression_types import ARRAY, BOOL, FLOAT, INT, MASK, NUMPY, Env, Kind, can_stand_for
from tasks.sample.builtin.mutation_sites import BUILTINS, Site, Survey, survey
from tasks.sample.builtin.random_expressions import Grower
from tasks.sample.builtin.trees import (
    binary,
    call,
    called,
    clone,
    loaded,
    negative,
    nodes,
    number,
    size,
    value_of,
)

_OPERATOR_FAMILIES: tuple[tuple[type[ast.AST], ...], ...] = (
    (ast.Add, ast.Sub, ast.Mult, ast.Div),
    (ast.Mod, ast.FloorDiv, ast.Mult),
    (ast.Lt, ast.Gt, ast.LtE, ast.GtE, ast.Eq, ast.NotEq),
    (ast.And, ast.Or),
    (ast.BitAnd, ast.BitOr),
)
_FUNCTION_FAMILIES = (
    ("min", "max"),
    ("minimum", "maximum"),
    ("sum", "max", "min", "mean"),
    ("abs", "square", "sign", "tanh", "floor"),
    ("sin", "cos", "tanh", "atan"),
)
_STEPS = (0.02, 0.1, 0.3, 1.0)


@dataclass(frozen=True, slots=True)
class MutationContext:
    """Inputs of the mutation operators.

    Attributes:
        random: Source of all random choices.
        grower: Generator of new expressions.
        env: Arguments and global names.
        donor: The function from which crossover takes expressions and statements.
        max_size: Size from which on no operator is used that makes the function longer.
    """

    random: Random
    grower: Grower
    env: Env
    donor: ast.FunctionDef
    max_size: int

    def survey(self, function: ast.FunctionDef) -> Survey:
        """Return the places where a function can be changed."""
        return survey(function, self.env)

    def site(self, function: ast.FunctionDef, *kinds: Kind) -> Site | None:
        """Return a random expression of one of the kinds, or of any kind if none is given; `None` if there is none."""
        sites = [s for s in self.survey(function).sites if not kinds or s.kind in kinds]
        return self.random.choice(sites) if sites else None

    def kind_for(self, site: Site) -> Kind:
        """Return the kind of expression to put at a site; a number may replace an array if the operation broadcasts."""
        if not site.is_loose or self.random.random() < 0.6 or site.kind not in (ARRAY, FLOAT):
            return site.kind
        return FLOAT if site.kind == ARRAY else ARRAY


Operator = Callable[[ast.FunctionDef, MutationContext], bool]


def replace_subtree(function: ast.FunctionDef, context: MutationContext) -> bool:
    """Replace an expression by a new random one."""
    site = context.site(function)
    if site is None:
        return False
    depth = context.random.choice((0, 1, 1, 2, 2, 3))
    site.put(context.grower.grow(context.kind_for(site), site.env, depth))
    return True


def cross_over(function: ast.FunctionDef, context: MutationContext) -> bool:
    """Replace an expression by one of the same kind from the other parent."""
    site = context.site(function)
    if site is None:
        return False
    wanted = context.kind_for(site)
    candidates = [
        s.tree
        for s in context.survey(context.donor).sites
        if can_stand_for(s.kind, wanted) and loaded(s.tree) - _own_names(s.tree) <= site.env.keys() | BUILTINS
    ]
    if not candidates:
        return False
    # The larger of two random choices is taken, because a leaf carries little of the other parent.
    chosen = max(context.random.choice(candidates), context.random.choice(candidates), key=size)
    site.put(clone(chosen))
    return True


def _own_names(tree: ast.AST) -> set[str]:
    """Return the names that a tree binds itself, in comprehensions."""
    return {n.id for n in nodes(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def perturb_constants(function: ast.FunctionDef, context: MutationContext) -> bool:
    """Change one or several numbers by random steps of different sizes."""
    sites = [s for s in context.survey(function).sites if _is_number(s)]
    if not sites:
        return False
    count = 1 if context.random.random() < 0.6 else context.random.randint(1, min(4, len(sites)))
    for site in context.random.sample(sites, min(count, len(sites))):
        site.put(_moved(value_of(site.tree) or 0, site.kind, context))
    return True


def _is_number(site: Site) -> bool:
    # `-3` is one number together with its minus.
    return value_of(site.tree) is not None and not isinstance(site.owner, ast.UnaryOp)


def _moved(value: float, kind: Kind, context: MutationContext) -> ast.expr:
    random = context.random
    pick = random.random()
    if kind == INT:
        return number(int(value) + random.choice((-2, -1, 1, 2)))
    if pick < 0.15:
        return context.grower.constant()
    if pick < 0.25:
        return number(value * random.choice((-1, 0.5, 2, 10, 0.1)))
    if value == int(value) and pick < 0.6:
        step = max(1.0, abs(value) * random.choice(_STEPS))
        return number(value + (round(random.gauss(0, step)) or random.choice((-1, 1))))
    moved = value + random.gauss(0, 1) * max(abs(value), 0.1) * random.choice(_STEPS)
    return number(float(f"{moved:.{random.choice((1, 2, 3))}g}"))


def change_operation(function: ast.FunctionDef, context: MutationContext) -> bool:
    """Replace an operator or a called function by another one of its family."""
    changeable = [n for n in nodes(function) if _alternatives(n)]
    if not changeable:
        return False
    node = context.random.choice(changeable)
    new = context.random.choice(_alternatives(node))
    match node:
        case ast.Call(func=ast.Name() as target):
            target.id = new
        case ast.Call(func=ast.Attribute() as target):
            target.attr = new
        case ast.Compare(ops=ops):
            ops[0] = new
        case ast.BinOp() | ast.BoolOp() | ast.AugAssign():
            node.op = new
    return True


def _alternatives(node: ast.AST) -> list[Any]:
    """Return the alternatives of a node: function names for a call, operators for other nodes that have one."""
    if isinstance(node, ast.Call):
        word = called(node)
        is_plain = isinstance(node.func, ast.Name)
        # `mean` and `square` are not built-in functions, and `sum(a, b)` is not valid.
        allowed = {"min", "max", "sum"} if is_plain and len(node.args) == 1 else {"min", "max"} if is_plain else None
        families = [f for f in _FUNCTION_FAMILIES if word in f]
        return sorted({w for f in families for w in f if w != word and (allowed is None or w in allowed)})
    op = node.ops[0] if isinstance(node, ast.Compare) else getattr(node, "op", None)
    families = [f for f in _OPERATOR_FAMILIES if type(op) in f]
    return [kind() for kind in families[0] if kind is not type(op)] if families else []


def change_argument(function: ast.FunctionDef, context: MutationContext) -> bool:
    """Replace a name, a number or an element by another one."""
    sites = [s for s in context.survey(function).sites if isinstance(s.tree, ast.Name | ast.Constant | ast.Subscript)]
    if not sites:
        return False
    site = context.random.choice(sites)
    wanted = context.kind_for(site)
    site.put(context.grower.grow(wanted, site.env, 0))
    return True


def insert_operation(function: ast.FunctionDef, context: MutationContext) -> bool:
    """Replace `x` by `x op y` or `f(x)`."""
    site = context.site(function, ARRAY, FLOAT, MASK, BOOL)
    if site is None:
        return False
    tree, random, grower = site.tree, context.random, context.grower
    if site.kind in (MASK, BOOL):
        other = grower.grow(site.kind, site.env, 1)
        bit, word = random.choice(((ast.BitAnd, ast.And), (ast.BitOr, ast.Or)))
        site.put(binary(tree, bit(), other) if site.kind == MASK else ast.BoolOp(word(), [tree, other]))
        return True
    if random.random() < 0.15:
        site.put(random.choice((negative(tree), call("abs", tree))))
        return True
    op = random.choices((ast.Add, ast.Sub, ast.Mult, ast.Div), (4, 4, 4, 1))[0]()
    other = _second_operand(site, op, context)
    swap = random.random() < 0.3 and not isinstance(op, ast.Div)
    site.put(binary(other, op, tree) if swap else binary(tree, op, other))
    return True


def _second_operand(site: Site, op: ast.operator, context: MutationContext) -> ast.expr:
    depth = context.random.choice((0, 0, 1, 2))
    if site.kind == ARRAY:
        # Adding the same number to all elements of a returned array rarely has an effect on its use.
        return context.grower.grow(ARRAY, site.env, depth) if site.is_root else context.grower.operand(site.env, depth)
    return (
        context.grower.divisor(site.env, depth)
        if isinstance(op, ast.Div)
        else context.grower.grow(FLOAT, site.env, depth)
    )


def delete_operation(function: ast.FunctionDef, context: MutationContext) -> bool:
    """Replace an expression by a part of it."""
    found = context.survey(function).sites
    whole = [s for s in found if not isinstance(s.tree, ast.Name | ast.Constant)]
    if not whole:
        return False
    site = context.random.choice(whole)
    inner = set(map(id, nodes(site.tree))) - {id(site.tree)}
    parts = [
        s.tree
        for s in found
        if id(s.tree) in inner and can_stand_for(s.kind, site.kind) and s.env.keys() <= site.env.keys()
    ]
    if not parts:
        return False
    # Prefer a direct operand, so that only one operation is deleted and not most of the program.
    direct = [p for p in parts if any(p is c for c in ast.iter_child_nodes(site.tree))]
    pool = direct if direct and context.random.random() < 0.7 else parts
    site.put(context.random.choice(pool))
    return True


def wrap_in_condition(function: ast.FunctionDef, context: MutationContext) -> bool:
    """Replace an expression by a conditional one: `where(test, x, y)` or `x if test else y`."""
    site = context.site(function, ARRAY, FLOAT)
    if site is None:
        return False
    tree, random, grower = site.tree, context.random, context.grower
    depth = random.choice((0, 1, 2))
    numpy = next((n for n, k in site.env.items() if k == NUMPY), None)
    if site.kind == ARRAY and numpy is not None and random.random() < 0.8:
        pair = [tree, _variant(tree, site, depth, context)]
        random.shuffle(pair)
        site.put(call(f"{numpy}.where", grower.grow(MASK, site.env, depth), *pair))
        return True
    other = _variant(tree, site, depth, context)
    site.put(ast.IfExp(grower.grow(BOOL, site.env, depth), tree, other))
    return True


def _variant(tree: ast.expr, site: Site, depth: int, context: MutationContext) -> ast.expr:
    """Return the alternative of a conditional expression: the same one shifted or scaled, or a new one."""
    pick = context.random.random()
    if pick < 0.25 and site.kind == ARRAY:
        return context.grower.grow(FLOAT, site.env, 0)
    if pick < 0.5:
        op = context.random.choice((ast.Add, ast.Sub, ast.Mult))()
        return binary(clone(tree), op, context.grower.grow(FLOAT, site.env, 0))
    return context.grower.grow(site.kind, site.env, depth)
