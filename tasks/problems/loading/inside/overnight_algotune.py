"""Measure how much faster a function solves the problems of an AlgoTune task than the task itself; runs in the sandbox.

It runs in the scoring's process, where no code of a candidate is: `solve` there calls the function in another process.
What the call itself costs is added to the reference's time, so that the reference against itself has about 1.
"""

import copy
import os
import statistics
import sys
import time

INSTANCES = 5
"""Problems of one input that are timed, each once, so that an answer kept from an earlier call is of no use."""

IDLE_SHARE, IDLE_S = 0.1, 0.03
"""Processor time that the other processes may use while the reference is timed: of its own, and seconds at least."""


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

    Raises:
        ValueError: If a solution is not accepted.
    """
    ratios, totals = [], [0.0, 0.0, 0.0]
    for number in range(INSTANCES + 1):
        problem = task.generate_problem(n, random_seed=1000 * seed + number)
        reference_s, expected = timed_alone(task.solve, copy.deepcopy(problem))
        program_s, solution = timed(solve, problem)
        if not task.is_solution(copy.deepcopy(problem), solution):
            raise ValueError(f"not a solution of problem {number} of size {n}, seed {seed}")
        call_s = timed(crossed, problem)[0] + timed(crossed, expected)[0]
        if number:
            ratios.append((reference_s + call_s) / program_s)
            totals = [sum(pair) for pair in zip(totals, (reference_s, program_s, call_s), strict=True)]
    reference_ms, program_ms, call_ms = (1000 * total / INSTANCES for total in totals)
    sys.stdout.write(
        f"size {n}, seed {seed}: the reference takes {reference_ms:.3g} ms and {call_ms:.3g} ms for a call, "
        f"the program {program_ms:.3g} ms with the call\n"
    )
    return statistics.median(ratios)


def timed(function, value):
    """Return the seconds of a call, and its result."""
    began = time.perf_counter()
    result = function(value)
    return time.perf_counter() - began, result


def timed_alone(function, value):
    """Return the same of the reference.

    Raises:
        RuntimeError: If the program's processes compute meanwhile, which would slow the reference down.
    """
    before, own = others_cpu_s(), time.process_time()
    seconds, result = timed(function, value)
    used, own = others_cpu_s() - before, time.process_time() - own
    if used > max(IDLE_SHARE * own, IDLE_S):
        raise RuntimeError(f"the program used {used:.2f} s of processor time while it was not called")
    return seconds, result


def crossed(value):
    """Return a value as the other process gets it, by the packing of the sandbox's calls."""
    codec = sys.modules.get("runner.codec")
    return codec.loads(codec.dumps(value)) if codec else value


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
