"""A simulation of a cluster beyond what one machine can run: up to 200 machines of 8 slots. No containers, no network.

    python -m tests.bench.simulate_cluster

Candidates go round: the head sends one, the scheduler passes it on, it waits for a slot of its machine and sleeps
there, and its verdict comes back in the same way. Head and scheduler do one thing at a time, since each is a Python
process. Constants are measured, each names where; `tests/simulated/test_simulate_cluster.py` compares the simulation
with the measured efficiencies in README.md.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Constants:
    """Seconds that a candidate takes besides its own.

    Attributes:
        head_s: Processor time of the pool on the head: `bench_cluster`, 4 x 4 slots at 0.2 s, on a quiet machine.
        scheduler_s: Processor time of the scheduler: the same row.
        worker_s: Processor time of a worker: the same row.
        container_s: Processor time of a container: of a candidate that does nothing, two processors for 616 a second
            (README.md, "The sandbox alone").
        latency_s: Seconds from the head to a machine, or back: half of what a candidate of 1 s loses in
            `bench_cluster` with 1 x 4 slots (24 ms), beyond the processor time.
        search_s: Processor time of the search on the head, Prefect's client included: `bench_head`, 250 x 4 candidates
            a generation in batches of 4 (README.md, "The head alone").
        model_s: Processor time of a request, for 4 samples: `bench_sampling` (README.md, "The head alone").
    """

    head_s: float = 0.0030
    scheduler_s: float = 0.0034
    worker_s: float = 0.0048
    container_s: float = 2 / 616
    latency_s: float = 0.005
    search_s: float = 0.0
    model_s: float = 0.0

    @property
    def on_head_s(self) -> float:
        """Processor time of all that the head does."""
        return self.head_s + self.search_s + self.model_s

    @property
    def on_machine_s(self) -> float:
        """Processor time of all that a machine does."""
        return self.worker_s + self.container_s


NIGHT = Constants(search_s=0.0022, model_s=0.004 / 4)
"""A whole night, in which the head does more than sending programs."""


@dataclass(frozen=True)
class Cluster:
    """A cluster to simulate.

    Attributes:
        machines: Number of machines.
        slots: Slots of each.
        seconds: Seconds of a candidate.
        shared: Processors that all share, as in `bench_cluster`; 0 if each machine, the head and the scheduler have
            their own.
    """

    machines: int
    slots: int
    seconds: float
    shared: int = 0


@dataclass(frozen=True)
class Outcome:
    """What came out.

    Attributes:
        rate: Candidates a second.
        efficiency: The rate times the seconds of a candidate, over the slots.
        busy: Share of the time in which each part is busy at this rate; of the machines, the mean.
    """

    rate: float
    efficiency: float
    busy: dict[str, float]

    @property
    def bottleneck(self) -> str:
        """The part that was busy most, if it was busy nearly all the time."""
        part = max(self.busy, key=lambda name: self.busy[name])
        return part if self.busy[part] > 0.9 else "none"


class Clock:
    """Things that will happen, in order."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call a function after some seconds."""
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), call))

    def run(self) -> None:
        """Let everything happen."""
        while self._events:
            self.now, _, call = heapq.heappop(self._events)
            call()


@dataclass
class Servers:
    """Servers of equal kind with one queue.

    Attributes:
        clock: The clock.
        count: Number of servers.
    """

    clock: Clock
    count: int
    _queue: deque[Callable[[], None]] = field(default_factory=deque)
    _used: int = 0

    def take(self, begin: Callable[[], None]) -> None:
        """Call a function once a server is free, which is its own until `give_back`."""
        if self._used < self.count:
            self._used += 1
            begin()
        else:
            self._queue.append(begin)

    def give_back(self) -> None:
        """Give the server to the next that waits."""
        if self._queue:
            self._queue.popleft()()
        else:
            self._used -= 1

    def work(self, seconds: float, done: Callable[[], None]) -> None:
        """Hold a server for some seconds."""

        def end() -> None:
            self.give_back()
            done()

        def begin() -> None:
            self.clock.after(seconds, end)

        self.take(begin)


MACHINES = (1, 4, 10, 25, 50, 100, 200)
SLOTS = 8
SECONDS = (0.05, 0.2, 1, 2, 5, 10, 20, 60)

ROUND_S = 8.0
"""Seconds that a measurement of `bench_cluster` takes where nothing is lost."""

_SHORT_S = 0.5
"""Seconds below which a machine is sent more programs than it has slots: `tasks/evaluate/cluster/slots.py`."""


