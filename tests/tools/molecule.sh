#!/usr/bin/env bash
# Every molecule scenario on hosts of a lab of its own, with a hub on the bridge. Arguments go to molecule.
set -euo pipefail
cd "$(dirname "$0")/../.."

export VENOM_CHECKOUT=$PWD
export VENOM_LAB_STATE=$PWD/.lab/molecule
export VENOM_LAB_BRIDGE=venomlabm
export VENOM_LAB_NETWORK=10.216.0.1/24
export VENOM_LAB_WHEELS=${VENOM_LAB_CACHE:-$HOME/.cache/venom-lab}/wheels
export VENOM_LAB_HUB=http://10.216.0.1:8900
export MOLECULE_EPHEMERAL_DIRECTORY=$PWD/.cache/molecule

mkdir -p .cache
python -m lab wheels "$VENOM_LAB_WHEELS" --python 3.11
python -m lab down
trap 'molecule destroy --scenario-name default >/dev/null 2>&1 || true; python -m lab down' EXIT
if [ $# -eq 0 ]; then
  set -- test --all --no-report
fi
molecule "$@"
