"""Whole files that attack the environment of a command: processes, memory, output, metrics, and the next program."""

from __future__ import annotations

from overnight.schemas.outcome import Outcome

HEAD = """import ctypes, json, os, pathlib, resource, shutil, signal, socket, subprocess, sys, threading, time
given = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
"""

Attack = tuple[str, Outcome, str]
"""Lines of the program, expected outcome, and text that the error must contain."""

ENDS: dict[str, Attack] = {
    "kills all it can": ("os.kill(-1, signal.SIGKILL)", Outcome.CRASHED, "SIGKILL"),
    "stops the process that reports": ("os.kill(os.getppid(), signal.SIGSTOP)", Outcome.TIMED_OUT, "of wall clock"),
    "ends by a signal without a name": ("os.kill(os.getpid(), 40)", Outcome.CRASHED, "killed by signal 40"),
    "closes what it prints to": ("os.closerange(0, 256)\nos._exit(0)", Outcome.CRASHED, "no metrics"),
    "says control characters": ("sys.exit('\\x1b[2J\\x07\\x00' * 9)", Outcome.CRASHED, "exit code 1"),
    "says what is no text": ("os.write(2, b'\\xff\\xfe\\x00' * 99)\nsys.exit(1)", Outcome.CRASHED, "exit code 1"),
    "floods every stream from four processes": (
        "os.fork(); os.fork()\nwhile True: os.write(1, b'x' * 4096); os.write(2, b'y' * 4096)",
        Outcome.OUTPUT_LIMIT,
        "16 KiB",
    ),
    "floods through a program it starts": ("subprocess.run(['yes'])", Outcome.OUTPUT_LIMIT, "16 KiB"),
    "prints metrics and then floods": (
        "print(json.dumps({'score': 9}), flush=True)\nwhile True: print('x' * 99)",
        Outcome.OUTPUT_LIMIT,
        "",
    ),
    "takes memory in many processes": (
        "for _ in range(8): os.fork() or (bytearray(b'x' * 40 * 2**20), time.sleep(2), os._exit(0))\ntime.sleep(2)",
        Outcome.OUT_OF_MEMORY,
        "96 MiB",
    ),
    "takes memory in a program it starts": (
        "subprocess.run([sys.executable, '-c', 'bytearray(b\"x\" * 300 * 2**20)'], check=True)",
        Outcome.OUT_OF_MEMORY,
        "",
    ),
    "leaves a child that holds its output": (
        "if not os.fork(): time.sleep(60)\nprint(json.dumps({'score': 9}))",
        Outcome.TIMED_OUT,
        "",
    ),
    "has a score of minus infinity": ("print('{\"score\": -Infinity}')", Outcome.BAD_SCORE, "inf"),
    "has a score that is no float": ("print('{\"score\": 1' + '0' * 400 + '}')", Outcome.BAD_SCORE, ""),
    "has a score of too many digits": ("print('{\"score\": ' + '9' * 5000 + '}')", Outcome.CRASHED, "no metrics"),
    "has no score": ("print('{\"score\": null}')", Outcome.BAD_SCORE, "'score' is None"),
    "has a list of scores": ("print('{\"score\": [1, 2]}')", Outcome.BAD_SCORE, "'score' is [1, 2]"),
    "prints a list": ("print('[1, 2]')", Outcome.CRASHED, "no metrics"),
    "prints a number": ("print(17)", Outcome.CRASHED, "no metrics"),
    "names metrics to fool a terminal": ("print(json.dumps({'\\x1b[2J\\ud800': 1}))", Outcome.BAD_SCORE, "without"),
    "has very many metrics": ("print(json.dumps({str(n): n for n in range(900)}))", Outcome.BAD_SCORE, "without"),
}

REFUSED = {
    "a socket of the machine's own": "socket.socket(socket.AF_UNIX)",
    "a socket to the kernel": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "a socket to the host": "socket.socket(40, socket.SOCK_STREAM)",
    "a raw socket": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "namespaces of its own": "assert libc.unshare(0x10000000) == 0",
    "shared memory that outlives it": "assert libc.shmget(0, 4096, 0o1600) >= 0",
    "another's memory": "assert libc.process_vm_readv(1, None, 0, None, 0, 0) == 0",
    "the runner's environment": "open('/proc/1/environ').read()",
    "the runner's files": "os.listdir('/proc/1/fd')",
    "the runner's root": "os.listdir('/proc/1/root')",
    "the runner's limits": "resource.prlimit(1, resource.RLIMIT_CPU, (1, 1))",
    "the runner's priority": "os.setpriority(os.PRIO_PROCESS, 1, 19)",
    "to stop the runner": "os.kill(1, signal.SIGSTOP)",
    "where the runner's memory is": "open('/proc/1/maps').read()",
    "the kernel's memory": "open('/proc/kcore', 'rb').read(1)",
    "to change the kernel": "open('/proc/sys/kernel/hostname', 'w').write('x')",
    "to trigger the kernel": "open('/proc/sysrq-trigger', 'w').write('b')",
    "to change its control group": "pathlib.Path('/sys/fs/cgroup/memory/x').mkdir(parents=True)",
    "more than its limits": "resource.setrlimit(resource.RLIMIT_CPU, (10**6, 10**6))",
    "a program of the machine's for each crash": "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))",
    "a terminal": "os.openpty()",
    "to spare itself": "os.write(os.open('/proc/self/oom_score_adj', os.O_WRONLY), b'-1000')",
    "to change the problem's files": "open('/opt/x', 'w')",
    "to change Python": "open(os.__file__, 'a')",
    "the engine's socket": "os.stat('/var/run/docker.sock')",
}

