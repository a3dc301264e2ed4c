"""Prune a program: leave out what its scores do not need, which evaluations alone say.

First statements are left out, level by level of their nesting, many at a time: hierarchical delta debugging (Misherghi
and Su, ICSE 2006), on each level with `ddmin` (Zeller and Hildebrandt, IEEE TSE 28(2), 2002). Then single statements,
branches, operands and digits are, in the order of the text, until none can be. So what is left is 1-minimal, unless the
evaluations do not suffice. Everything is evaluated by the function that is given, so this module does no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise

from overnight.schemas.skeleton import Skeleton
from overnight.tasks.program.python_source import SourceError
from overnight.tasks.program.source_lines import split_lines
from overnight.tasks.tune.bodies import Part, parts_of, with_texts
from overnight.tasks.tune.python_edits import PythonText, Size, Statement

Keeps = Callable[[Sequence[str]], Sequence[bool]]
"""Returns whether each body keeps the scores. It may raise, to end a pruning."""


class _Spent(Exception):
    """The evaluations of this pruning are used up."""


@dataclass
class Pruning:
    """The pruning of one program; what its evaluations raise ends it, with `body` as it is then.

    Attributes:
        body: The program as it is pruned so far.
        keeps: Evaluates candidates, of which the first one that keeps the scores is taken.
        hash_of: Returns a hash that agrees for bodies which need not be evaluated twice.
        limit: Limit on the evaluations.
        width: Number of candidates that are evaluated at a time.
        check: Called before each candidate is written, evaluated or not. It may raise, to end a pruning.
        used: Number of evaluations so far.
    """

    skeleton: Skeleton
    body: str
    keeps: Keeps
    hash_of: Callable[[str], str]
    limit: int
    width: int = 1
    check: Callable[[], None] = lambda: None
    used: int = 0
    _known: dict[str, bool] = field(default_factory=dict)

    def run(self) -> None:
        """Prune the program as far as possible, or as the evaluations suffice."""
        self._known[self.hash_of(self.body)] = True
        with suppress(_Spent):
            for part in self._parts:
                self._leave_out_statements(part)
            while self._take_steps_everywhere():
                pass

    @property
    def _parts(self) -> range:
        return range(len(parts_of(self.skeleton, self.body)))

    def _take_steps_everywhere(self) -> bool:
        taken = [self._take_steps(part) for part in self._parts]
        return any(taken)

    def _leave_out_statements(self, part: int) -> None:
        depth, deepest = 0, 0
        while depth <= deepest and (text := self._text(part)) is not None:
            self._minimise(part, text, [one for one in text.statements if one.depth == depth])
            deepest = max((one.depth for one in text.statements), default=0)
            depth += 1

    def _minimise(self, part: int, text: PythonText, kept: list[Statement]) -> None:
        """Leave out as many statements as possible, by `ddmin`."""
        gone, chunks = list[Statement](), 1
        while kept:
            candidates = list(_without_chunks(kept, chunks))
            texts = (text.without([one.node for one in (*gone, *left_out)]) for left_out, _ in candidates)
            taken = self._take_first(part, enumerate(texts))
            if taken is not None:
                left_out, kept = candidates[taken]
                gone, chunks = [*gone, *left_out], max(chunks - 1, 1)
            elif chunks >= len(kept):
                return
            else:
                chunks = min(2 * chunks, len(kept))

    def _take_steps(self, part: int) -> bool:
        """Make single steps from the begin of a text to its end; return whether any was made."""
        first, is_changed = 0, False
        while (text := self._text(part)) is not None:
            taken = self._take_first(part, _from_step(text, first))
            if taken is None:
                break
            first, is_changed = taken, True
        return is_changed

    def _text(self, part: int) -> PythonText | None:
        parts = parts_of(self.skeleton, self.body)
        try:
            return PythonText(parts[part].text, parts[part].spans) if part < len(parts) else None
        except SourceError:
            return None

    def _take_first(self, part: int, texts: Iterable[tuple[int, str]]) -> int | None:
        """Take the first of some texts with which the program keeps its scores; return its number, if there is one."""
        before, parts = self._text(part), parts_of(self.skeleton, self.body)
        waiting = list[tuple[int, str, str]]()
        for number, text in texts:
            self.check()
            if before is None or (body := self._body_with(parts, part, text, before)) is None:
                continue
            name = self.hash_of(body)
            if self._known.get(name, True):
                waiting.append((number, body, name))
            is_certain = self._known.get(name, False)
            if is_certain or len({name for *_, name in waiting} - self._known.keys()) >= self.width:
                if (taken := self._judge(waiting)) is not None:
                    return taken
                waiting.clear()
        return self._judge(waiting)

    def _body_with(self, parts: Sequence[Part], place: int, text: str, before: PythonText) -> str | None:
        """Return the program with another text for a part, if that is a smaller one that lacks no name."""
        try:
            after = PythonText(text, ())
            if after.size >= before.size or after.unbound - before.unbound:
                return None
            texts = [text if number == place else one.text for number, one in enumerate(parts)]
            body = with_texts(self.skeleton, self.body, texts)
            return body if self.skeleton.program(body) else None
        except SourceError:
            return None

    def _judge(self, waiting: Sequence[tuple[int, str, str]]) -> int | None:
        """Evaluate candidates as far as that is necessary, and take the first that keeps the scores."""
        new = {name: body for _, body, name in reversed(waiting) if name not in self._known}
        names = [name for name in dict.fromkeys(name for *_, name in waiting) if name in new][: self.limit - self.used]
        if names:
            self.used += len(names)
            self._known |= dict(zip(names, self.keeps([new[name] for name in names]), strict=True))
        for number, body, name in waiting:
            if name not in self._known:
                raise _Spent
            if self._known[name]:
                self.body = body
                return number
        return None


def lengths(skeleton: Skeleton, before: str, after: str) -> str:
    """Return the lines and nodes of a program before it was pruned and after, in words."""
    lines = [len(split_lines(skeleton.bare_text(body))) for body in (before, after)]
    nodes = [size[0] if (size := size_of(skeleton, body)) else 0 for body in (before, after)]
    return f"{lines[0]} -> {lines[1]} lines, {nodes[0]} -> {nodes[1]} nodes"


def size_of(skeleton: Skeleton, body: str) -> Size | None:
    """Return the size of a program's syntax trees; `None` if it is not in Python."""
    try:
        sizes = [PythonText(part.text, part.spans).size for part in parts_of(skeleton, body)]
    except SourceError:
        return None
    return (sum(nodes for nodes, _ in sizes), sum(digits for _, digits in sizes)) if sizes else None


def _without_chunks(kept: Sequence[Statement], chunks: int) -> Iterator[tuple[list[Statement], list[Statement]]]:
    """Yield each of so many chunks, the last first, as later statements depend on earlier ones, and what is left."""
    bounds = [len(kept) * place // chunks for place in range(chunks + 1)]
    for first, last in reversed(list(pairwise(bounds))):
        yield list(kept[first:last]), [*kept[:first], *kept[last:]]


def _from_step(text: PythonText, first: int) -> Iterator[tuple[int, str]]:
    for number, step in enumerate(text.steps()):
        if number >= first:
            yield from ((number, form) for form in step())
