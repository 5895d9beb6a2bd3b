#!/usr/bin/env bash
# Check first, then show: what is missing is named before anything starts.
set -euo pipefail
cd "$(dirname "$0")/../.."

packages=()
if [ ! -e /dev/nvidiactl ]; then
  packages+=('/usr/lib/*/libnuma.so.1:libnuma1:the CPU build of vLLM loads libnuma.so.1 when it starts')
fi
need_mib=7000
free_mib=$(df -Pm . | awk 'NR == 2 {print $4}')
if [ "$free_mib" -lt "$need_mib" ] && [ ! -d .demo/venom/vllm ]; then
  printf 'The demo needs %s MiB of free disk here (vLLM with torch is 3.4 GB installed); %s MiB are free. Nothing has been changed.\n' \
    "$need_mib" "$free_mib" >&2
  exit 2
fi
MIN_PYTHON=11 tests/tools/toolchain.sh .demo/venv tests/requirements/controller.txt "${packages[@]}"
exec .demo/venv/bin/python tests/demo/demo.py
