#!/usr/bin/env bash
# What a job of the pipeline needs on its runner: ansible-core, the collection, the key of the fleet. docs/ci-pipeline.md explains it.
set -euo pipefail

python3 -m venv .ci
.ci/bin/pip install --quiet 'ansible-core>=2.17,<2.20'
# A tag or a commit of yours in the place of main, so that a pipeline changes only when you say so.
.ci/bin/ansible-galaxy collection install --force "${VENOM_COLLECTION:-git+https://github.com/venom-llm/venom.llm.git,main}" -p .ci/collections

umask 077
printf '%s\n' "$FLEET_SSH_KEY" >.ci/key
printf '%s\n' "$FLEET_SSH_KNOWN_HOSTS" >.ci/known_hosts

# For the steps that follow.
printf '%s\n' "$PWD/.ci/bin" >>"$GITHUB_PATH"
printf '%s\n' \
  "ANSIBLE_COLLECTIONS_PATH=$PWD/.ci/collections" \
  "ANSIBLE_SSH_EXTRA_ARGS=-o UserKnownHostsFile=$PWD/.ci/known_hosts" >>"$GITHUB_ENV"
