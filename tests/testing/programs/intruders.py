"""Programs that try to reach outside the sandbox: the kernel's functions, files, the network, the runner."""

from __future__ import annotations

from collections.abc import Iterable

from overnight.schemas.outcome import Outcome
from overnight.testing.programs.candidates import Case, body, refused

KERNEL = """
import fcntl, platform, resource, signal, struct, termios, time
libc = ctypes.CDLL(None, use_errno=True)
PLACE = {"x86_64": 0, "aarch64": 1}[platform.machine()]

def c(name, *arguments):
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)

def call(numbers, *arguments):
    if libc.syscall(ctypes.c_long(numbers[PLACE]), *map(ctypes.c_long, arguments)) == -1:
        raise OSError(ctypes.get_errno(), "a system call")

def address(data):
    kept.append(ctypes.create_string_buffer(data))
    return ctypes.addressof(kept[-1])

kept = []
FILTER = struct.pack("HxxxxxxQ", 1, address(struct.pack("HBBI", 6, 0, 0, 0x7FFF0000)))

def write(path, text="1"):
    file = os.open(path, os.O_WRONLY)
    os.write(file, text.encode())
"""
"""Helpers; system calls that the C library does not wrap are called by their numbers on x86_64 and on aarch64."""


def unprivileged(name: str, lines: str) -> Case:
    return refused(name, lines, KERNEL)


def lines(template: str, values: Iterable[object]) -> str:
    return "\n".join(template.format(value) for value in values)


NAMESPACES = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)

