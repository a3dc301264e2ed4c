"""Every setting there is. One model for the specification's own block, `overnight.toml` and the flags."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    model_validator,
)

from schemas.algorithm_settings import AnyAlgorithm, IslandsSettings, with_current_names
from schemas.bounded_parsing import require_plain
from schemas.errors import UsageError
from schemas.job import Limits

Reducer = Literal["mean", "last", "min", "sum"]


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


class Section(BaseModel):
    """A table of settings: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Command(Section):
    """How a whole file is scored, in a problem that is a directory, `[command]` in its `overnight.toml`."""

    program: str = Field(default="", description="the file that evolves; by default the one that has the marks")
    evaluate: tuple[str, ...] = Field(
        default=(),
        description="the command, as an array; `{program}` is the candidate's file, `{input}` an input as JSON",
    )
    metric: str = Field(default="score", description="which of the metrics it prints is the score; higher is better")
    metrics_file: str = Field(
        default="", description="the JSON file it writes its metrics to; by default it prints them"
    )


class Known(Section):
    """Numbers to show beside a user's own, in the unit of the problem's score."""

    start: float | None = Field(default=None, description="the start program's score on `inputs`, for tables")
    best: float | None = Field(default=None, description="the best score anyone has published")
    label: str = Field(default="", description="who holds it, on what")
    source: str = Field(default="", description="where it was published")
    date: str = Field(default="", description="when, or when it was looked up")
    proven: bool = Field(
        default=False, description="whether nothing better can exist; a better score is then a checker's bug"
    )
    honesty: float | None = Field(default=None, description="what can be had without any model")
    honesty_label: str = Field(default="", description="how")
    baseline: str = Field(
        default="",
        description="the function of the specification that computes, for one input, what can be had without any model",
    )

    def is_beaten_by(self, score: float) -> bool:
        """Whether a score is better than what is proven to be the best, by more than rounding can explain."""
        if not self.proven or self.best is None:
            return False
        return score > self.best + 1e-9 * max(1.0, abs(self.best))


class Search(Section):
    """The genetic search, `[tool.overnight.search]`."""

    algorithm: AnyAlgorithm = IslandsSettings()
    prompts: int = Field(default=12, ge=1, le=10_000, description="prompts in a generation")
    samples: int = Field(default=4, ge=1, le=256, description="samples for each prompt")
    lookahead: int = Field(
        default=1,
        ge=0,
        le=4,
        description="generations sampled ahead: their prompts are built from a population that much older, so that "
        "models answer while candidates are evaluated",
    )
    feedback: int = Field(
        default=0,
        ge=0,
        description="characters of a prompt that may show the last try on its best version that failed or scored "
        "lower: its code, scores, error and what it printed; for chat models, and never with `funsearch`",
    )
    retries: int = Field(
        default=3,
        ge=0,
        description="further attempts at a generation that failed, before the night goes on without it; waits between "
        "them grow to 5 minutes",
    )
    failures: int = Field(
        default=3, ge=1, description="generations in a row that fail, with all their attempts, and so end the night"
    )

    @property
    def feedback_chars(self) -> int:
        """What `feedback` comes to with this algorithm."""
        return self.feedback if self.algorithm.shows_feedback else 0

    @model_validator(mode="before")
    @classmethod
    def _read_former_names(cls, value: Any) -> Any:
        return with_current_names(value)


def _as_model(value: Any) -> Any:
    """`"gpt-5"` and `"gpt-5=2"` are short for tables."""
    if not isinstance(value, str):
        return value
    name, separator, weight = value.rpartition("=")
    return {"name": name, "weight": weight} if separator else {"name": value}


