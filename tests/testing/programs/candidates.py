"""Programs that a sandbox must survive, with the verdict that each must get.

Every program has the run function `evaluate(n)`, which is called with 3 and then with 4.
"""

from __future__ import annotations

from dataclasses import dataclass

from overnight.schemas.outcome import Outcome

HONEST = "def evaluate(n):\n    return n * 2.5\n"
HONEST_SCORES = (7.5, 10.0)


@dataclass(frozen=True)
class Case:
    """One program.

    Attributes:
        name: `family: what it does`.
        source: Text of the program.
        outcome: Expected outcome.
        says: Pattern that the error must contain.
        harmless: Whether it may also run without a container, as the user of the tests.
        score: Expected score on both inputs; None for any score.
        or_outcome: Another outcome that is as right, where it depends on the machine which limit is reached first.
    """

    name: str
    source: str
    outcome: Outcome
    says: str = ""
    harmless: bool = True
    score: float | None = None
    or_outcome: Outcome | None = None

    def __str__(self) -> str:
        return self.name


def body(text: str) -> str:
    """Return a program whose run function has these lines."""
    return "def evaluate(n):\n" + "".join(f"    {line}\n" for line in text.strip("\n").splitlines())


def returns(expression: str) -> str:
    return body(f"return {expression}")


def refused(name: str, lines: str, head: str = "", *, harmless: bool = False) -> Case:
    """Return a case that runs `head`, then tries each line separately, and must be refused all of them."""
    tried = [line for line in lines.splitlines() if line.strip()]
    refusal = "except (OSError, ValueError, AssertionError): refused += 1"
    tries = "\n".join(f"try: {line}\n{refusal}\nelse: print('let through:', {line!r})" for line in tried)
    source = f"import ctypes, os, socket\n{head}\n" + body(f"refused = 0\n{tries}\nreturn refused / {len(tried)}")
    return Case(name, source, Outcome.SCORED, harmless=harmless, score=1)


TIME = [
    Case("time: spins", body("while True: pass"), Outcome.TIMED_OUT, r"1 s of wall clock on input 1 of 2 \(3\)"),
    Case(
        "time: sleeps on the second input",
        body("import time\nif n == 4: time.sleep(60)\nreturn 1"),
        Outcome.TIMED_OUT,
        r"input 2 of 2",
    ),
    Case("time: spins while loaded", "while True: pass", Outcome.TIMED_OUT, "while it was loaded"),
    Case(
        "time: catches everything",
        body("while True:\n    try:\n        while True: pass\n    except: pass"),
        Outcome.TIMED_OUT,
    ),
]

MEMORY = [
    Case("memory: one large block", body("return len(bytearray(2**30))"), Outcome.OUT_OF_MEMORY, "96 MiB on input 1"),
    Case("memory: grows", body("x = []\nwhile True: x.append(bytearray(2**20))"), Outcome.OUT_OF_MEMORY),
    Case("memory: while loaded", "x = bytearray(2**30)\n" + HONEST, Outcome.OUT_OF_MEMORY, "while it was loaded"),
    Case(
        "memory: in many processes",
        body("""
import os
for _ in range(8):
    if os.fork() == 0: break
x = bytearray(b'x' * (60 * 2**20))
import time; time.sleep(30)
"""),
        Outcome.OUT_OF_MEMORY,
        harmless=False,
    ),
]

PROCESSES = [
    Case(
        "processes: fork bomb",
        body("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"),
        Outcome.TIMED_OUT,
        harmless=False,
        or_outcome=Outcome.OUT_OF_MEMORY,
    ),
    Case(
        "processes: leaves a daemon",
        body("""
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(60)
    os._exit(0)
os.wait()
return n
"""),
        Outcome.SCORED,
        harmless=False,
    ),
    Case(
        "processes: leaves threads",
        body("""
import threading, time
for _ in range(8): threading.Thread(target=time.sleep, args=(60,)).start()
return n
"""),
        Outcome.SCORED,
    ),
    Case(
        "processes: starts a program",
        body("import subprocess\nsubprocess.run(['/bin/true'])\nreturn 1"),
        Outcome.CRASHED,
        "cannot start other programs",
    ),
]

OUTPUT = [
    Case("output: floods", body("while True: print('x' * 1000)"), Outcome.OUTPUT_LIMIT, "16 KiB"),
    Case("output: floods past Python", body("import os\nwhile True: os.write(2, b'x' * 1000)"), Outcome.OUTPUT_LIMIT),
]

FILES = [
    refused("files: writes", "open('/tmp/x', 'w')"),
    Case(
        "files: temporary",
        body("import tempfile\ntempfile.TemporaryFile()\nreturn 1"),
        Outcome.CRASHED,
        "no files to write",
        harmless=False,
    ),
    refused("files: reads the runner's memory", "open('/proc/1/mem', 'rb')"),
    refused("files: reads the runner's input", "open('/proc/1/fd/0', 'rb')"),
    refused("files: a queue that stays", "open('/dev/mqueue/x', 'w')"),
    refused("files: memfd", "os.memfd_create('x')", harmless=True),
]

