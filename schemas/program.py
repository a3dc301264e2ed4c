"""Data that passes between the tasks of a generation: prompts, completions, candidates, programs."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from overnight.schemas.feedback import Feedback
from overnight.schemas.operators import Operator
from overnight.schemas.outcome import Verdict

TUNER = "builtin/tuner"
"""Model of a prompt whose sample is answered by tuning the numbers of its base, without a language model."""

TUNED, NO_GAIN = "tuned", "no_gain"
"""Finish reasons of the tuner's answers: better numbers were found, or none. An agent's may be the second, too."""

PRUNER = "builtin/pruner"
"""Model of the prompt that stands for leaving out of a night's best program what no score needs."""

NO_MODELS = frozenset((TUNER, PRUNER))
"""Sources of samples that nobody asks a model for, so that they do not count as samples."""

PRUNED = "pruned"
"""Finish reason of a program of which something was left out; without that, it is `NO_GAIN`."""

TURN, UNUSED = "turn", "unused"
"""Finish reasons of what is no sample: a turn of an agent, kept while it works, and a sample that it did not use."""

QUESTION = "question"
"""Finish reason of the answer to a question of the scoring, which is no sample either (`schemas/question.py`)."""

LAST = "last"
"""Finish reason of the line in a journal that says with how many prompts, in `prompt`, a generation ended early."""

RESCORED = "rescored"
"""Finish reason of a program of another run that is scored again, for which no model was asked."""

MEASURED = "Measured:"
"""Beginning of the line of a prompt that tells seconds and memory, which differ each time that a program is run."""

_MEASURED_LINE = re.compile(rf"^{MEASURED} .*(?:\n\n?|\Z)", re.MULTILINE)


def without_measured(text: str) -> str:
    """Return the text of a prompt without what was measured: prompts that differ in nothing else are the same."""
    return _MEASURED_LINE.sub("", text)


_IDEA = re.compile(r"^\W{0,6}idea\W{0,3}:(.*)$", re.IGNORECASE | re.MULTILINE)
"""A line such as `# idea: sort first`, in whatever comment or emphasis a model puts it."""

_MAX_IDEA = 300
"""Longest idea that is kept, characters."""


NO_SCORE = -math.inf
"""Score of what stands for a start program where there is none; lower than any score."""


@dataclass(frozen=True, slots=True)
class Program:
    """A scored program, or what stands for a start program where there is none (`is_scored`).

    Attributes:
        body: Body of the evolved function, dedented, without docstring; the text of all if several evolve.
        scores: Score on each input: the signature.
        metrics: Further numbers of the scoring by name, of all inputs, reduced to one each.
        notes: Words of the scoring on each input, up to the last with a note.
        cpu_s: Processor time on all inputs together, seconds; 0 if it is unknown.
        peak_mib: Peak resident memory, MiB; 0 if it is unknown.
        input_wall_s: Wall-clock time on each input, seconds; empty if it is unknown.
        calls: Number of calls of what evolves on each input; empty if they were not counted.
        pruned_from: Id of the program of which this is what its scores need; empty for others.
        is_confirmed: Whether its score was confirmed.
    """

    id: str
    body: str
    scores: tuple[float, ...]
    score: float
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    notes: tuple[str, ...] = ()
    cpu_s: float = field(default=0.0, compare=False)
    peak_mib: float = field(default=0.0, compare=False)
    input_wall_s: tuple[float, ...] = field(default=(), compare=False)
    calls: tuple[int, ...] = field(default=(), compare=False)
    pruned_from: str = field(default="", compare=False)
    is_confirmed: bool = field(default=False, compare=False)

    @property
    def is_scored(self) -> bool:
        """Whether it is a program: false of a signature and a docstring that a search begins with."""
        return self.score != NO_SCORE

    def __deepcopy__(self, memo: object) -> Program:
        """Return the program itself, which cannot change, so that the state of a search is copied quickly."""
        return self


