"""Tables of a comparison."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean, median

from tests.bench.simulated.comparison import Difference, Key, difference, holm, reached
from tests.bench.simulated.trace import TOKEN_STEP, Trace

Traces = Mapping[str, Mapping[Key, Trace]]
"""All searches by system; the first one is what the others are compared with."""

TARGETS = (0.1, 0.03, 0.01)
"""Gaps whose expected running time is told."""


def main_table(traces: Traces, budgets: Sequence[int]) -> str:
    """Return areas, and differences from the reference at equal answers and at equal tokens."""
    compared = {budget: by_answers(traces, budget) for budget in budgets}
    tokens, last = by_tokens(traces, budgets[-1]), budgets[-1]
    header = ["system", *(f"log10 gap {budget}" for budget in budgets)]
    header += [*(f"difference {budget} [95 %]" for budget in budgets), "cells", "at equal tokens [95 %]", "verdict"]
    rows = []
    for name, mine in traces.items():
        areas = [f"{fmean(trace.area(budget) for trace in mine.values()):.3f}" for budget in budgets]
        if name not in compared[last]:
            rows.append([name, *areas])
            continue
        found = [compared[budget][name] for budget in budgets]
        cells = f"{compared[last][name].agreeing:.0%}"
        spent = _interval(tokens[name]) if name in tokens else "–"
        rows.append([name, *areas, *map(_interval, found), cells, spent, compared[last][name].verdict])
    return table(header, rows)


def family_table(traces: Traces, budgets: Sequence[int]) -> str:
    """Return the tests of the problems that the traces are of; p-values are adjusted over systems and budgets."""
    found = [(name, budget, one) for budget in budgets for name, one in by_answers(traces, budget).items()]
    ps = holm([one.p for *_, one in found])
    rows = [
        [name, budget, _interval(one), f"{one.agreeing:.0%}", _p(one.p), _p(p), f"{one.wins:.2f}", f"{one.a12:.2f}"]
        for (name, budget, one), p in zip(found, ps, strict=True)
    ]
    return table(["system", "answers", "difference [95 %]", "cells", "p", "p, Holm", "wins", "A12"], rows)


def target_table(traces: Traces, budget: int) -> str:
    """Return how often and how fast targets were reached: the share with its interval, and the expected answers."""
    rows = []
    for name, mine in traces.items():
        row = [name]
        for target in TARGETS:
            one = reached([trace.answers_to(target, budget) for trace in mine.values()], budget)
            row += [f"{one.share:.0%} [{one.low:.0%}, {one.high:.0%}]", _count(one.expected)]
        rows.append(row)
    header = [word for target in TARGETS for word in (f"reach {target:g}", "answers")]
    return table(["system", *header], rows)


def answer_table(traces: Traces, budgets: Sequence[int]) -> str:
    """Return what became of the answers, the depth of the best, and what a search cost."""
    last, rows = budgets[-1], []
    for name, mine in traces.items():
        depths = [_count(median(trace.depth(budget) for trace in mine.values())) for budget in budgets]
        rows.append(
            [
                name,
                *depths,
                f"{fmean(trace.gap(last) for trace in mine.values()):.3f}",
                f"{fmean(trace.tuned for trace in mine.values()):.3f}",
                f"{fmean(trace.unscored_share(last) for trace in mine.values()):.0%}",
                f"{fmean(trace.repeated_share(last) for trace in mine.values()):.0%}",
                _count(median(trace.tokens[-1] / len(trace.tokens) for trace in mine.values())),
                f"{fmean(trace.seconds for trace in mine.values()):.1f}",
                sum(trace.ended_early for trace in mine.values()),
            ]
        )
    header = ["system", *(f"depth {budget}" for budget in budgets), "gap at end", "tuned after", "unscored", "repeated"]
    return table([*header, "tokens an answer", "seconds", "ended early"], rows)


def by_answers(traces: Traces, budget: int) -> dict[str, Difference]:
    """Compare each system with the reference at equal answers."""
    return _compared(traces, lambda mine, other: (mine.area(budget), other.area(budget)))


def by_tokens(traces: Traces, budget: int) -> dict[str, Difference]:
    """Compare each system with the reference over the tokens that both spent in so many answers.

    Systems that cost no tokens are left out.
    """

    def areas(mine: Trace, other: Trace) -> tuple[float, float]:
        spent = min(mine.tokens[:budget][-1], other.tokens[:budget][-1])
        return mine.area_by_tokens(spent), other.area_by_tokens(spent)

    costly = {name: ones for name, ones in traces.items() if all(one.tokens[-1] >= TOKEN_STEP for one in ones.values())}
    return _compared(costly, areas) if next(iter(traces)) in costly else {}


def table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return rows under their header, the columns in line."""
    lines = [[str(cell) for cell in line] for line in (header, *rows)]
    full = [line + [""] * (len(header) - len(line)) for line in lines]
    widths = [max(len(line[k]) for line in full) for k in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if k else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in full
    )


def _compared(traces: Traces, areas: Callable[[Trace, Trace], tuple[float, float]]) -> dict[str, Difference]:
    (_, reference), *others = traces.items()
    found = {}
    for name, mine in others:
        pairs = {key: areas(mine[key], reference[key]) for key in mine}
        found[name] = difference({key: a for key, (a, _) in pairs.items()}, {key: b for key, (_, b) in pairs.items()})
    return found


def _interval(one: Difference) -> str:
    return f"{one.iqm:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _count(number: float) -> str:
    return f"{number:.0f}" if math.isfinite(number) else "–"
