from __future__ import annotations

import ast
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import termios
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.schemas.job import Call, Isolation, Job
from overnight.schemas.limits_settings import Limits
from overnight.tasks.evaluate import delivery
from overnight.tasks.evaluate.runner import frames, lockdown, processes, seccomp, supervisor
from overnight.tasks.evaluate.runner.program import Program
from overnight.tasks.evaluate.runner.supervisor import tick_s

RUNNER = Path(delivery.__file__).parent / "runner"
JOB = Job("evaluate", (Call((3,)),), Limits(wall_s=60, memory_mib=96))
ENDLESS = "def evaluate(n):\n    return f()\n\ndef f():\n    while True: pass\n"
ISOLATED_JOB = replace(JOB, isolation=Isolation(("f",), ENDLESS))


def test_a_child_whose_report_is_read_after_its_end_took_no_negative_time():
    class Ended(supervisor.Supervisor):
        def __init__(self) -> None:
            self.broken, self.starved_s, self.line_times, self._children = "", 0.0, [10.02, 10.03, 10.04], (7,)

    header = Ended().header(1, processes.Usage({7: 0}), processes.CgroupCounters(), ended=10.0)
    assert header["wall_s"] == 0.0


def test_notes_that_nobody_asks_for_take_no_memory():
    program = Program("", 0)  # of an evolved function in a process of its own, which may note something in each call
    for _ in range(25):
        program.note("hello")
    assert program.take_notes() == ""


def checks(seconds: float, *, is_notified: bool = True) -> int:
    """Number of checks of a child that only sleeps."""
    elapsed, count = 0.0, 0
    while elapsed < seconds:
        elapsed += tick_s(elapsed, is_notified=is_notified)
        count += 1
    return count


@pytest.mark.parametrize(("seconds", "most"), [(0.05, 1), (0.5, 11), (5, 36), (60, 110)])
def test_a_child_that_takes_long_is_looked_at_seldom(seconds: float, most: int):
    assert checks(seconds) <= most


def test_where_the_kernel_does_not_notify_its_end_it_is_looked_at_twenty_times_a_second():
    assert checks(5, is_notified=False) in (100, 101)


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_no_check_is_later_than_a_tenth_of_the_time_so_far_or_a_second(one: float, other: float):
    first, second = sorted((one, other))
    assert 0.05 <= tick_s(first, is_notified=True) <= tick_s(second, is_notified=True) <= 1
    assert tick_s(second, is_notified=True) <= max(0.05, 0.1 * second)


def run_filter(code: bytes, arch: int, number: int, first: int = 0, second: int = 0) -> int:
    """Return the result of a BPF program, by interpreting the five kinds of instructions that ours has."""
    instructions = [struct.unpack_from("HBBI", code, position) for position in range(0, len(code), 8)]
    memory = {0: number, 4: arch, 16: first, 24: second}
    position, loaded = 0, 0
    while True:
        kind, if_true, if_false, operand = instructions[position]
        if kind == 0x06:
            return operand
        if kind == 0x20:
            loaded, jump = memory[operand], 0
        else:
            truth = {0x15: loaded == operand, 0x35: loaded >= operand, 0x45: bool(loaded & operand)}[kind]
            jump = if_true if truth else if_false
        position += 1 + jump


ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS


