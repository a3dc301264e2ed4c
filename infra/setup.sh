#!/usr/bin/env bash
# Set up the environment, a Docker engine and the sandbox image. Parts that are ready are left unchanged.
#
#   infra/setup.sh               set up everything
#   infra/setup.sh environment   set up only the environment
#   infra/setup.sh lock          write infra/*.lock from pyproject.toml; with --upgrade, from the newest releases
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Print the first Python on PATH that is new enough. Each is run, since a name on PATH may be a shim without a Python.
find_python() {
  local name
  for name in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3.14; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  {
    echo "expected: Python 3.11 or later on PATH, as python3 or python3.11 … python3.14"
    echo "     got: $("${PYTHON:-python3}" --version 2>&1 || true)"
    echo "    next: install one with your system's packages, or: make setup PYTHON=/path/to/python"
  } >&2
  exit 3
}

python=$(find_python)
case "${1:-all}" in
  lock) exec "$python" infra/environment.py "$@" ;;
  environment) exec "$python" infra/environment.py setup ;;
esac
"$python" infra/environment.py setup
.venv/bin/python infra/engine.py start
.venv/bin/python infra/image.py