class Model(Section):
    """One model of the weighted list."""

    name: str = Field(description="a LiteLLM model string, or builtin/mutate")
    weight: float = Field(default=1.0, gt=0, description="share of the prompts")
    api_base: str | None = Field(default=None, description="address of an OpenAI-compatible server")
    style: Literal["chat", "completion"] = Field(default="chat", description="how prompts are written")
    input_usd: float | None = Field(
        default=None, ge=0, description="USD for a million prompt tokens, where LiteLLM does not know it or is wrong"
    )
    output_usd: float | None = Field(default=None, ge=0, description="USD for a million completion tokens, likewise")
    rpm: float | None = Field(default=None, gt=0, description="requests a minute; more wait for their turn")
    tpm: float | None = Field(default=None, gt=0, description="tokens a minute, in and out; more wait for their turn")
    fallbacks: Annotated[
        tuple[Annotated[Model, BeforeValidator(_as_model)], ...],
        BeforeValidator(_as_list),
        Field(
            max_length=20,
            description="models that are asked, in order, what this one fails to answer; of the same style",
        ),
    ] = ()

    @model_validator(mode="after")
    def _is_consistent(self) -> Model:
        if any(not text.isprintable() or " " in text for text in (self.name, self.api_base or "")):
            raise ValueError(f"{self.name!r}: a name or an address has no blanks in it")
        if (self.input_usd is None) != (self.output_usd is None):
            raise ValueError(f"{self.name}: input_usd and output_usd go together")
        for one in self.fallbacks:
            if one.fallbacks:
                raise ValueError(f"{one.name} is a fallback and has fallbacks; list them in order with {self.name}")
            if one.style != self.style:
                raise ValueError(f"{one.name} is sent what was written for {self.name}: style must be {self.style}")
        return self


class Sampling(Section):
    """How models are asked, `[tool.overnight.sampling]`."""

    models: Annotated[
        tuple[Annotated[Model, BeforeValidator(_as_model)], ...],
        BeforeValidator(_as_list),
        Field(min_length=1, max_length=100, description="models and their weights"),
    ] = (Model(name="builtin/mutate", style="completion"),)
    temperature: float | None = Field(default=1.0, ge=0, description="of the model; unset leaves it to the provider")
    top_p: float | None = Field(default=0.95, gt=0, le=1, description="nucleus; unset leaves it to the provider")
    max_tokens: int | None = Field(default=4096, ge=1, description="longest completion, tokens")
    concurrency: int = Field(default=16, ge=1, le=10_000, description="requests in flight")
    timeout_s: float = Field(default=120.0, gt=0, le=86_400, description="seconds for one request")
    attempts: int = Field(default=4, ge=1, le=1_000, description="requests for one sample before it is given up")
    batch: int = Field(
        default=4, ge=1, le=10_000, description="prompts in a batch, which is evaluated as soon as it is there"
    )
    batch_api: bool = Field(
        default=False,
        description="whether prompts are sent through the provider's Batch API, mostly at half price, which answers "
        "within a day",
    )
    batch_generations: int = Field(
        default=8,
        ge=1,
        le=100,
        description="with `batch_api`: generations whose prompts are sent at once; all of them are built from the "
        "population before the first, in place of `search.lookahead`",
    )

    @model_validator(mode="after")
    def _names_each_model_once(self) -> Sampling:
        names = [model.name for model in self.models]
        if twice := {name for name, times in Counter(names).items() if times > 1}:
            raise ValueError(f"{', '.join(sorted(twice))} is named twice; a second address can be a fallback")
        return self


_IMAGE = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::\d{1,5})?/|\[[0-9A-Fa-f:]+\](?::\d{1,5})?/)?"  # a registry
    r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@?sha256:[0-9a-f]{64})?",
    re.ASCII,
)
_LONGEST_IMAGE = 512


def _as_image(value: str) -> str:
    """Refuse what is no name of an image: it is the first line of a build file."""
    if len(value) > _LONGEST_IMAGE or not (_IMAGE.fullmatch(value) or re.fullmatch("sha256:[0-9a-f]{12,64}", value)):
        raise ValueError("expected the name of an image, such as python:3.12-slim")
    return value


class Sandbox(Section):
    """Where candidates run, `[tool.overnight.sandbox]`."""

    image: Annotated[str, AfterValidator(_as_image)] = Field(
        default="overnight-sandbox:latest", description="container image with Python 3.11 or newer"
    )
    slots: int | None = Field(
        default=None, ge=1, le=1_024, description="containers side by side; default: as many as cores"
    )
    runtime: str | None = Field(default=None, description="container runtime, such as runsc; default: the engine's")
    split: bool = Field(
        default=False,
        description="whether every evaluation runs the evolved function and the scoring in two processes",
    )
    confirm: Literal["never", "best", "always"] = Field(
        default="best",
        description="which programs are run again, split, in a fresh container, before they count: those that would "
        "be the best of their island, all that are scored, or none",
    )