@pytest.mark.parametrize(("machine", "column", "arch"), [("x86_64", 0, 0xC000003E), ("aarch64", 1, 0xC00000B7)])
@pytest.mark.parametrize("may_execute", [False, True])
@pytest.mark.parametrize("may_write", [False, True])
def test_the_filter_refuses_its_table_and_nothing_else(
    machine: str, column: int, arch: int, may_execute: bool, may_write: bool
):
    code = seccomp.build_filter(machine, may_execute=may_execute, may_write=may_write)
    table = seccomp._REFUSED | ({} if may_execute else seccomp._EXECUTE) | ({} if may_write else seccomp._SET_TIMES)
    denied = {numbers[column] for numbers in table.values()}
    looked_at = {rule.name: rule.numbers[column] for rule in (*seccomp._RULES, seccomp._LOCKS)}
    for number in set(range(500)) - {*looked_at.values(), 435}:
        assert run_filter(code, arch, number) == (EPERM if number in denied else ALLOW), number
    assert run_filter(code, arch, 435) == ENOSYS
    assert run_filter(code, arch, looked_at["clone"], 0x3D0F00) == ALLOW, "a thread"
    assert run_filter(code, arch, looked_at["clone"], 0x10000000) == EPERM, "a namespace of users"
    assert run_filter(code, arch, looked_at["socketpair"], socket.AF_UNIX) == ALLOW
    assert run_filter(code, arch, looked_at["socketpair"], 30) == EPERM, "AF_TIPC"
    assert run_filter(code, arch, looked_at["prctl"], 15) == ALLOW, "a thread's name"
    assert run_filter(code, arch, looked_at["prctl"], 4) == EPERM, "PR_SET_DUMPABLE"
    assert run_filter(code, arch, looked_at["ioctl"], 0, termios.FIONREAD) == ALLOW
    assert run_filter(code, arch, looked_at["ioctl"], 0, termios.TIOCSTI) == EPERM
    assert run_filter(code, arch, looked_at["prctl"], 22) == EPERM, "PR_SET_SECCOMP"
    assert run_filter(code, arch, looked_at["prctl"], 62) == EPERM, "PR_SCHED_CORE"
    assert run_filter(code, arch, looked_at["prlimit64"], 0, resource.RLIMIT_CPU) == ALLOW
    for name, limit in (("setrlimit", (resource.RLIMIT_CORE, 0)), ("prlimit64", (0, resource.RLIMIT_CORE))):
        assert run_filter(code, arch, looked_at[name], *limit) == EPERM
    assert run_filter(code, arch, looked_at["fcntl"], 0, fcntl.F_DUPFD) == ALLOW
    for lock in (fcntl.F_SETLK, fcntl.F_SETLKW):
        assert run_filter(code, arch, looked_at["fcntl"], 0, lock) == (ALLOW if may_write else EPERM)
    assert run_filter(code, arch, 0x40000000 | 59) == EPERM, "a 32-bit variant"
    assert run_filter(code, 0x40000003, 11) == KILL, "another architecture"


def test_an_unknown_architecture_is_named():
    with pytest.raises(OSError, match="riscv64"):
        seccomp.build_filter("riscv64")


