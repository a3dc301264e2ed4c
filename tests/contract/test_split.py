"""Test isolated evaluation: honest programs get their usual scores, and forged scores never count."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest

from overnight.schemas.job import Call, Isolation, Job
from overnight.schemas.limits_settings import Limits
from overnight.schemas.outcome import Outcome, Verdict
from overnight.tasks.evaluate.confirmation import disagreement
from overnight.tasks.evaluate.pool import SandboxPool, open_pool
from overnight.tasks.program.read_specification import read_specification
from overnight.testing.programs.forgers import FORGERS, HONEST, HONEST_SCORES, SECRET, SPECIFICATION, Forger
from tests.contract.conftest import Start, on_processes

LIMITS = Limits(wall_s=1, cpu_s=8, memory_mib=96, output_kib=16)
INPUTS = (Call((3, SECRET)), Call((4, SECRET)))


def job(text: str, inputs: tuple[Call, ...] = (Call((3,)),), *, isolation: bool = True, limits: Limits = LIMITS) -> Job:
    specification = read_specification(text, "test")
    return Job(
        specification.run,
        inputs,
        limits,
        isolation=Isolation(specification.evolved, text, checks_calls=True) if isolation else None,
    )


def unchecked(job: Job) -> Job:
    """Return the job for functions whose values depend on more than their arguments."""
    assert job.isolation is not None
    return replace(job, isolation=replace(job.isolation, checks_calls=False))


@pytest.fixture(scope="module")
def isolated(start: Start) -> Iterator[SandboxPool]:
    with start(job(SPECIFICATION.text, INPUTS)) as pool:
        yield pool


@pytest.fixture(scope="module")
def inline(start: Start) -> Iterator[SandboxPool]:
    with start(job(SPECIFICATION.text, INPUTS, isolation=False)) as pool:
        yield pool


@pytest.mark.parametrize("forger", FORGERS, ids=str)
def test_a_forger_gets_the_honest_score_or_none_and_does_not_affect_the_next_program(
    is_confined: bool, isolated: SandboxPool, forger: Forger
):
    if not is_confined and not forger.harmless:
        pytest.skip("only in a container")
    verdict = isolated.evaluate(forger.source)
    assert verdict.outcome is forger.outcome, verdict
    assert re.search(forger.says, verdict.error), verdict.error
    if verdict.is_scored:
        assert verdict.scores == HONEST_SCORES, verdict
    after = isolated.evaluate(HONEST)
    assert after.scores == HONEST_SCORES, after
    assert isolated.starts == 1, "the runner died"


@pytest.mark.parametrize("forger", [forger for forger in FORGERS if forger.inline], ids=str)
def test_the_same_forger_succeeds_in_one_process(inline: SandboxPool, forger: Forger):
    verdict = inline.evaluate(forger.source)
    assert verdict.is_scored
    assert verdict.scores[1] > HONEST_SCORES[1], "otherwise the test of isolated evaluation proves nothing"


COUNTING = """
import funsearch

@funsearch.run
def evaluate(calls):
    return sum(count(number) for number in range(calls))

@funsearch.evolve
def count(number):
    return 1
