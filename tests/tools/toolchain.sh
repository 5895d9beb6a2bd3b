#!/usr/bin/env bash
# Make what the two commands need: Debian packages (as root) and a venv. Run again, it does nothing.
#
#   toolchain.sh VENV REQUIREMENTS [PROGRAM:PACKAGE:REASON ...]
#
# PROGRAM is a program or a file, PACKAGE the Debian package that brings it, REASON why it is needed.
# MIN_PYTHON (minor version, default 10) is the oldest Python that will do.
set -euo pipefail

venv=$1
requirements=$2
shift 2

# The venv is never made from itself: the Makefile puts it first on PATH.
PATH=$(printf '%s' "$PATH" | tr ':' '\n' | grep -vxF "$PWD/$venv/bin" | paste -sd:)
min_python=${MIN_PYTHON:-10}

say() { printf '%s\n' "$*" >&2; }

is_there() {
  case $1 in
    /*) compgen -G "$1" >/dev/null ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

find_python() {
  # 3.11 first: the CPU build of vLLM and ansible-core 2.19 both need 3.11 or newer.
  local name
  for name in python3.11 python3.12 python3.13 python3.14 python3 python3.10; do
    if command -v "$name" >/dev/null && "$name" -c "import sys; sys.exit(not (3, $min_python) <= sys.version_info[:2] < (3, 15))" 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  return 1
}

missing=()
reasons=()
need() {
  missing+=("$1")
  reasons+=("$1: $2")
}
for entry in "$@"; do
  IFS=: read -r program package reason <<<"$entry"
  is_there "$program" || need "$package" "$reason"
done
python=$(find_python) || need python3.11 "Python 3.$min_python or newer"
if [ -z "${python:-}" ]; then
  need python3.11-venv "makes the Python environments"
elif ! "$python" -c 'import ensurepip' 2>/dev/null; then
  need "$(basename "$(readlink -f "$python")")-venv" "makes the Python environments"
fi

if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    say "Not there, and installing Debian packages needs root:"
    printf '  %s\n' "${reasons[@]}" >&2
    say "Nothing has been changed. As root run:"
    say "  apt-get update && apt-get install -y ${missing[*]}"
    exit 2
  fi
  say "Installing Debian packages: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q >/dev/null
  apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
  python=$(find_python)
fi

stamp=$venv/.requirements
wanted=$("$python" --version; cat "$(dirname "$requirements")"/*.txt)
if [ ! -x "$venv/bin/python" ] || [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
  say "Making $venv with $("$python" --version) from $requirements"
  rm -rf "$venv"
  "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
  printf '%s' "$wanted" >"$stamp"
fi
