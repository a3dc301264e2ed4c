"""Programs that leave files in scratch; each scores 1 if it could do what its name says."""

from __future__ import annotations

from overnight.schemas.outcome import Outcome
from overnight.testing.programs.candidates import Case, body


def litters(name: str, text: str) -> Case:
    """Return a case that does this on its first input."""
    source = "import os, socket, time\nos.chdir('/tmp')\n" + body(f"if n == 3:\n{_indented(text)}\nreturn 1")
    return Case(f"scratch: {name}", source, Outcome.SCORED, harmless=False, score=1)


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.strip("\n").splitlines())


def fills(name: str, text: str) -> Case:
    """Return a case that does this until there is no space left."""
    return litters(name, f"try:\n    while True:\n{_indented(_indented(text))}\nexcept OSError: pass")


CASES = [
    litters("a file", "open('left', 'w').write('x' * 9999)"),
    litters("names that are no text", "os.mkdir(b'\\xff\\n'); open(b'\\xff\\n/\\xfe\\x1b[2J', 'w')"),
    litters("names as long as may be", "for i in range(99): open(f'{i:0255}', 'w')"),
    litters("a name like an option", "open('-rf', 'w'); os.mkdir('--'); os.mkdir('0'); os.mkdir('0/1'); os.mkdir('1')"),
    litters(
        "closed directories",
        "os.makedirs('a/b/c'); open('a/b/c/d', 'w')\nfor d in ('a/b/c', 'a/b', 'a'): os.chmod(d, 0)",
    ),
    litters("a directory that may only be looked at", "os.mkdir('a'); open('a/b', 'w'); os.chmod('a', 0o444)"),
    litters("a deep tree", "for _ in range(3000): os.mkdir('d'); os.chdir('d')"),
    litters(
        "deep trees side by side",
        "for i in range(30):\n    os.chdir('/tmp')\n    for _ in range(90): os.mkdir(str(i)); os.chdir(str(i))",
    ),
    litters(
        "a deep tree of closed directories",
        "for _ in range(999): os.mkdir('d'); os.chdir('d')\nfor _ in range(999): os.chdir('..'); os.chmod('d', 0)",
    ),
    litters(
        "links to the outside", "os.symlink('/', 'root'); os.symlink('/etc/passwd', 'p'); os.symlink('/tmp', 'tmp')"
    ),
    litters("links in a ring", "os.symlink('a', 'b'); os.symlink('b', 'a'); os.mkdir('d'); os.symlink('..', 'd/d')"),
    litters("two names for one", "open('a', 'w'); os.link('a', 'b'); os.mkdir('d'); os.link('a', 'd/a')"),
    litters("pipes and sockets", "os.mkfifo('pipe'); s = socket.socketpair(1, 2)[0]; s.bind('name')"),
    litters("a file with holes", "os.truncate(os.open('holes', os.O_CREAT | os.O_RDWR), 2**23)"),
    litters(
        "bits that give rights",
        "open('s', 'w'); os.chmod('s', 0o6777); os.mkdir('d'); os.chmod('d', 0o7777)",
    ),
    litters(
        "a locked file",
        "import fcntl\nglobal f\nf = open('f', 'w'); fcntl.flock(f, 2); fcntl.lockf(f, 2); fcntl.fcntl(f, 1024, 1)",
    ),
    litters(
        "a file without a name",
        "global f; f = os.open('f', os.O_CREAT | os.O_RDWR); os.write(f, b'x' * 2**20); os.unlink('f')",
    ),
    litters(
        "attributes",
        "open('a', 'w')\ntry: os.setxattr('a', 'user.x', b'x' * 9999)\nexcept OSError: pass",
    ),
    litters("a daemon that goes on", "if os.fork() == 0:\n    os.setsid()\n    while True: open('again', 'w').close()"),
    litters(
        "many that go on",
        """
for i in range(20):
    if os.fork() == 0:
        while True:
            try: os.makedirs(f'{i}/{time.monotonic_ns()}'); os.rename(f'{i}', f'{i}/b')
            except OSError: pass
""",
    ),
    fills("all the files there may be", "open(str(time.monotonic_ns()), 'w').close()"),
    fills("all the directories there may be", "os.mkdir(str(time.monotonic_ns()))"),
    fills("all the names there may be", "open('a', 'w').close(); os.link('a', str(time.monotonic_ns()))"),
    fills("a full disk", "open(str(time.monotonic_ns()), 'wb', 0).write(b'x' * 2**20)"),
    fills(
        "a full disk that is mapped",
        "import mmap\nf = os.open(str(time.monotonic_ns()), os.O_CREAT | os.O_RDWR)\n"
        "os.posix_fallocate(f, 0, 2**20); mmap.mmap(f, 2**20)[:] = b'x' * 2**20",
    ),
]