KERNELS = [
    unprivileged("kernel: new namespaces", lines("c('unshare', {:#x})", (*NAMESPACES, 0x80))),
    unprivileged("kernel: children in new namespaces", lines("call((56, 220), {:#x} | 17, 0, 0, 0, 0)", NAMESPACES)),
    unprivileged("kernel: clone3", "call((435, 435), address(bytes(88)), 88)"),
    unprivileged(
        "kernel: the runner's namespaces", lines("c('setns', os.open('/proc/1/ns/{}', 0), 0)", ("pid", "user"))
    ),
    unprivileged(
        "kernel: mounts",
        """
c('mount', b'none', b'/tmp', b'tmpfs', 0, 0)
c('mount', b'/', b'/tmp', 0, 4096, 0)
c('umount2', b'/proc', 2)
call((428, 428), -100, 0, 1)
call((430, 430), 0, 0)
call((442, 442), -100, 0, 0, 0, 0)
""",
    ),
    unprivileged("kernel: another root", "os.chroot('/dev')\ncall((155, 41), 0, 0)"),
    unprivileged(
        "kernel: keys that outlive it",
        """
call((248, 217), address(b'user'), address(b'left'), 0, 0, -4)
call((250, 219), 0, -3, 1, 0, 0)
call((249, 218), 0, 0, 0, 0)
""",
    ),
    unprivileged(
        "kernel: shared memory, queues and semaphores that outlive it",
        """
c('shmget', 7, 4096, 0o1666)
c('msgget', 7, 0o1666)
c('semget', 7, 1, 0o1666)
c('mq_open', b'/left', 0o102, 0o666, 0)
open('/dev/shm/left', 'w')
""",
    ),
    unprivileged("kernel: programs for the kernel", "call((321, 280), 0, 0, 0)\ncall((321, 280), 5, 0, 0)"),
    unprivileged("kernel: performance counters", "call((298, 241), 0, 0, -1, -1, 0)"),
    unprivileged(
        "kernel: page faults of its own", "call((323, 282), 0)\ncall((323, 282), 1)\nopen('/dev/userfaultfd')"
    ),
    unprivileged("kernel: io_uring", lines("call(({0}, {0}), 8, 0, 0, 0, 0, 0)", (425, 426, 427))),
    unprivileged("kernel: asynchronous requests", "call((206, 0), 1, address(bytes(8)))"),
    unprivileged("kernel: another personality", "c('personality', 0x0040000)\nc('personality', 0x0400000)"),
    unprivileged(
        "kernel: other processes' memory",
        """
c('ptrace', 0, 0, 0, 0)
c('ptrace', 16, 1, 0, 0)
c('process_vm_readv', 1, 0, 0, 0, 0, 0)
c('process_vm_writev', 1, 0, 0, 0, 0, 0)
call((312, 272), 1, os.getpid(), 0, 0, 0)
call((438, 438), os.pidfd_open(1), 0, 0)
""",
    ),
    unprivileged("kernel: its own dumps", "c('prctl', 4, 1, 0, 0, 0)\nopen('/proc/self/oom_score_adj', 'w')"),
    unprivileged("kernel: modules", "call((175, 105), 0, 0, 0)\ncall((313, 273), 0, 0, 0)\ncall((176, 106), 0, 0)"),
    unprivileged(
        "kernel: its end", "c('reboot', 0x1234567)\ncall((246, 104), 0, 0, 0, 0)\nwrite('/proc/sysrq-trigger')"
    ),
    unprivileged(
        "kernel: the clock",
        "time.clock_settime(0, 0)\nc('settimeofday', ctypes.create_string_buffer(16), 0)\n"
        "c('adjtimex', ctypes.create_string_buffer(b'\\xff' * 208))",
    ),
    unprivileged("kernel: names", "socket.sethostname('mine')\nc('setdomainname', b'mine', 4)"),
    unprivileged("kernel: swap and accounts", "c('swapon', b'/dev/zero', 0)\nc('swapoff', b'/')\nc('acct', b'/tmp/a')"),
    unprivileged("kernel: watches of whole mounts", "c('fanotify_init', 0, 0)\nc('fanotify_init', 0x200, 0)"),
    unprivileged("kernel: files by handle", "c('open_by_handle_at', -100, ctypes.create_string_buffer(128), 0)"),
    unprivileged("kernel: its log", "c('klogctl', 3, ctypes.create_string_buffer(99), 99)\nopen('/dev/kmsg')"),
    unprivileged(
        "kernel: more rights",
        """
os.setuid(0)
os.setgid(0)
os.setgroups([0])
os.setresuid(-1, 1, -1)
call((126, 91), address(b'\\x22\\x05\\x08\\x20\\0\\0\\0\\0'), address(b'\\xff' * 24))
c('prctl', 47, 2, 21, 0, 0)
c('prctl', 28, 1, 0, 0, 0)
""",
    ),
    unprivileged(
        "kernel: higher limits",
        lines("resource.setrlimit(resource.RLIMIT_{0}, (1 << 40, 1 << 40))", ("CPU", "AS", "NOFILE", "NPROC", "FSIZE"))
        + "\n"
        + lines(
            "resource.setrlimit(resource.RLIMIT_{0}, (1 << 30, 1 << 30))", ("CORE", "MEMLOCK", "MSGQUEUE", "RTPRIO")
        ),
    ),
    unprivileged(
        "kernel: a place before others",
        """
os.nice(-1)
os.setpriority(os.PRIO_PROCESS, 0, -20)
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(99))
c('mlockall', 3)
""",
    ),
    unprivileged(
        "kernel: types into terminals", "fcntl.ioctl(os.openpty()[1], termios.TIOCSTI, b'x')\nopen('/dev/tty')"
    ),
    unprivileged("kernel: terminals", "os.openpty()\nos.open('/dev/ptmx', os.O_RDWR)"),
    unprivileged("kernel: the machine's disks", "c('syncfs', os.open('/', 0))\ncall((162, 81))"),
    unprivileged(
        "kernel: filters that it compiles",
        """
socket.socketpair()[0].setsockopt(1, 26, FILTER)
call((157, 167), 22, 2, address(FILTER))
call((317, 277), 1, 8, address(FILTER))
""",
    ),
    unprivileged(
        "kernel: locks without number",
        """
fcntl.lockf(open('/etc/passwd'), fcntl.LOCK_SH)
fcntl.fcntl(open('/etc/passwd'), 37, struct.pack('hhqqi4x', fcntl.F_RDLCK, 0, 0, 1, 0))
""",
    ),
    unprivileged(
        "kernel: a program of the machine's for each crash",
        """
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
call((160, 164), 4, address(bytes(16)))
assert open('/proc/self/limits').read().split('core file size')[1].split()[:2] != ['1', '1']
""",
    ),
    Case(
        "kernel: its 32-bit calls",
        "import ctypes, mmap, platform, os, signal\n"
        + body("""
if platform.machine() != 'x86_64': os.kill(os.getpid(), signal.SIGSYS)
page = mmap.mmap(-1, 4096, prot=7)
page.write(bytes.fromhex('b814000000cd80c3'))
return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
"""),
        Outcome.CRASHED,
        "SIGSYS",
        harmless=False,
    ),
]

