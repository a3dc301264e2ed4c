"""Flags that several commands share, as groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cyclopts import Parameter

from flows.cli.run import (
    Budget,
    Generations,
    MaxSamples,
    MaxTokens,
    Patience,
    Target,
    TotalBudget,
    stop_rules,
)

if TYPE_CHECKING:
    from flows.rules import StopRules


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Rules:
    """The rules that are the same every night; when it ends is another matter."""

    generations: Generations = None
    max_samples: MaxSamples = None
    max_tokens: MaxTokens = None
    budget: Budget = None
    total_budget: TotalBudget = None
    target: Target = None
    patience: Patience = None

    def given(self) -> dict[str, Any]:
        """Those that were typed, by their names in `StopRules`."""
        named = {
            "generations": self.generations,
            "max_samples": self.max_samples,
            "max_tokens": self.max_tokens,
            "budget_usd": self.budget,
            "total_budget_usd": self.total_budget,
            "target": self.target,
            "patience": self.patience,
        }
        return {name: value for name, value in named.items() if value is not None}

    def checked(self) -> StopRules:
        """Raises: UsageError: If a number makes no sense."""
        return stop_rules(None, **self.given())
