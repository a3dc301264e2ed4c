"""Mutates and crosses statements in place: conditionals, new locals and loops."""

from __future__ import annotations

import ast

from tasks.sample.builtin.expression_types import ARRAY, BOOL, FLOAT, INDEX, INT, Env
from tasks.sample.builtin.mutation_sites import Gap, Site
from tasks.sample.builtin.operators import MutationContext
from tasks.sample.builtin.random_expressions import fresh_name, number_sequences
from tasks.sample.builtin.simplify import blocks
from tasks.sample.builtin.trees import assign, binary, call, clone, name, nodes, number, stored, value_of


def return_early(function: ast.FunctionDef, context: MutationContext) -> bool:
    """Insert `if test: return …` before a statement at the top level."""
    found = context.survey(function)
    top_gaps = [g for g in found.gaps if g.block is function.body]
    kinds = [k for k in found.returns if k in (ARRAY, FLOAT, INT)]
    if not top_gaps or not kinds:
        return False
    gap = context.random.choice(top_gaps)
    kind = FLOAT if kinds[-1] == INT else kinds[-1]
    value = context.grower.grow(kind, gap.env, 2)
    gap.block.insert(gap.index, ast.If(context.grower.grow(BOOL, gap.env, 1), [ast.Return(value)], []))
    return True


def add_local(function: ast.FunctionDef, context: MutationContext) -> bool:
    """Assign a new expression to a new local, and use the local in a later expression."""
    gaps = context.survey(function).gaps
    gap = context.random.choice(gaps)
    kinds = [k for k in (ARRAY, FLOAT) if k == FLOAT or k in gap.env.values()]
    kind = kinds[0] if context.random.random() < 0.7 else kinds[-1]
    local = fresh_name(_all_names(function) | set(gap.env))
    gap.block.insert(gap.index, assign(local, context.grower.grow(kind, gap.env, context.random.choice((1, 2, 3)))))
    users = [s for s in context.survey(function).sites if local in s.env and s.kind in (ARRAY, FLOAT, kind)]
    users = [s for s in users if s.kind == kind or s.is_loose or s.kind == ARRAY]
    if users:
        _combine(context.random.choice(users), local, context)
    return bool(users)


def _combine(site: Site, local: str, context: MutationContext) -> None:
    op = context.random.choice((ast.Add, ast.Sub, ast.Mult))()
    if context.random.random() < 0.3 and site.kind == site.env[local]:
        site.put(name(local))
    else:
        site.put(binary(site.tree, op, name(local)))


def _all_names(function: ast.FunctionDef) -> set[str]:
    return {n.id for n in nodes(function) if isinstance(n, ast.Name)}


def add_loop(function: ast.FunctionDef, context: MutationContext) -> bool:
    """Insert a loop that sums an expression over the elements of a sequence, and use the sum after it."""
    gaps = [g for g in context.survey(function).gaps if number_sequences(g.env) and g.block is function.body]
    if not gaps:
        return False
    gap = context.random.choice(gaps)
    owner = context.random.choice(number_sequences(gap.env))
    taken = _all_names(function) | set(gap.env)
    total = fresh_name(taken | {"i", "v"}) if "total" in taken else "total"
    item, index = (
        fresh_name(taken | {total, *used}) if w in taken else w for w, used in (("v", ()), ("i", ("x", "y")))
    )
    inner = gap.env | {total: FLOAT, index: INDEX, item: gap.env[owner].item or FLOAT}
    target = ast.Tuple([stored(index), stored(item)], ast.Store())
    body: list[ast.stmt] = [ast.AugAssign(stored(total), ast.Add(), context.grower.grow(FLOAT, inner, 3))]
    if context.random.random() < 0.4:
        body = [ast.If(context.grower.grow(BOOL, inner, 1), body, [])]
    loop = ast.For(target, call("enumerate", name(owner)), body, [], lineno=0)
    gap.block[gap.index : gap.index] = [assign(total, number(0)), loop]
    users = [s for s in context.survey(function).sites if total in s.env and s.kind == FLOAT and s.is_root]
    outside = [s for s in users if s.owner is not body[0] and id(s.owner) not in map(id, ast.walk(loop))]
    if outside:
        site = context.random.choice(outside)
        site.put(name(total) if value_of(site.tree) is not None else binary(site.tree, ast.Add(), name(total)))
    return bool(outside)


def add_step(function: ast.FunctionDef, context: MutationContext) -> bool:
    """Insert another change of a local number, such as `total += …`, with or without a condition."""
    gaps = [g for g in context.survey(function).gaps if _local_numbers(g, context.env)]
    if not gaps:
        return False
    gap = context.random.choice(gaps)
    local = context.random.choice(_local_numbers(gap, context.env))
    op = context.random.choice((ast.Add, ast.Add, ast.Sub, ast.Mult))()
    step: ast.stmt = ast.AugAssign(stored(local), op, context.grower.grow(FLOAT, gap.env, 2))
    if context.random.random() < 0.5:
        step = ast.If(context.grower.grow(BOOL, gap.env, 1), [step], [])
    gap.block.insert(gap.index, step)
    return True


def _local_numbers(gap: Gap, env: Env) -> list[str]:
    return [n for n, k in gap.env.items() if n not in env and k in (FLOAT, INT)]


def cross_statements(function: ast.FunctionDef, context: MutationContext) -> bool:
    """Insert a statement of the other parent, or replace a statement by it."""
    gaps = context.survey(function).gaps
    candidates = [g.block[g.index] for g in context.survey(context.donor).gaps]
    candidates = [s for s in candidates if not isinstance(s, ast.Return | ast.Break | ast.Continue)]
    if not candidates:
        return False
    statement = clone(context.random.choice(candidates))
    gap = context.random.choice(gaps)
    if context.random.random() < 0.4 and type(gap.block[gap.index]) is type(statement):
        gap.block[gap.index] = statement
    else:
        gap.block.insert(gap.index, statement)
    return True


def delete_statement(function: ast.FunctionDef, context: MutationContext) -> bool:
    """Delete a statement, or the condition around a block."""
    gap = context.random.choice(context.survey(function).gaps)
    statement = gap.block[gap.index]
    if isinstance(statement, ast.If) and context.random.random() < 0.5:
        gap.block[gap.index : gap.index + 1] = statement.body
    elif isinstance(statement, ast.Return) and gap.block is function.body:
        return False
    else:
        del gap.block[gap.index]
    gap.block[:] = gap.block or [ast.Pass()]
    return True


def inline_local(function: ast.FunctionDef, context: MutationContext) -> bool:
    """Replace one use of a local by the local's value."""
    values = {
        s.targets[0].id: s.value
        for block in blocks(function)
        for s in block
        if isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Name)
    }
    sites = [s for s in context.survey(function).sites if isinstance(s.tree, ast.Name) and s.tree.id in values]
    if not sites:
        return False
    site = context.random.choice(sites)
    site.put(clone(values[getattr(site.tree, "id", "")]))
    return True
