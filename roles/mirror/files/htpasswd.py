# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the salted hash of a password in a file that root alone can read. Standard input: path, username, password, is_check as a JSON object.

Prints ``changed`` or ``same``: a password that the file already has keeps its salt. Run with ``python -c``: standard library only. The
crypt(3) of the host does the work, since its Python may have no module for it.
"""
from __future__ import annotations

import ctypes
import json
import os
import secrets
import string
import sys
import tempfile


def crypt(password: str, setting: str) -> str:
    """crypt(3). Raises OSError where this host has no such hash."""
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    found = library.crypt(password.encode(), setting.encode())
    if not found or not found.startswith(b"$6$"):
        raise OSError("crypt(3) of this host has no SHA-512")
    return str(found.decode("ascii"))


def is_kept(path: str, username: str, password: str) -> bool:
    """Does the file have this name and this password, and only root's eyes on it?"""
    try:
        status = os.stat(path)
        with open(path, encoding="ascii") as stream:
            name, dummy, kept = stream.read().rstrip("\n").partition(":")
        is_private = status.st_mode & 0o7777 == 0o600 and status.st_uid == os.getuid()
        return is_private and name == username and secrets.compare_digest(crypt(password, kept), kept)
    except (OSError, ValueError):
        return False


def main() -> None:
    """Compare, and write unless it is only a check."""
    wanted = json.load(sys.stdin)
    if is_kept(wanted["path"], wanted["username"], wanted["password"]):
        print("same")
        return
    if not wanted["is_check"]:
        salt = "".join(secrets.choice(string.ascii_letters + string.digits) for dummy in range(16))
        line = wanted["username"] + ":" + crypt(wanted["password"], "$6$" + salt + "$") + "\n"
        descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(wanted["path"]))
        with open(descriptor, "w", encoding="ascii") as stream:
            stream.write(line)
        os.replace(temporary, wanted["path"])
    print("changed")


main()
