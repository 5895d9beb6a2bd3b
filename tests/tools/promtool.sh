#!/usr/bin/env bash
# Print the path of promtool: the one of PATH, else out of Debian's package prometheus, unpacked once into the cache and not installed.
set -euo pipefail
if command -v promtool; then exit 0; fi
folder=${VENOM_LAB_CACHE:-$HOME/.cache/venom-lab}/promtool
if [[ ! -x $folder/promtool ]]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  (cd "$work" && apt-get download -q prometheus >&2 && dpkg -x prometheus_*.deb root >&2)
  mkdir -p "$folder"
  install -m 0755 "$work/root/usr/bin/promtool" "$folder/promtool.$$"
  mv "$folder/promtool.$$" "$folder/promtool"
fi
printf '%s\n' "$folder/promtool"
