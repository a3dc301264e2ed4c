"""Records of a generation, a night and a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Protocol

from overnight.schemas.algorithm import Change, Join, Reset
from overnight.schemas.feedback import Feedback, PromptRecord
from overnight.schemas.interventions import Intervention, Kind
from overnight.schemas.problem import Problem
from overnight.schemas.program import Completion, Judged, Program

UNCONFINED, BUBBLEWRAP = "unconfined", "bubblewrap"
"""How the sandbox backend `process` confines candidates: the beginning of its image's id, which a run records."""

SANDBOX_WARNINGS = {
    UNCONFINED: "candidates are not confined (--sandbox process): they have limits and no network, but your "
    "files and processes are open to them",
    BUBBLEWRAP: "candidates are confined by bubblewrap alone (--sandbox process): no network and no files but "
    "Python's and the problem's, but fewer limits and no user of their own",
}


COMMITTED, PUT_OFF = "committed", "put off"
"""States of a generation. An agent works on one that is put off while later ones are committed."""


class StopReason(StrEnum):
    """Reason for which a night ended; a closed list."""

    DEADLINE = "deadline"
    BUDGET = "budget"
    TARGET = "target"
    GENERATIONS = "generations"
    SAMPLES = "samples"
    TOKENS = "tokens"
    PATIENCE = "patience"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class GenerationRecord:
    """One attempt at a generation.

    Attributes:
        number: Number from 1; 0 is the start program's generation.
        place: Position in the order in which generations of the run ended, from 0. A retried generation comes later.
            `None` for an attempt that is tried again.
        attempt: Number of the attempt, from 1.
        judged: All candidates, in order; empty if the attempt failed.
        changes: Changes of the algorithm's state, in order, by the index of the prompt whose results caused them; one
            beyond the last, the corrections at its end.
        best: Best program of the run after it.
        error: Reason of the failure; empty if it is to be committed.
        questions: Answers to questions of the scoring that no earlier generation has.
        prompts: Number of its prompts, where it ended before all that the settings allow were asked; else `None`.
        samples_in_flight: Number of samples in flight after it, where its slow answers made them fewer; else `None`.
        agent: Model of the agent whose session beside prompts it is; empty for any other.
        is_put_off: Whether it is no failure, but the place of a session whose answer is committed later.
    """

    number: int
    attempt: int
    night: int
    started_at: datetime
    ended_at: datetime
    best: Program
    judged: tuple[Judged, ...] = ()
    changes: Mapping[int, tuple[Change, ...]] = field(default_factory=dict)
    sample_s: float = 0.0
    evaluate_s: float = 0.0
    select_s: float = 0.0
    flow_run_id: str = ""
    error: str = ""
    place: int | None = None
    questions: tuple[Completion, ...] = ()
    prompts: int | None = None
    samples_in_flight: int | None = None
    agent: str = ""
    is_put_off: bool = False

    @property
    def state(self) -> str:
        """What became of it, as `tables.GENERATIONS` has it."""
        return PUT_OFF if self.is_put_off else "failed" if self.error else COMMITTED

    @property
    def resets(self) -> bool:
        """Whether niches were reset at its end."""
        return any(isinstance(change, Reset) for change in flat(self.changes))


def flat(changes: Mapping[int, tuple[Change, ...]]) -> tuple[Change, ...]:
    """Return the changes of all prompts, in order."""
    return tuple(change for prompt in sorted(changes) for change in changes[prompt])


@dataclass(frozen=True, slots=True)
class Finalist:
    """A program of the final evaluation with its reduced score on each split; `None` without inputs or score."""

    program: Program
    train: float
    validation: float | None
    held_out: float | None


class OnOtherInputs(Protocol):
    """Scores of a finalist on inputs that the search has not seen."""

    @property
    def validation(self) -> float | None: ...
    @property
    def held_out(self) -> float | None: ...


def fails_on(winner: OnOtherInputs, finalists: Sequence[OnOtherInputs]) -> tuple[str, ...]:
    """Return the names of splits on which the winner has no score though another finalist has one."""
    given = {
        "validation": (winner.validation, [one.validation for one in finalists]),
        "held-out": (winner.held_out, [one.held_out for one in finalists]),
    }
    return tuple(name for name, (own, all_) in given.items() if own is None and any(one is not None for one in all_))