FILES = [
    refused(
        "files: everywhere",
        lines(
            "open('{}/x', 'w')", ("", "/bin", "/dev", "/etc", "/home", "/opt", "/proc", "/root", "/run", "/sys", "/usr")
        )
        + "\n"
        + lines("os.mkdir('{}/x')", ("", "/dev", "/dev/pts", "/dev/mqueue", "/tmp", "/usr/lib", "/var", "/var/tmp")),
    ),
    refused(
        "files: the kernel's settings",
        lines(
            "open('/proc/sys/{}', 'w')",
            (
                "kernel/core_pattern",
                "kernel/shmmni",
                "kernel/pid_max",
                "kernel/randomize_va_space",
                "vm/overcommit_memory",
            ),
        )
        + "\n"
        + lines("open('/proc/{}', 'w')", ("sysrq-trigger", "self/uid_map", "self/oom_score_adj", "self/mem", "irq/0"))
        + "\n"
        + lines("open('/sys/{}', 'w')", ("kernel/uevent_helper", "power/state", "kernel/mm/ksm/run")),
    ),
    refused(
        "files: its own limits",
        "\n".join(
            f"open('{place}/{name}', 'w')"
            for place in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/cpu")
            for name in ("cgroup.procs", "memory.max", "memory.limit_in_bytes", "pids.max", "cpu.max", "release_agent")
        )
        + "\nos.mkdir('/sys/fs/cgroup/mine')\nos.mkdir('/sys/fs/cgroup/memory/mine')",
    ),
    refused(
        "files: what is the runner's",
        lines(
            "open('/proc/1/{}', 'rb').read(1)", ("mem", "maps", "environ", "fd/0", "fd/1", "fdinfo/0", "auxv", "stack")
        )
        + "\n"
        + lines("os.listdir('/proc/1/{}')", ("fd", "root", "cwd", "task/1/fd", "map_files"))
        + "\n"
        + lines("open('/proc/1/{}', 'w').write('1')", ("oom_score_adj", "comm", "clear_refs", "sched")),
    ),
    refused(
        "files: devices",
        lines("open('/dev/{}', 'rb')", ("mem", "kmsg", "sda", "vda", "fuse", "kvm", "net/tun", "console"))
        + "\nos.mknod('/tmp/sda', 0o60600, os.makedev(8, 0))\nos.mknod('/dev/shm', 0o20600, os.makedev(1, 1))",
    ),
    unprivileged(
        "files: times and marks on what stays",
        lines("os.utime('/dev/{}')", ("null", "zero", "full", "random", "urandom", "tty"))
        + "\n"
        + lines("os.utime('{}')", ("/dev", "/dev/mqueue", "/dev/shm", "/proc/self/cmdline", "/tmp", "/etc/passwd"))
        + "\n"
        + lines("os.{}", ("chmod('/dev/null', 0)", "chown('/dev/null', os.getuid(), -1)"))
        + "\n"
        + lines("os.setxattr('/dev/null', '{}', b'x')", ("user.x", "trusted.x", "security.x"))
        + """
os.utime(os.open('/dev/null', os.O_WRONLY))
c('utimes', b'/dev/zero', 0)
c('utime', b'/dev/full', 0)
c('futimesat', -100, b'/dev/null', 0)
c('utimensat', -100, b'/dev/urandom', 0, 0)
os.link('/dev/null', '/dev/left')
os.rename('/dev/null', '/dev/left')
os.remove('/dev/null')
""",
    ),
    refused(
        "files: secrets",
        lines(
            "open('{}')",
            ("/etc/shadow", "/proc/kcore", "/proc/kallsyms/x", "/var/run/docker.sock", "/run/docker.sock"),
        )
        + "\nos.listdir('/root')\nassert os.listdir('/sys/firmware')",
    ),
    refused(
        "files: other programs",
        """
os.execv('/bin/true', ['true'])
os.posix_spawn('/bin/true', ['true'], {})
os.execv('/proc/self/exe', ['python3'])
os.execve(os.open('/bin/sh', os.O_RDONLY), ['sh'], {})
__import__('subprocess').run(['true'])
assert os.system('true') == 0
""",
    ),
]

FAMILIES = """
def made(function):
    count = 0
    for family in range(46):
        for kind in (1, 2, 3, 5):
            try: function(family, kind)
            except OSError: continue
            count += 1
    return count
"""

