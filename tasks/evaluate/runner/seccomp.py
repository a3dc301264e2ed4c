"""Install a system-call filter, on top of the engine's own, that refuses calls which no candidate needs and some could
misuse.

The runner needs none of these calls either. It installs the filter on itself, so every child has it from its first
instruction.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Any, NamedTuple

_REFUSED = {
    # name: (x86_64, aarch64)
    "socket": (41, 198),  # no network; socketpair stays allowed, as asyncio needs it
    "ptrace": (101, 117),  # no access to other processes
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "memfd_create": (319, 279),  # memory that is in no process's resident set
    "memfd_secret": (447, 447),
    "shmget": (29, 194),  # memory, queues and keys outlive their process
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "sendmsg": (46, 211),  # descriptors in transit outlive their process, with their files, outside of all limits
    "sendmmsg": (307, 269),
    "setsockopt": (54, 208),  # socket filters are compiled into kernel memory that is charged to nobody
    "seccomp": (317, 277),  # the same for these filters, and a descriptor keeps them after their process has ended
    "sync": (162, 81),  # waits for all disks of the machine, and no signal ends the caller meanwhile
    "syncfs": (306, 267),
    "io_setup": (206, 0),  # their number is limited over the whole machine
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "io_uring_setup": (425, 425),  # the kernel's most attacked corners
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "userfaultfd": (323, 282),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "fanotify_init": (300, 262),
    "unshare": (272, 97),  # no namespaces, no mounts
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
    "personality": (135, 92),
}
_EXECUTE = {
    "execve": (59, 221),  # no other programs
    "execveat": (322, 281),
}
_SET_TIMES = {
    # Every user can set the times of device nodes, which would pass information to the next candidate. Architectures
    # that lack the older calls repeat the number of the newest one.
    "utimensat": (280, 88),
    "utime": (132, 88),
    "utimes": (235, 88),
    "futimesat": (261, 88),
}
"""Refused if there is no scratch directory; programs that write files may have to set their times (`cp -p`, `tar`)."""
_CLONE3 = 435
_PR_SET_SECCOMP, _FILTER_MODE = 22, 2

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06


class _Rule(NamedTuple):
    """System call that is allowed or refused depending on a test of one argument against any of several operands."""

    name: str
    numbers: tuple[int, int]
    argument: int
    test: int
    operands: tuple[int, ...]
    if_true: str
    if_false: str


_RULES = (
    # CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET
    _Rule("clone", (56, 220), 0, _ANY_BIT, (0x7E020000,), "refuse", "allow"),
    # AF_UNIX. For another family the kernel would load a module.
    _Rule("socketpair", (53, 199), 0, _EQUAL, (1,), "allow", "refuse"),
    # PR_SET_DUMPABLE: the process would own its files in /proc, such as the one that tells how readily the kernel kills
    # it. PR_SET_SECCOMP: as `seccomp` above. PR_SCHED_CORE: would keep others from using the core's other half.
    _Rule("prctl", (157, 167), 0, _EQUAL, (4, _PR_SET_SECCOMP, 62), "refuse", "allow"),
    # TIOCSTI: inserts input into a terminal.
    _Rule("ioctl", (16, 29), 1, _EQUAL, (0x5412,), "refuse", "allow"),
    # RLIMIT_CORE must stay as `lockdown` has set it.
    _Rule("setrlimit", (160, 164), 0, _EQUAL, (4,), "refuse", "allow"),
    _Rule("prlimit64", (302, 261), 1, _EQUAL, (4,), "refuse", "allow"),
)
_LOCKS = _Rule("fcntl", (72, 25), 1, _EQUAL, (6, 7, 37, 38), "refuse", "allow")
"""F_SETLK and similar: the number of locks is unlimited, and their kernel memory is charged to nobody."""

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the tables above, and AUDIT_ARCH_*, by architecture."""

_X32 = 0x40000000
"""Bit in the numbers of x86_64's 32-bit system calls, which would pass every comparison below."""

_NUMBER_OFFSET, _ARCH_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000


class _Header(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def install(libc: ctypes.CDLL, *, may_execute: bool, may_write: bool) -> None:
    """Install the filter permanently on this process and all processes it starts. It requires no-new-privileges."""
    code = build_filter(os.uname().machine, may_execute=may_execute, may_write=may_write)
    instructions = ctypes.create_string_buffer(code, len(code))
    header = _Header(len(code) // 8, ctypes.cast(instructions, ctypes.c_void_p))
    if libc.prctl(_PR_SET_SECCOMP, _FILTER_MODE, ctypes.byref(header), 0, 0):
        raise OSError(ctypes.get_errno(), "cannot install the system-call filter")


def build_filter(machine: str, *, may_execute: bool = False, may_write: bool = False) -> bytes:
    """Return the filter as BPF instructions of 8 bytes: code, jump if true, jump if false, operand.

    Args:
        machine: Architecture of the processor, as reported by `uname`.
        may_execute: Whether the candidate may start other programs.
        may_write: Whether the candidate has a scratch directory, whose files it may have to lock or to set the times
            of.

    Raises:
        OSError: If the architecture is not in the tables.
    """
    if machine not in _ARCHITECTURES:
        raise OSError(
            errno.ENOSYS, f"no table of system calls for {machine}; there is one for {', '.join(_ARCHITECTURES)}"
        )
    column, arch = _ARCHITECTURES[machine]
    table = _REFUSED | ({} if may_execute else _EXECUTE) | ({} if may_write else _SET_TIMES)
    rules = _RULES if may_write else (*_RULES, _LOCKS)
    last = rules[-1]
    return _assemble(
        (_LOAD, _ARCH_OFFSET),
        (_EQUAL, arch, "", "kill"),
        (_LOAD, _NUMBER_OFFSET),
        (_AT_LEAST, _X32, "refuse"),
        (_EQUAL, _CLONE3, "unknown"),
        *((_EQUAL, numbers[column], "refuse") for numbers in table.values()),
        *((_EQUAL, rule.numbers[column], rule.name, "allow" if rule is last else "") for rule in rules),
        *(line for rule in rules for line in _check_argument(rule)),
        "allow",
        (_RETURN, _ALLOW),
        "refuse",
        (_RETURN, _ERRNO | errno.EPERM),
        # ENOSYS makes the C library fall back to clone, whose flags can be checked.
        "unknown",
        (_RETURN, _ERRNO | errno.ENOSYS),
        "kill",
        (_RETURN, _KILL),
    )


def _check_argument(rule: _Rule) -> tuple[str | tuple[int, int] | tuple[int, int, str, str], ...]:
    # The lower half of the argument, which is all that the kernel uses, too.
    load = (_LOAD, _ARGUMENTS_OFFSET + 8 * rule.argument)
    *others, last = rule.operands
    tests = ((rule.test, operand, rule.if_true, "") for operand in others)
    return rule.name, load, *tests, (rule.test, last, rule.if_true, rule.if_false)


def _assemble(*lines: Any) -> bytes:
    """Assemble lines: each is a label, or a tuple of code, operand and labels to jump to (empty for the next line)."""
    labels: dict[str, int] = {}
    instructions: list[tuple[int, int, list[str]]] = []
    for line in lines:
        if isinstance(line, str):
            labels[line] = len(instructions)
        else:
            code, operand, *targets = line
            instructions.append((code, operand, targets))
    packed = []
    for position, (code, operand, targets) in enumerate(instructions):
        # A jump is the number of instructions to skip.
        true, false, *_ = [labels[target] - position - 1 if target else 0 for target in (*targets, "", "")]
        packed.append(struct.pack("HBBI", code, true, false, operand))
    return b"".join(packed)