def best_of(programs: Iterable[Program]) -> Program:
    """Return the program with the best score; of equal ones one that was pruned, and of these the first."""
    return max(programs, key=lambda program: (program.score, program.pruned_from != ""))


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt, of which `samples` completions are asked for.

    Attributes:
        index: Position in the generation, from 0.
        niche: Niche in which a scored child is registered.
        model: LiteLLM model string.
        text: User message for a chat model, whole text for a completion model.
        system: System message for a chat model; empty if there is none.
        seeds: Seed of each sample, for models that take one and for the tuner.
        base: Body of the program to change; functions that a completion leaves out stay as they are there.
        operator: Kind of change that is asked for; empty if the prompt leaves it to the model.
        base_id: Id of the program to change; empty if it is none of the run's.
        base_score: Its score; `None` if it has none.
    """

    index: int
    niche: str
    parent_ids: tuple[str, ...]
    model: str
    style: str
    text: str
    seeds: tuple[int, ...]
    base: str = ""
    system: str = ""
    operator: str = ""
    base_id: str = ""
    base_score: float | None = None

    @property
    def samples(self) -> int:
        return len(self.seeds)

    @property
    def whole_text(self) -> str:
        """All that the model is sent, as one text."""
        return f"{self.system}\n\n{self.text}" if self.system else self.text

    @property
    def hash(self) -> str:
        """16 hex digits of model and text, by which a completion that was paid for is found."""
        return hashlib.sha256(f"{self.model}\0{without_measured(self.whole_text)}".encode()).hexdigest()[:16]

    @property
    def messages(self) -> list[dict[str, str]]:
        """Messages for a chat model, in OpenAI's form."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.text}]


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's answer to one sample of a prompt; it is paid for.

    Attributes:
        prompt_hash: Hash of model and text, so that a changed prompt never takes another's completion.
        tokens_in: Prompt tokens; with several samples in one request, the first carries them all.
        cost_usd: Price in USD; `None` if it is unknown.
        latency_s: Seconds from request to answer.
        error: Reason why there is no text, where the provider failed for good.
        evaluations: Number of evaluations behind an answer of the tuner or the pruner; 0 for a model's.
        tokens_cached: Prompt tokens that the provider read from its cache; `tokens_in` includes them.
        transcript: Work of an agent, as JSON (`tasks/agent/transcript.py`); its turns were counted as they were paid.
        night: Number of the night in which it came, as its journal has it; 0 outside of one.
    """

    prompt: int
    sample: int
    prompt_hash: str
    text: str
    model: str
    tokens_in: int
    tokens_out: int
    cost_usd: float | None
    latency_s: float
    finish_reason: str
    asked_at: datetime
    error: str = ""
    evaluations: int = 0
    tokens_cached: int = 0
    transcript: str = ""
    night: int = 0

    @property
    def is_sample(self) -> bool:
        """Whether it is the answer to a sample."""
        return self.finish_reason not in (TURN, UNUSED, QUESTION, LAST)

    @property
    def idea(self) -> str | None:
        """The model's own words for its change, its first line `# idea: …`; `None` if there is none."""
        return idea_in(self.text) or None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A completion parsed into a body, or the reason why it could not be.

    Attributes:
        index: Position in the generation; prompts in order, samples within.
        code_hash: Hash that agrees for bodies which count as the same (`Problem.code_hash`); empty if there is no body.
        verdict: Verdict where the text alone decides; else `None`.
    """

    index: int
    prompt: Prompt
    completion: Completion
    body: str
    code_hash: str
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate with its verdict, its id and, if it is scored, its score.

    Attributes:
        confirmed_score: Score of its confirmation, whether it agreed or not; `None` if there was none.
        gain: Its gain on its base, in units of the run; `None` where operators and models are not compared.
        claimed_scores: Scores that the algorithm was told before its confirmation changed them; else empty.
        metrics: The metrics of its first evaluation, reduced as its scores are.
        confirmed_metrics: The same of its confirmation.
    """

    id: str
    candidate: Candidate
    verdict: Verdict
    score: float | None
    confirmed_score: float | None = None
    gain: float | None = None
    claimed_scores: tuple[float, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    confirmed_metrics: Mapping[str, float] = field(default_factory=dict, hash=False)

    def feedback(self) -> Feedback:
        """Return what later prompts may learn from it."""
        prompt, verdict = self.candidate.prompt, self.verdict
        parents, is_repair = prompt.parent_ids, prompt.operator == Operator.REPAIR
        return Feedback(
            parent_id=parents[-1] if parents else "",
            body=self.candidate.body,
            outcome=verdict.outcome,
            error=verdict.error,
            output=verdict.output,
            scores=verdict.scores,
            score=self.score,
            program_id=self.id,
            idea=self.candidate.completion.idea or "",
            failed_id=parents[0] if is_repair else "",
            metrics=self.metrics,
            notes=verdict.notes,
            cpu_s=verdict.cpu_s,
            peak_mib=verdict.peak_mib,
            input_wall_s=verdict.input_wall_s,
        )

    def program(self) -> Program:
        """Return the scored program; raise a ValueError if it has no score."""
        if self.score is None:
            raise ValueError(f"candidate {self.id} has no score")
        prompt = self.candidate.prompt
        return replace(
            program_of(self.feedback()),
            pruned_from=pruned_from(prompt.operator, prompt.parent_ids),
            is_confirmed=self.confirmed_score is not None,
        )


def pruned_from(operator: str | None, parent_ids: Sequence[str]) -> str:
    """Return the id of the program of which one was made by pruning; empty if it was not."""
    return parent_ids[-1] if operator == Operator.PRUNE and parent_ids else ""


def program_of(answer: Feedback) -> Program:
    """Return the program of an answer that is, or was, scored."""
    return Program(
        *(answer.program_id, answer.body, answer.scores, answer.score or 0.0),
        metrics=answer.metrics,
        notes=answer.notes,
        cpu_s=answer.cpu_s,
        peak_mib=answer.peak_mib,
        input_wall_s=answer.input_wall_s,
    )


def idea_in(text: str) -> str:
    """Return the idea that an answer names, shortened; empty if it names none."""
    found = _IDEA.search(text)
    idea = found[1].strip(" \t*_") if found else ""
    return idea if len(idea) <= _MAX_IDEA else f"{idea[:_MAX_IDEA].rpartition(' ')[0] or idea[: _MAX_IDEA - 1]} …"