NETWORK = [
    refused("network: sockets of every family", "assert made(socket.socket)", FAMILIES),
    refused(
        "network: pairs of every family but one's own",
        "assert made(socket.socketpair) - made(lambda family, kind: socket.socketpair(1, kind)) // 46",
        FAMILIES,
    ),
    refused(
        "network: libraries",
        """
socket.create_connection(('127.0.0.1', 80), 1)
socket.create_server(('127.0.0.1', 0))
socket.getaddrinfo('example.org', 80)
__import__('urllib.request').request.urlopen('http://127.0.0.1:1', timeout=1)
__import__('asyncio').run(__import__('asyncio').open_connection('127.0.0.1', 1))
""",
    ),
    refused(
        "network: somebody's names",
        """
pair = socket.socketpair(1, 2); pair[0].sendto(b'x', chr(0) + 'docker')
pair = socket.socketpair(1, 2); pair[0].connect('/var/run/docker.sock')
pair = socket.socketpair(1, 2); pair[0].bind('/tmp/name')
""",
    ),
    refused("network: descriptors on their way", "socket.send_fds(socket.socketpair()[0], [b'x'], [1])"),
    refused("network: interfaces", "assert set(os.listdir('/sys/class/net')) - {'lo'}\nsocket.if_nametoindex('eth0')"),
]

RUNNER = [
    unprivileged(
        "runner: every signal",
        lines("os.kill(1, {})", (1, 2, 3, 9, 10, 15, 18, 19))
        + """
os.killpg(1, 9)
call((234, 131), 1, 1, 9)
signal.pidfd_send_signal(os.pidfd_open(1), 9)
call((129, 138), 1, 34, address(bytes(128)))
""",
    ),
    unprivileged(
        "runner: its place",
        """
os.setpriority(os.PRIO_PROCESS, 1, 19)
os.sched_setaffinity(1, {0})
os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0))
call((251, 30), 1, 1, 3 << 13)
os.setpgid(1, os.getpid())
os.getsid(1) == 1 and os.setpgid(os.getpid(), 1)
""",
    ),
    unprivileged(
        "runner: its limits",
        lines("resource.prlimit(os.getppid(), resource.RLIMIT_{}, (1, 1))", ("CPU", "AS", "NOFILE", "FSIZE", "NPROC")),
    ),
    Case(
        "runner: a signal when its pipe is ready",
        body("""
import fcntl, os
end, other = os.pipe()
fcntl.fcntl(end, fcntl.F_SETOWN, 1)
fcntl.fcntl(end, 10, 9)
fcntl.fcntl(end, fcntl.F_SETFL, os.O_ASYNC)
os.write(other, b'x')
return n
"""),
        Outcome.SCORED,
        harmless=False,
    ),
    Case(
        "runner: a child that kills its parent by ending",
        "import ctypes, os, platform\n"
        + body("""
number = {'x86_64': 56, 'aarch64': 220}[platform.machine()]
for flags in (9, 0x8000 | 9):
    if os.fork() == 0:
        ctypes.CDLL(None).syscall(number, flags, 0, 0, 0, 0)
        os._exit(0)
return n
"""),
        Outcome.SCORED,
        harmless=False,
    ),
    Case(
        "runner: a child of the runner's",
        "import ctypes, platform\n"
        + body("""
number = {'x86_64': 56, 'aarch64': 220}[platform.machine()]
if ctypes.CDLL(None).syscall(number, 0x8000 | 17, 0, 0, 0, 0) == 0:
    while True: pass
return n
"""),
        Outcome.SCORED,
        harmless=False,
    ),
    Case(
        "runner: all of its libraries",
        """
import builtins, gc, os, random, sys, types
def evaluate(n):
    for module in list(sys.modules.values()):
        for name, value in list(vars(module).items()):
            if module is not builtins and isinstance(value, (types.FunctionType, types.BuiltinFunctionType)):
                try: setattr(module, name, lambda *args, **kwargs: 9)
                except Exception: pass
    return n
""",
        Outcome.CRASHED,
        harmless=False,
    ),
    Case(
        "runner: all of its objects",
        """
import gc, types
def evaluate(n):
    for value in gc.get_objects():
        if isinstance(value, dict):
            for key in [key for key in value if isinstance(key, str) and 'uid' in key]: value[key] = 0
        elif type(value).__name__ in ('Settings', 'ChildPrivileges', 'ChildLimits', 'Runner'):
            for name in list(getattr(value, '__dict__', {})):
                object.__setattr__(value, name, None)
    return n
""",
        Outcome.SCORED,
        harmless=False,
    ),
    Case("runner: all of its modules", "import sys\nsys.modules.clear()\ndef evaluate(n): return n\n", Outcome.SCORED),
]

CASES = [*KERNELS, *FILES, *NETWORK, *RUNNER]
