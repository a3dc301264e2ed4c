"""Test the contract of every sandbox: the pools of every registered backend must pass all tests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from overnight.schemas.job import Call, Isolation, Job
from overnight.schemas.limits_settings import Limits
from overnight.schemas.outcome import Outcome
from overnight.tasks.evaluate import confinement
from overnight.tasks.evaluate.delivery import ENVIRONMENT
from overnight.tasks.evaluate.pool import SandboxPool, open_pool
from overnight.tasks.evaluate.runner.command import SCRATCH_VARIABLE
from overnight.testing.programs import litterers
from overnight.testing.programs.candidates import HONEST, HONEST_SCORES, Case, body, returns
from overnight.testing.sandboxes import JUDGED as JOB
from tests.contract.conftest import Start, on_processes


@pytest.fixture(scope="module")
def sandbox(start: Start) -> Iterator[SandboxPool]:
    with start(JOB) as pool:
        yield pool


@pytest.fixture(scope="module")
def with_scratch(sandbox_image: str) -> Iterator[SandboxPool]:
    job = replace(JOB, limits=JOB.limits.model_copy(update={"scratch_mib": 16}))
    with open_pool(job, image=sandbox_image, slots=1) as pool:
        yield pool


@pytest.mark.docker
@pytest.mark.parametrize("case", litterers.CASES, ids=str)
def test_files_of_a_candidate_in_scratch_are_removed(with_scratch: SandboxPool, case: Case):
    verdict = with_scratch.evaluate(case.source)
    assert (verdict.outcome, verdict.scores) == (case.outcome, (case.score, case.score)), verdict
    after = with_scratch.evaluate("import os\n" + returns("n * 2.5 + len(os.listdir('/tmp'))"))
    assert after.scores == HONEST_SCORES, after
    assert with_scratch.starts == 1, "the runner died"


def test_no_process_of_an_earlier_candidate_is_left(is_confined: bool, sandbox: SandboxPool):
    if not is_confined:
        pytest.skip("only in a container")
    sandbox.evaluate(body("import os\nif os.fork() == 0:\n    while True: pass\nreturn 1"))
    count = returns("len([name for name in __import__('os').listdir('/proc') if name.isdigit()])")
    assert sandbox.evaluate(count).scores == (2.0, 2.0), "the runner and this candidate"


@pytest.mark.docker
def test_the_first_program_that_needs_numpy_is_alone_and_has_its_own_user(sandbox_image: str):
    look = "import os\n" + body("""
np.float64(1)
me = os.getpid()
others = [int(name) for name in os.listdir('/proc') if name.isdigit() and int(name) not in (1, me)]
print(os.getuid())
return len(others)
""")
    with open_pool(JOB, image=sandbox_image, slots=1) as pool:
        if "numpy" not in pool.versions:
            pytest.skip("no numpy in the image")
        first, second = (pool.evaluate(look) for _ in range(2))
    assert first.scores == second.scores == (0.0, 0.0), "only the runner is there besides"
    assert first.output != second.output, "the next one is another user"


TIMES = """
import os

PLACES = ("/tmp", *(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "mqueue", "shm")))

def evaluate(n):
    seen = [os.lstat(place).st_mtime_ns for place in PLACES if os.path.lexists(place)]
    for place in PLACES:
        try: os.utime(place, follow_symlinks=False)
        except OSError: pass
    print(seen)
    return n * 2.5
"""


@pytest.mark.docker
@pytest.mark.parametrize("scratch_mib", [0, 4])
@pytest.mark.parametrize("devices", [{}, None], ids=["a writable folder of devices", "as designed"])
def test_file_times_pass_nothing_to_the_next_program(
    sandbox_image: str, scratch_mib: int, devices: dict[str, str] | None, monkeypatch: pytest.MonkeyPatch
):
    if devices is not None:
        # As with podman or gVisor.
        monkeypatch.setattr(confinement, "_READ_ONLY_DEVICES", devices)
    job = replace(JOB, limits=JOB.limits.model_copy(update={"scratch_mib": scratch_mib}))
    with open_pool(job, image=sandbox_image, slots=1) as pool:
        pool.evaluate(HONEST)
        outputs = [pool.evaluate(TIMES).output.splitlines()[0] for _ in range(3)]
    assert len(set(outputs)) == 1, outputs


SEARCH = """
import ctypes, re

