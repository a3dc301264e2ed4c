"""Judge a C++ program on one case of a Frontier-CS problem, as its judge does; runs in the sandbox.

Its arguments are the program's path, the case as JSON (its two files, `time_s`, `memory_mib`), `checker` or
`interactor`, and the name of that one's source, which is compiled with `testlib.h`. The binaries stay in the working
directory for the next case. A program that fails on a case has 0 of it, as there. Where the kernel has Landlock, a
program reads no file of the problem, also while it is compiled, and reaches no other process: it can neither look up
answers nor forge a score.
"""

import ctypes
import json
import math
import os
import re
import resource
import subprocess
import sys
import threading

COMPILER = ("g++", "-pipe", "-std=gnu++17")
BUILD = "overnight_build"
"""Where a program is compiled, and all that its compiler can write to."""

PROGRAM, JUDGE = f"./{BUILD}/program", "./overnight_judge"
COMPILE_S, CHECK_S, CHECK_MIB = 60, 10, 256
MESSAGE_CHARS = 2000
MESSAGE_BYTES = 2**20
MOST_UNBOUNDED = 1e6
"""Most of the part of the points that has no bound: no answer is so much better than its reference."""

PARTS = {"": 1.0, "exit code 7": 0.0}
"""Part of the points by how a judge ends: right, or with points that its message names. Any other end refuses the
answer, with a message that may repeat what the program has printed."""


def compile_once(source, binary, *options, prepare=None):
    """Compile a source, unless an earlier case has; exit with the compiler's errors if it does not compile."""
    if os.path.exists(binary):
        return
    os.makedirs(BUILD, exist_ok=True)
    try:
        done = subprocess.run(
            [*COMPILER, *options, "-x", "c++", source, "-o", binary],
            capture_output=True,
            timeout=COMPILE_S,
            env=os.environ | {"TMPDIR": os.path.abspath(BUILD)},
            preexec_fn=prepare,
        )
    except FileNotFoundError:
        raise SystemExit("the image has no g++; name one that has: --image NAME") from None
    except subprocess.TimeoutExpired:
        raise SystemExit(f"{os.path.basename(source)} takes more than {COMPILE_S} s to compile") from None
    if done.returncode:
        errors = done.stderr.decode(errors="replace")[:MESSAGE_CHARS]
        raise SystemExit(f"{os.path.basename(source)} does not compile:\n{errors}")


class Ruleset(ctypes.Structure):
    """What Landlock handles (`struct landlock_ruleset_attr`); older versions know the first field only."""

    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class PathBeneath(ctypes.Structure):
    """What is allowed below a path (`struct landlock_path_beneath_attr`)."""

    _pack_ = 1
    _fields_ = (("access", ctypes.c_uint64), ("parent", ctypes.c_int32))


CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
READ = 0b1101  # execute, read a file, read a directory
ALL, TRUNCATE, SIGNAL = 2**13 - 1, 2**14, 0b10
READABLE = ("/usr", "/lib", "/lib64", "/bin", "/etc", "/dev")
"""All that a program and its compiler may read and execute, beside the program."""


def confine(program, written=""):
    """Forbid this process and its descendants all other files, and every process that is not a descendant.

    `program` is a file that may be read and executed, `written` a directory of which everything is allowed.
    Landlock also keeps it from tracing others, and so from their memory and descriptors.
    """
    call = ctypes.CDLL(None, use_errno=True).syscall
    version = call(CREATE_RULESET, None, 0, 1)
    if version < 1:
        return
    every = ALL | (TRUNCATE if version >= 3 else 0)
    rules = Ruleset(every, 0, SIGNAL if version >= 6 else 0)
    ruleset = call(CREATE_RULESET, ctypes.byref(rules), ctypes.sizeof(rules) if version >= 6 else 8, 0)
    for path in filter(os.path.exists, (*READABLE, program, written)):
        parent = os.open(path, os.O_PATH)
        read = READ if os.path.isdir(path) else READ & 0b101
        below = PathBeneath(every if path == written else read, parent)
        if call(ADD_RULE, ruleset, 1, ctypes.byref(below), 0):
            raise OSError(ctypes.get_errno(), f"Landlock: {path}")
        os.close(parent)
    if call(RESTRICT_SELF, ruleset, 0):
        raise OSError(ctypes.get_errno(), "Landlock")
    os.close(ruleset)


