#!/usr/bin/env bash
# Everything a change must pass; more words go to pytest: scripts/check.sh -m "slow and not long"
set -euo pipefail
cd "$(dirname "$0")/.."
ruff format --check .
ruff check .
basedpyright --pythonpath "$(command -v python)"
python -m compileall -q hamjax configs scripts tests
python -m pytest "$@"
