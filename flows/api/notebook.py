"""Views of a notebook: a night in place while it runs, and a run once it is there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from overnight.flows.api.process import Event
from overnight.flows.formatting import score

_WIDTH, _HEIGHT = 520, 130
"""Size of the curve, pixels."""


def progress_view() -> Callable[[Event], None] | None:
    """Return a function that shows the events of a night in place, in a notebook; None elsewhere."""
    interactive = sys.modules.get("IPython")
    shell = interactive.get_ipython() if interactive else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import HTML, display

    handle = display(HTML("<p>overnight: starting</p>"), display_id=True)
    return lambda event: handle.update(HTML(f"<p>{escape(_line(event))}</p>")) if handle else None


def _line(event: Event) -> str:
    """Return what an event says, in one line."""
    run, best = event.get("run_id", ""), event.get("best_score")
    match event["event"]:
        case "generation":
            cost = f", {event['cost_usd']:.4g} USD" if event["cost_usd"] else ""
            return f"{run}: generation {event['generation']}, {event['samples']} samples, best {score(best)}{cost}"
        case "night":
            return f"{run}: night {event['night']} is over, stopped by: {event['stop_reason']}; best {score(best)}"
        case _:
            return f"{run}: the start program scores {event.get('start_score')}"


STEPS = """
SELECT sum(candidates * (generation > 0)::INT) OVER (ORDER BY place) AS samples, best_score
FROM generations WHERE state = 'committed' QUALIFY best_score IS NOT NULL ORDER BY place
"""
"""Query for the samples and the best score of a run after each generation."""


def run_as_html(run_id: str, sentence: str, steps: Sequence[Sequence[Any]], code: str) -> str:
    """Return a run as HTML: its result in a sentence, the best score over its samples, and the best program's code."""
    curve = _curve([(samples or 0, best) for samples, best in steps])
    return f"<p><b>{escape(sentence)}</b> <code>{escape(run_id)}</code></p>{curve}<pre>{escape(code)}</pre>"


def _curve(steps: Sequence[tuple[float, float]]) -> str:
    """Return the line of the best score over the samples, as SVG; empty if it never changed."""
    lowest, highest = min(best for _, best in steps), max(best for _, best in steps)
    last = steps[-1][0]
    if lowest == highest or not last:
        return ""

    def place(samples: float, best: float) -> tuple[float, float]:
        return samples / last * _WIDTH, (highest - best) / (highest - lowest) * (_HEIGHT - 20) + 10

    path, (x, y) = [], place(*steps[0])
    path.append(f"M{x:.1f} {y:.1f}")
    for samples, best in steps[1:]:
        x, y = place(samples, best)
        path.append(f"H{x:.1f}V{y:.1f}")
    label = f"The best score rose from {score(lowest)} to {score(highest)} in {last} samples"
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{escape(label)}">'
        f'<path d="{"".join(path)}" fill="none" stroke="currentColor" stroke-width="2"/></svg><p>{escape(label)}</p>'
    )