"""

KEEPING = {
    "a name": "seen = globals().setdefault('seen', [])\n    seen.append(number)\n    return len(seen)",
    "an attribute": "count.calls = getattr(count, 'calls', 0) + 1\n    return count.calls",
    "a default": "def inner(seen=[]):\n        seen.append(1)\n        return len(seen)\n"
    "    count.inner = getattr(count, 'inner', inner)\n    return count.inner()",
    "a library": "import math\n    math.calls = getattr(math, 'calls', 0) + 1\n    return math.calls",
    "random numbers": "import random\n    return random.random()",
}


@pytest.fixture(scope="module")
def counting() -> Iterator[SandboxPool]:
    with on_processes(job(COUNTING, (Call((1,)), Call((16,)), Call((4000,))))) as pool:
        yield pool


@pytest.mark.parametrize("body", KEEPING.values(), ids=KEEPING)
def test_a_program_whose_values_depend_on_earlier_calls_is_rejected(counting: SandboxPool, body: str):
    verdict = counting.evaluate(COUNTING.replace("return 1\n", f"{body}\n"))
    assert verdict.outcome is Outcome.REJECTED, verdict
    assert re.match(r"count\(\d+\) gives another value as the first call of a new process", verdict.error)
    assert verdict.error.endswith("on input 2 of 3 (16)"), "one call keeps nothing"
    assert counting.evaluate(COUNTING).scores == (1, 16, 4000)
    assert counting.starts == 1


HONESTLY_KEPT = {
    "a table": "table = globals().setdefault('table', {})\n    table[number] = 1\n    return table[number]",
    "a construction": "if 'made' not in globals():\n        globals()['made'] = [1] * 4000\n    return made[number]",
    "random numbers, drawn once": "import random\n    if 'made' not in globals():\n"
    "        globals()['made'] = random.sample(range(9999), 4000)\n    return made[number] // made[number]",
    "a cache": "import functools\n    globals().setdefault('g', functools.cache(lambda n: 1))\n    return g(number)",
}


@pytest.mark.parametrize("body", HONESTLY_KEPT.values(), ids=HONESTLY_KEPT)
def test_what_is_kept_and_changes_no_value_is_allowed(counting: SandboxPool, body: str):
    verdict = counting.evaluate(COUNTING.replace("return 1\n", f"{body}\n"))
    assert verdict.scores == (1, 16, 4000), verdict
    assert verdict.calls == (1, 16, 4000)


def test_a_construction_that_takes_most_of_the_time_is_made_three_times_more():
    limits = LIMITS.model_copy(update={"wall_s": 1})
    body = "import time\n    if 'made' not in globals():\n        time.sleep(0.6)\n        globals()['made'] = 1\n"
    with on_processes(job(COUNTING, (Call((32,)),), limits=limits)) as pool:
        verdict = pool.evaluate(COUNTING.replace("    return 1\n", f"    {body}    return made\n"))
    assert verdict.scores == (32,), verdict
    assert verdict.wall_s < 6, "four times 0.6 s, where each call in a new process would take 19 s"


INNOCENT = {
    "a step from the last argument": "last = globals().get('last', 0)\n    if number < last: last = 0\n"
    "    for _ in range((number - last) * 100): pass\n    globals()['last'] = number\n    return 1",
    "a line printed when it is made": "if 'made' not in globals():\n        globals()['made'] = 1\n"
    "        print('x' * 9000)\n    return 1",
}


@pytest.mark.parametrize("body", INNOCENT.values(), ids=INNOCENT)
def test_what_is_kept_may_save_any_time_and_output(body: str):
    with on_processes(job(COUNTING, (Call((4000,)),))) as pool:
        verdict = pool.evaluate(COUNTING.replace("return 1\n", f"{body}\n"))
    assert verdict.scores == (4000,), verdict
    assert len(verdict.output) in (0, 9001)


def test_an_error_that_names_an_address_is_the_same_error_elsewhere():
    body = "globals().setdefault('kept', []).append(object())\n    raise KeyError(object(), [object()])"
    scoring = COUNTING.replace(
        "return sum(count(number) for number in range(calls))",
        "failed = 0\n    for number in range(calls):\n        try: count(number)\n"
        "        except KeyError: failed += 1\n    return failed",
    )
    with on_processes(job(scoring, (Call((300,)),))) as pool:
        verdict = pool.evaluate(scoring.replace("return 1\n", f"{body}\n"))
    assert verdict.scores == (300,), verdict


def test_a_program_that_never_answers_the_check_does_not_escape_it():
    body = "import time\n    seen = globals().setdefault('seen', [number])\n    if seen[0]: time.sleep(9)\n"
    body += "    seen.append(number)\n    return len(seen)"
    usual = job(COUNTING, (Call((1000,)),))
    program = COUNTING.replace("return 1\n", f"{body}\n")
    with on_processes(unchecked(usual)) as free, on_processes(usual) as pool:
        assert free.evaluate(program).is_scored
        verdict = pool.evaluate(program)
    assert verdict.outcome is Outcome.TIMED_OUT, verdict
    assert verdict.error == (
        "a single call took more than 2 s of wall clock, twice as long as all calls on an input may: what one call "
        "keeps for the next may save time, but no call may need it, on input 1 of 1 (1000), where its calls were "
        "repeated in new processes"
    )


CUNNING = {
    "the latest argument": "last = globals().get('last', 0)\n    globals()['last'] = number\n    return last",
    "nothing but the first call": "if 'was' in globals(): return 2\n    globals()['was'] = 1\n    return 1",
    "whatever it has seen, late": "seen = globals().setdefault('seen', set())\n    seen.add(number)\n"
    "    return 1 + (number > 3900) * max(seen - {number}, default=0)",
    "a few calls of many": "seen = globals().setdefault('seen', [])\n    seen.append(number)\n"
    "    return 1 + (number % 100 == 99) * (len(seen) == number + 1)",
    "time, so that few processes are tried": "import time\n    if 'was' not in globals(): time.sleep(0.4)\n"
    "    globals()['was'] = globals().get('was', 0) + 1\n    return 1 + (was > 30)",
    "processes that stay": "import os, signal\n    if number % 99 == 0 and os.fork() == 0:\n        os.setsid()\n"
    "        signal.pause()\n    return sum(p.isdigit() for p in os.listdir('/proc'))",
    "what it printed": "import gc\n    if number < 500: print(f'needle-{number}')\n"
    "    seen = globals().setdefault('seen', set())\n    seen.add(number)\n    needle = f'needle-{number - 1}'\n"
    "    texts = [x for x in gc.get_objects() if type(x) in (bytes, bytearray)] if number < 500 else []\n"
    "    return 1 + (number < 500 and (number - 1 in seen or any(needle.encode() in text for text in texts)))",
    "memory errors": "seen = globals().setdefault('seen', [])\n    seen.append(number)\n"
    "    if len(seen) % 2: raise MemoryError\n    return 1",
}


@pytest.mark.parametrize("body", CUNNING.values(), ids=CUNNING)
def test_cunning_does_not_help_a_program_that_remembers(body: str):
    does_not_help(body, on_processes)


@pytest.mark.docker
def test_processes_that_stay_do_not_help_it_in_a_container_either(sandbox_image: str):
    does_not_help(CUNNING["processes that stay"], partial(open_pool, image=sandbox_image, slots=1))


def does_not_help(body: str, start: Start) -> None:
    scoring = COUNTING.replace(
        "return sum(count(number) for number in range(calls))",
        "total = 0\n    for number in range(calls):\n        try: total += count(number)\n"
        "        except MemoryError: total += 2\n    return total",
    )
    usual = job(scoring, (Call((4000,)),), limits=LIMITS.model_copy(update={"wall_s": 3}))
    program = scoring.replace("return 1\n", f"{body}\n")
    with start(unchecked(usual)) as pool:
        assert pool.evaluate(program).scores[0] > 4000, "otherwise the test proves nothing"
    with start(usual) as pool:
        verdict = pool.evaluate(program)
    assert verdict.outcome is Outcome.REJECTED, verdict


@pytest.mark.docker
def test_files_are_gone_before_calls_are_repeated(sandbox_image: str):
    body = "open('/tmp/seen', 'a').write('x')\n    return len(open('/tmp/seen').read())"
    limits = LIMITS.model_copy(update={"scratch_mib": 4})
    with open_pool(job(COUNTING, (Call((16,)),), limits=limits), image=sandbox_image, slots=1) as pool:
        verdict = pool.evaluate(COUNTING.replace("return 1\n", f"{body}\n"))
    assert verdict.outcome is Outcome.REJECTED, verdict


VARYING = COUNTING.replace("return 1\n", "import os\n    return 1 + int.from_bytes(os.urandom(4)) / 2**60\n")


def test_values_that_differ_by_themselves_are_allowed_where_the_problem_declares_noise():
    usual = job(COUNTING, (Call((16,)),))
    assert usual.isolation is not None
    noisy = replace(usual, isolation=replace(usual.isolation, may_vary=True))
    with on_processes(usual) as exact, on_processes(noisy) as pool:
        verdict = exact.evaluate(VARYING)
        assert verdict.outcome is Outcome.REJECTED
        assert "gives another value each time, in new processes too: seed all random numbers" in verdict.error
        assert pool.evaluate(VARYING).is_scored
        assert pool.evaluate(COUNTING.replace("return 1\n", f"{KEEPING['a name']}\n")).outcome is Outcome.REJECTED
        assert pool.evaluate(
            VARYING.replace("1 + int.from_bytes(os.urandom(4)) / 2**60", "os.urandom(1)[0] % 2")
        ).is_scored
        forged = pool.evaluate(
            VARYING.replace(
                "return 1", "seen = globals().setdefault('seen', [])\n    seen.append(1)\n    return len(seen)"
            )
        )
        assert forged.outcome is Outcome.REJECTED, forged
        assert "gave a value that is below or above all that new processes give, as 1" in forged.error


ECHO = """
import funsearch
import numpy as np