def start(command, seconds, mebibytes, **streams):
    """Start a program under limits of processor time and memory; the candidate's also apart from all others."""

    def limit():
        size = mebibytes * 2**20
        for kind, value in (
            (resource.RLIMIT_CPU, max(1, math.ceil(seconds))),
            (resource.RLIMIT_AS, size),
            (resource.RLIMIT_STACK, size),
        ):
            most = resource.getrlimit(kind)[1]
            value = value if most == resource.RLIM_INFINITY else min(value, most)
            resource.setrlimit(kind, (value, value))
        if command[0] == PROGRAM:
            confine(PROGRAM)

    return subprocess.Popen(command, preexec_fn=limit, **streams)


def finish(process, seconds):
    """Wait for a program; return why it failed, empty if it did not.

    The limit is on processor time, so that a busy machine is nobody's fault; wall-clock time only ends one that waits.
    """
    timer = threading.Timer(10 * seconds + 10, process.kill)
    timer.start()
    _, status, usage = os.wait4(process.pid, 0)
    timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    used = usage.ru_utime + usage.ru_stime
    if used > seconds:
        return f"took {used:.2f} s of processor time, at most {seconds:g} s"
    if process.returncode < 0:
        return f"ended by signal {-process.returncode}"
    return f"exit code {process.returncode}" if process.returncode else ""


def check(case):
    """Run the program on a case, then the checker.

    Returns:
        Why the program failed, empty if it did not; the part of the points without a ratio, None if the answer is
        refused; the checker's message.
    """
    given, answer = f"testdata/{case['input']}", f"testdata/{case['answer']}"
    with open(given, "rb") as stdin, open("overnight_output", "wb") as stdout:
        process = start([PROGRAM], case["time_s"], case["memory_mib"], stdin=stdin, stdout=stdout)
        fault = finish(process, case["time_s"])
    if fault:
        return fault, None, ""
    command = [JUDGE, given, "overnight_output", answer]
    with open("overnight_message", "w+b") as message:
        checker = start(command, CHECK_S, CHECK_MIB, stdin=subprocess.DEVNULL, stdout=message, stderr=message)
        refused = finish(checker, CHECK_S)
        return "", PARTS.get(refused), end_of(message)


def interact(case):
    """Run the program and the interactor against each other; return the same."""
    seconds, memory = case["time_s"], case["memory_mib"]
    (from_judge, to_program), (from_program, to_judge) = os.pipe(), os.pipe()
    command = [JUDGE, f"testdata/{case['input']}", "overnight_output", f"testdata/{case['answer']}"]
    with open("overnight_message", "w+b") as message:
        judge = start(command, 4 * seconds, 4 * memory, stdin=from_program, stdout=to_program, stderr=message)
        process = start([PROGRAM], seconds, memory, stdin=from_judge, stdout=to_judge, stderr=subprocess.DEVNULL)
        for end in (from_judge, to_program, from_program, to_judge):
            os.close(end)
        fault = finish(process, seconds)
        refused = finish(judge, 4 * seconds)
        return fault, PARTS.get(refused), end_of(message)


def end_of(message):
    """Return what a checker said last: before it, it may repeat an answer of any length."""
    message.seek(max(0, message.seek(0, os.SEEK_END) - MESSAGE_BYTES))
    return message.read().decode(errors="replace")


def ratio(name, message, otherwise, most):
    """Return the part of the points that a message names last, such as `Ratio: 0.75`, also at the end of a sentence.

    Earlier ones may be of the answer, which some checkers repeat.
    """
    number = r"(?:\d{1,20}(?:\.\d{0,400})?|\.\d{1,400})(?:[eE][+-]?\d{1,4})?"
    found = re.findall(rf"(?<!\w){name}: ({number})(?![\w+-])", message)
    part = float(found[-1]) if found else otherwise
    return min(part, most) if part < float("inf") else otherwise


def main(program, case, kind, source):
    case = json.loads(case)
    # The compiler is confined, too: else `.incbin "testdata/1.ans"` in a program has the answers.
    compile_once(program, PROGRAM, "-O2", prepare=lambda: confine(program, BUILD))
    if not os.path.exists(f"{source}.bin"):
        compile_once(source, JUDGE, "-O1", "-I", ".")
    elif not os.path.exists(JUDGE):
        os.symlink(os.path.abspath(f"{source}.bin"), JUDGE)
    fault, part, message = (check if kind == "checker" else interact)(case)
    has_points = not fault and part is not None
    bounded = ratio("Ratio", message, part, 1.0) if has_points else 0.0
    unbounded = ratio("RatioUnbounded", message, bounded, MOST_UNBOUNDED) if has_points else 0.0
    said = " ".join(f"{fault} {message}".split())[:MESSAGE_CHARS]
    sys.stdout.write(f"case {case['input']}: {said}\n")
    sys.stdout.write(json.dumps({"score": 100 * bounded, "score_unbounded": 100 * unbounded}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
