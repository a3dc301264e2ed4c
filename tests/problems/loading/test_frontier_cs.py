"""Problems of Frontier-CS: a small one in their form, read as data, and judged by the script in the sandbox."""

from __future__ import annotations

import ctypes
import io
import json
import shutil
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from overnight.schemas.errors import SpecificationError
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.problems.loading.stored_problem import changed_since

CONFIG = "type: default\nchecker: chk.cc\ntime: 500ms\nmemory: 1g\nsubtasks:\n- score: 100\n  n_cases: 2\n"
CHECKER = """
#include "testlib.h"
int main(int, char** files) {
    long given = number(files[1]), found = number(files[2]), best = number(files[3]);
    if (found < 0 || found > best) { fprintf(stderr, "wrong answer %ld for %ld, Ratio: 1\\n", found, given); return 1; }
    if (found == best) return 0;
    if (found == 1) { fprintf(stderr, "points Ratio: 1e-05"); return 7; }
    fprintf(stderr, "points Ratio: %.2f RatioUnbounded: %.2f.\\n", double(found) / best, 2.0 * found / best);
    return 7;
}
"""
INTERACTOR = """
#include "testlib.h"
int main(int, char** files) {
    long best = number(files[3]), found = -1;
    printf("%ld\\n", number(files[1]));
    fflush(stdout);
    if (scanf("%ld", &found) != 1 || found != best) { fprintf(stderr, "no answer"); return 1; }
    fprintf(stderr, "Ratio: 1.0");
    return 0;
}
"""
TESTLIB = """
#include <cstdio>
static long number(const char* path) {
    long value = -1;
    FILE* file = fopen(path, "r");
    if (file == nullptr || fscanf(file, "%ld", &value) != 1) return -1;
    return value;
}
"""
"""Stands in for the header of that name, of which it has nothing."""

DOUBLE = '#include <cstdio>\nint main() { long n; scanf("%ld", &n); printf("%ld\\n", 2 * n); }\n'


def write(folder: Path, **files: str | None) -> Path:
    """Write the problem, with other files; `__` in a name stands for the dot, and `None` leaves a file out."""
    (folder / "testdata").mkdir(parents=True)
    for number, given in enumerate((10, 20), start=1):
        (folder / f"testdata/{number}.in").write_text(f"{given}\n")
        (folder / f"testdata/{number}.ans").write_text(f"{2 * given}\n")
    own = {"config__yaml": CONFIG, "statement__txt": "Double it.\n", "chk__cc": CHECKER, "testlib__h": TESTLIB}
    for name, text in {**own, **files}.items():
        if text is not None:
            (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_its_cases_are_inputs_with_their_limits_and_its_checker_is_named(tmp_path: Path):
    problem = load_problem(write(tmp_path / "sums"))
    settings = problem.settings
    assert settings.inputs == tuple(
        {"input": f"{number}.in", "answer": f"{number}.ans", "time_s": 0.5, "memory_mib": 1024} for number in (1, 2)
    )
    assert settings.command.evaluate[-2:] == ("checker", "chk.cc")
    assert settings.statement.startswith("Double it.")
    assert "0.5 s of processor time, 1024 MiB" in settings.statement
    assert {file.path for file in problem.files} >= {"chk.cc", "testlib.h", "testdata/2.ans"}
    assert problem.specification.language == "cpp"


def test_subtasks_are_numbered_through_and_have_limits_of_their_own(tmp_path: Path):
    config = (
        "time_limit: 3s\nsubtasks:\n- {n_cases: 1, time: 1s}\n- cases: [{input: 2.in, output: 2.ans, memory: 64m}]\n"
    )
    inputs = load_problem(write(tmp_path / "sums", config__yaml=config)).settings.inputs
    assert [(case["input"], case["time_s"], case["memory_mib"]) for case in inputs] == [
        ("1.in", 1.0, 256),
        ("2.in", 3.0, 64),
    ]


def test_an_empty_program_is_the_start_unless_there_is_one_beside_it(tmp_path: Path):
    path = write(tmp_path / "sums")
    empty = load_problem(path)
    assert "return 0;" in empty.specification.start_body
    assert changed_since(empty, path) == []
    (path / "solution.cpp").write_text(DOUBLE)
    own = load_problem(path)
    assert own.specification.start_body == DOUBLE.rstrip()
    assert changed_since(own, path) == []
    assert changed_since(empty, path) == ["solution.cpp"]


def test_the_header_of_the_clone_is_used_and_no_link_leads_out_of_the_clone(tmp_path: Path):
    path = write(tmp_path / "clone/problems/sums", testlib__h=None)
    assert "testlib.h" not in {file.path for file in load_problem(path).files}
    header = tmp_path / "clone/judge/include/testlib.h"
    header.parent.mkdir(parents=True)
    header.write_text(TESTLIB)
    assert {file.path: file.content for file in load_problem(path).files}["testlib.h"] == TESTLIB.encode()
    header.rename(tmp_path / "private")
    header.symlink_to(tmp_path / "private")
    with pytest.raises(SpecificationError, match="outside of"):
        load_problem(path)


def test_a_compiled_checker_beside_its_source_is_part_of_the_problem(tmp_path: Path):
    path = write(tmp_path / "sums")
    assert "is compiled for each program" in "\n".join(load_problem(path).notes)
    (path / "chk.cc.bin").write_bytes(b"\x7fELF")
    problem = load_problem(path)
    assert "chk.cc.bin" in {file.path for file in problem.files}
    assert "is compiled for each program" not in "\n".join(problem.notes)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config__yaml": CONFIG.replace("n_cases: 2", "n_cases: 3")}, "no 'testdata/3.in'"),
        ({"config__yaml": CONFIG.replace("n_cases: 2", "n_cases: many")}, "n_cases is 'many'"),
        ({"config__yaml": CONFIG.replace("n_cases: 2", "n_cases: 0")}, "0 cases, expected 1 to"),
        ({"config__yaml": CONFIG.replace("default", "leetcode")}, "type is 'leetcode'"),
        ({"config__yaml": CONFIG.replace("500ms", "soon")}, "time is 'soon'"),
        ({"config__yaml": CONFIG.replace("1g", "much")}, "memory is 'much'"),
        ({"config__yaml": CONFIG.replace("1g", "9" * 5000 + "g")}, "memory is '999"),
        ({"config__yaml": CONFIG.replace("1g", "999999999999g")}, "memory is '999999999999g'"),
        ({"config__yaml": CONFIG.replace("1g", str(2**62))}, "memory is a number beyond"),
        ({"config__yaml": CONFIG.replace("500ms", ".nan")}, "time is a number beyond"),
        ({"config__yaml": CONFIG.replace("500ms", "9" * 5000 + "s")}, "time is '999"),
        ({"config__yaml": "type: default\n"}, "subtasks are None"),
        ({"config__yaml": "subtasks: [\n"}, "not valid YAML"),
        ({"chk__cc": None}, "no 'chk.cc'"),
        ({"statement__txt": None}, "no command that scores"),
        ({"config__yaml": None}, "no command that scores"),
    ],
)
def test_what_is_wrong_or_missing_is_refused_with_the_reason(files: dict[str, str], message: str, tmp_path: Path):
    with pytest.raises(SpecificationError) as caught:
        load_problem(write(tmp_path / "sums", **files))
    assert message in str(caught.value)
    assert caught.value.remedy


