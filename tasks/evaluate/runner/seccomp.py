"""A system-call filter of our own, on top of the engine's: what no candidate needs and some could misuse.

The runner needs none of it either, so it puts the filter on itself, and every child has it from its first instruction.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

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
_CLONE = (56, 220)
_CLONE3 = 435
_NEW_NAMESPACES = 0x7E020000
"""CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET."""

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the table above, and AUDIT_ARCH_*."""

_X32 = 0x40000000
"""System calls of x86_64's 32-bit variant have this bit, and would pass every comparison below."""

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCH_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000

_PR_SET_SECCOMP, _FILTER_MODE = 22, 2


class _Header(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def install(libc: ctypes.CDLL, *, may_execute: bool) -> None:
    """Puts the filter on this process and all it starts, for good. Needs no-new-privileges."""
    code = program(os.uname().machine, may_execute=may_execute)
    instructions = ctypes.create_string_buffer(code, len(code))
    header = _Header(len(code) // 8, ctypes.cast(instructions, ctypes.c_void_p))
    if libc.prctl(_PR_SET_SECCOMP, _FILTER_MODE, ctypes.byref(header), 0, 0):
        raise OSError(ctypes.get_errno(), "cannot install the system-call filter")


def program(machine: str, *, may_execute: bool = False) -> bytes:
    """The filter as BPF instructions of 8 bytes: code, jump if true, jump if false, operand.

    Args:
        machine: Name of the processor's architecture, as `uname` says it.
        may_execute: Whether other programs may be started.

    Raises:
        OSError: If this machine's system calls are not in the table.
    """
    if machine not in _MACHINES:
        raise OSError(errno.ENOSYS, f"no table of system calls for {machine}; there is one for {', '.join(_MACHINES)}")
    column, arch = _MACHINES[machine]
    table = _NUMBERS if may_execute else _NUMBERS | _EXECUTE
    denied = [numbers[column] for numbers in table.values()]
    # A jump counts the instructions it skips; those below the table's comparisons are where all of them lead.
    to_end = len(denied)
    head = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, to_end + 3, 0, _X32),
        (_EQUAL, to_end + 3, 0, _CLONE3),
        (_EQUAL, to_end + 3, 0, _CLONE[column]),
    ]
    body = [(_EQUAL, to_end - index, 0, number) for index, number in enumerate(denied)]
    tail = [
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        # The C library falls back to clone, whose flags can be looked at.
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_ANY_BIT, 0, 1, _NEW_NAMESPACES),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in head + body + tail)
