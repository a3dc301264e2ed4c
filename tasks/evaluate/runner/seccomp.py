"""A system-call filter of our own, on top of the engine's: what no candidate needs and some could misuse.

The runner needs none of it either, so it puts the filter on itself, and every child has it from its first instruction.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Any, NamedTuple

_NUMBERS = {
    # name: (x86_64, aarch64)
    "socket": (41, 198),  # no network; socketpair stays, asyncio needs it
    "ptrace": (101, 117),  # no look into other processes
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "memfd_create": (319, 279),  # memory that is in nobody's resident set
    "memfd_secret": (447, 447),
    "shmget": (29, 194),  # memory, queues and keys that outlive their process
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "sendmsg": (46, 211),  # descriptors on their way outlive their process: with what they lead to, out of all limits
    "sendmmsg": (307, 269),
    "setsockopt": (54, 208),  # filters of sockets, compiled into kernel memory that is in nobody's account
    "seccomp": (317, 277),  # filters like this one: the same, and a descriptor keeps them when their process has ended
    "sync": (162, 81),  # the whole machine's disks would be waited for, by whom no signal ends meanwhile
    "syncfs": (306, 267),
    "io_setup": (206, 0),  # their number is limited for the whole machine
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
    "execve": (59, 221),  # no other program
    "execveat": (322, 281),
}
_SET_TIMES = {
    # Device nodes are everybody's to touch: their times would tell the next candidate what this one knew. Machines
    # without the older calls have the number of the newest again.
    "utimensat": (280, 88),
    "utime": (132, 88),
    "utimes": (235, 88),
    "futimesat": (261, 88),
}
"""Refused where there is no place for files; who writes files may have to set their times (`cp -p`, `tar`)."""
_CLONE3 = 435
_PR_SET_SECCOMP, _FILTER_MODE = 22, 2

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06


class _Rule(NamedTuple):
    """A system call that is allowed or refused by whether one of its arguments passes a test, with any operand."""

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
    # AF_UNIX: another family would be loaded into the kernel.
    _Rule("socketpair", (53, 199), 0, _EQUAL, (1,), "allow", "refuse"),
    # PR_SET_DUMPABLE: with it, its files in /proc were its own, and how readily the kernel kills it. PR_SET_SECCOMP: as
    # `seccomp` above. PR_SCHED_CORE: nobody else may use the other half of the core.
    _Rule("prctl", (157, 167), 0, _EQUAL, (4, _PR_SET_SECCOMP, 62), "refuse", "allow"),
    # TIOCSTI: types into a terminal.
    _Rule("ioctl", (16, 29), 1, _EQUAL, (0x5412,), "refuse", "allow"),
    # RLIMIT_CORE stays what `lockdown` has made it.
    _Rule("setrlimit", (160, 164), 0, _EQUAL, (4,), "refuse", "allow"),
    _Rule("prlimit64", (302, 261), 1, _EQUAL, (4,), "refuse", "allow"),
)
_LOCKS = _Rule("fcntl", (72, 25), 1, _EQUAL, (6, 7, 37, 38), "refuse", "allow")
"""F_SETLK and the like: a file has as many as are asked for, in kernel memory that is in nobody's account."""

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the table above, and AUDIT_ARCH_*."""

_X32 = 0x40000000
"""System calls of x86_64's 32-bit variant have this bit, and would pass every comparison below."""

_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000


class _Header(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def install(libc: ctypes.CDLL, *, may_execute: bool, may_write: bool) -> None:
    """Puts the filter on this process and all it starts, for good. Needs no-new-privileges."""
    code = program(os.uname().machine, may_execute=may_execute, may_write=may_write)
    instructions = ctypes.create_string_buffer(code, len(code))
    header = _Header(len(code) // 8, ctypes.cast(instructions, ctypes.c_void_p))
    if libc.prctl(_PR_SET_SECCOMP, _FILTER_MODE, ctypes.byref(header), 0, 0):
        raise OSError(ctypes.get_errno(), "cannot install the system-call filter")


def program(machine: str, *, may_execute: bool = False, may_write: bool = False) -> bytes:
    """The filter as BPF instructions of 8 bytes: code, jump if true, jump if false, operand.

    Args:
        machine: Name of the processor's architecture, as `uname` says it.
        may_execute: Whether other programs may be started.
        may_write: Whether there is a place for files, which those who write them may have to lock, or to date.

    Raises:
        OSError: If this machine's system calls are not in the table.
    """
    if machine not in _MACHINES:
        raise OSError(errno.ENOSYS, f"no table of system calls for {machine}; there is one for {', '.join(_MACHINES)}")
    column, arch = _MACHINES[machine]
    table = _NUMBERS | ({} if may_execute else _EXECUTE) | ({} if may_write else _SET_TIMES)
    rules = _RULES if may_write else (*_RULES, _LOCKS)
    last = rules[-1]
    return _assembled(
        (_LOAD, _ARCH_AT),
        (_EQUAL, arch, "", "kill"),
        (_LOAD, _NUMBER_AT),
        (_AT_LEAST, _X32, "refuse"),
        (_EQUAL, _CLONE3, "unknown"),
        *((_EQUAL, numbers[column], "refuse") for numbers in table.values()),
        *((_EQUAL, rule.numbers[column], rule.name, "allow" if rule is last else "") for rule in rules),
        *(line for rule in rules for line in _look_at_argument(rule)),
        "allow",
        (_RETURN, _ALLOW),
        "refuse",
        (_RETURN, _ERRNO | errno.EPERM),
        # The C library falls back to clone, whose flags can be looked at.
        "unknown",
        (_RETURN, _ERRNO | errno.ENOSYS),
        "kill",
        (_RETURN, _KILL),
    )


def _look_at_argument(rule: _Rule) -> tuple[str | tuple[int, int] | tuple[int, int, str, str], ...]:
    # Its lower half: all that the kernel looks at, too.
    load = (_LOAD, _ARGUMENTS_AT + 8 * rule.argument)
    *others, last = rule.operands
    tests = ((rule.test, operand, rule.if_true, "") for operand in others)
    return rule.name, load, *tests, (rule.test, last, rule.if_true, rule.if_false)


def _assembled(*lines: Any) -> bytes:
    """Instructions out of lines: a label, or code, operand and the labels to jump to, empty for the next."""
    places: dict[str, int] = {}
    instructions: list[tuple[int, int, list[str]]] = []
    for line in lines:
        if isinstance(line, str):
            places[line] = len(instructions)
        else:
            code, operand, *targets = line
            instructions.append((code, operand, targets))
    packed = []
    for place, (code, operand, targets) in enumerate(instructions):
        # A jump counts the instructions it skips.
        true, false, *_ = [places[target] - place - 1 if target else 0 for target in (*targets, "", "")]
        packed.append(struct.pack("HBBI", code, true, false, operand))
    return b"".join(packed)
