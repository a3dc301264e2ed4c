"""Results of prompts as changes of a population, and back: an algorithm learns from both in the same way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from schemas.algorithm import Change, Expand, Join, PromptResult
from schemas.program import Program


def changes_of(results: Sequence[PromptResult], *, expansions: bool) -> list[Change]:
    """Return the changes that register the children of prompts.

    Args:
        results: In order.
        expansions: Whether the base of each prompt is recorded, too.
    """
    changes: list[Change] = []
    for result in results:
        if expansions and result.samples:
            changes.append(Expand(result.niche, result.base_id, result.samples))
        changes += [Join(result.niche, child.id) for child in result.children]
    return changes


def results_in(changes: Sequence[Change], programs: Mapping[str, Program]) -> Iterator[PromptResult]:
    """Yield the results that changes were made of.

    Programs that joined without an expansion are each the child of a prompt without base and samples.
    """
    result: PromptResult | None = None
    for change in changes:
        if isinstance(change, Join) and result and result.niche == change.niche:
            result = replace(result, children=(*result.children, programs[change.program_id]))
            continue
        if result:
            yield result
        result = None
        if isinstance(change, Expand):
            result = PromptResult(change.niche, change.program_id, change.samples)
        elif isinstance(change, Join):
            yield PromptResult(change.niche, "", 0, (programs[change.program_id],))
    if result:
        yield result
