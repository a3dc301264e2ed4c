"""Test programs that a command imports and calls, in a process of their own: the same values, and no forged score."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from overnight.schemas.dependencies import Dependencies
from overnight.schemas.files import File
from overnight.schemas.job import Call, Command, Job
from overnight.schemas.limits_settings import Limits
from overnight.schemas.outcome import Outcome
from overnight.tasks.evaluate.pool import SandboxPool, open_pool
from overnight.tasks.evaluate.registry import create_backend

LIMITS = Limits(wall_s=20, memory_mib=256, scratch_mib=16, output_kib=64)

EVALUATE = rb'''
"""Scores `f` in the way that its second argument names."""
import concurrent.futures, importlib, importlib.util, json, os, runpy, shutil, signal, subprocess, sys, time

def load(path, name="program"):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

def by_spec(path):
    return load(path).f(10)

def by_runpy(path):
    return runpy.run_path(path)["f"](10)

def by_exec(path):
    space = {}
    with open(path) as file:
        exec(file.read(), space)
    return space["f"](10)

def by_name(path):
    sys.path.insert(0, os.path.dirname(path))
    return importlib.import_module(os.path.basename(path)[:-3]).f(10)

def by_copy(path):
    return load(shutil.copy(path, os.path.join(os.environ["TMPDIR"], "copy.py"))).f(10)

def in_script(path):
    script = f"import runpy; print(runpy.run_path({path!r})['f'](10))"
    return float(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)

def with_modules(path):
    sys.path.insert(0, os.path.join(os.path.dirname(path), "rules"))
    return load(path).rule()

def in_threads(path):
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        return sum(threads.map(load(path).f, range(5)))

def in_forks(path):
    module = load(path)
    module.f(1)
    if not (child := os.fork()):
        os._exit(int(module.f(3)))
    return module.f(7) + os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def after_an_alarm(path):
    module = load(path)
    def ring(*_): raise ValueError
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        module.sleep(60)
    except ValueError:
        return module.f(10)

def beside_a_thread_that_hangs(path):
    module = load(path)
    threads = concurrent.futures.ThreadPoolExecutor(1)
    try:
        threads.submit(module.sleep, 1.5).result(timeout=0.2)
    except concurrent.futures.TimeoutError:
        return module.f(10)

def beside_a_script_that_hangs(path):
    script = f"import runpy; print(runpy.run_path({path!r})['sleep'](60))"
    try:
        subprocess.run([sys.executable, "-c", script], timeout=1)
    except subprocess.TimeoutExpired:
        return load(path).f(10)

def after_errors(path):
    module, score = load(path), 10
    for kind, argument in ((ValueError, "value"), (ZeroDivisionError, "zero"), (KeyError, "key")):
        try:
            module.fail(argument)
        except kind as error:
            score += module.f(len(str(error)) > 0) / 2
    return score + 7 if not hasattr(module, "missing") else 0

def state(path):
    module = load(path)
    counts = [module.count() for _ in range(3)], load(path).count(), module.LIMIT, module.TABLE
    return 20.0 if counts == ([1, 2, 3], 1, 5, {"a": (1, 2.0)}) else 0

def values(path):
    import numpy as np
    module = load(path)
    wanted = [None, True, 3, 2**70, 1.5, float("inf"), "\u00fc", b"x", [1, [2.0]], (1, 2.0), {"a": (1,), 2: None}]
    wanted += [np.arange(6).reshape(2, 3).T, np.float32(1.5), np.int64(3), np.array(["a"])]
    wanted += [(np.zeros((2, 0)), [np.ones(1)])]
    found = module.values()
    def form(value):
        if isinstance(value, (list, tuple)):
            return type(value), [form(one) for one in value]
        strides = value.strides if getattr(value, "size", 0) and hasattr(value, "strides") else None
        return type(value), repr(value), getattr(value, "dtype", None), strides
    return 20 if form(found) == form(wanted) and module.same(found[-1][1][0]) is True else 0

def main(path, way):
    print(json.dumps({"score": globals()[way](path)}))

if __name__ == "__main__":
    main(*sys.argv[1:])
'''

PROGRAM = """
import time
import numpy as np

LIMIT, TABLE, calls = 5, {"a": (1, 2.0)}, 0

def f(x):
    return x * 2

def sleep(seconds):
    time.sleep(seconds)

def fail(how):
    if how == "value":
        raise ValueError("no value")
    return 1 / 0 if how == "zero" else {}[how]

def count():
    global calls
    calls += 1
    return calls

def rule():
    import twenty
    return twenty.VALUE

