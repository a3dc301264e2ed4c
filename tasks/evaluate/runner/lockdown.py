"""Lock a process down before it runs a candidate's code. None of this can be undone by the process."""

from __future__ import annotations

import ctypes
import fcntl
import gc
import math
import os
import resource
import signal
from contextlib import suppress
from dataclasses import dataclass

from . import seccomp

RESULTS = 3
"""Descriptor on which a child reports, the first after 0 (empty) and 1 and 2 (its output)."""

_PROCESSES, _OPEN_FILES = 48, 64
"""Maximum processes and threads of one candidate, and open files of each; the container's limits are higher."""

_COMMAND_PROCESSES, _COMMAND_OPEN_FILES = 240, 1024
"""The same for a candidate that may start programs: compilers and virtual machines have many threads, and some
programs, such as R, do not start with fewer files."""

_TIMERS = 256
"""Maximum timers and pending signals, whose cost is not counted as anybody's processor time."""

_REQUIRED_LIMITS = {resource.RLIMIT_CPU, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_AS}
"""Limits that every kernel must support; without them no candidate is run."""

_FIRST_UNUSED = 100
"""First descriptor number that neither the runner nor a child uses."""

_FIRST_USER = 1000
_TERMINALS = "/dev/pts/ptmx"
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 36, 38


@dataclass(frozen=True)
class ChildPrivileges:
    """Limits and user of one child.

    Attributes:
        address_space: Address space including that of the preloaded interpreter, bytes; None to leave the limit to the
            container, for programs that reserve much and use little.
        cpu_s: Processor time of each process, seconds.
        scratch: Maximum size of a file that it writes, bytes.
        may_execute: Whether it may start programs.
        uid: User and group id that the child switches to; None if the runner has no right to change it.
    """

    address_space: int | None
    cpu_s: float
    scratch: int
    may_execute: bool
    uid: int | None


class Kernel:
    """Calls of the kernel through the C library; created once, by the runner."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        # PyDLL keeps the interpreter's lock during the call, so that the child holds it.
        self._fork = ctypes.PyDLL(None, use_errno=True).fork

    def prepare(self, *, may_execute: bool, may_write: bool) -> None:
        """Give up the runner's own rights, and so every child's, and make it the parent of orphaned processes."""
        self._prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _forbid_dumps()
        seccomp.install(self._libc, may_execute=may_execute, may_write=may_write)
        self.adopt_orphans()

    def fork(self) -> int:
        """Fork without the work that `os.fork` does for other threads, as the runner has none.

        That work touches most of the memory that a new child would have copied, 0.5 ms. A candidate's own `os.fork` is
        Python's.
        """
        pid = self._fork()
        if pid < 0:
            raise OSError(ctypes.get_errno(), "cannot fork")
        return pid

    def adopt_orphans(self) -> None:
        """Make this process the parent of its descendants' orphans; process 1 is that anyway."""
        self._prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def die_with(self, parent: int) -> None:
        """Have the kernel kill this process when its parent dies."""
        self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            raise ProcessLookupError("the runner died")

    def stay_on_core(self, core: int | None = None) -> int:
        """Keep this process on a core, by default on the one that the scheduler has chosen, and return the core.

        Where the kernel refuses, the scheduler may move the process.
        """
        chosen: int = self._libc.sched_getcpu() if core is None else core
        with suppress(OSError, ValueError):
            os.sched_setaffinity(0, {chosen})
        return chosen

    def _prctl(self, option: int, value: int) -> None:
        if self._libc.prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


def own_descriptors(output: int, *keep: int) -> tuple[int, ...]:
    """Close all descriptors of the runner but 0 (made empty), 1 and 2 (output), and those to keep, renumbered from 3
    on.

    Args:
        output: Descriptor to use as standard output and standard error.
        *keep: Descriptors to keep, in the order of their new numbers.

    Returns:
        New numbers of the descriptors in `keep`.
    """
    # Moved out of the way first, because a new number may be the old number of another.
    spare = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _FIRST_UNUSED) for descriptor in (output, *keep)]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(spare[0], 1)
    os.dup2(spare[0], 2)
    numbers = tuple(os.dup2(descriptor, number) for number, descriptor in enumerate(spare[1:], start=RESULTS))
    os.closerange(RESULTS + len(keep), os.sysconf("SC_OPEN_MAX"))
    return numbers


