"""Measure how much faster a function solves the problems of an AlgoTune task than the task itself; runs in the sandbox.

It runs in the scoring's process, where no code of a candidate is: `solve` there calls the function in another process.
What the call itself costs is added to the reference's time, so that the reference against itself has about 1.
"""

import copy
import os
import secrets
import statistics
import sys
import threading
import time

INSTANCES = 3
"""Problems of one input that are timed, each once, so that an answer kept from an earlier call is of no use."""

SEEDS = 2**31
"""Number of seeds from which that of each problem is drawn: more than a program could try while it is not timed."""

IDLE_SHARE, IDLE_S = 0.1, 0.05
"""Processor time that other processes may use while the reference is timed: of its own, and seconds at least."""


def register_task(_name):
    return lambda task: task


class Task:
    """Replacement for the base class in `AlgoTuneTasks.base`, without its data sets and benchmarks."""

    def __init__(self, **given):
        vars(self).update(dict.fromkeys(("n", "k", "dataset_size", "target_time_ms", "data_dir")) | given)
        self.task_name = type(self).__name__
        self.oracle = self.solve


def measure(task, solve, n, seed):
    """Return the median of the speed-ups on problems of size `n`, after one for both to warm up.

    Their seeds are drawn in each evaluation: with seeds that follow from `seed`, which only tells inputs apart, a
    program could make the problems in its own process, and have their solutions before the first is timed.

    Raises:
        ValueError: If a solution is not accepted.
        RuntimeError: If the program's processes compute while the reference runs, which would slow it down.
    """
    rows, reference = [], Alone(task.solve)
    for number in range(INSTANCES + 1):
        problem = task.generate_problem(n, random_seed=secrets.randbelow(SEEDS))
        reference_s, expected = reference.timed(copy.deepcopy(problem))
        program_s, solution = timed(solve, problem)
        if not task.is_solution(copy.deepcopy(problem), solution):
            raise ValueError(f"not a solution of problem {number} of size {n}, seed {seed}")
        rows.append((reference_s, program_s, timed(crossed, problem)[0] + timed(crossed, expected)[0]))
    reference.check()
    rows = rows[1:]
    reference_ms, program_ms, call_ms = (1000 * statistics.fmean(column) for column in zip(*rows, strict=True))
    score = statistics.median((reference_s + call_s) / program_s for reference_s, program_s, call_s in rows)
    sys.stdout.write(
        f"size {n}, seed {seed}: {score:.3g} times as fast, the median of {INSTANCES} problems. Their means: "
        f"the reference {reference_ms:.3g} ms, to pass data to another process and back {call_ms:.3g} ms, "
        f"which is added to it; the program {program_ms:.3g} ms, that included\n"
    )
    return score


class Alone:
    """A function during whose calls no other process of the program should compute.

    Attributes:
        own_s, others_s: Processor time of this process and of the others during all calls, seconds.
    """

    def __init__(self, function):
        self.function = function
        self.own_s, self.others_s = 0.0, 0.0

    def timed(self, value):
        """Return the seconds of a call, and its result."""
        others_s, own_s = others_cpu_s(), time.process_time()
        seconds, result = timed(self.function, value)
        self.own_s += time.process_time() - own_s
        self.others_s += others_cpu_s() - others_s
        return seconds, result

    def check(self):
        if self.others_s > max(IDLE_SHARE * self.own_s, IDLE_S):
            raise RuntimeError(f"the program used {self.others_s:.2f} s of processor time while it was not called")


def timed(function, value):
    """Return the seconds of a call, and its result."""
    began = time.perf_counter()
    result = function(value)
    return time.perf_counter() - began, result


def crossed(value):
    """Return a value as the other process gets it, by the sandbox's own messages, through a pipe."""
    codec, rpc = sys.modules.get("runner.codec"), sys.modules.get("runner.rpc")
    if codec is None or rpc is None:
        return value
    ends = os.pipe()
    connection = rpc.Connection(*ends)
    sender = threading.Thread(target=connection.send, args=(rpc.CALL, codec.dumps(value)))
    sender.start()
    _, data = connection.receive()
    sender.join()
    for end in ends:
        os.close(end)
    return codec.loads(data)


def others_cpu_s():
    """Return the processor time of the processes beside this one: the parent's descendants without its own."""
    parents, seconds = {}, {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(name)] = int(fields[1])
        seconds[int(name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    family = {os.getppid()}
    for _ in parents:
        found = {pid for pid, parent in parents.items() if parent in family and pid != os.getpid()} - family
        if not found:
            break
        family |= found
    return sum(seconds.get(pid, 0.0) for pid in family - {os.getppid()})
