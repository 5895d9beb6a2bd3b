#!/usr/bin/env bash
# What several parts of the tests would otherwise fetch or build at the same time: wheels, a vLLM for this machine, roots of hosts.
# It all stays in the lab's cache; run again, it does nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."

cache=${VENOM_LAB_CACHE:-$HOME/.cache/venom-lab}
python -m lab image bookworm &
bookworm=$!
tests/tools/vllm.sh
# Debian 13 has Python 3.13: the libraries of the modules only.
python -m lab wheels "$cache/wheels" --python 3.13 --only backend
wait "$bookworm"
python -m lab image trixie
