"""Bodies that try to get a false score, with the outcome that each must get in isolated evaluation.

All are bodies of `f` in `SPECIFICATION`; its `evaluate(n, secret)` is called with 3 and then with 4.
"""

from __future__ import annotations

from dataclasses import dataclass

from overnight.schemas.outcome import Outcome
from overnight.tasks.program.read_specification import read_specification

_TEXT = '''"""The nearer the sum of f is to 100, the better."""
import functools
import json
import math
import funsearch

TABLE = {"one": 1.0}
KEPT = []

def one(offset):
    return TABLE["one"] + offset

@funsearch.run
def evaluate(n, secret):
    values = [f(i, n) for i in range(n)]
    total = 0.0
    for value in values:
        total = total + value
    return -abs(100.0 - max(total, math.fsum(values)))

@functools.cache
@funsearch.evolve
def f(i, n, offset=0.0):
    """The i-th of n numbers."""
    return one(offset)
'''

SPECIFICATION = read_specification(_TEXT, "forged")
SECRET = "correct-horse"
HONEST = SPECIFICATION.text
HONEST_SCORES = (-97.0, -96.0)


@dataclass(frozen=True)
class Forger:
    """One body.

    Attributes:
        name: `family: what it does`.
        body: Body of the evolved function.
        inline: Whether it gets a better score than the honest body in one process with `evaluate`.
        outcome: Expected outcome of isolated evaluation; if it is scored, it must have the honest score.
        says: Pattern that the error must contain.
        harmless: Whether it may also run without a container, as the user of the tests.
    """

    name: str
    body: str
    inline: bool = False
    outcome: Outcome = Outcome.SCORED
    says: str = ""
    harmless: bool = True

    def __str__(self) -> str:
        return self.name

    @property
    def source(self) -> str:
        return SPECIFICATION.with_body(self.body.strip("\n"))


def crashed(name: str, body: str, says: str = "", **more: bool) -> Forger:
    return Forger(name, body, outcome=Outcome.CRASHED, says=says, **more)


