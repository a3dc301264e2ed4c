"""Rows of a run's report: its generations, nights, niches, models, machines and failures as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class GenerationSummary:
    """State of a run at the end of a committed generation.

    Attributes:
        samples: Samples of the run so far.
        seconds: Running time of all nights so far, in seconds; the time between nights does not count.
        own_best: Best score among the generation's own candidates; `None` if none is scored.
        place: Place of the generation in the order of commits.
    """

    generation: int
    night: int
    samples: int
    seconds: float
    cost_usd: float
    best: float
    best_program_id: str
    own_best: float | None
    ended_at: datetime
    has_unknown_costs: bool = False
    place: int = 0


@dataclass(frozen=True, slots=True)
class SplitScores:
    """A program's score on each split; `None` where it was not evaluated or has no score."""

    program_id: str
    train: float | None
    validation: float | None = None
    held_out: float | None = None


@dataclass(frozen=True, slots=True)
class NightSummary:
    """A night; `ended_at` and `stop_reason` are empty unless it has ended; `seen_at` is its end or its last commit."""

    night: int
    started_at: datetime
    ended_at: datetime | None
    seen_at: datetime
    generations: int
    samples: int
    cost_usd: float
    best_before: float
    best_after: float
    best_program_id: str
    stop_reason: str
    error: str
    finalists: tuple[SplitScores, ...]
    has_unknown_costs: bool = False
    warning: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True)
class ScorePoint:
    """A scored candidate, at its 1-based position among all samples of the run; 0 is the start program's."""

    sample: int
    score: float
    program_id: str
    niche: str
    model: str
    operator: str


@dataclass(frozen=True, slots=True)
class DiversityPoint:
    """State of the population at the end of a generation; programs of one behaviour score the same on every input."""

    sample: int
    programs: int
    behaviours: int


@dataclass(frozen=True, slots=True)
class NicheHistory:
    """A niche over time.

    Attributes:
        steps: Pairs of a sample number and the niche's best score from there on; the score falls only at a reset.
        resets: Sample numbers at which the niche was reset.
        best_program_id: The niche's best program now; the first one if several have the same score.
    """

    niche: str
    steps: tuple[tuple[int, float], ...]
    resets: tuple[int, ...]
    programs: int
    clusters: int
    best_program_id: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A model's words on a program, for which the user asked it (`overnight audit --model`); `at` is in ISO 8601."""

    program_id: str
    model: str
    at: str
    words: str
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class QuestionSummary:
    """Answers of one model to the scoring, their tokens, and their price in USD, in which unknown ones count as 0."""

    model: str
    answers: int
    tokens: int
    cost_usd: float
    has_unknown_costs: bool


@dataclass(frozen=True, slots=True)
class RequestSummary:
    """Something that a person asked of the search, and what came of it.

    Attributes:
        generation: Number of the first generation that it may change; 0 while it waits for a night to take it.
        samples: Number of answers to prompts with it.
        gain: Mean of what they gained, in units of the run; `None` without any.
    """

    at: datetime
    author: str
    words: str
    generation: int
    samples: int
    gain: float | None


@dataclass(frozen=True, slots=True)
class ConversationStep:
    """A step of an agent's work.

    Attributes:
        who: Speaker or kind: `task`, `system`, `model`, `call`, `output`, `scoring`, `query`, `refused` or `file`.
        note: Tokens and price of a model's answer, at its first step; the path of a file that was left.
    """

    who: str
    text: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """Work of an agent in one session, with the number of its model's answers, how it ended, and its last output."""

    agent: str
    steps: tuple[ConversationStep, ...]
    turns: int
    ended: str
    output: str


@dataclass(frozen=True, slots=True)
class Ancestor:
    """An ancestor of the best program, or itself; its nearest parent is the one with the most similar function."""

    program_id: str
    generation: int
    sample: int
    niche: str
    model: str
    score: float
    parent_ids: tuple[str, ...]
    function: str
    nearest_parent_id: str = ""


@dataclass(frozen=True, slots=True)
class AsFound:
    """The best program before what no score needs was left out of it, with the lengths of both in words."""

    program_id: str
    function: str
    lengths: str


@dataclass(frozen=True, slots=True)
class InputResult:
    """Result of a program on one training input.

    Attributes:
        metrics: Further numbers of the scoring by name; `None` where it gave none.
    """

    number: int
    arguments: str
    score: float
    metrics: Mapping[str, float | None]
    note: str


@dataclass(frozen=True, slots=True)
class ObjectivePoint:
    """A scored program of a run with several objectives: its score and these by name, in the order of the settings."""

    program_id: str
    values: Mapping[str, float]
    is_on_front: bool


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """Results and costs of one model, or of an agent with the turns of its model; also without programs.

    Attributes:
        cost_usd: Cost in USD; `None` where no price is known.
        improvements: Number of the model's candidates that became the best of the run.
        latency_s: Median time from a request to its completion, in seconds.
        tokens_cached: Prompt tokens that the provider read from its cache; `tokens_in` includes them.
    """

    model: str
    samples: int
    outcomes: dict[str, int]
    tokens_in: int
    tokens_out: int
    cost_usd: float | None
    best: float | None
    improvements: int
    latency_s: float | None
    tokens_cached: int = 0
    has_unknown_costs: bool = False


@dataclass(frozen=True, slots=True)
class MachineSummary:
    """Work of a machine of a cluster.

    Attributes:
        name: Its name; empty for the machine of the night.
        faults: How often it lost a program or could not be used, and candidates that it could not evaluate.
        per_minute: Candidates per minute, in the nights in which it evaluated some.
    """

    name: str
    candidates: int
    scored: int
    faults: int
    mean_s: float | None
    per_minute: float | None


@dataclass(frozen=True, slots=True)
class Failure:
    """Candidates that failed in the same way, with one as an example; `kind` is the error without numbers and inputs.

    Attributes:
        last_night: Number of such candidates in the last of the nights that the report covers.
    """

    outcome: str
    kind: str
    candidates: int
    last_night: int
    program_id: str
    error: str
    function: str


@dataclass(frozen=True, slots=True)
class RepeatedProposal:
    """A program that models proposed again after it had been evaluated."""

    program_id: str
    times: int
    score: float | None
    outcome: str
    function: str


@dataclass(frozen=True, slots=True)
class TimeSpent:
    """Time by activity, in seconds: wall-clock time, except for `candidates_s` and `cpu_s`.

    Attributes:
        generations_s: Time in which a generation was under way; overlapping ones count once.
        sample_s: From a generation's first request to its last completion, summed over generations, which overlap.
        evaluate_s: From a generation's first evaluation to its last verdict, summed likewise.
        candidates_s: Wall-clock time of candidates in the sandbox, summed over all slots.
    """

    nights_s: float
    generations_s: float
    sample_s: float
    evaluate_s: float
    select_s: float
    candidates_s: float
    cpu_s: float
