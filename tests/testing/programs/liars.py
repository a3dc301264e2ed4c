"""Programs that report false or harmful data: values, reports, errors, exits and sources."""

from __future__ import annotations

from overnight.schemas.outcome import Outcome
from overnight.testing.programs.candidates import HONEST, Case, body, returns

VALUES = [
    Case(f"values: {value}", returns(value), Outcome.BAD_SCORE, says)
    for value, says in {
        "-float('inf')": "-inf",
        "b'1'": "bytes",
        "type('I', (int,), {})(1)": "I 1",
        "type('A', (), {'__class__': float, '__float__': lambda s: 1.0})()": "A",
        "type('A', (), {'__index__': lambda s: 1, '__int__': lambda s: 1})()": "A",
        "__import__('decimal').Decimal(1)": "Decimal 1",
        "__import__('fractions').Fraction(1, 2)": "Fraction 1/2",
        "(i for i in [1])": "generator",
        "lambda: 1": "function",
        "{'seconds': 1}": "score",
        "[0] * 10**6": r"list \[0, 0",
        "'x' * 10**7": "str x",
        "type('\\x1b[2J\\n', (), {'__str__': lambda s: '\\x00' * 9})()": "�",
        "type('E', (), {'__str__': lambda s: 1 / 0})()": "E",
        "-10**5000": "int",
    }.items()
]

CHANNEL = [
    Case(f"channel: {name}", body(f"import os\nos.write(3, {report})\nos._exit(0)"), outcome, says)
    for name, report, outcome, says in (
        ("a whole number of 5,000 digits", "b'{\"score\": ' + b'9' * 5000 + b'}\\n' * 2", Outcome.BAD_SCORE, ""),
        ("a text for a score", 'b\'{"score": "9"}\\n\' * 2', Outcome.BAD_SCORE, "str"),
        ("more than a score", 'b\'{"score": 9, "more": 1}\\n\' * 2', Outcome.BAD_SCORE, ""),
        ("no text at all", "bytes(range(256)).replace(b'\\n', b'') + b'\\n'", Outcome.BAD_SCORE, ""),
        ("a list", "b'[9]\\n' * 2", Outcome.BAD_SCORE, ""),
        ("half a line", 'b\'{"score": 9}\\n{"score": 9}\\n{\'', Outcome.BAD_SCORE, "more than the 2"),
        ("frames as the runner's", "b'\\x00\\x00\\x00\\x02{}' * 3", Outcome.BAD_SCORE, ""),
        ("nothing but ends of lines", "b'\\n' * 60000", Outcome.BAD_SCORE, ""),
        ("an error that is none", 'b\'{"error": {"type": [], "text": {}, "line": 1e99}}\\n\'', Outcome.CRASHED, ""),
        (
            "an error on a line of 4,000 digits",
            "b'{\"error\": {\"line\": ' + b'9' * 4000 + b'}}\\n'",
            Outcome.CRASHED,
            "",
        ),
        (
            "commands to a database",
            'b\'{"error": {"text": "\\\'; DROP TABLE programs; --"}}\\n\'',
            Outcome.CRASHED,
            "DROP",
        ),
    )
]
CHANNEL += [
    Case(
        "channel: scores, then a crash",
        body("import os\nos.write(3, b'{\"score\": 9}\\n' * 2)\nos.kill(os.getpid(), 11)"),
        Outcome.CRASHED,
        "SIGSEGV after its last input",
    ),
    Case(
        "channel: frames on every descriptor",
        body(
            "import os\nfor fd in range(64):\n    try: os.write(fd, b'\\x00\\x00\\x00\\x02{}' * 3)\n"
            "    except OSError: pass\nreturn n"
        ),
        Outcome.BAD_SCORE,
    ),
]