def judge(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Judge a program on the first case, by the script that runs in the sandbox, here without one."""
    problem = load_problem(folder)
    work = Path(tempfile.mkdtemp(dir=folder.parent))
    for file in problem.files:
        (work / file.path).parent.mkdir(exist_ok=True)
        (work / file.path).write_bytes(file.content)
    (work / "solution.cpp").write_text(program)
    words = {"{program}": str(work / "solution.cpp"), "{input}": json.dumps(problem.settings.inputs[0])}
    _, *arguments = (words.get(word, word) for word in problem.settings.command.evaluate)
    return subprocess.run(
        [sys.executable, *arguments], cwd=work, capture_output=True, text=True, timeout=120, check=False
    )


def scores(done: subprocess.CompletedProcess[str]) -> tuple[float, float]:
    assert not done.returncode, done.stderr
    metrics = json.loads(done.stdout.splitlines()[-1])
    return metrics["score"], metrics["score_unbounded"]


MESSAGES = [
    ("points Ratio: 0.25 RatioUnbounded: 2.5.", (0.25, 2.5)),
    ("points answer 'Ratio: 1.0 RatioUnbounded: 99': Ratio: 0.25, RatioUnbounded: 0.5", (0.25, 0.5)),
    ("the answer was Ratio: 0.9\n" + "x" * 2**21 + " Ratio: 0.1", (0.1, 0.1)),
    ("MyRatio: 0.9", (0.0, 0.0)),
    ("Ratio: 7", (1.0, 1.0)),
    ("Ratio: 1e9999", (0.0, 0.0)),
    ("Ratio: nan", (0.0, 0.0)),
    ("Ratio: " + "9" * 10**5, (0.0, 0.0)),
    ("Ratio: 0.5 RatioUnbounded: 1e300", (0.5, 1e6)),
]


@pytest.mark.parametrize(("message", "expected"), MESSAGES, ids=range(len(MESSAGES)))
def test_the_ratio_is_the_last_that_the_checker_names_within_limits(message: str, expected: tuple[float, float]):
    script = resources.files("overnight.tasks.problems.loading.inside").joinpath("overnight_frontier_cs.py").read_text()
    scope: dict[str, Any] = {"__name__": "script"}
    exec(script, scope)
    file = io.BytesIO(message.encode())
    said = scope["end_of"](file)
    bounded = scope["ratio"]("Ratio", said, 0.0, 1.0)
    assert (bounded, scope["ratio"]("RatioUnbounded", said, bounded, scope["MOST_UNBOUNDED"])) == expected


needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
LANDLOCK = ctypes.CDLL(None).syscall(444, None, 0, 1)
needs_landlock = pytest.mark.skipif(LANDLOCK < 1, reason="this kernel has no Landlock")


@pytest.mark.heavy
@needs_compiler
@pytest.mark.parametrize(
    ("program", "expected", "says"),
    [
        (DOUBLE, (100, 100), "case 1.in:"),
        (DOUBLE.replace("2 * n", "n"), (50, 100), "points Ratio: 0.50"),
        (DOUBLE.replace("2 * n", "1L"), (0.001, 0.001), "points Ratio: 1e-05"),
        (DOUBLE.replace("2 * n", "-n"), (0, 0), "wrong answer -10 for 10, Ratio: 1"),
        ("int main() { return 3; }", (0, 0), "exit code 3"),
        ('#include <cstdio>\nint main() { fprintf(stderr, "Ratio: 1.0"); return 1; }', (0, 0), "exit code 1"),
        ("int main() { for (volatile int n = 0;; n = n + 1); }", (0, 0), "s of processor time, at most 0.5 s"),
        ("#include <vector>\nint main() { std::vector<char> a(3L << 30, 1); }", (0, 0), "ended by signal 6"),
    ],
    ids=[
        "right",
        "partly right",
        "nearly wrong",
        "wrong, in words that name a ratio",
        "fails",
        "prints a ratio and fails",
        "takes too long",
        "takes too much memory",
    ],
)
def test_a_program_has_the_points_that_the_checker_gives(
    program: str, expected: tuple[float, float], says: str, tmp_path: Path
):
    done = judge(write(tmp_path / "sums"), program)
    assert scores(done) == pytest.approx(expected)
    assert says in done.stdout


@pytest.mark.heavy
@needs_compiler
def test_an_interactive_problem_is_played_by_the_program_and_the_interactor(tmp_path: Path):
    config = CONFIG.replace("default", "interactive").replace("checker: chk.cc", "interactor: interactor.cc")
    path = write(tmp_path / "sums", config__yaml=config, chk__cc=None, interactor__cc=INTERACTOR)
    assert load_problem(path).settings.command.evaluate[-2:] == ("interactor", "interactor.cc")
    assert scores(judge(path, DOUBLE)) == (100, 100)
    assert scores(judge(path, DOUBLE.replace("2 * n", "n"))) == (0, 0)


@pytest.mark.heavy
@needs_compiler
def test_what_does_not_compile_has_no_score_and_the_compiler_s_message(tmp_path: Path):
    done = judge(write(tmp_path / "sums"), "int main( {}")
    assert done.returncode
    assert "solution.cpp does not compile:" in done.stderr
    done = judge(write(tmp_path / "others", chk__cc="int main() { return missing; }"), DOUBLE)
    assert done.returncode
    assert "chk.cc does not compile:" in done.stderr
    assert "missing" in done.stderr


PEEP = """
#include <csignal>
#include <cstdio>
#include <unistd.h>
int main() {
    long value = 20;
    FILE* answer = fopen("testdata/1.ans", "r");
    FILE* forged = fopen("forged", "w");
    bool reached = kill(getppid(), 0) == 0;
    printf("%ld\\n", !answer && !forged && !reached ? value : -1);
}
"""


@pytest.mark.heavy
@needs_compiler
@needs_landlock
def test_a_program_reads_no_answers_writes_nothing_and_reaches_no_other_process(tmp_path: Path):
    assert scores(judge(write(tmp_path / "sums"), PEEP)) == (100, 100)
    assert not list(tmp_path.rglob("forged"))


EMBED = r"""
#include <cstdio>
asm(".section .rodata\nanswer: .incbin \"testdata/1.ans\"\n.byte 0\n.text");
extern const char answer[];
int main() { fputs(answer, stdout); }
"""


@pytest.mark.heavy
@needs_compiler
@needs_landlock
def test_a_program_has_no_answers_compiled_into_it(tmp_path: Path):
    done = judge(write(tmp_path / "sums"), EMBED)
    assert done.returncode
    assert "solution.cpp does not compile:" in done.stderr
    assert "testdata/1.ans" in done.stderr
