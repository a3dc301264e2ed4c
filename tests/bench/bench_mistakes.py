"""How soon mistakes are told: each command of `WRONG` in a process of its own, with its seconds, exit code and message.

    python -m tests.bench.bench_mistakes [WORD …]

On a busy machine, the seconds of processor time are about those that it takes on a quiet one.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.flows.cli.test_errors import ENVIRONMENT, WRONG, arguments_of


def processor_s_of_children() -> float:
    """Return the processor time of all processes that were started and have ended, seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    print("| mistake | command | processor s | s | exit | message |\n|---|---|--:|--:|--:|---|")
    for case, (arguments, _, _) in WRONG.items():
        if sys.argv[1:] and not any(word in case for word in sys.argv[1:]):
            continue
        with tempfile.TemporaryDirectory(prefix="overnight-bench-") as folder:
            line = [sys.executable, "-m", "overnight.flows.cli.main", *arguments_of(arguments, Path(folder))]
            environment = {"OVERNIGHT_HISTORY": f"{folder}/history", "XDG_STATE_HOME": f"{folder}/state"}
            environment |= {
                name: value.replace("{folder}", folder) for name, value in ENVIRONMENT.get(case, {}).items()
            }
            begin, spent = time.monotonic(), processor_s_of_children()
            done = subprocess.run(
                line, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
            )
            seconds, spent = time.monotonic() - begin, processor_s_of_children() - spent
        message = done.stderr.rpartition("overnight: error: ")[2].splitlines()
        told = " ".join(each.strip() for each in message)[:200].replace("|", "\\|")
        shown = " ".join(arguments).replace("|", "\\|")[:80]
        print(f"| {case} | `{shown}` | {spent:.1f} | {seconds:.1f} | {done.returncode} | {told} |", flush=True)


if __name__ == "__main__":
    main()
