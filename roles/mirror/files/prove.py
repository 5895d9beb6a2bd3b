# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch the smallest file of the stores through a mirror and hash it; where they are empty, ask for one that is not there.

Standard input: url, ca, username, password, stores as a JSON object. Prints what came; exit status 1 when it is not right. Run with
``python -c``: standard library only.
"""
from __future__ import annotations

import base64
import glob
import hashlib
import json
import os
import re
import ssl
import sys
import time
import typing as t
import urllib.error
import urllib.request

#: Seconds for a mirror that has just been started to answer.
PATIENCE = 10.0


def smallest(stores: list[str]) -> str | None:
    """Digest of the smallest file."""
    paths = glob.glob(glob.escape(stores[0]) + "/sha256/??/*") + glob.glob(glob.escape(stores[1]) + "/sha256-*")
    found = {path: re.search(r"[-/]([0-9a-f]{64})$", path) for path in paths if os.path.isfile(path)}
    named = [(os.stat(path).st_size, match.group(1)) for path, match in found.items() if match]
    return min(named)[1] if named else None


def ask(wanted: dict[str, t.Any], digest: str) -> tuple[int, str]:
    """Status and digest of an answer. Raises OSError, of which URLError is one, when there is none."""
    headers = {}
    if wanted["username"]:
        login = base64.b64encode((wanted["username"] + ":" + wanted["password"]).encode()).decode()
        headers["Authorization"] = "Basic " + login
    # Proxies of the environment are for the way out.
    handlers: list[t.Any] = [urllib.request.ProxyHandler({})]
    if wanted["url"].startswith("https:"):
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=wanted["ca"] or None)))
    opener = urllib.request.build_opener(*handlers)
    try:
        with opener.open(urllib.request.Request(wanted["url"] + "/sha256/" + digest, headers=headers), timeout=PATIENCE) as answer:
            hashed = hashlib.sha256()
            for block in iter(lambda: answer.read(1 << 20), b""):
                hashed.update(block)
            return answer.status, hashed.hexdigest()
    except urllib.error.HTTPError as error:
        return error.code, ""


def main() -> int:
    """Ask until the mirror has started."""
    wanted = json.load(sys.stdin)
    digest = smallest(wanted["stores"])
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            status, found = ask(wanted, digest or "0" * 64)
        except OSError as error:
            is_starting = isinstance(getattr(error, "reason", error), ConnectionRefusedError)
            if is_starting and time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            print(error)
            return 1
        print(f"status {status} for {digest or 'a file that is not there'}")
        return 0 if (status, found) == ((200, digest) if digest else (404, "")) else 1


sys.exit(main())
