"""What a child gives up before it runs anything it was sent. Nothing here can be taken back."""

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
"""The first descriptor of a child's own, on which it reports; 0 is empty, 1 and 2 are what it prints."""

PROCESSES = 48
"""Processes and threads of one candidate; the container's pids_limit is above it."""

MORE_PROCESSES = 240
"""The same where it may start programs: compilers and virtual machines have many threads."""

OPEN_FILES = 64

MORE_OPEN_FILES = 1024
"""The same where it may start programs: some, such as R, do not begin with fewer."""

_TIMERS = 256
"""Timers and waiting signals: what they cost is nobody's processor time."""

_OF_ANY_KERNEL = {resource.RLIMIT_CPU, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_AS}
"""Limits without which no candidate is run."""

_SPARE = 100
"""Descriptors from here on are nobody's, neither the runner's nor a child's."""

_FIRST_USER = 1000
_TERMINALS = "/dev/pts/ptmx"
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 36, 38


@dataclass(frozen=True)
class ChildPrivileges:
    """What confines one child.

    Attributes:
        address_space: Bytes, with what the preloaded interpreter has; None leaves the limit to the container, for
            programs that reserve much and use little.
        cpu_s: Seconds of processor time, for each process.
        scratch: Bytes that it may write into files.
        processes: How many it may have, threads included.
        open_files: How many each of them may have open.
        uid: The user and group it becomes; None where the runner may not change it (tests without a container).
    """

    address_space: int | None
    cpu_s: float
    scratch: int
    processes: int
    open_files: int
    uid: int | None


class Kernel:
    """What is asked of the kernel through the C library; made once, by the runner."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        # This one keeps the interpreter's lock, so that the child has it.
        self._fork = ctypes.PyDLL(None, use_errno=True).fork

    def prepare(self, *, may_execute: bool, may_write: bool) -> None:
        """What the runner gives up for itself and so for every child, and what it takes upon itself."""
        self._prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _forbid_dumps()
        seccomp.install(self._libc, may_execute=may_execute, may_write=may_write)
        self.adopt_orphans()

    def fork(self) -> int:
        """Forks without what `os.fork` does for other threads, of which there are none here.

        That is most of the memory that a new child would touch and so have copied, 0.5 ms. A candidate's own `os.fork`
        is Python's.
        """
        pid = self._fork()
        if pid < 0:
            raise OSError(ctypes.get_errno(), "cannot fork")
        return pid

    def adopt_orphans(self) -> None:
        """This process becomes the parent of what its children leave behind; process 1 is so without asking."""
        self._prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def die_with(self, parent: int) -> None:
        """Ties the life of this process to its parent's."""
        self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            raise ProcessLookupError("the runner died")

    def _prctl(self, option: int, value: int) -> None:
        if self._libc.prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


@dataclass(frozen=True)
class ParentDescriptors:
    """A child's ends of its three pipes."""

    results: int
    output: int
    go: int


def own_descriptors(output: int, *kept: int) -> tuple[int, ...]:
    """Leaves 0 (empty), 1 and 2 (output), and those to keep from 3 on, whatever the runner had open.

    Args:
        output: What is printed goes there.
        kept: In their order to be.

    Returns:
        The new numbers of those that are kept.
    """
    # Out of the way first: a new number may be another's old one.
    spare = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _SPARE) for descriptor in (output, *kept)]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(spare[0], 1)
    os.dup2(spare[0], 2)
    places = tuple(os.dup2(descriptor, place) for place, descriptor in enumerate(spare[1:], start=RESULTS))
    os.closerange(RESULTS + len(kept), os.sysconf("SC_OPEN_MAX"))
    return places


def confine(cage: ChildPrivileges, kernel: Kernel, parent: int) -> None:
    """Gives up everything, in the one order that works.

    Args:
        cage: The limits.
        kernel: Made and prepared before.
        parent: The runner's process id: the child must not outlive it.
    """
    # First: a process that changed its user does not own this file. The kernel then takes the child, never the runner,
    # when the container's memory is used up.
    file = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    os.write(file, b"1000")
    os.close(file)
    _set_limits(cage)
    if cage.uid is not None:
        os.setgroups([])
        os.setresgid(cage.uid, cage.uid, cage.uid)
        os.setresuid(cage.uid, cage.uid, cage.uid)
    # A change of user clears it, so it comes after.
    kernel.die_with(parent)


def _set_limits(cage: ChildPrivileges) -> None:
    cpu_s = math.ceil(cage.cpu_s)
    limits = {
        # The soft limit is a signal that says why; who ignores it meets the hard one.
        resource.RLIMIT_CPU: (cpu_s, cpu_s + 1),
        resource.RLIMIT_NOFILE: (cage.open_files, cage.open_files),
        resource.RLIMIT_FSIZE: (cage.scratch, cage.scratch),
        resource.RLIMIT_MEMLOCK: (0, 0),
        resource.RLIMIT_MSGQUEUE: (0, 0),
        resource.RLIMIT_SIGPENDING: (_TIMERS, _TIMERS),
    }
    if cage.address_space is not None:
        limits[resource.RLIMIT_AS] = (cage.address_space, cage.address_space)
    if cage.uid is not None:
        # Counted by user over the whole host: only right for a user that is this child's alone.
        limits[resource.RLIMIT_NPROC] = (cage.processes, cage.processes)
    for kind, (soft, hard) in limits.items():
        # Nobody here may raise what is lower already.
        most = resource.getrlimit(kind)[1]
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        try:
            resource.setrlimit(kind, (soft, hard))
        except ValueError:
            # Linux lets everybody lower a limit. gVisor, whose kernel is the container's own, does not know some.
            if kind in _OF_ANY_KERNEL:
                raise


def _forbid_dumps() -> None:
    """Limits what is dumped of a crash to 1 byte, for good: the filter of system calls forbids to change that.

    A limit of 0 is none where the machine hands dumps to a program of its own (`kernel.core_pattern`), which the kernel
    then starts outside of all containers for each crash. That of 1 it takes for its own sign not to.
    """
    with suppress(ValueError):
        # Where an engine has made it 0, for good, it stays so.
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def close_terminals() -> None:
    """Takes from all others the right to make terminals, of which the machine has few, each with memory of its own."""
    with suppress(OSError):
        os.chmod(_TERMINALS, 0)


def address_space() -> int:
    """Bytes of address space of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def first_user(wanted: int, count: int) -> int:
    """The first user of a range, folded into what this namespace maps."""
    with open("/proc/self/uid_map") as file:
        mapped = max(int(low) + int(size) for low, _, size in (line.split() for line in file))
    return wanted if wanted + count <= mapped else _FIRST_USER + wanted % max(1, mapped - count - _FIRST_USER)


def settle() -> None:
    """Moves what is preloaded out of the collector's sight, so that a child does not copy it all by collecting."""
    gc.collect()
    gc.freeze()
