"""Progress of a night: updated by its tasks, shown by the live view."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from overnight.schemas.objectives import NO_OBJECTIVES, Objectives
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.program import NO_MODELS, Candidate, Completion, Program
from overnight.schemas.scores import Reducer, reduced, with_score
from overnight.tasks.sample.budget import Budget, BudgetLimits, RequestsInFlight

_RATE_WINDOW_S = 30.0


@dataclass
class Progress:
    """Counters of this night. Methods may be called from any thread.

    Attributes:
        samples: Completions received from models, those of later generations included.
        candidates: Candidates of models in committed generations.
        generations: Number of committed generations.
        latest: Number of the generation that was committed last; 0 before any.
        night: Number of the night; 0 outside of one.
        last_outcomes: Outcomes of the generation that was committed last.
        best_at: Generation in which the best program was found.
        best_since: `time.monotonic()` at which it was found.
        message: Message to the person who watches, if anything.
        news: Messages that a log has not yet shown, the newest hundred; each is shown there, however short it stands.
        evaluations: Returns for how many seconds each program that is evaluated has been, the oldest first.
        sessions: Returns what each session of an agent that is under way has done so far.
    """

    best: float
    reducer: Reducer = "mean"
    objectives: Objectives = NO_OBJECTIVES
    generation: int = 0
    phase: str = "starting"
    best_at: int = 0
    best_id: str = ""
    latest: int = 0
    night: int = 0
    samples: int = 0
    candidates: int = 0
    generations: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    last_outcomes: Counter[Outcome] = field(default_factory=Counter)
    begin: float = field(default_factory=time.monotonic)
    best_since: float = field(default_factory=time.monotonic)
    interrupted: bool = False
    failures: int = 0
    message: str = ""
    news: deque[str] = field(default_factory=lambda: deque(maxlen=100))
    budget: Budget = field(default_factory=Budget)
    requests: RequestsInFlight = field(default_factory=RequestsInFlight)
    evaluations: Callable[[], Sequence[float]] = tuple
    sessions: Callable[[], Sequence[str]] = tuple
    _watchers: list[Callable[[int], None]] = field(default_factory=list)
    _bests: list[tuple[float, float]] = field(default_factory=list)
    _under_way: dict[tuple[int, int], Verdict] = field(default_factory=dict)
    _judged: deque[float] = field(default_factory=lambda: deque(maxlen=100_000))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def interrupt(self) -> None:
        """Ask the night to end after the current generation."""
        self.interrupted = True

    def interrupt_by_hand(self) -> None:
        """Ask the night to end after the current generation, and tell the person who did what it waits for."""
        self.interrupted = True
        waits = ", ".join(f"{number} of {model}" for model, number in sorted(self.requests.by_model().items()))
        of_whom = f", waiting for answers: {waits}" if waits else ""
        self.note(f"finishing this generation{of_whom}; Ctrl-C again stops at once")

    def note(self, message: str) -> None:
        """Show a message to the person who watches; an empty one removes the last."""
        if message and message != self.message:
            self.news.append(message)
        self.message = message

    def enter(self, phase: str, generation: int | None = None) -> None:
        """Name the current activity, and the generation if it is another one."""
        self.phase = phase
        if generation is not None:
            self.generation = generation

    def begin_night(self, limits: BudgetLimits, number: int) -> None:
        """Start the clock of a night, with its limits on spending."""
        self.night = number
        self.begin = time.monotonic()
        self.budget.limits = limits

    def bought(self, completions: Sequence[Completion]) -> None:
        """Count completions of models; those of the tuner cost no call."""
        with self._lock:
            self.samples += sum(one.model not in NO_MODELS and one.is_sample for one in completions)
            self.budget.record([one for one in completions if not one.transcript])

    def judged(self, generation: int, candidate: Candidate, verdict: Verdict) -> None:
        """Count a verdict of a generation under way, which may still be tried again; confirmation may change it."""
        with self._lock:
            self._judged.append(time.monotonic())
            if candidate.completion.model not in NO_MODELS:
                self._under_way[generation, candidate.index], *_ = with_score(verdict, self.reducer, self.objectives)

    def outcomes_so_far(self) -> Counter[Outcome]:
        """Return the outcomes of committed generations and of those under way."""
        with self._lock:
            return self.outcomes + Counter(one.outcome for one in self._under_way.values())

    @property
    def best_claim(self) -> float | None:
        """The best score of a program that is neither confirmed nor committed, if it is above the best."""
        with self._lock:
            scores = [reduced(one.scores, self.reducer) for one in self._under_way.values()]
        return max((one for one in scores if one is not None and one > self.best), default=None)

    def forget(self, number: int) -> None:
        """Drop the outcomes of a generation that is no longer under way."""
        with self._lock:
            self._under_way = {key: verdict for key, verdict in self._under_way.items() if key[0] != number}

    def committed(self, number: int, outcomes: Sequence[Outcome], best: Program) -> None:
        self.forget(number)
        with self._lock:
            self.last_outcomes = Counter(outcomes)
            self.outcomes.update(outcomes)
            self.candidates += len(outcomes)
            self.generations += 1
            self.latest = number
        if best.score != self.best:
            now = time.monotonic()
            self._bests.append((now, self.best))
            self.best, self.best_at, self.best_since = best.score, number, now
        self.best_id = best.id
        for watcher in self._watchers:
            watcher(number)

    def fall_back(self, best: Program) -> None:
        """Note the best program after a person took programs out."""
        if best.score < self.best:
            now = time.monotonic()
            self._bests.append((now, self.best))
            self.best, self.best_since = best.score, now
        self.best_id = best.id

    def watch(self, watcher: Callable[[int], None]) -> None:
        """Call a function with the number of each generation that is committed from now on."""
        self._watchers.append(watcher)

    def bests(self, points: int) -> list[float]:
        """Return the best score at so many moments, evenly spaced from the night's start to now, once there is one."""
        until = [*self._bests, (float("inf"), self.best)]
        span = time.monotonic() - self.begin
        moments = [self.begin + span * place / max(1, points - 1) for place in range(points)]
        bests = [next(best for end, best in until if moment < end) for moment in moments]
        return [best for best in bests if math.isfinite(best)]

    def per_second(self) -> float:
        """Return candidates evaluated per second, over the last half minute."""
        with self._lock:
            now = time.monotonic()
            while self._judged and now - self._judged[0] > _RATE_WINDOW_S:
                self._judged.popleft()
            span = min(_RATE_WINDOW_S, now - self.begin)
            return len(self._judged) / span if span > 0 else 0.0
