"""The built-in model `builtin/mutate`: classical genetic programming behind the interface of a language model.

It sees the text of a prompt, as any model does, and answers with a new version of the function. It needs no key and
costs nothing, and it is the baseline which a language model has to beat: FunSearch's own random-mutation ablation
(Romera-Paredes et al., Nature 625, 2023, SI A.2), extended by crossover and typed growth.
"""

from __future__ import annotations

import ast
from random import Random

from tasks.sample.builtin.breeding import mutate_once
from tasks.sample.builtin.growing import Grower
from tasks.sample.builtin.kinds import FLOAT, NUMBERS, OTHER, Kind
from tasks.sample.builtin.operators import Tools
from tasks.sample.builtin.reading import Scene, parse, read_prompt
from tasks.sample.builtin.simplify import simplify
from tasks.sample.builtin.sites import survey
from tasks.sample.builtin.trees import clone, dump, size

__all__ = ["mutate"]

_MAX_SIZE = 80
_ATTEMPTS = 40
_MORE_CHANGES, _MORE_CHANGES_WHEN_SHORT = 0.45, 0.75
_SHORT = 16
_LAST_PARENT = 0.65
_FRESH, _FRESH_WHEN_ALONE = 0.02, 0.2
_SMALLEST_BLOCK, _LARGEST_BLOCK = 3, 9


def mutate(prompt: str, seed: int) -> str:
    """Answer a prompt with a new version of the function that it shows.

    Args:
        prompt: A prompt that ends in an empty header, or a chat prompt around one. Any other text is answered too.
        seed: Another seed gives another answer, most likely; the same seed and prompt always give the same one.

    Returns:
        The source of the complete function under the name that the prompt asks for. It parses, reads only names
        that the prompt brings into scope, calls no earlier version, and differs from each of them.
    """
    random = Random(f"{seed}:".encode() + prompt.encode("utf-8", "surrogatepass"))
    scene = read_prompt(prompt)
    grower = Grower(random, scene.typical, _blocks(scene))
    known = {dump(p.body) for p in scene.parents}
    for _ in range(_ATTEMPTS):
        body = _child(scene, grower)
        if body is not None and dump(body) not in known:
            return _write(scene, body)
    for _ in range(_ATTEMPTS):
        body = _fresh(scene, grower)
        if dump(body) not in known:
            return _write(scene, body)
    # Where all that can be grown is shown already (`True` and `False`, without arguments), a number is still new.
    return _write(scene, [ast.Return(ast.Constant(random.random()))])


def _blocks(scene: Scene) -> tuple[tuple[ast.expr, Kind], ...]:
    """Small expressions of the parents, to build with."""
    sites = [s for p in scene.parents for s in survey(p, scene.env).sites]
    return tuple((s.tree, s.kind) for s in sites if _SMALLEST_BLOCK <= size(s.tree) <= _LARGEST_BLOCK)


def _child(scene: Scene, grower: Grower) -> list[ast.stmt] | None:
    """The body of one child of the parents, or `None` if it would not do."""
    random = grower.random
    # One parent only is shown while a population is young: then breadth is worth more than depth.
    if not scene.parents or random.random() < (_FRESH if len(scene.parents) > 1 else _FRESH_WHEN_ALONE):
        return _fresh(scene, grower)
    *others, last = list(scene.parents)
    base = last if not others or random.random() < _LAST_PARENT else random.choice(others)
    donor = random.choice([p for p in scene.parents if p is not base] or [base])
    limit = max(_MAX_SIZE, size(base.body))
    child = clone(base)
    tools = Tools(random, grower, scene.env, donor, limit)
    changed = mutate_once(child, tools)
    # One change of a short program has few outcomes, and most of them were seen before.
    while random.random() < (_MORE_CHANGES if size(child.body) > _SHORT else _MORE_CHANGES_WHEN_SHORT):
        changed |= mutate_once(child, tools)
    if not changed:
        return None
    simplify(child, scene.env)
    return child.body if _is_sound(child, base, scene, limit) else None


def _is_sound(child: ast.FunctionDef, base: ast.FunctionDef, scene: Scene, limit: int) -> bool:
    """Whether a child is Python, short enough, and reads and returns what its parent could."""
    if size(child.body) > limit or parse(_write(scene, child.body)) is None:
        return False
    before, after = survey(base, scene.env), survey(child, scene.env)
    if not after.undefined <= before.undefined or after.undefined & scene.forbidden:
        return False
    if not after.returns or not isinstance(child.body[-1], ast.Return | ast.If | type(base.body[-1])):
        return False
    return all(_may_return(kind, scene.returns) or kind in before.returns for kind in after.returns)


def _may_return(kind: Kind, wanted: Kind) -> bool:
    return wanted == OTHER or kind == wanted or (kind in NUMBERS and wanted in NUMBERS)


def _fresh(scene: Scene, grower: Grower) -> list[ast.stmt]:
    """A body grown from nothing."""
    wanted = FLOAT if scene.returns == OTHER else scene.returns
    value = grower.grow(wanted, scene.env, grower.random.choice((1, 2, 3)))
    function = clone(scene.header)
    function.body = [ast.Return(value)]
    simplify(function, scene.env)
    return function.body


def _write(scene: Scene, body: list[ast.stmt]) -> str:
    function = clone(scene.header)
    function.body = [*scene.header.body, *body]
    return ast.unparse(ast.fix_missing_locations(function))