def test_a_range_of_user_ids_is_folded_into_the_mapped_ids(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert lockdown.first_user(1_234_000, 1000) == 1_234_000
    rootless = tmp_path / "uid_map"
    rootless.write_text("         0       1000          1\n         1     100000      65536\n")
    monkeypatch.setattr("builtins.open", lambda *_: rootless.open())
    for wanted in range(1000, 2_000_000_000, 7_777_000):
        first = lockdown.first_user(wanted, 1000)
        assert 1000 <= first <= 65_537 - 1000


def test_the_runner_imports_the_standard_library_numpy_and_itself_only():
    allowed = {*sys.stdlib_module_names, "numpy"}
    for path in RUNNER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert {alias.name.partition(".")[0] for alias in node.names} <= allowed, path
            elif isinstance(node, ast.ImportFrom) and not node.level:
                assert (node.module or "").partition(".")[0] in allowed, path


def test_every_module_of_the_runner_is_delivered():
    delivered = {name for name, _ in json.loads(delivery.modules_frame()[4:])}
    assert delivered | {"bootstrap", "__init__"} == {path.stem for path in RUNNER.glob("*.py")}


def test_importing_the_pool_imports_no_slow_library():
    slow = {"docker", "requests", "prefect", "litellm"}
    code = f"import sys, overnight.tasks.evaluate.pool; print(sorted({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def runner():
    process = subprocess.Popen(
        [sys.executable, *delivery.arguments()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env={**os.environ, **delivery.ENVIRONMENT},
    )
    yield process
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        assert stream is not None
        stream.close()


def start(runner: subprocess.Popen[bytes], job: Job = JOB) -> None:
    assert runner.stdin is not None
    assert runner.stdout is not None
    runner.stdin.write(delivery.modules_frame() + delivery.job_frame(job, own_users=False))
    ready = json.loads(frames.read_frame(runner.stdout.fileno()))
    assert ready["python"] == sys.version.split()[0]


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.parametrize("bytes_sent", [0, 3], ids=["before anything", "within the modules"])
def test_it_exits_when_the_host_disappears_before_the_job(runner: subprocess.Popen[bytes], bytes_sent: int):
    assert runner.stdin is not None
    runner.stdin.write(delivery.modules_frame()[:bytes_sent])
    runner.stdin.close()
    assert runner.wait(timeout=10) == 0


def test_it_exits_when_the_host_disappears_between_candidates(runner: subprocess.Popen[bytes]):
    start(runner)
    assert runner.stdin is not None
    runner.stdin.close()
    assert runner.wait(timeout=10) == 0


def test_it_exits_at_once_with_all_processes_when_the_host_disappears_during_a_candidate(
    runner: subprocess.Popen[bytes],
):
    start(runner)
    assert runner.stdin is not None
    source = "import os\ndef evaluate(n):\n    os.fork()\n    while True: pass\n"
    runner.stdin.write(delivery.request(1, source, JOB))
    while not children(runner.pid):
        pass
    (child,) = children(runner.pid)
    runner.stdin.close()
    assert runner.wait(timeout=10) == 0
    assert not Path(f"/proc/{child}").exists()


def test_a_child_that_dies_before_its_program_arrives_is_our_fault(runner: subprocess.Popen[bytes]):
    start(runner)
    assert runner.stdin is not None
    while not children(runner.pid):
        pass
    (child,) = children(runner.pid)
    os.kill(int(child), signal.SIGKILL)
    runner.stdin.write(delivery.request(1, "x = 1", JOB))
    assert runner.wait(timeout=10) == 70
    assert runner.stderr is not None
    assert b"a child failed before its candidate ran" in runner.stderr.read()


def test_it_fails_on_a_truncated_request(runner: subprocess.Popen[bytes]):
    start(runner)
    assert runner.stdin is not None
    runner.stdin.write(delivery.request(1, "x = 1", JOB)[:-2])
    runner.stdin.close()
    assert runner.wait(timeout=10) == 70
    assert runner.stderr is not None
    assert b"a child failed before its candidate ran: EOFError" in runner.stderr.read()


def test_a_candidate_dies_with_its_runner(runner: subprocess.Popen[bytes]):
    start(runner)
    assert runner.stdin is not None
    runner.stdin.write(delivery.request(1, "while True: pass", JOB))
    while not children(runner.pid):
        pass
    (child,) = children(runner.pid)
    runner.stdin.flush()
    # The kernel kills the child with the runner only after the child has locked itself down.
    while "Seccomp:\t2" not in Path(f"/proc/{child}/status").read_text():
        pass
    runner.kill()
    runner.wait(timeout=10)
    while Path(f"/proc/{child}").exists() and "\nState:\tZ" not in Path(f"/proc/{child}/status").read_text():
        pass


def below(pid: int) -> list[str]:
    """Return all descendants of a process."""
    found = children(pid)
    return found + [deeper for child in found for deeper in below(int(child))]


def isolated_processes(runner: subprocess.Popen[bytes]) -> list[str]:
    """Wait until all processes of an isolated evaluation are locked down; return the supervisor and its two
    children."""
    while True:
        try:
            (referee,) = children(runner.pid)
            both = children(int(referee))
            if len(both) == 2 and all("Seccomp:\t2" in Path(f"/proc/{pid}/status").read_text() for pid in both):
                return [referee, *both]
        except (ValueError, OSError):
            continue


def is_gone(pid: str) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def test_isolated_it_exits_at_once_with_all_processes_when_the_host_disappears(runner: subprocess.Popen[bytes]):
    start(runner, ISOLATED_JOB)
    assert runner.stdin is not None
    runner.stdin.write(delivery.request(1, ENDLESS, ISOLATED_JOB))
    processes = isolated_processes(runner)
    runner.stdin.close()
    assert runner.wait(timeout=10) == 0
    assert all(map(is_gone, processes))


def test_isolated_all_processes_die_with_the_runner(runner: subprocess.Popen[bytes]):
    start(runner, ISOLATED_JOB)
    assert runner.stdin is not None
    runner.stdin.write(delivery.request(1, ENDLESS, ISOLATED_JOB))
    processes = isolated_processes(runner)
    runner.kill()
    runner.wait(timeout=10)
    while not all(map(is_gone, processes)):
        pass


def test_isolated_it_fails_on_a_truncated_request(runner: subprocess.Popen[bytes]):
    start(runner, ISOLATED_JOB)
    assert runner.stdin is not None
    runner.stdin.write(delivery.request(1, "x = 1", JOB)[:-2])
    runner.stdin.close()
    assert runner.wait(timeout=10) == 70
    assert runner.stderr is not None
    assert b"EOFError" in runner.stderr.read()


def test_isolated_the_runner_itself_never_has_an_input(runner: subprocess.Popen[bytes]):
    needle = "-".join(["only", "in", "the", "inputs"])
    start(runner, replace(ISOLATED_JOB, inputs=(Call((needle,)),)))
    found = []
    with Path(f"/proc/{runner.pid}/maps").open() as maps, Path(f"/proc/{runner.pid}/mem").open("rb", 0) as memory:
        for line in maps:
            position, rights, *_, name = line.split()
            if "r" in rights and not name.startswith("[v"):
                begin, end = (int(part, 16) for part in position.split("-"))
                memory.seek(begin)
                found.append(needle.encode() in memory.read(end - begin))
    assert len(found) > 10
    assert not any(found)
