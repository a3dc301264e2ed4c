"""Finds the places where a function can be changed: expressions with their kinds, and the gaps between statements."""

from __future__ import annotations

import ast
import builtins
from dataclasses import dataclass, field

from overnight.tasks.sample.builtin.expression_types import (
    ARRAY,
    BOOL,
    ELEMENTWISE,
    FLOAT,
    INDEX,
    INT,
    MASK,
    MATH,
    NUMBERS,
    NUMPY,
    OBJECT,
    OTHER,
    Base,
    Env,
    Kind,
    join,
    of_attribute,
    of_builtin,
    of_constant,
    of_method,
    of_operation,
    of_part,
    sequence,
)
from overnight.tasks.sample.builtin.trees import all_arguments, called, nodes

BUILTINS = frozenset(dir(builtins))
_JUMPS = (ast.Return, ast.Raise, ast.Continue, ast.Break)
_STATEMENTS = ("body", "orelse", "finalbody", "handlers", "targets")


@dataclass(slots=True)
class Site:
    """An expression that may be replaced.

    Attributes:
        owner: The node that contains the expression.
        field: Name of the owner's field.
        index: Index in the field if that is a list, else `None`.
        env: Names in scope.
        kind: Kind of the expressions that may be put there.
        is_loose: Whether both a number and an array fit, because the operation around it broadcasts.
    """

    owner: ast.AST
    field: str
    index: int | None
    env: Env
    kind: Kind = OTHER
    is_loose: bool = False

    @property
    def tree(self) -> ast.expr:
        """The expression that is there now."""
        value = getattr(self.owner, self.field)
        return value if self.index is None else value[self.index]

    def put(self, tree: ast.expr) -> None:
        """Replace the expression."""
        if self.index is None:
            setattr(self.owner, self.field, tree)
        else:
            getattr(self.owner, self.field)[self.index] = tree


@dataclass(slots=True)
class Gap:
    """A place before a statement, which is `block[index]`, with the names in scope."""

    block: list[ast.stmt]
    index: int
    env: Env


@dataclass(slots=True)
class Survey:
    """All places where a function can be changed.

    Attributes:
        sites: Expressions of a known kind.
        gaps: Places before its statements.
        undefined: Names that are read where they may have no value yet.
        returns: Kinds of the values that the function returns.
    """

    sites: list[Site] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    undefined: set[str] = field(default_factory=set)
    returns: list[Kind] = field(default_factory=list)


def survey(function: ast.FunctionDef, env: Env) -> Survey:
    """Return the survey of a function whose arguments and global names are `env`."""
    walker = _Walker()
    walker.block(function.body, dict(env))
    return walker.found


def infer(expression: ast.expr, env: Env) -> Kind:
    """Return the kind of an expression, given the kinds of names; `OTHER` if it cannot be determined."""
    return _Walker().kind(expression, env)


def bind(target: ast.expr, iterated: ast.expr, env: Env) -> Env:
    """Return the names in scope inside a loop over `iterated`."""
    parts = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
    kinds = _items(iterated, env, len(parts))
    names = [(part.id, kind) for part, kind in zip(parts, kinds, strict=True) if isinstance(part, ast.Name)]
    nested = [n.id for part in parts for n in nodes(part) if isinstance(n, ast.Name)]
    return env | dict.fromkeys(nested, OTHER) | dict(names)


def _items(iterated: ast.expr, env: Env, count: int) -> list[Kind]:
    match iterated:
        case ast.Call(func=ast.Name(id="enumerate"), args=[inner, *_]) if count == 2:
            return [INDEX, *_items(inner, env, 1)]
        case ast.Call(func=ast.Name(id="zip"), args=args) if count == len(args):
            return [_items(a, env, 1)[0] for a in args]
    kind = infer(iterated, env)
    item = FLOAT if kind == ARRAY else kind.item if kind.base is Base.SEQUENCE else None
    if count > 1:
        return [item.item or OTHER if item and item.base is Base.SEQUENCE else OTHER] * count
    return [item or OTHER]


def bound_by(statement: ast.stmt, env: Env) -> Env:
    """Return the names that an import or a plain assignment brings into scope."""
    match statement:
        case ast.Import(names=names):
            modules = {"numpy": NUMPY, "math": MATH}
            return {a.asname or a.name.split(".")[0]: modules.get(a.name, OTHER) for a in names}
        case ast.ImportFrom(names=names):
            return {a.asname or a.name: OTHER for a in names if a.name != "*"}
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return {name: infer(value, env)}
        case ast.AnnAssign(target=ast.Name(id=name), value=value) if value is not None:
            return {name: infer(value, env)}
    return {}


