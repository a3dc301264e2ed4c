"""Mutates and crosses functions in place.

The operators are those of FunSearch's random-mutation baseline (Romera-Paredes et al., Nature 625, 2023, SI A.2:
insert, delete and change an operation or an argument), and also subtree crossover (Koza, 1992), new subtrees,
conditions, intervals and statements. Every operator returns whether it changed the function.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection
from dataclasses import dataclass
from random import Random
from typing import Any

from overnight.tasks.sample.builtin.expression_types import ARRAY, FLOAT, INT, Env, Kind, can_stand_for
from overnight.tasks.sample.builtin.forms import CHANGED, STATEMENTS
from overnight.tasks.sample.builtin.growth import Grower, Places
from overnight.tasks.sample.builtin.mutation_sites import BUILTINS, Gap, Site, Survey, survey
from overnight.tasks.sample.builtin.trees import (
    binary,
    called,
    clone,
    fresh_name,
    loaded,
    name,
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
_FUNCTION_FAMILIES = (("min", "max"), ("minimum", "maximum"), ("min", "max", "mean", "sum"), ("sin", "cos", "tanh"))
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

    def site(self, function: ast.FunctionDef, *, kinds: Collection[Kind] = ()) -> Site | None:
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


def change_argument(function: ast.FunctionDef, context: MutationContext) -> bool:
    """Replace a name, a number or an element by another one."""
    sites = [s for s in context.survey(function).sites if isinstance(s.tree, ast.Name | ast.Constant | ast.Subscript)]
    if not sites:
        return False
    site = context.random.choice(sites)
    site.put(context.grower.grow(context.kind_for(site), site.env, 0))
    return True


def change_form(function: ast.FunctionDef, context: MutationContext) -> bool:
    """Put an expression into a form: an operation, a condition, or a bonus or a penalty on an interval."""
    site = context.site(function, kinds=CHANGED)
    form = site and context.grower.draw(CHANGED[site.kind], site.env)
    if site is None or form is None:
        return False
    depth = context.random.choice((0, 0, 1, 2))
    site.put(context.grower.fill_expression(form, site.env, depth, {"THIS": site.tree}))
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
    # `-3` is one number together with its minus.
    sites = [
        s
        for s in context.survey(function).sites
        if value_of(s.tree) is not None and not isinstance(s.owner, ast.UnaryOp)
    ]
    if not sites:
        return False
    count = 1 if context.random.random() < 0.6 else context.random.randint(1, min(4, len(sites)))
    for site in context.random.sample(sites, count):
        site.put(_moved(value_of(site.tree) or 0, site.kind, context))
    return True


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
        # `mean` and `tanh` are not built-in functions, and `sum(a, b)` is not valid.
        families = _FUNCTION_FAMILIES[:1] if isinstance(node.func, ast.Name) else _FUNCTION_FAMILIES
        return sorted({other for family in families if word in family for other in family if other != word})
    op = node.ops[0] if isinstance(node, ast.Compare) else getattr(node, "op", None)
    families = [f for f in _OPERATOR_FAMILIES if type(op) in f]
    return [kind() for kind in families[0] if kind is not type(op)] if families else []


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


def insert_statements(function: ast.FunctionDef, context: MutationContext) -> bool:
    """Insert a new local, a loop that sums into one, another change of a local number, or an early return."""
    found, random = context.survey(function), context.random
    gap = random.choice([g for g in found.gaps if g.block is function.body])
    names = {n.id for n in nodes(function) if isinstance(n, ast.Name)} | gap.env.keys()
    local, mine = fresh_name(names), [n for n, k in gap.env.items() if n not in context.env and k in (FLOAT, INT)]
    given = {"LOCAL", *(["MINE"] if mine else []), *(["RESULT"] if found.returns else [])}
    form = context.grower.draw(STATEMENTS, gap.env, given)
    if form is None:
        return False
    places: Places = {"LOCAL": name(local)}
    if "MINE" in form.words:
        places["MINE"] = name(random.choice(mine))
    if "RESULT" in form.words:
        places["RESULT"] = context.grower.grow(found.returns[-1], gap.env, 2)
    gap.block[gap.index : gap.index] = context.grower.fill_statements(form, gap.env, random.choice((1, 2)), places)
    return _use(local, gap, function, context) if "LOCAL" in form.words else True


def _use(local: str, gap: Gap, function: ast.FunctionDef, context: MutationContext) -> bool:
    """Use a new local in an expression of a statement after it."""
    users = [s for s in context.survey(function).sites if local in s.env and s.kind in (ARRAY, FLOAT)]
    users = [s for s in users if s.kind == ARRAY or s.is_loose or s.env[local] != ARRAY]
    later = {id(n) for statement in gap.block[gap.index + 1 :] for n in nodes(statement)}
    users = [s for s in users if id(s.owner) in later and local not in loaded(s.tree)]
    if not users:
        return False
    site = context.random.choice(users)
    op = context.random.choice((ast.Add, ast.Sub, ast.Mult))()
    is_replaced = context.random.random() < 0.3 and can_stand_for(site.env[local], site.kind)
    site.put(name(local) if is_replaced else binary(site.tree, op, name(local)))
    return True


def cross_statements(function: ast.FunctionDef, context: MutationContext) -> bool:
    """Insert a statement of the other parent, or replace a statement by it."""
    candidates = [g.block[g.index] for g in context.survey(context.donor).gaps]
    candidates = [s for s in candidates if not isinstance(s, ast.Return | ast.Break | ast.Continue)]
    if not candidates:
        return False
    statement = clone(context.random.choice(candidates))
    gap = context.random.choice(context.survey(function).gaps)
    is_replaced = context.random.random() < 0.4 and type(gap.block[gap.index]) is type(statement)
    gap.block[gap.index : gap.index + is_replaced] = [statement]
    return True


def delete_statement(function: ast.FunctionDef, context: MutationContext) -> bool:
    """Delete a statement, or the condition around a block."""
    gap = context.random.choice(context.survey(function).gaps)
    statement = gap.block[gap.index]
    if isinstance(statement, ast.Return) and gap.block is function.body:
        return False
    is_opened = isinstance(statement, ast.If) and context.random.random() < 0.5
    gap.block[gap.index : gap.index + 1] = getattr(statement, "body", []) if is_opened else []
    gap.block[:] = gap.block or [ast.Pass()]
    return True


_SIZE_PER_SHRINK_WEIGHT = 25
"""Size by which a function grows until operators that shorten it gain their base weight once more."""

GROWING: tuple[tuple[Operator, float], ...] = ((change_form, 12.0), (insert_statements, 3.0), (cross_statements, 1.0))
"""Operators that make a function longer, with their weights."""

KEEPING: tuple[tuple[Operator, float], ...] = (
    (replace_subtree, 4.0),
    (cross_over, 6.0),
    (perturb_constants, 6.0),
    (change_operation, 1.5),
    (change_argument, 1.5),
)
"""Operators that leave a function's length about the same, with their weights."""

SHRINKING: tuple[tuple[Operator, float], ...] = ((delete_operation, 1.0), (delete_statement, 0.4))
"""Operators that make a function shorter, with their weights for an empty function."""


def mutate_once(function: ast.FunctionDef, context: MutationContext) -> bool:
    """Apply one operator, drawn by weight, and return whether it changed the function.

    The longer the function, the more likely an operator that shortens it.
    """
    length = size(function.body)
    growth = 1.0 if length < context.max_size else 0.0
    shrinkage = 1.0 + length / _SIZE_PER_SHRINK_WEIGHT
    table = [
        *((operator, weight * growth) for operator, weight in GROWING),
        *KEEPING,
        *((operator, weight * shrinkage) for operator, weight in SHRINKING),
    ]
    operators, weights = zip(*table, strict=True)
    return context.random.choices(operators, weights)[0](function, context)
