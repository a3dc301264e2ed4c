"""Settings of each search algorithm: `search.algorithm` is one of these, selected by `name`.

The settings of a plug-in's algorithm are read without its code, as `UnloadedSettings`. `settings.load_algorithm`
validates them, once the user has accepted that this code runs (`flows/start/trust.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import ConfigDict, Field, SerializeAsAny, ValidationInfo, ValidatorFunctionWrapHandler, WrapValidator

from overnight.schemas import plugins
from overnight.schemas.errors import EnvironmentFault
from overnight.schemas.section import Section

_NAME = "the search algorithm; `overnight algorithms` lists them"


class AlgorithmSettings(Section):
    """Settings that any algorithm has.

    The first line of a subclass's docstring says what the algorithm does.

    Attributes:
        source: Paper or system that the algorithm is from.
        evaluates_duplicates: Whether a program that was evaluated before is evaluated again.
        shows_feedback: Whether prompts may show feedback on a failed child, and scores.
    """

    source: ClassVar[str] = ""
    evaluates_duplicates: ClassVar[bool] = False
    shows_feedback: ClassVar[bool] = True

    parents: int = Field(default=2, ge=1, le=8)
    """number of programs shown in a prompt"""

    @classmethod
    def algorithm_name(cls) -> str:
        """Return the name that `search.algorithm` has for it."""
        return cls.model_fields["name"].default

    @classmethod
    def summary(cls) -> str:
        """Return what it does, in one line."""
        return (cls.__doc__ or "").partition("\n")[0]

    @property
    def founded_niches(self) -> tuple[str, ...]:
        """Names of the niches that the start program founds."""
        return ("0",)

    def is_reset_due(self, generation: int) -> bool:  # noqa: ARG002
        """Return whether niches are reset at the end of a generation, whose number is from 1."""
        return False


class IslandsSettings(AlgorithmSettings):
    """FunSearch's islands, with different parents in a prompt, temperatures in units of the scores, no duplicates."""

    source: ClassVar[str] = "after FunSearch: Romera-Paredes et al., Nature 625, 2023"

    name: Literal["islands"] = Field(default="islands", description=_NAME)
    islands: int = Field(default=10, ge=1, le=10_000)
    """number of islands, that is, of sub-populations"""
    reset_generations: int | None = Field(default=20, ge=1)
    """number of generations between resets of the worse islands"""

    @property
    def founded_niches(self) -> tuple[str, ...]:
        return tuple(map(str, range(self.islands)))

    def is_reset_due(self, generation: int) -> bool:
        return self.reset_generations is not None and generation % self.reset_generations == 0


class FunSearchSettings(IslandsSettings):
    """FunSearch's islands as published: parents drawn with replacement, absolute temperatures, duplicates evaluated."""

    source: ClassVar[str] = "FunSearch: Romera-Paredes et al., Nature 625, 2023, Methods"
    evaluates_duplicates: ClassVar[bool] = True
    shows_feedback: ClassVar[bool] = False

    name: Literal["funsearch"] = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default="funsearch", description=_NAME
    )


class GreedySettings(AlgorithmSettings):
    """The best program is improved; now and then a program with any other scores."""

    source: ClassVar[str] = "ε-greedy search, the control of arXiv 2607.18235"

    name: Literal["greedy"] = Field(default="greedy", description=_NAME)
    epsilon: float = Field(default=0.2, ge=0, le=1)
    """share of prompts whose base is drawn from all signatures alike"""


class HalvingSettings(GreedySettings):
    """Several greedy searches, of which the worse are given up at 25, 50 and 75 % of a budget."""

    source: ClassVar[str] = "halving of arXiv 2607.18235; bet and run: Friedrich et al., AAAI 2017"

    name: Literal["halving"] = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default="halving", description=_NAME
    )
    budget: int = Field(default=1000, ge=1)
    """samples that the run is expected to take; searches are given up by it"""
    searches: int | None = Field(default=None, ge=1, le=1000)
    """number of searches at the start; default: 1 for a `budget` below 150, 3 up to 300, 4 up to 1000, 8 up to 3000,
    12 above"""

    @property
    def founded_niches(self) -> tuple[str, ...]:
        return tuple(map(str, range(self.searches or self._searches_by_budget)))

    @property
    def _searches_by_budget(self) -> int:
        if self.budget < 150:
            return 1
        return next((count for limit, count in ((300, 3), (1000, 4), (3000, 8)) if self.budget <= limit), 12)


class WeightedSettings(AlgorithmSettings):
    """The base is drawn from an archive: good programs that had few children so far are likelier."""

    source: ClassVar[str] = "ShinkaEvolve, arXiv 2509.19349, section 3.1"

    name: Literal["weighted"] = Field(default="weighted", description=_NAME)
    archive: int = Field(default=40, ge=1, le=10_000)
    """number of programs that may be shown, the best"""


class TreeSettings(AlgorithmSettings):
    """Tree search: the base has the best children so far, or was expanded seldom for its rank."""

    source: ClassVar[str] = "PUCT of TTT-Discover, arXiv 2601.16175; UCT of MCTS-AHD, arXiv 2501.08603"

    name: Literal["tree"] = Field(default="tree", description=_NAME)
    variant: Literal["puct", "uct"] = "puct"
    """`puct` compares all programs; `uct` goes down from the start program, child by child, and gives a program
    further children as it is visited more"""
    states: int = Field(default=1000, ge=2, le=100_000)
    """number of programs kept, the best and the start"""


