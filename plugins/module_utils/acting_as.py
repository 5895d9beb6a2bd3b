# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of another account, touched with its rights and not with those of root: what it could not do itself is not done for it either."""
from __future__ import annotations

import contextlib
import os
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError


@contextlib.contextmanager
def acting_as(uid: int, gid: int) -> t.Iterator[None]:
    """Open, create and remove files as this account, in this process. Raises ``permission_denied`` where neither root nor it runs us.

    A folder that an account can write is a folder where it can put a link in the way of root. The real user id stays, so the account
    can neither trace nor stop this process. All that is needed has to be imported before: the code may lie where only root can read.
    """
    before = os.geteuid()
    if before == uid:
        yield
        return
    if before != 0:
        raise VenomError("permission_denied", wanted=f"to act as uid {uid}", found=f"uid {before}", todo="run it as that account, or as root")
    groups, group = os.getgroups(), os.getegid()
    try:
        os.setgroups([gid])
        os.setegid(gid)
        os.seteuid(uid)
        yield
    finally:
        os.seteuid(before)
        os.setegid(group)
        os.setgroups(groups)
