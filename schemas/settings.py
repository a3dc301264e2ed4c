"""All settings, in one model: for the specification's own block, for `overnight.toml` and for the flags."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, FiniteFloat, ValidationError

from overnight.schemas import plugins
from overnight.schemas.agent_settings import AgentLimits
from overnight.schemas.algorithm_settings import STORED, UnloadedSettings, settings_class
from overnight.schemas.bundle import MAX_FILES
from overnight.schemas.errors import UsageError, in_words
from overnight.schemas.limits_settings import Limits
from overnight.schemas.objectives import Objectives
from overnight.schemas.plain_values import require_plain
from overnight.schemas.sampling_settings import Model, Sampling
from overnight.schemas.search_settings import Search
from overnight.schemas.section import Section, as_list

Reducer = Literal["mean", "last", "min", "sum"]

_IMAGE = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::\d{1,5})?/|\[[0-9A-Fa-f:]+\](?::\d{1,5})?/)?"  # a registry
    r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@?sha256:[0-9a-f]{64})?",
    re.ASCII,
)
_MAX_IMAGE_CHARS = 512


class Command(Section):
    """The command that scores whole files, where the problem is a directory; `[command]` in its `overnight.toml`."""

    program: str | Annotated[tuple[str, ...], Field(max_length=MAX_FILES)] = ""
    """file that evolves, by default the only file that has marks; or an array of files and patterns such as
    `lib/*.py` that evolve together, the first of which is `{program}`"""
    evaluate: tuple[str, ...] = ()
    """command that scores a candidate, as an array; `{program}` stands for the candidate's file, the first of
    several, `{input}` for an input as JSON"""
    draw: tuple[str, ...] = ()
    """command that draws what a candidate does with the last of `inputs`, as an array like `evaluate`; it prints an
    SVG file"""
    metric: str = "score"
    """metric that is the score; higher is better"""
    metrics_file: str = ""
    """JSON file that the command writes its metrics to; by default it prints them"""
    process: Literal["shared", "own", "auto"] = "shared"
    """where a Python program runs whose functions the command imports: with the command (`shared`), where it can
    forge its score; in a process of its own (`own`), to which the command's calls go; or there if the start program
    gets the same score (`auto`, for tasks of other tools)"""

    @property
    def evolving_paths(self) -> tuple[str, ...]:
        """Paths of the evolving files, once the settings are completed; none for a specification."""
        if isinstance(self.program, str):
            return (self.program,) if self.program else ()
        return self.program


_ROUNDING = 1e-9
"""Part of a score by which rounding may change it."""


class Generated(Section):
    """Inputs that the specification's function marked `@funsearch.inputs` draws, beside those that are listed."""

    validation: int = Field(default=0, ge=0, le=10_000)
    """number of inputs drawn for `validation` when a run begins"""
    held_out: int = Field(default=0, ge=0, le=10_000)
    """number of inputs drawn for `held_out` when a run begins"""


