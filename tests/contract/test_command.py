"""Test whole files that a command scores: same containers, same limits, and no traces for the next program."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from overnight.schemas.job import Call, Command, Job
from overnight.schemas.limits_settings import Limits
from overnight.schemas.outcome import Outcome, Verdict
from overnight.tasks.evaluate.pool import SandboxPool, open_pool
from overnight.testing.programs import wreckers
from overnight.testing.programs.wreckers import HEAD

pytestmark = pytest.mark.docker

COMMAND = Command("candidate.py", ("python3", "{program}", "{input}"), metric="score")
LIMITS = Limits(wall_s=2, memory_mib=96, scratch_mib=16, output_kib=16)

HONEST = HEAD + "print(json.dumps({'score': given * 2.5, 'given': given}))\n"
HONEST_SCORES = (7.5, 10.0)


def program(*lines: str, score: str = "1") -> str:
    return HEAD + "\n".join(lines) + f"\nprint(json.dumps({{'score': {score}}}))\n"


@pytest.fixture(scope="module")
def pool(sandbox_image: str) -> Iterator[SandboxPool]:
    with open_pool(Job("", (Call((3,)), Call((4,))), LIMITS, command=COMMAND), image=sandbox_image, slots=1) as pool:
        yield pool


OUTCOMES = [
    ("prints no metrics", "print('hello')", Outcome.CRASHED, "no metrics"),
    ("exits with an error", "import sys; sys.exit(3)", Outcome.CRASHED, "exit code 3, on input 1 of 2"),
    ("raises", "raise ValueError('no way')", Outcome.CRASHED, "ValueError: no way"),
    ("aborts", "import os; os.abort()", Outcome.CRASHED, "killed by SIGABRT"),
    ("kills its own process group", HEAD + "os.killpg(0, signal.SIGKILL)", Outcome.CRASHED, "SIGKILL"),
    ("kills the process that reports", HEAD + "os.kill(os.getppid(), signal.SIGKILL)", Outcome.CRASHED, "SIGKILL"),
    ("spins", "while True: pass", Outcome.TIMED_OUT, "2 s of"),
    ("ignores signals", HEAD + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)", Outcome.TIMED_OUT, ""),
    ("stops itself", HEAD + "os.kill(os.getpid(), signal.SIGSTOP)", Outcome.TIMED_OUT, ""),
    ("takes memory", "x = bytearray(400 * 2**20)", Outcome.OUT_OF_MEMORY, "96 MiB"),
    ("floods its output", "print('x' * 10**6)", Outcome.OUTPUT_LIMIT, "16 KiB"),
    ("floods its error output", HEAD + "while True: sys.stderr.write('x' * 999)", Outcome.OUTPUT_LIMIT, "16 KiB"),
    ("has a score of NaN", "print('{\"score\": NaN}')", Outcome.BAD_SCORE, "nan"),
    ("has a score of 1e999", "print('{\"score\": 1e999}')", Outcome.BAD_SCORE, "inf"),
    ("has a truth value", "print('{\"score\": true}')", Outcome.BAD_SCORE, "'score' is True"),
    ("has a text", 'print(\'{"score": "9"}\')', Outcome.BAD_SCORE, "'score' is '9'"),
    ("has other metrics", "print('{\"speed\": 1}')", Outcome.BAD_SCORE, "without 'score': speed"),
    ("nests its metrics deeply", "print('{\"score\": ' + '[' * 9000)", Outcome.CRASHED, "no metrics"),
    ("fills scratch", "open('/tmp/f', 'wb').write(b'x' * 20 * 2**20)", Outcome.CRASHED, "OSError"),
    ("is no Python", "}{", Outcome.CRASHED, "SyntaxError"),
]

REFUSED = {
    "opens a socket": "socket.socket()",
    "writes to the image": "open('/etc/hosts', 'w')",
    "writes beside scratch": "open('/dev/shm/x', 'w')",
    "reads the runner's memory": "open('/proc/1/mem', 'rb').read(1)",
    "signals the runner": "os.kill(1, signal.SIGTERM)",
    "becomes root": "os.setuid(0)",
    "makes a device": "os.mknod('/tmp/device', 0o60600, os.makedev(8, 0))",
    "mounts": "subprocess.run(['mount', '-t', 'tmpfs', 'none', '/tmp'], check=True)",
    "traces": "assert ctypes.CDLL(None).ptrace(0, 0, 0, 0) == 0",
    "changes root": "os.chroot('/tmp')",
    "links to what is not its own": "os.link('/etc/shadow', '/tmp/shadow')",
}

LEFT = {
    "a file": "pathlib.Path('/tmp/left').write_text('x')",
    "a closed directory": "os.makedirs('/tmp/closed/inner')\nos.chmod('/tmp/closed', 0)",
    "a deep tree": "os.chdir('/tmp')\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')",
    "all the files there may be": "try:\n    for n in range(10**6): pathlib.Path(f'/tmp/{n}').touch()\n"
    "except OSError: pass",
    "names that are no text": r"os.mkdir(b'/tmp/\xff\n'); open(b'/tmp/\xff\n/\xfe', 'w')",
    "a link to the outside": "os.symlink('/etc', '/tmp/etc')",
    "a daemon": "if not os.fork():\n    os.setsid()\n    while True: pathlib.Path('/tmp/again').touch()",
    "a fork bomb": "try:\n    while True: os.fork() or time.sleep(60)\nexcept OSError: os.kill(0, signal.SIGKILL)",
    "a full disk": "try:\n    open('/tmp/f', 'wb', 0).write(b'x' * 2**24)\nexcept OSError: pass",
}


def is_followed_by_an_honest_one(pool: SandboxPool) -> bool:
    look = program("left = set(os.listdir('/tmp')) - {'work'}", score="given * 2.5 + 100 * len(left)")
    return pool.evaluate(look).scores == HONEST_SCORES


def test_it_is_timed_out_by_its_processor_time(sandbox_image: str):
    limits = LIMITS.model_copy(update={"wall_s": 30.0, "cpu_s": 1.0})
    with open_pool(Job("", (Call((3,)),), limits, command=COMMAND), image=sandbox_image, slots=1) as pool:
        verdict = pool.evaluate("while True: pass")
    assert (verdict.outcome, verdict.error) == (
        Outcome.TIMED_OUT,
        "took more than 1 s of processor time on input 1 of 1 (3)",
    )


def test_its_metric_is_its_score(pool: SandboxPool):
    verdict = pool.evaluate(HONEST)
    assert verdict.scores == HONEST_SCORES, verdict
    assert verdict.metrics == {"given": (3.0, 4.0)}
    assert "'given': 3" in verdict.output.replace('"', "'")


def test_other_finite_numbers_are_kept_as_metrics_and_its_notes_as_notes(pool: SandboxPool):
    found = "{'score': 1, 'wide': 2, 'text': 'x', 'nan': float('nan'), 'is': True, 'a=b': 1, 'notes': {'far': given}}"
    verdict = pool.evaluate(HEAD + f"print(json.dumps({found}))")
    assert (verdict.metrics, verdict.notes) == ({"wide": (2.0, 2.0)}, ("far: 3", "far: 4")), verdict


def test_metrics_may_come_after_other_output_and_on_many_lines(pool: SandboxPool):
    verdict = pool.evaluate(HEAD + "print('{not this}')\nprint(json.dumps({'score': 7}, indent=2))")
    assert verdict.scores == (7, 7), verdict


def test_it_may_have_as_many_files_open_as_compilers_and_interpreters_need(pool: SandboxPool):
    verdict = pool.evaluate(HEAD + "files = [open('/tmp/f', 'w') for _ in range(900)]\nprint('{\"score\": 1}')\n")
    assert verdict.is_scored, verdict


@pytest.mark.parametrize(("source", "outcome", "says"), [case[1:] for case in OUTCOMES], ids=[c[0] for c in OUTCOMES])
def test_a_program_that(source: str, outcome: Outcome, says: str, pool: SandboxPool):
    starts = pool.starts
    verdict = pool.evaluate(source)
    assert (verdict.outcome, verdict.scores) == (outcome, ()), verdict
    assert re.search(re.escape(says), verdict.error), verdict.error
    assert is_followed_by_an_honest_one(pool)
    assert pool.starts == starts


@pytest.mark.parametrize(("lines", "outcome", "says"), wreckers.ENDS.values(), ids=list(wreckers.ENDS))
def test_a_program_that_means_harm(lines: str, outcome: Outcome, says: str, pool: SandboxPool):
    test_a_program_that(HEAD + lines, outcome, says, pool)


REFUSALS = REFUSED | wreckers.REFUSED


def test_it_is_refused_what_is_not_its_own(pool: SandboxPool):
    attempt = "    try: exec(lines)\n    except Exception: refused += 1\n    else: print('not refused:', what)"
    loop = f"refused = 0\nfor what, lines in {REFUSALS!r}.items():\n{attempt}"
    verdict = pool.evaluate(program(loop, score="refused"))
    assert verdict.scores == (len(REFUSALS), len(REFUSALS)), verdict.output
    assert is_followed_by_an_honest_one(pool)


LITTER = LEFT | wreckers.LEFT


@pytest.mark.parametrize("lines", LITTER.values(), ids=list(LITTER))
def test_the_next_finds_nothing_of(lines: str, pool: SandboxPool):
    pool.evaluate(program(lines))
    assert is_followed_by_an_honest_one(pool)
    assert pool.starts == 1


def test_files_of_a_program_are_kept_for_its_next_input_only(pool: SandboxPool):
    counting = "n = len(os.listdir('/tmp')) - 1\npathlib.Path(f'/tmp/{n}').touch()"
    assert [pool.evaluate(program(counting, score="n")).scores for _ in range(2)] == [(0, 1), (0, 1)]


def test_the_last_of_many_metrics_counts(pool: SandboxPool):
    verdict = pool.evaluate(program("for n in range(9): print(json.dumps({'score': n}))", score="2.5"))
    assert verdict.scores == (2.5, 2.5), verdict


@pytest.fixture(scope="module")
def filing(sandbox_image: str) -> Iterator[SandboxPool]:
    command = Command("candidate.py", ("python3", "{program}", "{input}"), metric="score", metrics_file="out.json")
    with open_pool(Job("", (Call((3,)), Call((4,))), LIMITS, command=command), image=sandbox_image, slots=1) as pool:
        yield pool


@pytest.mark.parametrize(("lines", "outcome", "says"), wreckers.IN_A_FILE.values(), ids=list(wreckers.IN_A_FILE))
def test_a_program_whose_metrics_are(lines: str, outcome: Outcome, says: str, filing: SandboxPool):
    write = HEAD + "def write(metrics):\n    with open('out.json', 'w') as file: json.dump(metrics, file)\n"
    verdict = filing.evaluate(write + lines)
    assert (verdict.outcome, verdict.scores) == (outcome, ()), verdict
    assert says in verdict.error
    assert filing.evaluate(write + "write({'score': given * 2.5})").scores == HONEST_SCORES
    assert filing.starts == 1


@pytest.fixture(scope="module")
def shell(sandbox_image: str) -> Iterator[SandboxPool]:
    command = Command("candidate.sh", ("sh", "{program}", "{input}"), metric="score")
    with open_pool(Job("", (Call((3,)), Call((4,))), LIMITS, command=command), image=sandbox_image, slots=1) as pool:
        yield pool


@pytest.mark.parametrize(("lines", "outcome", "says"), wreckers.SHELL.values(), ids=list(wreckers.SHELL))
def test_a_script_that(lines: str, outcome: Outcome, says: str, shell: SandboxPool):
    verdict = shell.evaluate(lines + "\n")
    assert (verdict.outcome, verdict.scores) == (outcome, ()), verdict
    assert says in verdict.error
    assert shell.evaluate('echo "{\\"score\\": $(($1 * 5 / 2)).$(($1 % 2 * 5))}"\n').scores == HONEST_SCORES
    assert shell.starts == 1


def judged(sandbox_image: str, source: str, job: Job) -> Verdict:
    with open_pool(job, image=sandbox_image, slots=1) as pool:
        return pool.evaluate(source)


def test_a_missing_command_is_named(sandbox_image: str):
    job = Job("", (Call((3,)),), LIMITS, command=Command("candidate.f90", ("gfortran", "{program}"), metric="score"))
    assert "No such file or directory: gfortran" in judged(sandbox_image, "end program", job).error


def test_a_specification_may_have_scratch_in_which_no_file_can_be_executed(sandbox_image: str):
    lines = "import os, tempfile\nwith tempfile.NamedTemporaryFile('w', delete=False) as file: file.write('x' * n)\n"
    source = "def evaluate(n):\n" + "".join(f"    {line}\n" for line in lines.splitlines())
    source += "    return len(os.listdir('/tmp')) + os.path.getsize(file.name)\n"
    job = Job("evaluate", (Call((3,)), Call((4,))), LIMITS)
    assert judged(sandbox_image, source, job).scores == (4, 6)