LEFT = {
    "a daemon that let go of everything": "if not os.fork():\n    os.setsid()\n    if not os.fork():\n"
    "        os.closerange(0, 256)\n        while True: open('/tmp/again', 'w'); time.sleep(0.001)",
    "a chain of ever new processes": "if not os.fork():\n    os.closerange(0, 256)\n    while True:\n"
    "        if os.fork(): os._exit(0)\n        os.setsid()",
    "processes that ignore all signals": "for _ in range(20):\n    if not os.fork():\n        os.closerange(0, 256)\n"
    "        for n in {*range(1, 65)} - {9, 19, 32, 33}: signal.signal(n, signal.SIG_IGN)\n        time.sleep(60)",
    "stopped processes": "for _ in range(20):\n    if not os.fork():\n        os.closerange(0, 256)\n"
    "        os.kill(os.getpid(), signal.SIGSTOP)",
    "a shell's fork bomb": "subprocess.Popen(['sh', '-c', 'b() { b | b & }; b'], stdin=-3, stdout=-3, stderr=-3)",
    "threads": "try:\n    for _ in range(999): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    "except RuntimeError: pass\nprint(json.dumps({'score': 1}), flush=True); os._exit(0)",
    "nothing of its working directory": "shutil.rmtree('/tmp/work')",
    "another working directory": "os.rename('/tmp/work', '/tmp/gone')\nos.symlink('/etc', '/tmp/work')",
    "another program in its place": "pathlib.Path(sys.argv[0]).write_text('print(\\'{\"score\": 1e9}\\')')",
    "pipes": "for n in range(99): os.mkfifo(f'/tmp/{n}')",
    "a module of a name that others import": "pathlib.Path('/tmp/json.py').write_text('raise SystemExit(9)')\n"
    "pathlib.Path('/tmp/work/random.py').write_text('raise SystemExit(9)')",
    "a start-up file": "for name in ('usercustomize', 'sitecustomize'):\n"
    "    pathlib.Path(f'/tmp/work/{name}.py').write_text('raise SystemExit(9)')",
    "files that nobody may open": "for n in range(50): os.close(os.open(f'/tmp/{n}', os.O_CREAT, 0))",
    "a file with holes": "with open('/tmp/holes', 'wb') as file: file.truncate(2**23)",
    "a locked file": "import fcntl\nkept = open('/tmp/lock', 'w'); fcntl.flock(kept, 2)",
}

IN_A_FILE: dict[str, Attack] = {
    "a pipe": ("os.mkfifo('out.json')", Outcome.CRASHED, "not a regular file: out.json"),
    "a folder": ("os.mkdir('out.json')", Outcome.CRASHED, "out.json"),
    "a link to itself": ("os.symlink('out.json', 'out.json')", Outcome.CRASHED, "symbolic links: out.json"),
    "a link to endless zeros": ("os.symlink('/dev/zero', 'out.json')", Outcome.CRASHED, "not a regular file"),
    "a link to what is not its own": (
        "os.symlink('/proc/1/environ', 'out.json')",
        Outcome.CRASHED,
        "Permission denied",
    ),
    "a link to nowhere": ("os.symlink('/nowhere', 'out.json')", Outcome.CRASHED, "No such file"),
    "longer than any": ("open('out.json', 'wb').truncate(2**23)", Outcome.CRASHED, "longer than 64 KiB: out.json"),
    "closed to all": ("write({'score': 1})\nos.chmod('out.json', 0)", Outcome.CRASHED, "Permission denied"),
    "no text": ("open('out.json', 'wb').write(b'\\xff\\x00' * 99)", Outcome.CRASHED, "no JSON object"),
    "nested deeply": ("open('out.json', 'w').write('{\"score\": ' + '[' * 9000)", Outcome.CRASHED, "no JSON object"),
    "not a number": ("write({'score': float('nan')})", Outcome.BAD_SCORE, "nan"),
    "a truth value": ("write({'score': True})", Outcome.BAD_SCORE, "'score' is True"),
    "that of the input before": ("if given == 3: write({'score': 9})", Outcome.CRASHED, "on input 2 of 2"),
    "printed, too": ("print(json.dumps({'score': 9}))", Outcome.CRASHED, "No such file or directory: out.json"),
}

SHELL: dict[str, Attack] = {
    "bombs with forks": ("b() { b | b & }; b; wait", Outcome.CRASHED, ""),
    "floods": ("yes", Outcome.OUTPUT_LIMIT, "16 KiB"),
    "kills all it can": ("kill -9 -1", Outcome.CRASHED, "SIGKILL"),
    "spins in the background": ("while :; do :; done & echo '{\"score\": 1}'", Outcome.TIMED_OUT, ""),
    "becomes another program": ("exec sleep 60", Outcome.TIMED_OUT, ""),
    "raises its limits": ("ulimit -n 9999 -u 9999 || exit 7", Outcome.CRASHED, "exit code"),
    "reads devices": ("head -c 1 /dev/sda /dev/vda /dev/mem || exit 7", Outcome.CRASHED, "exit code 7"),
}
