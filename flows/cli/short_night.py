"""A short night in a temporary history, with everything that a night has, to measure the pace of a search."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

from overnight.flows.cli import foreground_night
from overnight.flows.night.night import Night
from overnight.flows.night.notifications import Notifier
from overnight.flows.night.open_run import OpenRun, open_run
from overnight.flows.night.samples_in_flight import samples_of_night
from overnight.flows.night.stop_conditions import StopConditions
from overnight.flows.night.tuning import tuner_source
from overnight.flows.prefect_server.embedded import PrefectServer
from overnight.flows.start.create_run import start_generation, versions
from overnight.flows.start.origin import problem_label
from overnight.flows.start.sandboxes import image_id
from overnight.schemas.generation import RunRecord
from overnight.schemas.ids import new_run_id
from overnight.schemas.outcome import Verdict
from overnight.schemas.problem import Problem
from overnight.schemas.program import TUNER
from overnight.schemas.sampling_settings import BUILTIN, Model
from overnight.tasks.evaluate.host_slots import HostSlots, is_own
from overnight.tasks.evaluate.pool import host_slots
from overnight.tasks.history import record
from overnight.tasks.history.files import RunFiles, files_of
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.sample.completion_sources import RoutedCompletions
from overnight.tasks.sample.gateway import Gateway
from overnight.tasks.sample.probe import DelayedModel, Probe, mean_latency_s
from overnight.tasks.sample.sampler import Sampler

SECONDS = 12.0
"""Seconds that are measured."""

_BEGIN = 0.5
"""Seconds after the first verdict that are not, as a share of those that are: on a busy machine, the first samples of a
night take two to three times as long as later ones, while libraries are loaded and each claim is a best."""

_LONGEST_WAIT_S = 20.0
"""Further seconds after which a night ends that had no sample in those."""

_SLICES = 6
_WIDEST = 8.0
"""Most that the end of a range is of its beginning: a search that waits at first does not wait for ever."""

_LOOK_S = 0.05

_LONGEST_LATENCY_S = 1.5
"""Mean seconds of an answer beyond which answers are awaited for that long only."""


@dataclass(frozen=True, slots=True)
class Look:
    """Result of a look at a night.

    Attributes:
        at: `time.monotonic()`.
        samples: Samples that have a verdict.
        waiting: Samples that wait for a model.
        is_confirming: Whether the search waits for a confirmation.
        own: Slots in use by this night.
        others: Slots of the machine in use by other nights.
    """

    at: float
    samples: int
    waiting: int
    is_confirming: bool
    own: int
    others: int


@dataclass(frozen=True)
class ShortNight:
    """Result of a short night, from its first verdict on.

    Attributes:
        slots: Number of its slots.
        in_flight: Number of its samples in flight.
        latency_s: Mean seconds of an answer that were awaited; 0 for the built-in model, which answers at once.
        faster: Number by which the seconds of answers were divided.
        mean: Samples a second of all of it, its beginning included; of one sample if it had none.
        looks: Looks at what is measured.
    """

    slots: int
    in_flight: int
    latency_s: float
    faster: float
    mean: float
    looks: Sequence[Look]

    @property
    def rates(self) -> tuple[float, float]:
        """Samples a second in the slower and in the faster half of it; around the mean if that had none."""
        if len(self.looks) < _SLICES + 1 or self.looks[0].samples == self.looks[-1].samples:
            return self.mean / _WIDEST, self.mean
        edges = [self.looks[place * (len(self.looks) - 1) // _SLICES] for place in range(_SLICES + 1)]
        slices = sorted(
            (after.samples - before.samples) / (after.at - before.at) for before, after in itertools.pairwise(edges)
        )
        half = _SLICES // 2
        low, high = fmean(slices[:half]), fmean(slices[half:])
        return max(low, high / _WIDEST), high

    @property
    def limited_by(self) -> str:
        """Cause of most of its waits."""
        if not self.looks:
            return "other work on this machine"
        shares = {
            "the model": fmean(look.waiting for look in self.looks) / self.in_flight,
            "confirmations": fmean(look.is_confirming for look in self.looks),
            "evaluations": fmean(look.own for look in self.looks) / self.slots,
            "evaluations of other nights": fmean(look.others for look in self.looks) / self.slots,
        }
        most = max(shares, key=shares.__getitem__)
        return most if shares[most] >= 0.5 else "what surrounds evaluations: prompts, flow runs and commits"

    @property
    def others(self) -> float:
        """Mean number of slots in use by other nights."""
        return fmean(look.others for look in self.looks) if self.looks else 0.0


def play(
    problem: Problem,
    path: Path,
    start: Verdict,
    conditions: StopConditions,
    server: PrefectServer,
    probes: Sequence[Probe] = (),
) -> ShortNight:
    """Run a short night of a problem with the built-in model, and measure its pace; nothing of it is kept.

    Args:
        start: Verdict on the start program.
        conditions: Stop conditions of the night that is to come, which the number of samples in flight follows from.
        server: The Prefect server, which may be starting still.
        probes: Models that answers take as long as those of.
    """
    with tempfile.TemporaryDirectory(prefix="overnight-check-") as folder:
        files = _create(problem, path, start, Path(folder))
        latency_s = mean_latency_s(probes) if probes else 0.0
        faster = max(1.0, latency_s / _LONGEST_LATENCY_S)
        with open_run(files) as opened:
            in_flight, _ = samples_of_night(_with(opened, problem), conditions, latency_s)
            run, model = _with_model(opened, in_flight, probes, faster)
            night = Night(run, StopConditions(), notifier=Notifier())
            looks = _Looks(run, model, night.cut)
            with night.begun(), server.connected(run.progress.note), looks.taken():
                try:
                    foreground_night.search_night(night, StopConditions())
                finally:
                    looks.end()
                    run.sampler.give_up()
                    server.forget(files.run_id)
        return ShortNight(run.slots, in_flight, latency_s / faster, faster, looks.mean, looks.measured)


def _create(problem: Problem, path: Path, start: Verdict, folder: Path) -> RunFiles:
    """Write a run of the built-in model; its only inputs are the training inputs, so that it has no final."""
    sampling = problem.settings.sampling.model_copy(
        update={"models": (Model(name=f"{BUILTIN}mutate", style="completion"),), "batch_api": False}
    )
    now, settings = datetime.now(UTC), problem.settings.model_copy(update={"sampling": sampling})
    run = RunRecord(
        run_id=new_run_id(f"check-{problem.name}", now),
        problem=replace(problem, settings=settings, inputs={**problem.inputs, "validation": (), "held_out": ()}),
        seed=0,
        started_at=now,
        specification_path=problem_label(path),
        image_id=image_id(settings.sandbox),
        versions=versions(settings),
    )
    files = files_of(LocalBackend(folder), run.run_id)
    record.create(files, run, start_generation(run, start))
    return files


def _with(run: OpenRun, problem: Problem) -> OpenRun:
    return replace(run, run=replace(run.run, problem=problem))


def _with_model(
    run: OpenRun, in_flight: int, probes: Sequence[Probe], faster: float
) -> tuple[OpenRun, DelayedModel | None]:
    """Return a run with so many samples in flight, whose model takes its time."""
    problem = run.run.problem
    sampling = problem.settings.sampling.model_copy(update={"concurrency": in_flight})
    problem = replace(problem, settings=problem.settings.model_copy(update={"sampling": sampling}))
    run = _with(run, problem)
    if not probes:
        return run, None
    model = DelayedModel(Gateway(sampling, run.limits.may_ask, run.progress.budget), probes, faster=faster)
    source = RoutedCompletions({TUNER: tuner_source(run.run, run.trials, run.limits.may_ask)}, lambda: model)
    return replace(run, sampler=Sampler(problem, lambda _: source, run.stores.of)), model


@dataclass
class _Looks:
    """Looks at a night from a thread, which cuts it once enough was seen."""

    run: OpenRun
    model: DelayedModel | None
    cut: Callable[[], None]
    all: list[Look] = field(default_factory=list)
    _is_over: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        thread = threading.Thread(target=self._look, name="overnight-looks", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.end()
            thread.join()

    def end(self) -> None:
        self._is_over.set()

    @property
    def measured(self) -> list[Look]:
        """Looks from the time on that is measured."""
        first = next((look.at for look in self.all if look.samples), 0.0)
        return [look for look in self.all if first and look.at >= first + _BEGIN * SECONDS]

    @property
    def mean(self) -> float:
        """Samples a second of the whole night, at least one in it."""
        return max(1, self.all[-1].samples) / max(_LOOK_S, self.all[-1].at - self.all[0].at) if self.all else 0.0

    def _look(self) -> None:
        slots, begin = host_slots(self.run.slots), time.monotonic()
        try:
            while not self._is_over.wait(_LOOK_S):
                self.all.append(self._now(slots))
                if self._is_enough(begin):
                    return
        finally:
            self.cut()

    def _is_enough(self, begin: float) -> bool:
        """Return whether so many seconds were measured, and there were samples in them, or these take too long."""
        measured, now = self.measured, self.all[-1]
        has_samples = bool(measured) and now.samples > measured[0].samples
        is_late = now.at - begin >= (1 + _BEGIN) * SECONDS + _LONGEST_WAIT_S
        return is_late or (has_samples and now.at - measured[0].at >= SECONDS)

    def _now(self, slots: HostSlots) -> Look:
        progress, holders = self.run.progress, slots.holders()
        own = sum(map(is_own, holders))
        return Look(
            at=time.monotonic(),
            samples=sum(progress.outcomes_so_far().values()),
            waiting=self.model.waiting if self.model else 0,
            is_confirming=progress.phase == "confirm",
            own=own,
            others=len(holders) - own,
        )
