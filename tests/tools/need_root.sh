#!/usr/bin/env bash
# End at once, with the reason, where root is needed and absent.
if [ "$(id -u)" -ne 0 ]; then
  printf 'This needs root: %s.\nNothing has been changed. Run it as root; "make demo" works without.\n' "$1" >&2
  exit 2
fi
