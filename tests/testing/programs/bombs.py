"""Programs that exceed their limits: time, memory, processes, output."""

from __future__ import annotations

from overnight.schemas.outcome import Outcome
from overnight.testing.programs.candidates import Case, body


def bomb(name: str, text: str, outcome: Outcome = Outcome.SCORED, says: str = "") -> Case:
    source = "import ctypes, mmap, os, signal, socket, threading, time\nlibc = ctypes.CDLL(None)\n" + body(text)
    return Case(name, source, outcome, says, harmless=False)


TIME = [
    bomb("time: stops itself", "os.kill(os.getpid(), signal.SIGSTOP)", Outcome.TIMED_OUT, "on input 1 of 2"),
    bomb(
        "time: blocks every signal and sleeps",
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: libc.sleep(60)",
        Outcome.TIMED_OUT,
    ),
    bomb(
        "time: catches every signal and spins",
        """
for number in range(1, 65):
    try: signal.signal(number, lambda *_: None)
    except OSError: pass
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
while True: pass
""",
        Outcome.TIMED_OUT,
    ),
    bomb("time: in one long instruction", "return 10 ** 10 ** 9", Outcome.TIMED_OUT),
    bomb("time: waits for itself", "lock = threading.Lock()\nlock.acquire()\nlock.acquire()", Outcome.TIMED_OUT),
    bomb(
        "time: after its scores",
        "os.write(3, b'{\"score\": 9}\\n' * 2)\nwhile True: pass",
        Outcome.TIMED_OUT,
        "after its",
    ),
    bomb("time: at the exit", "import atexit\natexit.register(time.sleep, 60)\nreturn n"),
    bomb(
        "time: in a destructor",
        "class Slow:\n    def __del__(self): time.sleep(60)\nglobal kept\nif n == 4: kept = Slow()\nreturn n",
    ),
    bomb("time: in a thread that goes on", "threading.Thread(target=lambda: time.sleep(60)).start()\nreturn n"),
    bomb(
        "time: in the text of its value",
        "class A:\n    def __repr__(self): time.sleep(60)\nreturn A()",
        Outcome.TIMED_OUT,
    ),
    bomb(
        "time: a thousand timers",
        """
event = (ctypes.c_long * 8)(0, 34)
timer, every = ctypes.c_long(), (ctypes.c_long * 4)(0, 1, 0, 1)
signal.signal(34, signal.SIG_IGN)
for _ in range(1000):
    if libc.timer_create(1, event, ctypes.byref(timer)) == 0: libc.timer_settime(timer, 0, every, 0)
return n
""",
    ),
]

MEMORY = [
    bomb(
        "memory: that is in nobody's resident set, after sparing itself",
        """
libc.prctl(4, 1, 0, 0, 0)
try: open('/proc/self/oom_score_adj', 'w').write('0')
except OSError: pass
for _ in range(10):
    shared = mmap.mmap(-1, 40 * 2**20)
    if os.fork() == 0:
        shared[::4096] = bytes(len(shared) // 4096)
        os._exit(0)
    os.wait()
    if os.fork() == 0: time.sleep(60)
return n
""",
        Outcome.OUT_OF_MEMORY,
    ),
    bomb(
        "memory: in the buffers of sockets",
        """
for _ in range(40):
    if os.fork(): continue
    pairs = []
    while True:
        try: pairs.append(socket.socketpair())
        except OSError: time.sleep(60)
        for end in pairs[-1]:
            end.setblocking(False)
            try:
                while True: end.send(b'x' * 65536)
            except OSError: pass
time.sleep(60)
""",
        Outcome.OUT_OF_MEMORY,
    ),
    bomb(
        "memory: in pipes",
        """
import fcntl
for _ in range(40):
    if os.fork(): continue
    ends = []
    while True:
        try: ends.append(os.pipe())
        except OSError: time.sleep(60)
        os.set_blocking(ends[-1][1], False)
        try:
            fcntl.fcntl(ends[-1][1], 1031, 2**20)
            while True: os.write(ends[-1][1], b'x' * 65536)
        except OSError: pass
time.sleep(60)
""",
        Outcome.TIMED_OUT,
    ),
    bomb(
        "memory: errors that it catches",
        """
x = []
while True:
    try:
        while True: x.append(bytearray(2**20))
    except MemoryError: pass
""",
        Outcome.TIMED_OUT,
    ),
    bomb("memory: reserved", "mmap.mmap(-1, 2**40, flags=mmap.MAP_PRIVATE | mmap.MAP_NORESERVE)", Outcome.CRASHED),
    bomb("memory: in one long text", "return len('x' * 2**40)", Outcome.OUT_OF_MEMORY),
    bomb("memory: in numpy", "import numpy\nreturn numpy.ones((2**14, 2**14)).sum()", Outcome.OUT_OF_MEMORY),
]