def _as_threshold(value: Any) -> Any:
    """TOML has no null: there, `-inf` stands for no threshold."""
    return None if value == float("-inf") else value


class Settings(Section):
    """All settings of a run."""

    title: str = Field(default="", description="what the problem is called in tables")
    inputs: Annotated[tuple[Any, ...], BeforeValidator(_as_list)] = Field(
        default=(), description="what the search is scored on; a path names a JSON file"
    )
    validation: Annotated[tuple[Any, ...], BeforeValidator(_as_list)] = Field(
        default=(), description="inputs that choose the best among the finalists"
    )
    held_out: Annotated[tuple[Any, ...], BeforeValidator(_as_list)] = Field(
        default=(), description="inputs that score the final best and are never shown to the search"
    )
    thresholds: tuple[Annotated[FiniteFloat | None, BeforeValidator(_as_threshold)], ...] = Field(
        default=(),
        description="for each of `inputs`, in order, the score below which a program is rejected and the rest is "
        "skipped; `-inf` where there is none",
    )
    statement: str = Field(
        default="", description="what is wanted, in words, for the model; by default the specification's docstring"
    )
    files: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = Field(
        default=(),
        description="files and folders beside the specification that a program finds, read-only, in its working "
        "directory; modules among them can be imported",
    )
    reducer: Reducer = Field(default="mean", description="how the scores of the inputs become one")
    score_name: str = Field(default="score", description="what the score is, in words, with its unit")
    noise: float = Field(
        default=0.0, ge=0, description="how much the score on an input may differ when a program is confirmed"
    )
    finalists: int = Field(
        default=10, ge=1, le=10_000, description="best programs that are tried on the validation inputs"
    )
    known: Known = Known()
    command: Command = Command()
    limits: Limits = Limits()
    search: Search = Search()
    sampling: Sampling = Sampling()
    sandbox: Sandbox = Sandbox()


_MOST_CHARS = 500
"""Of a wrong value in a message."""

_MOST_ERRORS = 20
"""Wrong settings that are told of; looking for what was meant takes a while."""


def parse_settings(data: dict[str, Any], where: str) -> Settings:
    """Settings from plain data.

    Args:
        data: As in TOML.
        where: What to call the place in errors.

    Raises:
        UsageError: For an unknown setting (with the likely name) or a wrong value.
    """
    try:
        require_plain(data)
    except ValueError as error:
        raise UsageError(f"{where}: {error}", remedy="Write it in a simpler way.") from error
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        found = error.errors()
        left = [f"{where}: and {len(found) - _MOST_ERRORS} more"] if len(found) > _MOST_ERRORS else []
        raise UsageError(
            "\n".join([*(f"{where}: {_explain(problem)}" for problem in found[:_MOST_ERRORS]), *left]),
            remedy="README.md, section Settings, lists every setting with its default.",
        ) from error


def _explain(problem: Any) -> str:
    place = [str(part) for part in problem["loc"]]
    if place[:2] == ["search", "algorithm"]:
        del place[2:3]  # the algorithm's name, by which pydantic tells the tables apart
    name = ".".join(place)
    if problem["type"] != "extra_forbidden":
        return f"{name}: {problem['msg']}, got {_shortened(repr(problem['input']))}"
    if isinstance(problem["input"], dict) and problem["input"]:  # a table: what is in it tells more than its own name
        name = next(iter(flat_settings(problem["input"], f"{name}.")))
        place = name.split(".")
    close = difflib.get_close_matches(name, setting_names(), n=1, cutoff=0.5)
    close = close or difflib.get_close_matches(place[-1], [n.split(".")[-1] for n in setting_names()], n=1)
    return f"there is no setting `{name}`" + (f"; did you mean `{close[0]}`?" if close else "")


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]}…"


def setting_names(model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Dotted names of all settings; of `search.algorithm` those of all algorithms."""
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
    """Nested settings by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= flat_settings(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