def evaluate(n):
    needle, found = re.compile(b"[c]orrect[-]horse[-]battery"), 0
    for line in open("/proc/self/maps"):
        begin, end = (int(place, 16) for place in line.split()[0].split("-"))
        if line.split()[1].startswith("rw") and "[v" not in line:
            found += sum(1 for _ in needle.finditer((ctypes.c_char * (end - begin)).from_address(begin)))
    return found
"""
"""Counts how often a text is in the process's memory; the pattern does not match itself."""


@pytest.mark.parametrize(
    "source",
    [
        "SECRET = 'correct-horse-battery'\n" + HONEST,
        body("print('-'.join(['correct', 'horse', 'battery']) * 9)\nreturn n"),
        body("raise ValueError('-'.join(['correct', 'horse', 'battery']) * 9)"),
        body("return '-'.join(['correct', 'horse', 'battery']) * 9"),
    ],
    ids=["its source", "what it printed", "its error", "its value"],
)
def test_nothing_of_an_earlier_candidate_is_in_memory(sandbox: SandboxPool, source: str):
    assert sandbox.evaluate("x = 'correct-horse-battery'\n" + SEARCH).scores[0] > 0, "it finds what is there"
    sandbox.evaluate(source)
    assert sandbox.evaluate(SEARCH).scores == (0.0, 0.0)


def test_a_candidate_has_no_open_files(sandbox: SandboxPool):
    source = """
import os

def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True

def evaluate(n):
    return sum(is_open(fd) for fd in range(256))
"""
    assert sandbox.evaluate(source).scores == (4.0, 4.0), "nothing, two for printing, and the report"


def test_a_candidate_sees_none_of_our_environment(sandbox: SandboxPool):
    printed = sandbox.evaluate(body("import os\nprint(*os.environ)\nreturn 1")).output.split()
    assert set(printed) <= {"HOME", "HOSTNAME", "PATH", "PWD", "LC_CTYPE", SCRATCH_VARIABLE, *ENVIRONMENT}


