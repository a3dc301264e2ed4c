"""How soon mistakes are told: each command of `WRONG` in a process of its own, with its seconds, exit code and message.

python -m tests.bench.bench_mistakes [WORD …]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.flows.cli.test_errors import ENVIRONMENT, WRONG, arguments_of


def main() -> None:
    print("| mistake | command | seconds | exit | message |\n|---|---|--:|--:|---|")
    for case, (arguments, _, _) in WRONG.items():
        if sys.argv[1:] and not any(word in case for word in sys.argv[1:]):
            continue
        with tempfile.TemporaryDirectory(prefix="overnight-bench-") as folder:
            line = [sys.executable, "-m", "overnight.flows.cli.main", *arguments_of(arguments, Path(folder))]
            environment = {"OVERNIGHT_HISTORY": f"{folder}/history", "XDG_STATE_HOME": f"{folder}/state"}
            environment |= {
                name: value.replace("{folder}", folder) for name, value in ENVIRONMENT.get(case, {}).items()
            }
            begin = time.monotonic()
            done = subprocess.run(
                line, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
            )
            seconds = time.monotonic() - begin
        message = done.stderr.rpartition("overnight: error: ")[2].splitlines()
        told = " ".join(each.strip() for each in message)[:200].replace("|", "\\|")
        shown = " ".join(arguments).replace("|", "\\|")[:80]
        print(f"| {case} | `{shown}` | {seconds:.1f} | {done.returncode} | {told} |", flush=True)


if __name__ == "__main__":
    main()