def confine(privileges: ChildPrivileges, kernel: Kernel, parent: int) -> None:
    """Apply all limits and switch the user, in the only order that works.

    Args:
        privileges: Limits and user of the child.
        kernel: Prepared kernel interface of the runner.
        parent: Process id of the runner, which the child must not outlive.
    """
    # First, because a process that changed its user does not own this file. With this score the kernel kills the child,
    # never the runner, when the container's memory is used up.
    file = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    os.write(file, b"1000")
    os.close(file)
    _set_limits(privileges)
    if privileges.uid is not None:
        os.setgroups([])
        os.setresgid(privileges.uid, privileges.uid, privileges.uid)
        os.setresuid(privileges.uid, privileges.uid, privileges.uid)
    # Comes after the change of user, which would clear it.
    kernel.die_with(parent)


def _set_limits(privileges: ChildPrivileges) -> None:
    cpu_s = math.ceil(privileges.cpu_s)
    open_files = _COMMAND_OPEN_FILES if privileges.may_execute else _OPEN_FILES
    limits = {
        # At the soft limit the process gets SIGXCPU, which tells the reason; at the hard limit it is killed.
        resource.RLIMIT_CPU: (cpu_s, cpu_s + 1),
        resource.RLIMIT_NOFILE: (open_files, open_files),
        resource.RLIMIT_FSIZE: (privileges.scratch, privileges.scratch),
        resource.RLIMIT_MEMLOCK: (0, 0),
        resource.RLIMIT_MSGQUEUE: (0, 0),
        resource.RLIMIT_SIGPENDING: (_TIMERS, _TIMERS),
    }
    if privileges.address_space is not None:
        limits[resource.RLIMIT_AS] = (privileges.address_space, privileges.address_space)
    if privileges.uid is not None:
        # The kernel counts it per user over the whole host, so it is only correct for a user id that only this child
        # has.
        processes = _COMMAND_PROCESSES if privileges.may_execute else _PROCESSES
        limits[resource.RLIMIT_NPROC] = (processes, processes)
    for kind, (soft, hard) in limits.items():
        # A limit that is already lower cannot be raised here.
        maximum = resource.getrlimit(kind)[1]
        if maximum != resource.RLIM_INFINITY:
            soft, hard = min(soft, maximum), min(hard, maximum)
        try:
            resource.setrlimit(kind, (soft, hard))
        except ValueError:
            # On Linux every process may lower a limit. gVisor, which has a kernel of its own for each container, does
            # not support some.
            if kind in _REQUIRED_LIMITS:
                raise


def _forbid_dumps() -> None:
    """Limit core dumps to 1 byte, permanently: the system-call filter forbids changing it.

    A limit of 0 has no effect if the machine pipes dumps to a program (`kernel.core_pattern`), which the kernel then
    starts outside all containers for each crash. A limit of 1 tells the kernel not to start it.
    """
    with suppress(ValueError):
        # If the engine has set it to 0 permanently, it stays 0.
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def close_terminals() -> None:
    """Remove other users' right to create terminals: the machine has few, and each has its own memory."""
    with suppress(OSError):
        os.chmod(_TERMINALS, 0)


def address_space() -> int:
    """Return the address space of this process, bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def first_user(wanted: int, count: int) -> int:
    """Return the first user id of a range, folded into the ids that this user namespace maps."""
    with open("/proc/self/uid_map") as file:
        mapped = max(int(low) + int(size) for low, _, size in (line.split() for line in file))
    return wanted if wanted + count <= mapped else _FIRST_USER + wanted % max(1, mapped - count - _FIRST_USER)


def freeze_preloaded() -> None:
    """Freeze preloaded objects in the garbage collector, so that a collection in a child does not copy their memory."""
    gc.collect()
    gc.freeze()