class UnloadedSettings(AlgorithmSettings):
    """Settings of an algorithm whose code is not loaded: enough to read the history of a run, not to search."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]{0,63}$", description=_NAME)


Feature = Literal["loops", "branches", "operators", "nesting", "length"]
"""Properties of a body that are read from its text."""


class MapElitesSettings(AlgorithmSettings):
    """The best program of each cell of a space of features of code, and of scores, is kept and improved."""

    source: ClassVar[str] = "MAP-Elites: arXiv 1504.04909; its cells after OpenEvolve and LEVI, arXiv 2605.09764"

    name: Literal["map-elites"] = Field(default="map-elites", description=_NAME)
    variant: Literal["cvt", "grid"] = "cvt"
    """`cvt`: cells around centroids of all features; `grid`: intervals of the features in `axes`"""
    centroids: int = Field(default=50, ge=1, le=200)
    """with `cvt`, number of cells"""
    first_programs: int = Field(default=84, ge=1, le=2000)
    """with `cvt`, number of programs from which the centroids are made"""
    axes: tuple[Feature, ...] = Field(default=("length", "branches"), min_length=1, max_length=5)
    """with `grid`, features that span it: `length` of the body, or its number of `loops`, `branches`, arithmetic
    `operators`, or levels of `nesting`"""


def _name_in(table: Mapping[str, Any]) -> str:
    """Return the name that a table has or means: without one the default algorithm, or islands if only they fit."""
    is_default = table.keys() <= GreedySettings.model_fields.keys()
    return str(table.get("name", "greedy" if is_default else "islands"))


STORED = {"is_stored": True}
"""Context of the validation of a stored run, whose algorithm may be of a plug-in that is not installed here."""


def _validate(value: Any, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    """Expand a name to a table, and give a table without a name the one that it means; leave plug-ins unloaded."""
    if isinstance(value, AlgorithmSettings):
        return value
    if isinstance(value, str):
        value = {"name": value}
    if isinstance(value, Mapping):
        name = _name_in(value)
        value = {"name": name, **value}
        if name not in _by_name() and (info.context == STORED or plugins.find("algorithms", name)):
            return UnloadedSettings.model_validate(value)
    return validate(value)


AnyAlgorithm = Annotated[
    SerializeAsAny[
        GreedySettings
        | IslandsSettings
        | FunSearchSettings
        | HalvingSettings
        | WeightedSettings
        | TreeSettings
        | MapElitesSettings
    ],
    Field(discriminator="name", description="the search algorithm and its settings"),
    WrapValidator(_validate),
]
"""Our algorithms. A value may also be the settings of a plug-in's, which has a `name`, too."""


def algorithm_kinds() -> tuple[type[AlgorithmSettings], ...]:
    """Return the settings classes of our algorithms, the default first."""
    return get_args(get_args(AnyAlgorithm)[0])


def _by_name() -> dict[str, type[AlgorithmSettings]]:
    return {kind.algorithm_name(): kind for kind in algorithm_kinds()}


def plugin_of(algorithm: AnyAlgorithm) -> plugins.Plugin | None:
    """Return the plug-in that an algorithm is of; `None` if it is ours, or its package is not installed."""
    return None if algorithm.name in _by_name() else plugins.find("algorithms", algorithm.name)


def settings_class(algorithm: UnloadedSettings, release: str) -> type[AlgorithmSettings]:
    """Load the settings class of a plug-in's algorithm; `release` is the package of a stored run, empty if unknown.

    Raises:
        EnvironmentFault: If the plug-in is not installed, or cannot be loaded.
    """
    plugin = plugins.find("algorithms", algorithm.name)
    if plugin is None:
        raise EnvironmentFault(
            f"the algorithm {algorithm.name} is of {release or 'a package of others'}, which is not installed here",
            remedy="If you trust that package, install it beside Overnight: uv pip install "
            f"{release.replace(' ', '==') or 'PACKAGE'}",
        )
    found = plugin.load("SETTINGS")
    is_fit = isinstance(found, type) and issubclass(found, AlgorithmSettings) and "name" in found.model_fields
    if not is_fit or found.algorithm_name() != plugin.name:
        raise EnvironmentFault(
            f"the plug-in {plugin.key} of {plugin.release} cannot be used: expected SETTINGS to be a subclass of "
            f"AlgorithmSettings whose `name` has the default {plugin.name!r}, got {found!r}",
            remedy=f"Tell the author of {plugin.package}, or choose another one with --set search.algorithm=NAME.",
        )
    return found


def settings_for(given: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Return the earlier settings of an algorithm that apply to the one that is named now.

    Where one of the two is a variant of the other, that is all that both have; else what every algorithm has.
    """
    old_name, new_name = _name_in(earlier), _name_in({**earlier, **given})
    if old_name == new_name:
        return dict(earlier)
    kinds = _by_name()
    if old_name not in kinds:
        return {name: value for name, value in earlier.items() if name in AlgorithmSettings.model_fields}
    before, now = kinds[old_name], kinds.get(new_name, AlgorithmSettings)
    shared = now if issubclass(before, now) or issubclass(now, before) else AlgorithmSettings
    foreign = before.model_fields.keys() - shared.model_fields.keys()
    return {name: value for name, value in earlier.items() if name not in foreign}
