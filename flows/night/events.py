"""Events that the core of a night is told, and actions that it asks for. Plain data, without services or threads."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from overnight.flows.night.block import Pairs, Stored
from overnight.schemas.generation import GenerationRecord, RunHistory, StopReason
from overnight.schemas.interventions import Intervention
from overnight.schemas.outcome import Verdict
from overnight.schemas.program import Judged, Program, Prompt


@dataclass(frozen=True, slots=True)
class Clock:
    """State of the world at an event.

    Attributes:
        seconds: Seconds of the monotonic clock.
        total_usd: USD of all nights of the run.
        period_usd: USD of all runs of the history in each period that has a limit.
        is_exhausted: Whether the rest of the budget does not cover the next request.
        interrupted: Whether the night is to end after the generation under way.
        answered_at: Seconds of the monotonic clock at which the last batch job ended; 0 without one.
        batch_brought: Numbers of generations whose completions a batch job has brought.
    """

    now: datetime
    seconds: float
    tokens: int = 0
    night_usd: float = 0.0
    total_usd: float = 0.0
    period_usd: Mapping[str, float] = field(default_factory=dict)
    is_exhausted: bool = False
    interrupted: bool = False
    answered_at: float = 0.0
    batch_brought: frozenset[int] = frozenset()


# Events. `attempt` is the number that `Begin` gave to an attempt at a generation; later events of an attempt that is
# over are left alone.


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed, or an interruption has come."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An attempt at a generation has read what earlier ones left.

    Attributes:
        stored: Samples that are paid for.
        failed: Number of attempts that failed.
    """

    attempt: int
    stored: Stored
    failed: int


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A batch of prompts is sampled and evaluated; `sampled_at` is in seconds of the monotonic clock."""

    attempt: int
    prompts: Sequence[Prompt]
    pairs: Pairs
    sampled_at: float


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A claim was run again."""

    attempt: int
    program_id: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class HasPlace:
    """The place of a session that is put off is written down."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Pruned:
    """The pruning of the best program has ended; `judged` is `None` where nothing is to be recorded of it."""

    attempt: int
    judged: Judged | None


@dataclass(frozen=True, slots=True)
class Failed:
    """The work of an attempt, or its flow run, has failed."""

    attempt: int
    error: Exception


@dataclass(frozen=True, slots=True)
class Committed:
    """A generation is committed."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The flow run of an attempt has ended."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The history was read again, after a failure or for a drop, or could not be."""

    history: RunHistory | None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """The grace period after the deadline is half over: what is under way is cut short."""


@dataclass(frozen=True, slots=True)
class Suggested:
    """People asked for hints, pins or their end, which are recorded; they begin with a prompt that is not planned."""

    given: Sequence[Intervention]


@dataclass(frozen=True, slots=True)
class DropWanted:
    """A person wants a program out. It is recorded when the history is read again, after the generation under way."""


Event = (
    Tick
    | Opened
    | Evaluated
    | Confirmed
    | HasPlace
    | Pruned
    | Failed
    | Committed
    | Ended
    | Reloaded
    | Cut
    | Suggested
    | DropWanted
)


# Actions.


@dataclass(frozen=True, slots=True)
class Begin:
    """Open an attempt at a generation: a flow run."""

    attempt: int
    number: int


@dataclass(frozen=True, slots=True)
class Ask:
    """Sample and evaluate prompts.

    Attributes:
        group: With the Batch API, all prompts of each generation that is sent together with this one.
    """

    attempt: int
    number: int
    prompts: Sequence[Prompt]
    group: Mapping[int, Sequence[Prompt]] | None = None


@dataclass(frozen=True, slots=True)
class EndEarly:
    """Record with how many prompts a generation ends, which lasts long, before any after it are asked.

    Attributes:
        agent: Model of the agent whose session it is, with one prompt; empty for any other.
    """

    attempt: int
    number: int
    prompts: int
    agent: str = ""


@dataclass(frozen=True, slots=True)
class PutOff:
    """Record the place of a session whose agent works: later generations are committed before it."""

    attempt: int
    record: GenerationRecord


@dataclass(frozen=True, slots=True)
class EndTuning:
    """Let tunings end that gain nothing any more: the models have given their last answer."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """Run a claim again."""

    attempt: int
    claim: Judged


@dataclass(frozen=True, slots=True)
class Prune:
    """Prune the best of some programs, unless it stays as it is.

    Attributes:
        number: Generation that the result is committed with.
        programs: Programs of the final evaluation.
        kept: Ids of programs that stay as they are: the start program, and those that were pruned or came of it.
    """

    attempt: int
    number: int
    programs: Sequence[Program]
    kept: Collection[str]


@dataclass(frozen=True, slots=True)
class Commit:
    """Commit a generation, and end its flow run."""

    attempt: int
    record: GenerationRecord


@dataclass(frozen=True, slots=True)
class Abandon:
    """End the flow run of an attempt without a commit.

    Attributes:
        why: Message of its final state.
        is_cancelled: Whether that state is Cancelled, since it begins again.
        error: Error that it fails with; `None` if it does not fail.
        record: Record of the failure.
    """

    attempt: int
    why: str
    is_cancelled: bool = False
    error: Exception | None = None
    record: GenerationRecord | None = None


@dataclass(frozen=True, slots=True)
class Reload:
    """Read the history again, after drops that are wanted were recorded in it."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Record that the night goes on without a generation."""

    number: int
    place: int


@dataclass(frozen=True, slots=True)
class Say:
    """Show a message; an empty one clears it."""

    text: str


@dataclass(frozen=True, slots=True)
class Phase:
    """Show what the night does."""

    name: str
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for an outage to end; `seconds` is None once work is done again, or the night ends.

    Attributes:
        said: Cause, in words.
    """

    seconds: float | None
    said: str


@dataclass(frozen=True, slots=True)
class Close:
    """Ask for nothing further, and wait for what is in flight."""


@dataclass(frozen=True, slots=True)
class Finish:
    """End the night for a reason, or with an error."""

    reason: StopReason
    error: Exception | None = None


OfAttempt = Begin | Ask | EndEarly | PutOff | Confirm | Prune | Commit | Abandon
Action = OfAttempt | EndTuning | Reload | GiveUp | Say | Phase | Pause | Close | Finish