def values():
    found = [None, True, 3, 2**70, 1.5, float("inf"), "ü", b"x", [1, [2.0]], (1, 2.0), {"a": (1,), 2: None}]
    found += [np.arange(6).reshape(2, 3).T, np.float32(1.5), np.int64(3), np.array(["a"])]
    return [*found, (np.zeros((2, 0)), [np.ones(1)])]

def same(array):
    return type(array) is np.ndarray and array.shape == (1,)
"""

WAYS = [
    *("by_spec", "by_runpy", "by_exec", "by_name", "by_copy", "in_script", "in_threads", "in_forks", "with_modules"),
    *("after_an_alarm", "beside_a_thread_that_hangs", "beside_a_script_that_hangs", "after_errors", "values", "state"),
]

IN_A_CONTAINER = ("by_copy", "in_script", "in_forks", "with_modules")
"""Those that depend on users and files."""

Begin = Callable[..., SandboxPool]


def job(*ways: str, apart: bool = True, limits: Limits = LIMITS) -> Job:
    calls = tuple(Call((f"{way}",)) for way in ways)
    command = Command("prog.py", ("python3", "way.py", "{program}", "{input}"), "score", apart=apart)
    return Job("", calls, limits, command=command)


def begin(kind: str, image: str, script: bytes, asked: Job) -> SandboxPool:
    """Start a pool of a backend whose images have a script that scores."""
    way = b"import json, sys, score\nscore.main(sys.argv[1], json.loads(sys.argv[2]))\n"
    files = File("score.py", script), File("way.py", way), File("rules/twenty.py", b"VALUE = 20\n")
    with closing(create_backend(kind, runners=1)) as backend:
        prepared = backend.prepare(image, Dependencies(), files, print)
    return open_pool(asked, backend=kind, image=prepared, slots=1)


@pytest.mark.parametrize("place", ["shared", "own"])
def test_a_command_that_imports_a_program_gets_the_same_from_its_own_process(kind: str, place: str, sandbox_image: str):
    """Each way in which a command can import a program and call it is an input."""
    if (kind, place) == ("docker", "shared"):
        pytest.skip("where it shares the process, plain processes show it")
    ways = IN_A_CONTAINER if kind == "docker" else WAYS
    with begin(kind, sandbox_image, EVALUATE, job(*ways, apart=place == "own")) as pool:
        verdict = pool.evaluate(PROGRAM)
    assert verdict.is_scored, verdict
    assert dict(zip(ways, verdict.scores, strict=True)) == dict.fromkeys(ways, 20)


SCORING = b'''
"""Scores a list of numbers by their sum; at most 1 each."""
import importlib.util, json, os, subprocess, sys

def valid(values):
    return len(values) == 5 and all(0 <= value <= 1 for value in values)

def main(path, way):
    spec = importlib.util.spec_from_file_location("program", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    values = module.numbers()
    if not valid(values):
        raise ValueError("not valid")
    scored = {"score": sum(values)}
    with open("metrics.json", "w") as file:
        json.dump(scored, file)

if __name__ == "__main__":
    main(*sys.argv[1:])
'''

HONEST = "def numbers():\n    return [0.5] * 5\n"
HEAD = "import atexit, builtins, gc, glob, json, os, signal, subprocess, sys, threading, time\n"
FORGED = "json.dumps({'score': 99})"
AS_METRICS = f"open('metrics.json', 'w').write({FORGED})"

FORGERS = {
    "patches the scoring by its frame": "frame = sys._getframe()\nwhile frame:\n    if 'valid' in frame.f_globals: "
    "frame.f_globals['valid'] = lambda values: True\n    frame = frame.f_back\ndef numbers():\n    return [99]",
    "patches the scoring by its module": "for module in list(sys.modules.values()):\n    if hasattr(module, 'valid'): "
    "module.valid = lambda values: True\ndef numbers():\n    return [99]",
    "patches the scoring by the garbage collector": "for one in gc.get_objects():\n    if type(one) is dict and "
    "{'valid', 'main'} <= one.keys(): one['valid'] = lambda values: True\ndef numbers():\n    return [99]",
    "patches json": f"import json\nreal = json.dumps\njson.dump = lambda value, file: file.write({FORGED})\n"
    "def numbers():\n    return [0.5] * 5",
    "patches sum": "builtins.sum = lambda values: 99\ndef numbers():\n    return [0.5] * 5",
    "writes the metrics and ends": f"{AS_METRICS}\ndef numbers():\n    os._exit(0)",
    "writes the metrics at the end": f"atexit.register(lambda: {AS_METRICS})\ndef numbers():\n    return [0.5] * 5",
    "exits with the metrics": f"def numbers():\n    {AS_METRICS}\n    sys.exit(0)",
    "returns numbers that lie": "class Lie(float):\n    def __radd__(self, other): return 99.0\n    "
    "def __le__(self, other): return True\n    __ge__ = __le__\ndef numbers():\n    return [Lie(0.5)] * 5",
}
"""Programs that get 99 where they share the scoring's process, and that may be tried without a container."""