def test_a_candidate_has_no_right_and_nothing_to_write_to(is_confined: bool, sandbox: SandboxPool):
    if not is_confined:
        pytest.skip("only in a container")
    source = """
import os

def evaluate(n):
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    rights = [status[name].strip() for name in ("CapPrm", "CapEff", "CapAmb", "NoNewPrivs", "Seccomp", "Groups")]
    print(*rights, min(map(int, status["Uid"].split())) >= 1000)
    for folder, folders, files in os.walk("/"):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in ("/proc", "/sys")]
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            if os.access(path, os.W_OK) and not os.path.islink(path):
                print(path)
    return n
"""
    verdict = sandbox.evaluate(source)
    assert verdict.is_scored, verdict
    rights, *writable = verdict.output.splitlines()[: len(verdict.output.splitlines()) // 2]
    none = "0" * 16
    assert rights == f"{none} {none} {none} 1 2  True"
    # No queue can be created in /dev/mqueue: see the case "files: a queue that stays".
    devices = ("null", "zero", "full", "random", "urandom", "tty", "mqueue")
    assert set(writable) <= {f"/dev/{name}" for name in devices}


@pytest.mark.parametrize("value", ["np.float64(2.5)", "np.float32(2.5)", "np.int64(2)", "2", "2.5", "np.longdouble(2)"])
def test_numbers_of_numpy_are_numbers(sandbox: SandboxPool, value: str):
    if "numpy" not in sandbox.versions:
        pytest.skip("no numpy in the image")
    assert sandbox.evaluate(returns(value)).scores in {(2.0, 2.0), (2.5, 2.5)}


@pytest.mark.parametrize(
    "value",
    [
        "np.timedelta64('NaT')",
        "type('F', (np.float64,), {'__float__': lambda s: 9.0})(1)",
        "type('I', (np.int64,), {'__int__': lambda s: 9})(1)",
        "np.array(2.5)",
        "np.bool_(True)",
        "np.complex128(1)",
    ],
)
def test_values_that_only_numpy_takes_for_numbers_are_bad_scores(sandbox: SandboxPool, value: str):
    if "numpy" not in sandbox.versions:
        pytest.skip("no numpy in the image")
    verdict = sandbox.evaluate(returns(value))
    assert verdict.outcome is Outcome.BAD_SCORE, verdict
    assert "expected one finite number" in verdict.error


def test_numpy_is_imported_before_the_first_program_that_mentions_it():
    plain = body("import sys\nreturn 'num' + 'py' in sys.modules and 1 or 0")
    with on_processes(JOB) as pool:
        light = pool.evaluate(plain)
        assert light.scores == (0.0, 0.0), light
        first, heavy = (pool.evaluate(returns("np.int64(2)")) for _ in range(2))
        assert first.scores == heavy.scores == (2.0, 2.0), heavy
        assert light.peak_mib < heavy.peak_mib
        assert pool.evaluate(plain).scores == (1.0, 1.0), "it stays"
        assert pool.starts == 1


def test_decorators_need_no_import_and_the_program_is_a_real_module(sandbox: SandboxPool):
    source = """
from __future__ import annotations
import dataclasses
import pickle
import funsearch

@dataclasses.dataclass
class Pair:
    a: int

@funsearch.run
def evaluate(n):
    return pickle.loads(pickle.dumps(Pair(n))).a + helper(n)

@funsearch.evolve
def helper(n):
    return 1
"""
    assert sandbox.evaluate(source).scores == (4.0, 5.0)
    assert sandbox.evaluate(source.replace("import funsearch\n", "")).scores == (4.0, 5.0)


@pytest.mark.parametrize(
    "lines",
    [
        "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return n\nreturn asyncio.run(f())",
        "from concurrent.futures import ThreadPoolExecutor as T\nreturn sum(T(4).map(int, [n]))",
        "import os\nr, w = os.pipe()\nif not os.fork(): os._exit(os.write(w, bytes([n])))\nreturn os.read(r, 1)[0]",
    ],
    ids=["asyncio", "threads", "fork"],
)
def test_honest_concurrency_works(sandbox: SandboxPool, lines: str):
    verdict = sandbox.evaluate(body(lines))
    assert verdict.scores == (3.0, 4.0), verdict


def test_output_is_returned_clean(sandbox: SandboxPool):
    verdict = sandbox.evaluate(body("print('n is', n, '\\x1b[31m\\udc80')\nprint('end', end='')\nreturn n"))
    assert verdict.outcome is Outcome.SCORED
    assert verdict.output == "n is 3 �[31m\\udc80\nendn is 4 �[31m\\udc80\nend"


def test_output_before_a_timeout_is_returned(sandbox: SandboxPool):
    verdict = sandbox.evaluate(body("print('so far')\nwhile True: pass"))
    assert (verdict.outcome, verdict.output) == (Outcome.TIMED_OUT, "so far\n")


def test_times_and_memory_are_measured(sandbox: SandboxPool):
    verdict = sandbox.evaluate(
        body("import time\ntime.sleep(0.1 * (n - 3))\nx = bytearray(b'x' * 40 * 2**20)\nreturn n")
    )
    assert verdict.peak_mib > 40
    assert 0 < verdict.cpu_s < verdict.wall_s + 1
    assert len(verdict.input_wall_s) == 2
    assert verdict.input_wall_s[1] >= 0.09


def test_unseeded_random_numbers_and_set_orders_repeat(sandbox: SandboxPool):
    source = body(
        "import random\nreturn random.random() + sum(i * hash(s) % 97 for i, s in enumerate({'a', 'b', 'c'}))"
    )
    first = sandbox.evaluate(source).scores
    assert first[0] == first[1]
    assert sandbox.evaluate(source).scores == first


def test_inputs_are_exact_and_fresh_for_every_call():
    value = {"list": [1, (2, 3)], 4: (), (5, 6): None, "float": 0.1, "text": "é\udc80", "big": 2**70}
    job = Job("evaluate", (Call((value,), {"also": [1]}), Call((value,), {"also": [1]})), Limits(memory_mib=96))
    source = f"""
def evaluate(value, *, also):
    right = value == {value!r} and type(value['list'][1]) is tuple and also == [1]
    value['list'].clear()
    also.append(2)
    return int(right)
"""
    with on_processes(job) as pool:
        assert pool.evaluate(source).scores == (1.0, 1.0)


def test_processor_time_is_limited_over_all_threads():
    job = Job("evaluate", (Call((3,)),), Limits(wall_s=30, cpu_s=1, memory_mib=96))
    with on_processes(job) as pool:
        verdict = pool.evaluate(body("while True: pass"))
        assert verdict.outcome is Outcome.TIMED_OUT
        assert "1 s of processor time" in verdict.error
        ignores = body("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass")
        assert pool.evaluate(ignores).outcome is Outcome.TIMED_OUT


@pytest.mark.docker
def test_processor_time_of_processes_without_a_waiting_parent_is_counted(sandbox_image: str):
    job = Job("evaluate", (Call((0.4,)),), Limits(wall_s=30, cpu_s=0.1, memory_mib=96))
    hidden = """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
if os.fork() == 0:
    while time.process_time() < n: pass
    os._exit(0)
try: os.wait()
except ChildProcessError: return n
"""
    with open_pool(job, image=sandbox_image, slots=1) as pool:
        verdict = pool.evaluate(body(hidden))
        assert verdict.outcome is Outcome.TIMED_OUT
        assert verdict.cpu_s > 0.4
        assert pool.evaluate(HONEST).scores == (1.0,)


@pytest.mark.parametrize("isolation", [False, True], ids=["inline", "isolated"])
def test_below_a_threshold_the_rest_of_the_inputs_is_not_run(isolation: bool):
    text = """
import funsearch

@funsearch.run
def evaluate(n):
    return f(n)

@funsearch.evolve
def f(n):
    print("on", n)
    return {}
"""
    inputs = (Call((1,)), Call((2,)), Call((3,)))
    job = Job("evaluate", inputs, Limits(memory_mib=96), thresholds=(0.5, None), isolation=None)
    job = replace(job, isolation=Isolation(("f",), text.format("n")) if isolation else None)
    with on_processes(job) as pool:
        below = pool.evaluate(text.format("0.25"))
        assert (below.outcome, below.scores, below.skipped) == (Outcome.REJECTED, (0.25,), 2), below
        assert below.output == "on 1\n"
        assert len(below.input_wall_s) == 1
        above = pool.evaluate(text.format("2 - n"))
        assert above.scores == (1.0, 0.0, -1.0), above


def test_exiting_as_if_below_a_threshold_gives_no_score():
    job = Job("evaluate", (Call((1,)), Call((2,))), Limits(memory_mib=96), thresholds=(0.5,))
    with on_processes(job) as pool:
        leaves = pool.evaluate(body("import os\nif n == 2: os._exit(0)\nreturn 9"))
        assert (leaves.outcome, leaves.scores, leaves.skipped) == (Outcome.CRASHED, (), 0)
        writes = body('import os\nos.write(3, b\'{"score": 0.1}\\n{"score": 9}\\n\')\nos._exit(0)')
        below = pool.evaluate(writes)
        assert (below.outcome, below.scores, below.skipped) == (Outcome.REJECTED, (0.1,), 1), below


def test_many_threads_each_get_their_own_answer():
    with on_processes(JOB, slots=2) as pool, ThreadPoolExecutor(8) as threads:
        verdicts = list(threads.map(lambda i: pool.evaluate(returns(f"n + {i}")), range(60)))
    assert [verdict.scores for verdict in verdicts] == [(3.0 + i, 4.0 + i) for i in range(60)]


def test_closing_ends_an_evaluation_as_a_sandbox_error(start: Start):
    pool = start(Job("evaluate", (Call((3,)),), Limits(wall_s=60, memory_mib=96)))
    with ThreadPoolExecutor(2) as threads:
        spinning = [threads.submit(pool.evaluate, body("while True: pass")) for _ in range(2)]
        time.sleep(0.3)
        pool.close()
        assert {future.result(timeout=20).outcome for future in spinning} == {Outcome.SANDBOX_ERROR}
    assert pool.evaluate(HONEST).outcome is Outcome.SANDBOX_ERROR
    pool.close()