class _Walker:
    def __init__(self) -> None:
        self.found = Survey()
        self._nested = 0

    def block(self, block: list[ast.stmt], env: Env) -> Env:
        """Walk statements in order and return the names in scope after them."""
        for index, statement in enumerate(block):
            self.found.gaps.append(Gap(block, index, env))
            env = self._statement(statement, env)
        return env

    def _statement(self, statement: ast.stmt, env: Env) -> Env:
        match statement:
            case ast.Return():
                kinds = self._children(statement, env)
                self.found.returns += (kinds or [OTHER]) if self._nested == 0 else []
                return env
            case ast.Assign():
                return env | self._assigned(statement, self._child(statement, "value", env), env)
            case ast.AugAssign(target=ast.Name(id=identifier), op=op):
                left = self._name(identifier, env)
                return env | {identifier: of_operation(left, op, self._child(statement, "value", env))}
            case ast.If(body=body, orelse=orelse):
                self._child(statement, "test", env)
                return _merge(env, self._branch(body, env), self._branch(orelse, env))
            case ast.For(target=target, iter=iterated):
                self._child(statement, "iter", env)
                return self._loop(statement, env, bind(target, iterated, env))
            case ast.While():
                self._child(statement, "test", env)
                return self._loop(statement, env, env)
            case ast.FunctionDef():
                return self._function(statement, env)
            case ast.Try():
                return self._try(statement, env)
            case ast.With(body=body):
                return self.block(body, self._other(statement, env))
        return self._other(statement, env)

    def _other(self, statement: ast.stmt, env: Env) -> Env:
        """Walk an expression, an import, the head of a `with` and other statements that are rare."""
        self._children(statement, env)
        stored = {n.id: OTHER for n in nodes(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        return env | stored | bound_by(statement, env)

    def _branch(self, block: list[ast.stmt], env: Env) -> Env | None:
        """Return the names in scope after a branch; `None` if the branch never reaches its end."""
        after = self.block(block, env)
        return None if block and isinstance(block[-1], _JUMPS) else after

    def _try(self, statement: ast.Try, env: Env) -> Env:
        tried = self._branch(statement.body, env)
        ends = [self._branch(statement.orelse, tried) if tried and statement.orelse else tried]
        for handler in statement.handlers:
            self._children(handler, env)
            ends.append(self._branch(handler.body, env | ({handler.name: OBJECT} if handler.name else {})))
        return self.block(statement.finalbody, _merge(env, *ends))

    def _loop(self, loop: ast.For | ast.While, env: Env, inner: Env) -> Env:
        after = self.block(loop.body, inner)
        after = {key: join(kind, after.get(key, kind)) for key, kind in env.items()}
        return self.block(loop.orelse, after)

    def _function(self, function: ast.FunctionDef, env: Env) -> Env:
        env = env | {function.name: OTHER}
        self._nested += 1
        self.block(function.body, env | {a.arg: OTHER for a in all_arguments(function)})
        self._nested -= 1
        return env

    def _assigned(self, statement: ast.Assign, kind: Kind, env: Env) -> Env:
        bound: Env = {}
        for target in statement.targets:
            if isinstance(target, ast.Name):
                bound[target.id] = kind
            elif isinstance(target, ast.Tuple | ast.List):
                values = statement.value.elts if isinstance(statement.value, ast.Tuple) else []
                kinds = (
                    [infer(v, env) for v in values] if len(values) == len(target.elts) else [OTHER] * len(target.elts)
                )
                for part, own in zip(target.elts, kinds, strict=True):
                    bound |= {n.id: own for n in nodes(part) if isinstance(n, ast.Name)}
            else:
                self._children(target, env)
        return bound

    def _children(self, node: ast.AST, env: Env, *, is_whole: bool = False) -> list[Kind]:
        """Walk the expressions directly under a node and return their kinds."""
        kinds = []
        for name, value in ast.iter_fields(node):
            if isinstance(value, ast.expr):
                kinds.append(self._child(node, name, env, is_whole=is_whole))
            elif isinstance(value, list) and name not in _STATEMENTS:
                for index, item in enumerate(value):
                    if isinstance(item, ast.expr):
                        kinds.append(self._child(node, name, env, index, is_whole=is_whole))
                    elif isinstance(item, ast.keyword | ast.withitem | ast.FormattedValue):
                        self._children(item, env)
        return kinds

    def _child(self, owner: ast.AST, name: str, env: Env, index: int | None = None, *, is_whole: bool = False) -> Kind:
        """Walk an expression, which becomes a site if its kind is known, and return its kind."""
        site = Site(owner, name, index, env)
        tree = site.tree
        if isinstance(getattr(tree, "ctx", None), ast.Store | ast.Del):
            return OTHER
        kind = self.kind(tree, env, is_whole=is_whole)
        site.kind = (INT if is_whole else FLOAT) if kind in NUMBERS else kind
        if kind not in (OTHER, OBJECT, NUMPY, MATH) and Base.RECORD not in (kind.base, kind.item and kind.item.base):
            self.found.sites.append(site)
        return kind

    def kind(self, tree: ast.expr, env: Env, *, is_whole: bool = False) -> Kind:
        """Walk the parts of an expression and return its kind."""
        match tree:
            case ast.Name(id=identifier):
                return self._name(identifier, env)
            case ast.Constant(value=value):
                return of_constant(value)
            case ast.Call():
                return self._call(tree, env, is_whole=is_whole)
            case ast.Subscript(slice=index):
                value = self._child(tree, "value", env)
                self._child(tree, "slice", env, is_whole=True)
                return of_part(value, index)
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                return self._comprehension(tree, env)
            case ast.Lambda():
                self._child(tree, "body", env | {a.arg: OTHER for a in nodes(tree) if isinstance(a, ast.arg)})
                return OTHER
            case ast.Dict() | ast.Set() | ast.JoinedStr():
                self._children(tree, env)
                return OBJECT
            case ast.NamedExpr():
                self.found.undefined.add(":=")
                return OTHER
        return self._combined(tree, self._children(tree, env, is_whole=is_whole))

    def _combined(self, tree: ast.expr, kinds: list[Kind]) -> Kind:
        """Return the kind of an expression whose parts have these kinds."""
        match tree, kinds:
            case ast.BinOp(op=op), [left, right]:
                return self._loosened(tree, of_operation(left, op, right))
            case ast.Compare(), _:
                is_array = bool({ARRAY, MASK} & set(kinds))
                return OTHER if OTHER in kinds else self._loosened(tree, MASK if is_array else BOOL)
            case (ast.UnaryOp(op=ast.Not()), _) | (ast.BoolOp(), _):
                return BOOL
            case ast.UnaryOp(), [kind]:
                return INT if kind in (BOOL, INDEX) else kind
            case ast.IfExp(), [_, body, orelse]:
                return join(body, orelse)
            case ast.Attribute(attr=attr), [owner]:
                return of_attribute(owner, attr)
            case ast.Tuple() | ast.List(), [first, *_]:
                return sequence(first)
        return OTHER

    def _loosened(self, tree: ast.expr, kind: Kind) -> Kind:
        """Mark the operands of an operation that broadcasts, and return its kind."""
        if kind in (ARRAY, MASK):
            for site in self.found.sites:
                site.is_loose |= site.owner is tree
        return kind

    def _call(self, call: ast.Call, env: Env, *, is_whole: bool) -> Kind:
        function, word, owner = call.func, called(call), OTHER
        match function:
            case ast.Name(id=identifier):
                self._name(identifier, env)
            case ast.Attribute(value=ast.Name(id=identifier)):
                # A plain name before a dot, such as a module, is not an expression to replace.
                owner = self._name(identifier, env)
            case ast.Attribute():
                owner = self._child(function, "value", env)
            case _:
                self._child(call, "func", env)
        is_whole = is_whole or word == "range"
        kinds = [self._child(call, "args", env, index, is_whole=is_whole) for index in range(len(call.args))]
        for keyword in call.keywords:
            self._children(keyword, env)
        if isinstance(function, ast.Attribute):
            kind = OTHER if call.keywords else of_method(owner, function.attr, kinds)
            return self._loosened(call, kind) if word in ELEMENTWISE else kind
        return OTHER if word in env else of_builtin(word, kinds)

    def _comprehension(self, tree: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, env: Env) -> Kind:
        for generator in tree.generators:
            self._child(generator, "iter", env)
            env = bind(generator.target, generator.iter, env)
            for index in range(len(generator.ifs)):
                self._child(generator, "ifs", env, index)
        parts = ("key", "value") if isinstance(tree, ast.DictComp) else ("elt",)
        kinds = [self._child(tree, part, env) for part in parts]
        return sequence(kinds[0]) if isinstance(tree, ast.ListComp | ast.GeneratorExp) else OBJECT

    def _name(self, identifier: str, env: Env) -> Kind:
        if identifier not in env and identifier not in BUILTINS:
            self.found.undefined.add(identifier)
        return env.get(identifier, OTHER)


def _merge(before: Env, *branches: Env | None) -> Env:
    """Return the names that are in scope after every branch that reaches its end."""
    ended = [b for b in branches if b is not None] or [before]
    # Names are in the order of the first branch, because a set's order differs between processes.
    first, *others = ended
    merged: Env = {}
    for key, kind in first.items():
        if all(key in other for other in others):
            for other in others:
                kind = join(kind, other[key])
            merged[key] = kind
    return merged