class Known(Section):
    """Reference scores to show beside a user's own, in the unit of the problem's score."""

    start: float | None = None
    """score of the start program on `inputs`, shown in tables"""
    best: float | None = None
    """best published score"""
    label: str = ""
    """holder of the best published score, and what it was scored on"""
    split: Literal["train", "validation", "held_out", "other"] = "train"
    """inputs that the best published score is of: `train`, `validation` or `held_out`; `other` if of none of them"""
    source: str = ""
    """publication of the best score"""
    date: str = ""
    """date of that publication, or of its lookup"""
    proven: bool = False
    """whether the best score is proven optimal; a better score then means that the scoring is wrong"""
    honesty: float | None = None
    """score that can be reached without any model, on the training inputs"""
    honesty_held_out: float | None = None
    """score of the same method on the held-out inputs, which the best program has to beat"""
    honesty_label: str = ""
    """method that reaches the score in `known.honesty`"""
    baseline: str = ""
    """name of the specification's function that computes, for one input, the score that can be reached without any
    model"""

    @property
    def optimum(self) -> float | None:
        """The proven optimum of the training inputs, less what rounding can explain; `None` if there is none."""
        best = self.best_on("train")
        return best - _ROUNDING * max(1.0, abs(best)) if self.proven and best is not None else None

    @property
    def best_name(self) -> str:
        """Name of what shows the best published score, with the inputs that it is of unless it is the training ones."""
        inputs = {"train": "", "held_out": ", held-out", "other": ", other inputs"}.get(self.split, f", {self.split}")
        return f"best known{inputs}"

    @property
    def best_source(self) -> str:
        """Holder of the best published score, and its publication."""
        holder = f"{self.label}{', proven' if self.proven else ''}"
        publication = ", ".join(filter(None, (self.source, self.date)))
        return f"{holder} ({publication})" if publication else holder

    def best_on(self, split: str) -> float | None:
        """Return the best published score if it is of this split."""
        return self.best if split == self.split else None

    def digits_beside(self, *scores: float | None, least: int = 6) -> int:
        """Return as many significant digits as tell scores from the known ones; differences by rounding are none."""
        known = [value for value in (self.best, self.honesty, self.honesty_held_out) if value is not None]
        pairs = [(one, other) for one in scores for other in known if one is not None]
        told = [pair for pair in pairs if not math.isclose(*pair, rel_tol=_ROUNDING / 1000)]
        return next(
            digits
            for digits in range(least, 18)
            if digits == 17 or all(f"{one:.{digits}g}" != f"{other:.{digits}g}" for one, other in told)
        )

    def is_passed_by(self, score: float) -> bool:
        """Return whether a score is better than the best known one by more than its last digit leaves open."""
        if self.best is None:
            return False
        digits = repr(self.best).lower().partition("e")[0].partition(".")[2]
        open_digits = 0.0 if "e" in repr(self.best).lower() else 0.5 * 10.0 ** -len(digits)
        return score > self.best + max(open_digits, _ROUNDING * max(1.0, abs(self.best)))

    def is_beaten_by(self, score: float) -> bool:
        """Return whether a score is better than the proven optimum by more than rounding can explain."""
        best = self.best_on("train")
        return self.proven and best is not None and score > best + _ROUNDING * max(1.0, abs(best))


def _as_image_name(value: str) -> str:
    """Refuse anything but the name of an image, since it becomes the first line of a build file."""
    if len(value) > _MAX_IMAGE_CHARS or not (_IMAGE.fullmatch(value) or re.fullmatch("sha256:[0-9a-f]{12,64}", value)):
        raise ValueError("expected the name of an image, such as python:3.12-slim")
    return value


class Sandbox(Section):
    """Containers that candidates run in, `[tool.overnight.sandbox]`."""

    backend: str = Field(default="docker", pattern=r"^[a-z][a-z0-9_]{0,63}$")
    """sandbox backend: `docker`, `process` (hardly confined), or the name of one that you have installed; only your
    flags and your configuration file can choose it, never a problem's files"""
    image: Annotated[str, AfterValidator(_as_image_name)] = "overnight-sandbox:latest"
    """container image with Python 3.11 or newer"""
    slots: int | None = Field(default=None, ge=1, le=1_024)
    """number of containers that run at the same time; default: the number of cores"""
    runtime: str | None = None
    """container runtime, such as runsc; default: the engine's"""
    split: bool = False
    """whether every evaluation is isolated: the evolved function in one process, the scoring in another"""
    confirm: Literal["never", "best", "always"] = "best"
    """programs whose score must be confirmed before they count, by an isolated evaluation in a fresh container:
    `best` for those that would be the best of their niche, `always` for all, or `never`"""


class Tuner(Section):
    """The tuner of numbers, `[tool.overnight.tuner]`."""

    enabled: bool = True
    """whether the numbers of promising programs are tuned by evaluations alone, without a model; in Python only"""
    share: float = Field(default=0.5, ge=0, le=1)
    """largest share of all evaluations that the tuner uses; a tuning that is begun below it is finished; 0 tunes
    nothing"""
    evaluations: int = Field(default=200, ge=1, le=100_000)
    """limit on the evaluations for tuning one program"""


def _as_threshold(value: Any) -> Any:
    """Return `None` for `-inf`, which stands for no threshold, since TOML has no null."""
    return None if value == float("-inf") else value