FORGERS = [
    Forger("patches: evaluate's code", "evaluate.__code__ = (lambda n, s: 1e6).__code__\nreturn 1.0", inline=True),
    Forger("patches: evaluate's name", "globals()['evaluate'] = lambda n, s: 1e6\nreturn 1.0"),
    Forger("patches: a builtin", "import builtins\nbuiltins.abs = lambda x: -1e6\nreturn 1.0", inline=True),
    Forger("patches: a library", "math.fsum = lambda values: 100.0\nreturn 1.0", inline=True),
    Forger("patches: json", "json.dumps = lambda value: '{\"score\": 1e6}'\nreturn 1.0"),
    Forger("patches: numpy", "np.float64.__add__ = np.float64.__radd__ = 1\nreturn 1.0", outcome=Outcome.CRASHED),
    Forger("patches: the mark", "funsearch.run = lambda function: lambda n, s: 1e6\nreturn 1.0"),
    Forger(
        "frames: scores in their place",
        """
import sys
frame = sys._getframe()
while frame:
    for value in list(frame.f_locals.values()):
        if hasattr(value, '_number'): value._number = lambda value: 1e6
    frame = frame.f_back
return 1.0
""",
        inline=True,
    ),
    Forger(
        "frames: the collector's objects",
        """
import gc
for value in gc.get_objects():
    if type(value).__name__ == 'Report': value._number = lambda value: 1e6
return 1.0
""",
        inline=True,
    ),
    Forger(
        "channel: scores on every descriptor, then gone",
        """
import os
for fd in range(3, 64):
    try: os.write(fd, b'{"score": 1e6}\\n' * 2)
    except OSError: pass
os._exit(0)
""",
        inline=True,
        outcome=Outcome.CRASHED,
    ),
    Forger(
        "channel: scores on what it prints to",
        'import os\nos.write(1, b\'\\n\\n{"score": 1e6}\\n{"score": 1e6}\\n\')\nreturn 1.0',
    ),
    Forger(
        "channel: opens everybody's descriptors",
        """
import glob, os
for path in glob.glob('/proc/*/fd/*') + glob.glob('/proc/*/task/*/fd/*'):
    if path.split('/')[2] in ('self', 'thread-self', str(os.getpid())): continue
    try: os.write(os.open(path, os.O_WRONLY), b'{"score": 1e6}\\n' * 2)
    except OSError: pass
return 1.0
""",
        harmless=False,
    ),
    Forger("lies: in a float", "return type('F', (float,), {'__radd__': lambda s, o: 100.0})(1.0)", inline=True),
    crashed("lies: in __float__", "return type('F', (), {'__float__': lambda s: 100.0})()", "F is not plain data"),
    Forger("remembers: an earlier input", "KEPT.append(n)\nreturn 1.0 if KEPT[0] == n else 100.0 / n", inline=True),
    Forger(
        "remembers: in its defaults",
        "g = globals()\ng.setdefault('first', n)\nreturn 1.0 if g['first'] == n else 100.0 / n",
        inline=True,
    ),
    Forger(
        "remembers: in what an earlier process printed",
        """
import gc
print('the-first-was-here')
needle = '-'.join(('the', 'first', 'was'))
found = any(needle in str(value) for value in gc.get_objects() if type(value) in (bytearray, bytes))
import sys
frame = sys._getframe()
while frame:
    found = found or any(needle in str(value) for value in frame.f_locals.values() if type(value) is not str)
    found = found or any(needle.encode() in getattr(v, 'output', b'') for v in frame.f_locals.values())
    frame = frame.f_back
return 100.0 / n if found else 1.0
""",
    ),
    Forger(
        "remembers: in a process that stays",
        """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: time.sleep(60)
    os._exit(0)
os.wait()
others = [int(name) for name in os.listdir('/proc') if name.isdigit()]
return 1.0 if len(others) <= 4 + 2 * n else 100.0 / n
""",
        harmless=False,
    ),
    Forger(
        "looks: for the input in its memory",
        """
import re
found = False
if i: return 1.0
try:
    maps, memory = open('/proc/self/maps'), open('/proc/self/mem', 'rb')
except OSError:
    return 1.0
for line in maps:
    place, rights = line.split()[:2]
    if 'rw' not in rights: continue
    begin, end = (int(part, 16) for part in place.split('-'))
    try:
        memory.seek(begin)
        found = found or re.search(b'correct[-]horse', memory.read(end - begin))
    except (OSError, ValueError, OverflowError): pass
return 100.0 / n if found else 1.0
""",
    ),
    Forger(
        "looks: for the input in frames",
        """
import sys
frame, found = sys._getframe(), False
while frame:
    found = found or any('correct' + '-horse' == value for value in frame.f_locals.values() if type(value) is str)
    frame = frame.f_back
return 100.0 / n if found else 1.0
""",
        inline=True,
    ),
    Forger(
        "looks: in other processes' memory",
        """
import glob
for path in glob.glob('/proc/[0-9]*/mem') + glob.glob('/proc/[0-9]*/environ'):
    try:
        with open(path, 'rb') as file: file.read(1)
    except OSError: continue
    return 100.0 / n
return 1.0
""",
        harmless=False,
    ),
    Forger(
        "attacks: signals to everybody",
        """
import os, signal
for name in os.listdir('/proc'):
    if name.isdigit() and int(name) not in (os.getpid(), os.getppid()):  # its parent is itself, before its calls
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL):
            try: os.kill(int(name), number)
            except OSError: pass
return 1.0
""",
        harmless=False,
    ),
    Forger(
        "attacks: limits and priorities of everybody",
        """
import os, resource
for name in os.listdir('/proc'):
    if name.isdigit() and int(name) not in (os.getpid(), os.getppid()):
        for attack in (
            lambda pid: resource.prlimit(pid, resource.RLIMIT_CPU, (1, 1)),
            lambda pid: resource.prlimit(pid, resource.RLIMIT_AS, (1, 1)),
            lambda pid: os.setpriority(os.PRIO_PROCESS, pid, 19),
        ):
            try: attack(int(name))
            except OSError: pass
return 1.0
""",
        harmless=False,
    ),
    Forger(
        "attacks: traces",
        "import ctypes, os\nlibc = ctypes.CDLL(None)\n"
        "for pid in (1, os.getppid(), os.getpid() + 1): libc.ptrace(16, pid, 0, 0)\nreturn 1.0",
    ),
    Forger(
        "attacks: threads that stay",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(9,)).start()\nreturn 1.0",
    ),
    crashed("answers: noise", "import os\nos.write(4, b'\\xff' * 100)\nreturn 1.0", "answered nonsense"),
    crashed(
        "answers: a pickle",
        "import os, pickle, struct\nd = pickle.dumps(1.0)\n"
        "os.write(4, struct.pack('<I', len(d)) + b'V' + d)\nreturn 1.0",
        "answered nonsense",
    ),
    crashed(
        "answers: a number of things without end",
        "import os\nos.write(4, b'\\x05\\0\\0\\0V[\\xff\\xff\\xff\\xff')\nreturn 1.0",
        "answered nonsense",
    ),
    crashed(
        "answers: a bottomless list",
        "import os\nos.write(4, (5 * 9999).to_bytes(4, 'little') + b'V' + b'[\\1\\0\\0\\0' * 9999)\nreturn 1.0",
        "answered nonsense",
    ),
    crashed(
        "answers: an array that is not there",
        "import os\nos.write(4, b'\\x0e\\0\\0\\0VA\\3<f8\\1' + b'\\xff' * 8)\nreturn 1.0",
        "answered nonsense",
    ),
    crashed(
        "answers: an array of objects",
        "import os\nos.write(4, b'\\x15\\0\\0\\0VA\\2|O\\1\\1' + bytes(7) + b'\\1' * 8)\nreturn 1.0",
        "answered nonsense",
    ),
    crashed("answers: an error that is none", "import os\nos.write(4, b'\\1\\0\\0\\0EN')\nreturn 1.0", "nonsense"),
    crashed("answers: a list in itself", "x = []\nx.append(x)\nreturn x", "nested more than 64 deep"),
    crashed("answers: a generator", "yield 1.0", "generator is not plain data"),
    crashed("answers: text", "return 'x'", "TypeError"),
    crashed(
        "answers: text outside of Unicode",
        "import os  # np\nos.write(4, b'\\x09\\0\\0\\0VS\\3<U1' + b'\\xff' * 4)\nreturn 1.0",
        "answered nonsense: ValueError: a character outside of Unicode",
    ),
    crashed(
        "answers: an array that never ends",
        "import os  # np\nos.write(4, b'\\x16\\0\\0\\0VA\\3<f8\\2' + b'\\0' * 7 + b'\\1' + bytes(8))\nreturn 1.0",
        "answered nonsense: ValueError: an array of nothing",
    ),
    crashed("channel: closed", "import os\nos.close(4)\nos.close(3)\nreturn 1.0", "evolved function's process"),
    crashed("ends: os._exit", "import os\nos._exit(7)", "process exited with code 7 on input 1 of 2"),
    crashed("ends: in silence", "import os\nos._exit(0)", "process ended itself with exit code 0 on input 1"),
    crashed("ends: sys.exit", "import sys\nsys.exit(0)", "SystemExit: 0"),
    crashed("ends: segmentation fault", "import ctypes\nctypes.string_at(0)", "SIGSEGV"),
    crashed(
        "ends: raises",
        "x = 1\nreturn x / 0",
        r"ZeroDivisionError: division by zero, in line 26 \(return x / 0\), on input 1 of 2 \(3, '",
    ),
    crashed(
        "ends: an error that lies", "class E(ZeroDivisionError):\n    def __str__(self): raise self\nraise E", "E, in"
    ),
    crashed("ends: recursion", "return f(i, n, offset + 1e-9)", "RecursionError"),
    Forger("time: spins", "while True: pass", outcome=Outcome.TIMED_OUT, says="1 s of wall clock on input 1 of 2"),
    Forger("time: stops itself", "import os\nos.kill(os.getpid(), 19)", outcome=Outcome.TIMED_OUT),
    Forger("memory: one large block", "return len(bytearray(2**30)) * 1.0", outcome=Outcome.OUT_OF_MEMORY),
    Forger("memory: a large answer", "return bytes(70 * 2**20)", outcome=Outcome.OUT_OF_MEMORY),
    Forger("output: floods", "while True: print('x' * 1000)", outcome=Outcome.OUTPUT_LIMIT, says="16 KiB"),
]
