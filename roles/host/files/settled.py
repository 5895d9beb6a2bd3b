# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the wanted group, account, folders and files are not in place, as one JSON line: what the modules have to be asked for.

Run with ``python -c``, so it uses the standard library only. It compares what the tasks of this role set, and nothing else.
"""
from __future__ import annotations

import grp
import json
import os
import pwd
import stat
import sys


def uid(owner: str) -> int:
    """Of a name, or of a number as the ``file`` module takes it. Raises ``KeyError`` for an account that is not there."""
    return int(owner) if owner.isdigit() else pwd.getpwnam(owner).pw_uid


def gid(group: str) -> int:
    """Like ``uid``."""
    return int(group) if group.isdigit() else grp.getgrnam(group).gr_gid


def has_group(wanted: dict) -> bool:
    """Whether there is a group of that name."""
    try:
        return grp.getgrnam(wanted["name"]) is not None
    except KeyError:
        return False


def has_account(wanted: dict) -> bool:
    """Whether the account is there with its group, home, shell and comment."""
    try:
        found = pwd.getpwnam(wanted["name"])
        return (found.pw_gid, found.pw_dir, found.pw_shell, found.pw_gecos) == (
            grp.getgrnam(wanted["group"]).gr_gid,
            wanted["home"],
            wanted["shell"],
            wanted["comment"],
        )
    except KeyError:
        return False


def is_settled(wanted: dict) -> bool:
    """Whether a folder, or a file where a content is wanted, is there with its owner, group and mode."""
    try:
        found = os.stat(wanted["path"])
        if (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) != (uid(wanted["owner"]), gid(wanted["group"]), int(wanted["mode"], 8)):
            return False
        if "content" not in wanted:
            return stat.S_ISDIR(found.st_mode)
        with open(wanted["path"], encoding="utf-8") as stream:
            return stream.read() == wanted["content"]
    except (KeyError, OSError, UnicodeDecodeError):
        return False


def main(asked: dict) -> dict:
    """What is not in place, and what of ``exist`` is there."""
    return {
        "group": not has_group(asked["group"]),
        "account": not has_account(asked["account"]),
        "paths": [item["path"] for item in asked["paths"] if not is_settled(item)],
        "there": [path for path in asked["exist"] if os.path.exists(path)],
    }


if __name__ == "__main__":
    json.dump(main(json.loads(sys.argv[1])), sys.stdout)