ERRORS = [
    Case(f"errors: {name}", body(text), Outcome.CRASHED, says)
    for name, text, says in (
        ("50 MB of text", "raise ValueError('x' * 50 * 2**20)", "ValueError: xxx"),
        ("a name that is long and obeyed", "raise type('\\x1b[2J\\n' * 1000, (Exception,), {})('x')", "�"),
        ("a text that is no text", "raise type('E', (Exception,), {'__str__': lambda s: 7})()", "E, in line 2"),
        (
            "nested 100,000 deep",
            "e = ValueError()\nfor _ in range(100000): e = ExceptionGroup('g', [e])\nraise e",
            "g ",
        ),
        (
            "that cause each other",
            "a, b = ValueError('a'), ValueError('b')\na.__cause__, b.__cause__ = b, a\nraise a",
            "a,",
        ),
        ("a line of 5,000 digits", "e = SyntaxError('x', ('program.py', 10**5000, 1, ''))\nraise e", ""),
        ("a line that is no number", "e = SyntaxError('x', ('program.py', object(), 1, ''))\nraise e", ""),
        ("no exception", "raise BaseException('x')", "BaseException: x"),
        ("an interrupt", "raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("a generator's end", "raise GeneratorExit", "GeneratorExit"),
        ("surrogates and marks", "raise ValueError('\\udcff\\ud800\\u202e\\u2066\\x9b31m\\r')", "ValueError"),
    )
]

EXITS = [
    Case("exits: kills itself", body("import os\nos.kill(os.getpid(), 9)"), Outcome.CRASHED, "SIGKILL on input 1"),
    Case("exits: ends itself", body("import os\nos.kill(os.getpid(), 15)"), Outcome.CRASHED, "SIGTERM"),
    Case(
        "exits: by an alarm",
        body("import signal\nsignal.setitimer(0, .01)\nwhile True: pass"),
        Outcome.CRASHED,
        "SIGALRM",
    ),
    Case("exits: with a text", body("import sys\nsys.exit('\\x1b[2J' * 9)"), Outcome.CRASHED, "SystemExit"),
    Case("exits: while loaded", "import os\nos._exit(0)\n" + HONEST, Outcome.CRASHED, "code 0 while it was loaded"),
    Case(
        "exits: from a thread",
        body("import os, threading\nthreading.Thread(target=os._exit, args=(5,)).start()\nwhile True: pass"),
        Outcome.CRASHED,
        "code 5",
    ),
    Case(
        "exits: its stack is full",
        body("import faulthandler\nfaulthandler._stack_overflow()"),
        Outcome.CRASHED,
        "SIGSEGV",
    ),
    Case(
        "exits: without a limit on recursion",
        body("import sys\nsys.setrecursionlimit(10**9)\ndef f(): return [f() for _ in [1]]\nf()"),
        Outcome.CRASHED,
        harmless=False,
    ),
    Case(
        "exits: interrupts itself", body("import _thread\n_thread.interrupt_main()\nwhile True: pass"), Outcome.CRASHED
    ),
    Case(
        "exits: without builtins", body("import builtins\nvars(builtins).clear()\nreturn n"), Outcome.CRASHED, "code 1"
    ),
    Case("exits: patches the exit's module", "import os\nvars(os).clear()\n" + HONEST, Outcome.SCORED),
]

SOURCES = [
    Case(f"sources: {name}", source, Outcome.CRASHED, says)
    for name, source, says in (
        ("30 MB", "x = '" + "y" * 30 * 2**20 + "'", "at most 1048576"),
        ("100,000 signs", "x = " + "-" * 100000 + "1", "RecursionError"),
        ("100,000 attributes", "x = y" + ".a" * 100000, ""),
        ("50,000 branches", "x = 0\nif x: pass\n" + "elif x: pass\n" * 50000, ""),
        ("20,000 functions in each other", "x = " + "lambda:" * 20000 + "1", ""),
        ("a number of 900,000 digits", "x = " + "9" * 900000, "SyntaxError"),
        ("400,000 sums", "x = 1" + "+1" * 400000, ""),
        (
            "indented 200 deep",
            "".join(" " * i + "if 1:\n" for i in range(200)) + " " * 200 + "x = 1",
            "SyntaxError|Indentation",
        ),
        ("a folded constant of many digits", "x = 7 ** 7 ** 7 ** 0 + 1 / 0", "ZeroDivisionError"),
        ("nothing", "", "no function"),
        ("a text that never ends", "x = '''" + "y" * 9999, "SyntaxError"),
        ("line ends of every kind", "x = 1\r\ny = 2\rz = 3\x0c\n\u2028", ""),
    )
]

CASES = [*VALUES, *CHANNEL, *ERRORS, *EXITS, *SOURCES]