class Settings(Section):
    """All settings of a run."""

    title: str = ""
    """title of the problem in tables"""
    origin: str = ""
    """system or author that posed the problem, and the publication"""
    inputs: Annotated[tuple[Any, ...], BeforeValidator(as_list)] = ()
    """inputs that the search scores programs on; a path names a JSON file"""
    validation: Annotated[tuple[Any, ...], BeforeValidator(as_list)] = ()
    """inputs that decide which finalist is the best"""
    held_out: Annotated[tuple[Any, ...], BeforeValidator(as_list)] = ()
    """inputs that score the final best program and are never used by the search"""
    show_inputs: bool = True
    """whether chat models are told the values of `inputs` where these are few and there are no others (`validation`,
    `held_out`); `false` for seeds of drawn instances, and wherever a program must not be fitted to them; where there
    are others, what all have in common is told alone"""
    show_scoring: bool = True
    """whether chat models are told the code that scores programs, where it is at most 6,000 characters long; never that
    of a command"""
    generated: Generated = Generated()
    thresholds: tuple[Annotated[FiniteFloat | None, BeforeValidator(_as_threshold)], ...] = ()
    """for each of `inputs`, in order, the score below which a program is rejected and the remaining inputs are
    skipped; `-inf` for no threshold"""
    statement: str = ""
    """description of the task for the model; by default the specification's docstring"""
    files: Annotated[tuple[str, ...], BeforeValidator(as_list)] = ()
    """files and folders beside the specification that are in a program's working directory, read-only; modules among
    them can be imported"""
    dependencies: Annotated[tuple[str, ...], BeforeValidator(as_list)] = ()
    """packages that programs and scoring import, such as `scipy>=1.16`, beside those of `# /// script` blocks; for
    `overnight.toml` and `--set`"""
    reducer: Reducer = "mean"
    """how the scores of all inputs become one: `mean`, `last`, `min` or `sum`"""
    score_name: str = "score"
    """name of the score, with its unit"""
    draw: str = ""
    """name of the specification's function that draws what a program does with the last of `inputs`; by default the
    function marked `@funsearch.draw`"""
    noise: float = Field(default=0.0, ge=0)
    """largest difference between two scores on one input that still confirms a program"""
    state: Literal["none", "calls"] = "none"
    """what an evolved function may keep from one call to the next on the same input: nothing that changes a value
    (`none`: confirmations repeat calls in new processes and another order), or what it likes (`calls`)"""
    finalists: int = Field(default=10, ge=1, le=10_000)
    """number of best programs that are evaluated on the validation inputs"""
    known: Known = Known()
    objectives: Objectives = Objectives()
    command: Command = Command()
    limits: Limits = Limits()
    search: Search = Search()
    sampling: Sampling = Sampling()
    tuner: Tuner = Tuner()
    agent: AgentLimits = AgentLimits()
    sandbox: Sandbox = Sandbox()

    @property
    def confirmations(self) -> Literal["never", "best", "always"]:
        """Programs that are confirmed: where the front is searched all, since any may join it."""
        if self.objectives.searches_front and self.sandbox.confirm == "best":
            return "always"
        return self.sandbox.confirm

    def is_won_by(self, score: float | None) -> bool:
        """Return whether nothing is left to search for: it is for the score alone, and this one is proven the best."""
        optimum = None if self.objectives.searches_front else self.known.optimum
        return optimum is not None and score is not None and score >= optimum

    @property
    def candidates_per_prompt(self) -> int:
        """Most candidates of one prompt: its samples, or those that an agent has scored and the one it hands back."""
        of_agents = self.agent.evaluations + 1 if self.sampling.has_agents else 0
        return max(self.search.samples, of_agents)


_MAX_VALUE_CHARS = 500
"""Limit on a wrong value in a message, characters."""

_MAX_ERRORS = 20
"""Limit on the wrong settings that are reported; looking for similar names takes a while."""


def parse_settings(data: dict[str, Any], where: str, *, is_stored: bool = False) -> Settings:
    """Parse settings from plain data. Those of a plug-in's algorithm are not validated yet: `load_algorithm` does.

    Args:
        data: As in TOML.
        where: Name of the place, for errors.
        is_stored: Whether they are of a run, whose algorithm may be of a plug-in that is not installed here.

    Raises:
        UsageError: For an unknown setting (with the likely name) or a wrong value.
    """
    try:
        require_plain(data)
    except ValueError as error:
        raise UsageError(f"{where}: {error}", remedy="Simplify the settings.") from error
    if is_stored:
        data = _without_what_is_gone(data)
    try:
        return Settings.model_validate(data, context=STORED if is_stored else None)
    except ValidationError as error:
        raise _refusal(error.errors(), where, setting_names()) from error


