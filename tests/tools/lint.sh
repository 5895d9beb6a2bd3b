#!/usr/bin/env bash
# All static checks. Each prints its own verdict; the first that fails ends the run.
set -euo pipefail
cd "$(dirname "$0")/../.."
export ANSIBLE_COLLECTIONS_PATH=$PWD/collections

step() { printf '\n== %s\n' "$1"; }

step "ruff"
ruff check .
step "mypy"
mypy plugins tests/lab tests/tools tests/bench
step "yamllint"
yamllint --strict .
step "ansible-lint, production profile"
ansible-lint --profile production --offline --strict
step "role READMEs"
python tests/tools/role_readme.py --check
step "changelog fragments"
antsibull-changelog lint
step "collection builds and installs"
python tests/tools/check_build.py