_MOST_CAUSES = 50
"""Causes of pauses that a night tells apart, as messages of a provider may differ each time."""


@dataclass(frozen=True, slots=True)
class Pause:
    """How long a night waited for one cause, all its pauses together."""

    cause: str
    seconds: float


@dataclass(frozen=True, slots=True)
class NightRecord:
    """One night; `ended_at` and `stop_reason` are missing while it is under way.

    Attributes:
        paused_s: Seconds that it waited for the engine, a provider or the disk.
        paused_by: Cause of the last pause, in words.
        pauses: Pauses by their causes, in the order in which these first came.
        samples_in_flight: Number of samples that were in flight at a time.
        first_generation: Number of the generation that it began with, or would have.
        machine_faults: Names of machines of a cluster, each with how often it lost a program or could not be used.
        warning: Fault of its samples, in words.
        alive_until: Time before which it writes its row again, unless it has ended or was killed.
    """

    number: int
    started_at: datetime
    best_before: float
    best_after: float
    best_program_id: str
    ended_at: datetime | None = None
    generations: int = 0
    samples: int = 0
    cost_usd: float = 0.0
    finalists: tuple[Finalist, ...] = ()
    stop_reason: StopReason | None = None
    error: str = ""
    flow_run_id: str = ""
    paused_s: float = 0.0
    paused_by: str = ""
    pauses: tuple[Pause, ...] = ()
    machine_faults: tuple[tuple[str, int], ...] = ()
    samples_in_flight: int = 0
    first_generation: int = 0
    warning: str = ""
    alive_until: datetime | None = None

    def with_pause(self, cause: str, seconds: float) -> NightRecord:
        """Return the night with so many seconds more that it waited for a cause."""
        spent = {one.cause: one.seconds for one in self.pauses}
        own = cause if cause in spent or len(spent) < _MOST_CAUSES else "other causes"
        spent[own] = spent.get(own, 0.0) + seconds
        pauses = tuple(Pause(*one) for one in spent.items())
        return replace(self, paused_s=self.paused_s + seconds, paused_by=cause, pauses=pauses)

    @property
    def winner_fails_on(self) -> tuple[str, ...]:
        """Names of the splits that the winner of its final evaluation was run on without a score."""
        winner = next((one for one in self.finalists if one.program.id == self.best_program_id), None)
        return fails_on(winner, self.finalists) if winner else ()


@dataclass(frozen=True)
class RunRecord:
    """A run as its files describe it.

    Attributes:
        seed: Source of everything random.
        specification_path: Name or relative path of the problem.
        image_id: Id of the sandbox image that it was begun with.
        versions: Versions of Overnight, Python and the main libraries.
        rescored_from: Id of the run whose rescored programs are its generation 1, or the flags `--start` that name
            these; empty for other runs.
        origin: Absolute path of the problem on this machine; empty if it is built in, or the run is from elsewhere.
    """

    run_id: str
    problem: Problem
    seed: int
    started_at: datetime
    specification_path: str
    image_id: str
    versions: dict[str, str]
    rescored_from: str = ""
    origin: str = ""

    @property
    def loose_sandbox(self) -> str:
        """Name of a sandbox that was looser than a container: `unconfined` or `bubblewrap`; else empty."""
        how = self.image_id.partition(",")[0]
        return how if how in SANDBOX_WARNINGS else ""

    @property
    def sandbox_warning(self) -> str:
        """Warning of what candidates could reach, where the sandbox was looser than a container; else empty."""
        return SANDBOX_WARNINGS.get(self.loose_sandbox, "")

    @property
    def given(self) -> int:
        """Number of the last generation that existed before the search began."""
        return 1 if self.rescored_from else 0


