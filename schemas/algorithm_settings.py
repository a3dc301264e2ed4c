"""Settings of each search algorithm: `search.algorithm` is one of these, selected by `name`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class AlgorithmSettings(BaseModel):
    """Settings that any algorithm has.

    Attributes:
        evaluates_duplicates: Whether a program that was evaluated before is evaluated again.
        shows_feedback: Whether prompts may show feedback on a failed child, and scores.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluates_duplicates: ClassVar[bool] = False
    shows_feedback: ClassVar[bool] = True

    parents: int = Field(default=2, ge=1, le=8, description="number of programs shown in a prompt")

    @property
    def founded_niches(self) -> tuple[str, ...]:
        """Names of the niches that the start program founds."""
        return ("0",)

    @property
    def resets_by_the_hour(self) -> bool:
        """Whether `is_reset_due` depends on the clock."""
        return False

    def is_reset_due(self, generation: int, hours: float) -> bool:  # noqa: ARG002
        """Return whether niches are reset at the end of a generation.

        Args:
            generation: Its number, from 1.
            hours: Hours of nights since the last reset.
        """
        return False


class IslandsSettings(AlgorithmSettings):
    """FunSearch's islands with departures that the name `funsearch` does without."""

    name: Literal["islands"] = Field(
        default="islands",
        description="`islands` draws parents without replacement, scales the temperature to the island's spread of "
        "scores and evaluates a program once; `funsearch` does as the paper: it draws with replacement at an absolute "
        "temperature and evaluates duplicates again",
    )
    islands: int = Field(default=10, ge=1, le=10_000, description="number of islands, that is, of sub-populations")
    cluster_temperature: float = Field(
        default=0.1, gt=0, description="initial temperature T0 of the softmax over the clusters of an island"
    )
    cluster_period: int = Field(
        default=30_000,
        ge=1,
        description="number of programs on an island after which its temperature starts again at T0",
    )
    length_temperature: float = Field(
        default=1.0, gt=0, description="temperature of the softmax that prefers short programs"
    )
    reset_generations: int | None = Field(
        default=20, ge=1, description="number of generations between resets of the worse islands"
    )
    reset_hours: float | None = Field(
        default=None, gt=0, description="hours between resets; if given, `reset_generations` is ignored"
    )

    @property
    def founded_niches(self) -> tuple[str, ...]:
        return tuple(map(str, range(self.islands)))

    @property
    def resets_by_the_hour(self) -> bool:
        return self.reset_hours is not None

    def is_reset_due(self, generation: int, hours: float) -> bool:
        if self.reset_hours is not None:
            return hours >= self.reset_hours
        return self.reset_generations is not None and generation % self.reset_generations == 0


class FunSearchSettings(IslandsSettings):
    """FunSearch as published: Romera-Paredes et al., Nature 625 (2023), Methods."""

    evaluates_duplicates: ClassVar[bool] = True
    shows_feedback: ClassVar[bool] = False

    name: Literal["funsearch"] = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default="funsearch", description=IslandsSettings.model_fields["name"].description
    )


def _with_name(value: Any) -> Any:
    """Expand a name to a table, and give a table without a name that of the default algorithm."""
    if isinstance(value, str):
        return {"name": value}
    return {"name": "islands", **value} if isinstance(value, Mapping) else value


AnyAlgorithm = Annotated[
    IslandsSettings | FunSearchSettings,
    Field(discriminator="name", description="the search algorithm and its settings"),
    BeforeValidator(_with_name),
]

_FORMER = (
    *("islands", "parents", "cluster_temperature", "cluster_period", "length_temperature"),
    *("reset_generations", "reset_hours"),
)
"""Settings of `search` in version 0.1 that now belong to `search.algorithm`."""

_MODES = {"default": "islands", "paper": "funsearch"}
"""Values of `search.mode` in version 0.1, and the algorithms that they name."""


def with_current_names(search: Any) -> Any:
    """Return a `search` table with settings of version 0.1 under their present names, and its algorithm as a table.

    Settings and files of version 0.1 say `search.islands` for `search.algorithm.islands`, and `search.mode = "paper"`
    for `search.algorithm.name = "funsearch"`. Where a table says both, the present name wins. An algorithm that is a
    name alone becomes a table, so that another layer's settings of it are merged and do not replace it.
    """
    if not isinstance(search, Mapping):
        return search
    current = {name: value for name, value in search.items() if name not in (*_FORMER, "mode")}
    former = {name: search[name] for name in _FORMER if name in search}
    if "mode" in search:
        mode = search["mode"]
        former["name"] = _MODES.get(mode, mode) if isinstance(mode, str) else mode
    given = search.get("algorithm", {})
    given = {"name": given} if isinstance(given, str) else given
    if not isinstance(given, Mapping) or not (former or given):
        return search
    return {**current, "algorithm": {**former, **given}}
