#!/usr/bin/env bash
# All tests that pytest runs; its closing line is the last line of the output. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/../.."

VENOM_TEST_VLLM_PYTHON=$(tests/tools/vllm.sh)
export VENOM_TEST_VLLM_PYTHON
exec python -m pytest "$@"