@dataclass(frozen=True, slots=True)
class Step:
    """The end of a generation: a commit, or its being given up or put off.

    Attributes:
        changes: Changes of the algorithm's state, by the index of the prompt whose results caused them.
        records: How each prompt was asked and answered, by its index, where that was asked for.
        confirmations: By prompt, the programs that were confirmed, and whether each stood.
        corrected: Final feedback on each program whose scores were changed after they were told.
        samples_in_flight: Number of samples in flight after it, where it made them fewer.
        is_put_off: Whether it is a session that is committed later.
        night: Number of the night in which it ended.
    """

    generation: int
    is_committed: bool
    changes: Mapping[int, tuple[Change, ...]] = field(default_factory=dict)
    records: Mapping[int, PromptRecord] = field(default_factory=dict)
    confirmations: Mapping[int, Sequence[tuple[str, bool]]] = field(default_factory=dict)
    corrected: Mapping[str, Feedback] = field(default_factory=dict)
    samples_in_flight: int | None = None
    is_put_off: bool = False
    night: int = 0

    @property
    def all_changes(self) -> tuple[Change, ...]:
        return flat(self.changes)

    @property
    def joined(self) -> list[str]:
        """Ids of the programs that were registered, in order."""
        return [change.program_id for change in self.all_changes if isinstance(change, Join)]


@dataclass(frozen=True, slots=True)
class Window:
    """Number of samples in flight in a night, its number, and that of the generation that it began with."""

    first_generation: int
    samples: int
    night: int


@dataclass(frozen=True)
class RunHistory:
    """The history of a run as far as it is needed to resume it.

    Attributes:
        programs: All scored programs by id that were not dropped, the start program first.
        steps: Ends of generations in their order, from 1. A generation that was given up and retried is there twice.
        code_hashes: Code hashes of all evaluated bodies, but for those in `unhashed`.
        windows: Samples in flight of each night, in order.
        claimed: Scores that the algorithm was told, by id of a program whose confirmation changed them.
        interventions: Requests of people, in order.
        dropped: Programs by id that people have taken out.
        unhashed: Evaluated bodies of which an earlier version stored another form of hash.
        lengths: Numbers of prompts of the generations that ended early, also of those that are not committed.
        asked: Number of prompts, at least, that were asked of each generation which is not committed.
        sessions: Models of agents by the number of the generation that is a session of theirs.
    """

    programs: dict[str, Program]
    steps: tuple[Step, ...]
    code_hashes: frozenset[str]
    windows: tuple[Window, ...] = ()
    claimed: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    interventions: tuple[Intervention, ...] = ()
    dropped: Mapping[str, Program] = field(default_factory=dict)
    unhashed: frozenset[str] = frozenset()
    lengths: Mapping[int, int] = field(default_factory=dict)
    asked: Mapping[int, int] = field(default_factory=dict)
    sessions: Mapping[int, str] = field(default_factory=dict)

    @cached_property
    def told(self) -> dict[str, Program]:
        """All scored programs by id, also those that were dropped later."""
        return {**self.programs, **self.dropped} if self.dropped else self.programs

    @property
    def drops(self) -> list[Intervention]:
        """Interventions that took programs out, in order."""
        return [one for one in self.interventions if one.kind is Kind.DROP]

    @cached_property
    def generations(self) -> int:
        """Number of the last generation that ended."""
        return max((step.generation for step in self.steps), default=0)

    @cached_property
    def failed(self) -> frozenset[int]:
        """Numbers of generations that were given up and not committed since."""
        committed = {step.generation for step in self.steps if step.is_committed}
        return frozenset({step.generation for step in self.steps if not step.is_put_off} - committed)

    @cached_property
    def put_off(self) -> frozenset[int]:
        """Numbers of sessions that have their place and were neither committed nor given up since."""
        ended = {step.generation for step in self.steps if not step.is_put_off}
        return frozenset({step.generation for step in self.steps} - ended)

    def is_open(self, generation: int) -> bool:
        """Return whether a generation was given up or is to come."""
        return generation > self.generations or generation in self.failed | self.put_off

    def before_failure_of(self, generation: int) -> RunHistory:
        """Return the history until a generation was given up for the first time."""
        first = next(place for place, step in enumerate(self.steps) if step.generation == generation)
        windows = tuple(one for one in self.windows if one.first_generation <= generation)
        return replace(self, steps=self.steps[:first], windows=windows)

    @property
    def start(self) -> Program:
        return next(iter(self.programs.values()))