_GONE = {"objectives": {"tolerance"}}
"""Settings by table that runs of the present format may have, and that say nothing any more."""


def _without_what_is_gone(stored: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {key: one for key, one in table.items() if key not in _GONE[name]}
        if name in _GONE and isinstance(table, dict)
        else table
        for name, table in stored.items()
    }


def load_algorithm(settings: Settings, where: str, release: str = "") -> Settings:
    """Validate the settings of a plug-in's algorithm, for which its code is imported; return ours as they are.

    `where` names the place, for errors, and `release` the package that a stored run had, if known.

    Raises:
        UsageError: If a setting is wrong.
        EnvironmentFault: If the plug-in is not installed, or cannot be loaded.
    """
    unloaded = settings.search.algorithm
    if not isinstance(unloaded, UnloadedSettings):
        return settings
    kind = settings_class(unloaded, release)
    try:
        loaded = kind.model_validate(unloaded.model_dump())
    except ValidationError as error:
        place = ("search", "algorithm", unloaded.name)
        found = [{**problem, "loc": (*place, *problem["loc"])} for problem in error.errors()]
        raise _refusal(found, where, [*setting_names(), *setting_names(kind, "search.algorithm.")]) from error
    search = settings.search.model_copy(update={"algorithm": loaded})
    return settings.model_copy(update={"search": search})


def _refusal(found: Sequence[Any], where: str, known: Sequence[str]) -> UsageError:
    """Return the error for wrong settings, as pydantic found them, where these names are known."""
    lines = [f"{where}: {_explain(problem, known)}" for problem in found[:_MAX_ERRORS]]
    if len(found) > _MAX_ERRORS:
        lines.append(f"{where}: and {len(found) - _MAX_ERRORS} more")
    return UsageError("\n".join(lines), remedy="schemas/README.md lists every setting with its default.")


def _explain(problem: Any, known: Sequence[str]) -> str:
    place = [str(part) for part in problem["loc"]]
    algorithm = ""
    if place[:2] == ["search", "algorithm"] and len(place) > 3:
        algorithm = place.pop(2)  # by which pydantic tells the tables apart
    name = ".".join(place)
    if problem["type"] == "union_tag_invalid":
        tags = ", ".join(filter(None, [problem["ctx"]["expected_tags"], *map(repr, plugins.names("algorithms"))]))
        return f"{name}: expected one of {tags}, got {_shortened(problem['ctx']['tag'])!r}"
    if problem["type"] != "extra_forbidden":
        return f"{name}: {in_words(problem, _shortened(repr(problem['input'])))}"
    if (
        isinstance(problem["input"], dict) and problem["input"]
    ):  # a table: a key in it identifies it better than its own name
        name = next(iter(flat_settings(problem["input"], f"{name}.")))
        place = name.split(".")
    if algorithm and name in known:
        return f"{name}: the algorithm `{algorithm}` has no such setting"
    same = [one for one in known if one.split(".")[-1] == place[-1]]  # in another table
    close = difflib.get_close_matches(name, same or known, n=1, cutoff=0.0 if same else 0.5)
    close = close or difflib.get_close_matches(place[-1], [one.split(".")[-1] for one in known], n=1)
    return f"there is no setting `{name}`" + (f"; did you mean `{close[0]}`?" if close else "")


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_VALUE_CHARS else f"{text[:_MAX_VALUE_CHARS]}…"


def setting_names(model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Return the dotted names of all settings; for `search.algorithm`, those of all algorithms."""
    names: list[str] = []
    for name, info in model.model_fields.items():
        kinds = [kind for kind in (info.annotation, *get_args(info.annotation)) if isinstance(kind, type)]
        tables = [kind for kind in kinds if issubclass(kind, BaseModel) and kind is not Model]
        for table in tables:
            names += setting_names(table, f"{prefix}{name}.")
        if not tables:
            names.append(prefix + name)
    return list(dict.fromkeys(names))


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one table by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= flat_settings(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