NETWORK = [refused("network: socket", "socket.socket()", harmless=True)]

RUNNER = [
    Case("runner: kills all", body("import os\nos.kill(-1, 9)\nreturn 1"), Outcome.CRASHED, harmless=False),
    refused("runner: kills the runner", "os.kill(os.getppid(), 9)"),
    refused("runner: limits the runner", "resource.prlimit(1, resource.RLIMIT_CPU, (1, 1))", "import resource"),
    Case("runner: replaces the exit", body("import os\nos._exit = lambda code: None\nreturn n"), Outcome.SCORED),
    Case("runner: breaks the reporting", "import json\njson.dumps = None\n" + HONEST, Outcome.SCORED),
    Case(
        "runner: writes to every descriptor",
        body("""
import os
for fd in (0, *range(4, 256)):
    try: os.write(fd, b'x' * 100)
    except OSError: pass
return n
"""),
        Outcome.SCORED,
    ),
]

CHANNEL = [
    Case("channel: floods", body("import os\nwhile True: os.write(3, b'{}' * 1000)"), Outcome.BAD_SCORE),
    Case(
        "channel: too many scores",
        body("import os\nos.write(3, b'{\"score\": 9}\\n' * 5)\nreturn 1"),
        Outcome.BAD_SCORE,
    ),
    Case(
        "channel: too few",
        body("import os\nif n == 4: os._exit(0)\nreturn 1"),
        Outcome.CRASHED,
        "exit code 0 on input 2",
    ),
    Case(
        "channel: deep nonsense", body("import os\nos.write(3, b'[' * 30000 + b'\\n')\nos._exit(0)"), Outcome.BAD_SCORE
    ),
    Case(
        "channel: infinity in disguise",
        body("import os\nos.write(3, b'{\"score\": 1e999}\\n')\nreturn 1"),
        Outcome.BAD_SCORE,
        "inf",
    ),
    Case(
        "channel: a terminal's commands",
        body("raise ValueError('\\x1b[2J\\x00\\udc80\\u202e' + 'x' * 9999)"),
        Outcome.CRASHED,
        "ValueError: �",
    ),
    Case("channel: closed", body("import os\nos.close(3)\nreturn 1"), Outcome.CRASHED),
]

VALUES = [
    Case(f"values: {value}", returns(value), Outcome.BAD_SCORE, says)
    for value, says in {
        "float('nan')": "nan on input 1",
        "1e999": "inf",
        "True": "bool True",
        "'1'": "str 1",
        "None": "NoneType None",
        "[1.0]": r"list \[1.0\]",
        "10**400": "int",
        "complex(1, 0)": "complex",
        "type('F', (float,), {})(1.0)": "F 1.0",
    }.items()
]

EXITS = [
    Case("exits: sys.exit", body("import sys\nsys.exit(0)"), Outcome.CRASHED, "SystemExit: 0"),
    Case("exits: os._exit", body("import os\nos._exit(7)"), Outcome.CRASHED, "exited with code 7 on input 1"),
    Case("exits: aborts", body("import os\nos.abort()"), Outcome.CRASHED, "SIGABRT"),
    Case("exits: segmentation fault", body("import ctypes\nctypes.string_at(0)"), Outcome.CRASHED, "SIGSEGV"),
    Case(
        "exits: raises",
        body("x = 1\nreturn x / 0"),
        Outcome.CRASHED,
        r"ZeroDivisionError: division by zero, in line 3 \(return x / 0\), on input 1 of 2 \(3\)",
    ),
    Case(
        "exits: an error without text",
        body("class E(Exception):\n    def __str__(self): raise self\nraise E"),
        Outcome.CRASHED,
        "E, in line 4",
    ),
    Case("exits: recursion", body("return evaluate(n)"), Outcome.CRASHED, "RecursionError"),
    Case("exits: syntax", "def evaluate(n):\n    return (n\n", Outcome.CRASHED, "SyntaxError: .* in line 2"),
    Case("exits: no run function", "x = 1", Outcome.CRASHED, "no function 'evaluate'"),
    Case("exits: null byte", "x = '\0'", Outcome.CRASHED),
    Case("exits: half a character", "x = '\udc80'", Outcome.CRASHED),
    Case("exits: nested too deeply", "x = " + "(" * 5000 + ")" * 5000, Outcome.CRASHED),
]

CASES = [*TIME, *MEMORY, *PROCESSES, *OUTPUT, *FILES, *NETWORK, *RUNNER, *CHANNEL, *VALUES, *EXITS]