DEEPER = {
    "writes to the scoring's folder": f"def numbers():\n    open('/tmp/work/metrics.json', 'w').write({FORGED})",
    "writes to every file that it finds": "def numbers():\n    for path in glob.glob('/tmp/**', recursive=True):\n"
    f"        try: open(path, 'w').write({FORGED})\n        except OSError: pass\n    return [0.5] * 5",
    "changes the scoring's code": "def numbers():\n    open('/tmp/work/score.py', 'w')",
    "answers for the next caller": "def numbers():\n    for number in range(3, 99):\n        try: os.write(number, "
    "b'\\x05\\0\\0\\0V[\\1\\0\\0\\0N')\n        except OSError: pass\n    return [0.5] * 5",
    "asks for sessions": "def numbers():\n    ask = os.open('/tmp/calls/ask', os.O_RDWR)\n    "
    "os.write(ask, b'1-1\\n../ask\\n' * 300)\n    return [0.5] * 5",
    "replaces the pipes": "def numbers():\n    os.rename('/tmp/calls', '/tmp/gone')\n    os.mkdir('/tmp/calls')",
    "writes the metrics from a daemon": f"if not os.fork():\n    os.setsid()\n    while True: {AS_METRICS}\n"
    "def numbers():\n    time.sleep(0.5)\n    return [0.5] * 5",
    "kills everything": "def numbers():\n    os.kill(-1, signal.SIGKILL)",
    "kills what begins sessions": "def numbers():\n    os.kill(os.getppid(), signal.SIGKILL)\n    return [0.5] * 5",
    "leaves modules for the scoring": "for name in ('json', 'sitecustomize', 'usercustomize'):\n    "
    "open(f'{name}.py', 'w').write('import sys; sys.exit(0)')\ndef numbers():\n    return [0.5] * 5",
    "has names of the scoring": "def numbers():\n    return [99]\ndef valid(values):\n    return True\n"
    "main = json = sum = valid\n__spec__ = __builtins__ = None",
    "has a name that is none": "globals()['a b'] = globals()['__class__'] = 1\ndef numbers():\n    return [0.5] * 5",
    "is nested deeply": "def numbers():\n    value = []\n    for _ in range(9999): value = [value]\n    return value",
    "raises an error that lies": "class E(Exception):\n    def __str__(self): return 'x' * 10**7\ndef numbers():\n"
    "    raise E",
    "is endless": "def numbers():\n    while True: pass",
    "is a bomb": "def numbers():\n    while True: os.fork()",
    "returns what is no data": "def numbers():\n    return (value for value in [0.5] * 5)",
}


def scoring_job(*, apart: bool) -> Job:
    limits = LIMITS.model_copy(update={"wall_s": 2.0})
    asked = job("any", apart=apart, limits=limits)
    assert asked.command is not None
    return replace(asked, command=replace(asked.command, metrics_file="metrics.json"))


@pytest.fixture(scope="module")
def apart(kind: str, sandbox_image: str) -> Iterator[SandboxPool]:
    with begin(kind, sandbox_image, SCORING, scoring_job(apart=True)) as pool:
        yield pool


@pytest.fixture(scope="module")
def shared(kind: str, sandbox_image: str) -> Iterator[SandboxPool]:
    with begin(kind, sandbox_image, SCORING, scoring_job(apart=False)) as pool:
        yield pool


@pytest.mark.parametrize("forger", FORGERS)
def test_what_forges_a_score_in_the_scoring_s_process_does_not_in_its_own(
    is_confined: bool, apart: SandboxPool, request: pytest.FixtureRequest, forger: str
):
    if is_confined:
        pytest.skip("plain processes show it")
    shared: SandboxPool = request.getfixturevalue("shared")
    assert shared.evaluate(HEAD + FORGERS[forger]).scores == (99,)
    verdict = apart.evaluate(HEAD + FORGERS[forger])
    assert verdict.scores in ((), (2.5,)), verdict
    assert apart.evaluate(HONEST).scores == (2.5,)


@pytest.mark.parametrize("forger", DEEPER)
def test_no_program_forges_its_score_or_harms_the_next_one(is_confined: bool, apart: SandboxPool, forger: str):
    if not is_confined:
        pytest.skip("only in a container")
    verdict = apart.evaluate(HEAD + DEEPER[forger])
    assert verdict.scores in ((), (2.5,)), verdict
    assert verdict.outcome is not Outcome.SANDBOX_ERROR
    assert apart.evaluate(HONEST).scores == (2.5,)
    assert apart.starts == 1, "the runner died"