class Simulation:
    """One round of candidates.

    Args:
        cluster: The cluster.
        constants: What a candidate costs.
        count: Number of candidates.
    """

    def __init__(self, cluster: Cluster, constants: Constants, count: int) -> None:
        self.clock = Clock()
        self._cluster, self._constants = cluster, constants
        self._left = count
        self._ended_s: list[float] = []
        shared = Servers(self.clock, cluster.shared) if cluster.shared else None
        self._head = shared or Servers(self.clock, 1)
        self._scheduler = shared or Servers(self.clock, 1)
        self._processors = [shared or Servers(self.clock, cluster.slots) for _ in range(cluster.machines)]
        self._slots = [Servers(self.clock, cluster.slots) for _ in range(cluster.machines)]

    def run(self, *, skipped: float = 0.0) -> Outcome:
        """Let all candidates go round.

        Args:
            skipped: Share of the candidates at the beginning, and at the end, that is left out of the rate.
        """
        ahead = 1 + self._cluster.slots // 4 if self._cluster.seconds < _SHORT_S else 0
        for _ in range(self._cluster.slots + ahead):
            for machine in range(self._cluster.machines):
                self._send(machine)
        self.clock.run()
        out = int(len(self._ended_s) * skipped)
        begin = self._ended_s[out - 1] if out else 0.0
        rate = (len(self._ended_s) - 2 * out) / (self._ended_s[-1 - out] - begin)
        slots = self._cluster.machines * self._cluster.slots
        return Outcome(rate, rate * self._cluster.seconds / slots, self._busy(rate))

    def _send(self, machine: int) -> None:
        """Send the next candidate to a machine, if there is one, and the one after it once it has come back."""
        if not self._left:
            return
        self._left -= 1
        costs, slots, processors = self._constants, self._slots[machine], self._processors[machine]

        def arrive() -> None:
            slots.take(lambda: processors.work(costs.on_machine_s / 2, sleep))

        def sleep() -> None:
            self.clock.after(self._cluster.seconds, lambda: processors.work(costs.on_machine_s / 2, answer))

        def answer() -> None:
            slots.give_back()
            self.clock.after(costs.latency_s, lambda: self._pass_on(end))

        def end() -> None:
            self._ended_s.append(self.clock.now)
            self._send(machine)

        self._pass_on(lambda: self.clock.after(costs.latency_s, arrive))

    def _pass_on(self, done: Callable[[], None]) -> None:
        """Have head and scheduler each do their half for a candidate."""
        costs = self._constants
        half = (costs.on_head_s) / 2
        self._head.work(half, lambda: self._scheduler.work(costs.scheduler_s / 2, done))

    def _busy(self, rate: float) -> dict[str, float]:
        costs, cluster = self._constants, self._cluster
        head, scheduler, machines = costs.on_head_s, costs.scheduler_s, costs.on_machine_s
        if cluster.shared:
            return {"processors": rate * (head + scheduler + machines) / cluster.shared}
        processors = cluster.machines * cluster.slots
        return {"head": rate * head, "scheduler": rate * scheduler, "machines": rate * machines / processors}


def as_measured(machines: int, slots: int, seconds: float) -> Outcome:
    """Simulate a row of `bench_cluster`: as many candidates, two processors for all, no search."""
    count = max(5, round(ROUND_S / seconds)) * machines * slots
    return Simulation(Cluster(machines, slots, seconds, shared=2), Constants(), count).run()


def night(machines: int, seconds: float) -> Outcome:
    """Simulate the middle of a night on machines of 8 slots, each with processors of its own."""
    return Simulation(Cluster(machines, SLOTS, seconds), NIGHT, 20 * machines * SLOTS).run(skipped=0.25)


def main() -> None:
    print(f"efficiency of a night on machines of {SLOTS} slots, and the part that is busy all the time")
    print("| candidates of | " + " | ".join(f"{machines}" for machines in MACHINES) + " |")
    print("|--:|" + "---|" * len(MACHINES))
    for seconds in SECONDS:
        found = [night(machines, seconds) for machines in MACHINES]
        cells = [f"{one.efficiency:.2f} {one.bottleneck}".removesuffix(" none") for one in found]
        print(f"| {seconds:g} s | " + " | ".join(cells) + " |", flush=True)
    print(f"one head: at most {1 / NIGHT.on_head_s:.0f} candidates/s; one scheduler: {1 / NIGHT.scheduler_s:.0f}/s")


if __name__ == "__main__":
    main()