PROCESSES = [
    bomb(
        "processes: a chain of ever new ones",
        "if os.fork() == 0:\n    while True:\n        if os.fork(): os._exit(0)\nreturn n",
    ),
    bomb(
        "processes: threads",
        "while True: threading.Thread(target=time.sleep, args=(60,)).start()",
        Outcome.CRASHED,
        "thread",
    ),
    bomb("processes: nobody waits for", "try:\n    while True: os.fork() or os._exit(0)\nexcept OSError: return n"),
    bomb("processes: stopped ones", "for _ in range(20): os.fork() or os.kill(os.getpid(), signal.SIGSTOP)\nreturn n"),
    bomb(
        "processes: of sessions of their own",
        "for _ in range(20): os.fork() or os.setsid() or time.sleep(60)\nreturn n",
    ),
    bomb(
        "processes: below one that adopts",
        "libc.prctl(36, 1, 0, 0, 0)\nos.fork() or os.fork() and os._exit(0) or time.sleep(60)\nreturn n",
    ),
    bomb(
        "processes: that outlive the death of their parent",
        "libc.prctl(1, 0, 0, 0, 0)\nos.fork() or time.sleep(60)\nos.abort()",
        Outcome.CRASHED,
    ),
    bomb("processes: two answers", "os.fork() and os.wait()\nreturn n", Outcome.BAD_SCORE),
    bomb(
        "processes: an answer of another",
        "if os.fork():\n    os.wait()\n    os._exit(3)\nreturn n",
        Outcome.CRASHED,
        "code 3",
    ),
    bomb(
        "processes: at the lowest priority",
        """
os.nice(19)
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
for _ in range(20): os.fork() or time.sleep(60)
return n
""",
    ),
]

OUTPUT = [
    bomb(
        "output: from many", "for _ in range(5): os.fork()\nwhile True: os.write(1, b'x' * 4096)", Outcome.OUTPUT_LIMIT
    ),
    bomb("output: without an end of line", "while True: print('x' * 10**6, end='')", Outcome.OUTPUT_LIMIT),
    bomb(
        "output: to every descriptor",
        "while True:\n    for fd in range(64):\n        try: os.write(fd, b'x' * 99)\n        except OSError: pass",
        Outcome.OUTPUT_LIMIT,
    ),
    bomb("output: as errors", "import sys\nwhile True: print('x' * 100, file=sys.stderr)", Outcome.OUTPUT_LIMIT),
    bomb("output: nowhere", "import sys\nsys.stdout = sys.stderr = None\nos.closerange(0, 3)\nreturn n"),
    bomb(
        "output: through a pipe that it made small",
        "import fcntl\nfcntl.fcntl(1, 1031, 4096)\nprint('x' * 7000, flush=True)\nreturn n",
    ),
    bomb("output: through a pipe that never waits", "os.set_blocking(3, False)\nos.set_blocking(1, False)\nreturn n"),
]

CASES = [*TIME, *MEMORY, *PROCESSES, *OUTPUT]