def alike(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() and b.flags.writeable
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(map(alike, a.values(), b.values()))
    return a == b or a != a

@funsearch.run
def evaluate(n):
    values = [
        None, True, False, 0, -1, 2**63 - 1, 2**63, -2**200, 0.1, -0.0, float("inf"), float("nan"), "", "é\\udc80", b"",
        b"\\0", [], (), {}, [1, 2], (1, 2), [1.0], (1.0, 2), [True, 1], [[], [()]], {1: "a", (2, 3): [4.0], None: {}},
        np.arange(6), np.arange(6.0).reshape(2, 3), np.empty((0, 3)), np.array(1.5), np.arange(6).reshape(2, 3).T,
        np.array([True, False]), np.array([1 + 2j]), np.array(["a", "bc"]), np.array([b"a"]), np.arange(3, dtype=">i2"),
        np.float64(1.5), np.float32(1.5), np.int8(-1), np.bool_(True), np.uint64(2**64 - 1), np.longdouble(0.1),
        np.random.default_rng(0).random(50_000),
    ]
    wrong = [value for value in values if not alike(value, echo(value, more=[value])[0])]
    print(wrong)
    return len(wrong)

@funsearch.evolve
def echo(value, *, more):
    return value, more
"""


def test_plain_data_is_passed_exactly():
    with on_processes(job(ECHO, limits=Limits(wall_s=5, memory_mib=96))) as pool:
        verdict = pool.evaluate(ECHO)
    assert verdict.scores == (0.0,), verdict


def judged(text: str, program: str = "") -> Verdict:
    with on_processes(job(text)) as pool:
        return pool.evaluate(program or text)


def write_specification(run: str, evolved: str, above: str = "") -> str:
    """Return a specification with these two bodies."""
    lines = ["import funsearch", above, "@funsearch.run", "def evaluate(n):", *(f"    {x}" for x in run.splitlines())]
    lines += ["@funsearch.evolve", "def f(x=1, *more):", *(f"    {x}" for x in evolved.splitlines())]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("error", ["ZeroDivisionError", "KeyError", "IndexError", "ValueError", "OSError"])
def test_a_specification_can_catch_what_the_function_raises(error: str):
    run = "\n".join(f"try: f()\nexcept {caught} as e: n += 1" for caught in (error, "RuntimeError", "Exception"))
    assert judged(write_specification(run + "\nreturn n", f"raise {error}('no')")).scores == (6.0,)


SEQUENCE = """
class Sequence:
    def __getitem__(self, i):
        if i == 5: raise IndexError
        return f(i)
class Table(dict):
    def __missing__(self, key): return f(key)
class Lazy:
    @property
    def cost(self): return f(3)
class Endless:
    def __init__(self): self.i = -1
    def __iter__(self): return self
    def __next__(self):
        self.i += 1
        if self.i == 5: raise StopIteration
        return f(self.i)
def get(key, table=Table):
    try: return table()[key]
    except KeyError: return 0.0
class Renamed:
    __getitem__ = lambda self, i: f(i) if i < 5 else [][i]
def item(i):
    if i == 5: raise IndexError
    return f(i)
class Static:
    __getitem__ = staticmethod(item)
class Partial:
    __getitem__ = functools.partialmethod(lambda self, by, i: item(i), 1)
class RenamedTable(dict):
    __missing__ = lambda self, key: f(key)
class Equal:
    def __init__(self, i): self.i = i
    def __eq__(self, other): return f(self.i) == other
def place(items):
    try: return float(items.index(9.0))
    except ValueError: return 5.0
class Keyed:
    def __init__(self, i): self.i = i
    def __hash__(self): return int(f(self.i))
def look_up(key):
    try: return {-1: -1.0}[key]
    except KeyError: return 0.0
def in_threads():
    found = []
    threads = [threading.Thread(target=lambda i=i: found.append(f(i))) for i in range(5)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return sum(found)
class Dying:
    found = []
    def __init__(self, i): self.i = i
    def __del__(self): self.found.append(f(self.i))
def by_dying():
    for i in range(5): Dying(i)
    return sum(Dying.found)
"""


@pytest.fixture(scope="module")
def in_one_process() -> Iterator[SandboxPool]:
    with on_processes(job(SPECIFICATION.text, isolation=False)) as pool:
        yield pool


STEERED = {
    "map": ("sum(map(f, range(5)))", "StopIteration"),
    "zip": ("sum(a + b for a, b in zip(map(f, range(5)), range(5)))", "StopIteration"),
    "all": ("float(all(map(f, range(5))))", "StopIteration"),
    "filter": ("float(len([*filter(f, range(5))]))", "StopIteration"),
    "fromiter": ("float(np.fromiter(map(f, range(5)), float).sum())", "StopIteration"),
    "a kind of its own": ("sum(map(f, range(5)))", "type('Mine', (StopIteration,), {})"),
    "an iterator": ("sum(Endless())", "StopIteration"),
    "a sequence": ("sum(Sequence())", "IndexError"),
    "a missing key": ("sum(map(get, range(5)))", "KeyError"),
    "a sequence by another name": ("sum(Renamed())", "IndexError"),
    "a sequence by a static method": ("sum(Static())", "IndexError"),
    "a sequence by part of a method": ("sum(Partial())", "IndexError"),
    "a missing key by another name": ("sum(get(i, RenamedTable) for i in range(5))", "KeyError"),
    "an index": ("place([Equal(i) for i in range(5)]) - 1", "ValueError"),
    "a key": ("sum(look_up(Keyed(i)) for i in range(5))", "KeyError"),
    "threads": ("in_threads()", "ValueError"),
    "a finalizer": ("by_dying()", "ValueError"),
    "a property": ("9.0 if not hasattr(Lazy(), 'cost') else 1.0", "AttributeError"),
    "a default": ("getattr(Lazy(), 'cost', 9.0)", "AttributeError"),
}
"""Scorings whose control flow an error of the evolved function would change if it kept its class, and that error."""


@pytest.mark.parametrize(("score", "error"), STEERED.values(), ids=STEERED)
def test_no_error_of_the_function_changes_the_control_flow_of_the_scoring(
    in_one_process: SandboxPool, score: str, error: str
):
    above = "import functools, threading\n" + ("import numpy as np\n" if "np." in score else "") + SEQUENCE
    text = write_specification(f"return {score}", "return -1.0", above)
    forged = write_specification(f"return {score}", f"if x == 3: raise {error}\nreturn -1.0", above)
    inline = in_one_process.evaluate(forged)
    assert inline.is_scored, "otherwise the test proves nothing"
    isolated = judged(text, forged)
    assert isolated.outcome is Outcome.CRASHED, isolated
    assert re.search(r"StopIteration|Mine|IndexError|KeyError|ValueError|AttributeError", isolated.error), (
        "it is reported under its own name"
    )
    # So the confirmation of a forged best program fails.
    assert "it is crashed" in disagreement(inline, isolated, noise=0.0)


@pytest.mark.parametrize(
    "error", ["GeneratorExit", "StopAsyncIteration", "KeyboardInterrupt", "asyncio.CancelledError"]
)
def test_errors_that_python_hides_from_except_exception_are_reported(error: str):
    run = "def g():\n    try: yield f()\n    except GeneratorExit: return\nreturn 7.0 + len([*g()])"
    assert judged(write_specification(run, f"import asyncio\nraise {error}")).outcome is Outcome.CRASHED


@pytest.mark.parametrize(
    "lines", ["import os\nos._exit(3)", "import sys\nsys.exit()", "import os\nos.close(3)\nos.close(4)"]
)
def test_a_lost_process_is_no_score_whatever_the_specification_catches(lines: str):
    text = write_specification("try: f()\nexcept BaseException: pass\nreturn 7", lines)
    assert judged(text).outcome is Outcome.CRASHED


def test_the_scoring_process_runs_no_code_of_the_program():
    text = write_specification("return f(2) + K", "return x", above="K = 1")
    forged = text.replace("K = 1", "K = 100\nevaluate = print").replace("return f(2) + K", "return 10**6")
    assert judged(text, forged).scores == (3.0,)


def test_shared_functions_and_decorators_are_in_both_processes():
    above = "calls = []\ndef counted(g):\n    return lambda *a: calls.append(1) or g(*a)\ndef twice(x): return 2 * x"
    text = write_specification("return f(2) + twice(n) + len(calls)", "return twice(x)", above)
    text = text.replace("@funsearch.evolve", "@counted\n@funsearch.evolve")
    assert judged(text).scores == (4.0 + 6.0 + 1.0,)


def test_a_function_may_be_called_while_the_specification_is_loaded():
    text = write_specification("return sum(ALL)", "return x + 1") + "ALL = [f(1), f(), f(3, 4)]\n"
    assert judged(text).scores == (2.0 + 2.0 + 4.0,)


def test_changes_to_arguments_are_not_passed_back():
    assert judged(write_specification("a = [1]\nf(a)\nreturn len(a)", "x.append(2)")).scores == (1.0,)


def test_arguments_that_are_not_plain_data_are_reported():
    verdict = judged(write_specification("try: f({1})\nexcept Exception: pass\nreturn 1", "return 1"))
    assert verdict.outcome is Outcome.CRASHED
    assert "`f` runs in a process of its own" in verdict.error
    assert "set is not plain data" in verdict.error


def test_an_error_of_the_specification_is_reported_with_its_own_line():
    text = write_specification("f()\nreturn 1 / 0", "a = 1\nb = 2\nreturn a")
    verdict = judged(text, text.replace("    b = 2\n", ""))
    assert "ZeroDivisionError: division by zero, in line 6 (return 1 / 0), on input 1 of 1 (3)" in verdict.error


@pytest.mark.parametrize("program", ["x = (", "x = 1", "import os\nos._exit(3)", "1 / 0", "while True: pass"])
def test_a_program_that_cannot_be_loaded_is_reported(isolated: SandboxPool, program: str):
    verdict = isolated.evaluate(program)
    assert verdict.outcome in (Outcome.CRASHED, Outcome.TIMED_OUT)
    assert "while it was loaded" in verdict.error


def test_several_threads_may_call():
    run = "from concurrent.futures import ThreadPoolExecutor as T\nreturn sum(T(4).map(f, range(200)))"
    assert judged(write_specification(run, "return x")).scores == (sum(range(200)),)


def test_both_processes_draw_the_same_random_numbers_in_every_evaluation():
    text = write_specification("import random\nreturn random.random() + f()", "import random\nreturn random.random()")
    with on_processes(job(text, (Call((3,)), Call((4,))))) as pool:
        first, second = pool.evaluate(text), pool.evaluate(text)
    assert first.scores == second.scores
    assert first.scores[0] == first.scores[1]


def test_the_two_processes_have_two_users_without_rights(is_confined: bool, start: Start):
    if not is_confined:
        pytest.skip("only in a container")
    look = "s = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
    look += "who = (s['Uid'].split(), *(int(s[k], 16) for k in ('CapPrm', 'CapEff', 'CapInh')))\n"
    text = write_specification(
        look + "print(who)\nreturn sum(who[1:]) + sum(f()[1:]) + (who[0] == f()[0])", look + "return who"
    )
    with start(unchecked(job(text))) as pool:
        assert pool.evaluate(text).scores == (0.0,)


def test_both_processes_stay_on_one_core_so_that_a_call_need_not_wake_another():
    cores = "import os\ncores = list(os.sched_getaffinity(0))\n"
    text = write_specification(cores + "return float(len(cores) == 1 and f() == cores)", cores + "return cores")
    assert judged(text).scores == (1.0,)


def test_the_processes_have_no_descriptor_but_their_own(isolated: SandboxPool):
    assert isolated.job.isolation is not None
    body = "import os\ndef is_open(fd):\n    try: os.fstat(fd)\n    except OSError: return False\n    return True\n"
    body += "print([fd for fd in range(256) if is_open(fd)])\nreturn 1.0"
    assert isolated.evaluate(SPECIFICATION.with_body(body)).output.splitlines()[0] == "[0, 1, 2, 3, 4]"


def test_the_output_limit_holds_for_all_inputs_together(isolated: SandboxPool):
    verdict = isolated.evaluate(SPECIFICATION.with_body("print('x' * 3500)\nreturn 1.0"))
    assert verdict.outcome is Outcome.OUTPUT_LIMIT, "three calls and four"


def test_time_and_memory_are_measured_over_all_processes(isolated: SandboxPool):
    body = "import time\nif i: return 1.0\ntime.sleep(0.05)\nx = bytearray(b'x' * 40 * 2**20)\nreturn 1.0"
    verdict = isolated.evaluate(SPECIFICATION.with_body(body))
    assert verdict.peak_mib > 40
    assert len(verdict.input_wall_s) == 2
    assert all(seconds > 0.04 for seconds in verdict.input_wall_s)
    assert verdict.wall_s > sum(verdict.input_wall_s)


FOLDERS = """
import funsearch, os
@funsearch.run
def evaluate(n):
    f("/tmp/shared", 0o1777)
    os.makedirs("/tmp/shared/scoring/s")
    os.chmod("/tmp/shared/scoring/s", 0o777)
    open("/tmp/shared/scoring/file", "w").close()
    f("/tmp/shared/scoring/s/evolved/e/v", 0)
    return n - len(os.listdir("/tmp"))
@funsearch.evolve
def f(path, mode):
    import os
    os.makedirs(path)
    os.chmod(path, mode)
"""


@pytest.mark.docker
def test_files_of_two_users_in_each_other_s_folders_are_removed(sandbox_image: str):
    with open_pool(
        unchecked(job(FOLDERS, (Call((3,)), Call((4,))), limits=LIMITS.model_copy(update={"scratch_mib": 4}))),
        image=sandbox_image,
        slots=1,
    ) as pool:
        assert [pool.evaluate(FOLDERS).scores for _ in range(2)] == [(2.0, 3.0)] * 2
        assert pool.starts == 1
