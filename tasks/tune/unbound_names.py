"""Names that Python code may read before they are bound."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from itertools import chain

from overnight.tasks.program.python_source import bound_names

_Bound = frozenset[str] | None
"""Names that are bound at a place; `None` where the program does not come."""


def unbound_names(tree: ast.Module) -> frozenset[str]:
    """Return the names that some path through the code reads before it binds them, or that nothing binds.

    Loops are taken to run at least once, and functions after all that is around them.
    """
    reads = _Reads(bound_names(tree))
    reads.block(tree.body, frozenset())
    return frozenset(reads.unbound)


class _Reads:
    """The reads of names along the paths through a text, or through a function, with the names bound around it."""

    def __init__(self, around: frozenset[str]) -> None:
        self.unbound = set[str]()
        self._around = around

    def block(self, statements: Sequence[ast.stmt], bound: _Bound) -> _Bound:
        for one in statements:
            if bound is None:
                return None
            bound = self._statement(one, bound)
        return bound

    def _statement(self, node: ast.stmt, bound: frozenset[str]) -> _Bound:
        match node:
            case ast.If(test=test, body=body, orelse=orelse):
                bound = self._read(bound, test)
                return _joined(self.block(body, bound), self.block(orelse, bound))
            case ast.For() | ast.AsyncFor() | ast.While():
                return self._loop(node, bound)
            case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=final):
                ends = [self.block(orelse, self.block(body, bound))]
                for one in handlers:
                    caught = self._read(bound, *filter(None, [one.type]))
                    ends.append(self.block(one.body, caught | {one.name or ""}))
                self.block(final, bound)
                end = _joined(*ends)
                return end if end is None else end | _bound_in(final)
            case ast.With(items=items, body=body) | ast.AsyncWith(items=items, body=body):
                return self.block(body, self._read(bound, *items))
            case ast.Match(subject=subject, cases=cases):
                return self._match(cases, self._read(bound, subject))
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                return self._definition(node, bound)
            case ast.Return() | ast.Raise() | ast.Break() | ast.Continue():
                self._read(bound, node)
                return None
            case ast.AugAssign(target=ast.Name(id=name)):
                self._note({name}, bound)
        return self._read(bound, node)

    def _loop(self, node: ast.For | ast.AsyncFor | ast.While, bound: frozenset[str]) -> frozenset[str]:
        begin = self._read(bound, *([node.test] if isinstance(node, ast.While) else [node.iter, node.target]))
        self.block(node.body, begin)
        self.block(node.orelse, begin | _bound_in(node.body))
        return begin | _bound_in([*node.body, *node.orelse])

    def _match(self, cases: Sequence[ast.match_case], bound: frozenset[str]) -> _Bound:
        ends = list[_Bound]()
        for case in cases:
            inner = self._read(bound | _captured(case.pattern), *filter(None, [case.guard]))
            ends.append(self.block(case.body, inner))
        is_complete = any(isinstance(one.pattern, ast.MatchAs) and one.pattern.pattern is None for one in cases)
        return _joined(*ends) if is_complete else _joined(*ends, bound)

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, bound: frozenset[str]) -> _Bound:
        """Note the reads of a definition; those in a function come after all that the text around it binds."""
        bound |= {node.name}
        if isinstance(node, ast.ClassDef):
            self._read(bound, *node.decorator_list, *node.bases, *(one.value for one in node.keywords))
            self.block(node.body, bound)
            return bound
        self._read(bound, *node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults))
        inner = _Reads((self._around - _bound_in(node.body)) | _arguments(node.args))
        inner.block(node.body, inner._around)
        self.unbound |= inner.unbound
        return bound

    def _read(self, bound: frozenset[str], *nodes: ast.AST) -> frozenset[str]:
        """Note what simple statements or expressions read; return what is bound after them."""
        inner = bound | frozenset().union(*map(_inner_names, nodes))
        after = bound | _bound_in(nodes)
        names = [one for one in chain(*map(ast.walk, nodes)) if isinstance(one, ast.Name)]
        self._note((one.id for one in names if isinstance(one.ctx, ast.Load)), inner)
        return after - {one.id for one in names if isinstance(one.ctx, ast.Del)}

    def _note(self, read: Iterable[str], bound: frozenset[str]) -> None:
        self.unbound |= set(read) - bound


def _joined(*ends: _Bound) -> _Bound:
    """Return what is bound after several branches."""
    reached = [one for one in ends if one is not None]
    return frozenset.intersection(*reached) if reached else None


def _bound_in(nodes: Iterable[ast.AST]) -> frozenset[str]:
    return frozenset().union(*map(bound_names, nodes))


def _captured(pattern: ast.pattern) -> frozenset[str]:
    parts = list(ast.walk(pattern))
    names = {one.name for one in parts if isinstance(one, ast.MatchAs | ast.MatchStar) and one.name}
    return frozenset(names | {one.rest for one in parts if isinstance(one, ast.MatchMapping) and one.rest})


def _inner_names(node: ast.AST) -> frozenset[str]:
    """Return the names that an expression binds for parts of itself."""
    inner = [one for one in ast.walk(node) if isinstance(one, ast.comprehension | ast.NamedExpr | ast.arg)]
    names = (frozenset([one.arg]) if isinstance(one, ast.arg) else bound_names(one.target) for one in inner)
    return frozenset().union(*names)


def _arguments(arguments: ast.arguments) -> frozenset[str]:
    return frozenset(one.arg for one in ast.walk(arguments) if isinstance(one, ast.arg))
