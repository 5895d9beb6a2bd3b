#!/usr/bin/env bash
# Stop what the demo started, by its own records, and remove its one folder.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -x .demo/venv/bin/python ]; then
  .demo/venv/bin/python tests/demo/demo.py --clean
fi
rm -rf .demo
echo "Nothing of the demo is left: its servers are stopped and the folder .demo is gone."
