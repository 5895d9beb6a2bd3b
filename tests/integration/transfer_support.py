# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of transfers over HTTP share: repositories of known bytes, and a transfer as a process that can be killed."""
from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile
from ansible_collections.venom.llm.plugins.module_utils.sources.hub import HubSource
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs
from ansible_collections.venom.llm.plugins.module_utils.transfer.engine import TransferOptions, TransferReport, fetch
from lab.hub import Hub

MIB = 1024 * 1024
NAME = "model.safetensors"


def add_content(hub: Hub, folder: Path, size: int, seed: int = 1) -> bytes:
    """A repository a/b with one large file of noise; returns its bytes."""
    content = random.Random(seed).randbytes(size)
    folder.mkdir(exist_ok=True)
    (folder / NAME).write_bytes(content)
    hub.add_repo("a/b", folder)
    return content


def file_of(url: str, content: bytes) -> RemoteFile:
    """The large file as a listing announces it."""
    return RemoteFile(NAME, len(content), hashlib.sha256(content).hexdigest(), None, f"{url}/a/b/resolve/main/{NAME}")


def source_of(url: str, cdn_url: str | None, stall_timeout: float = 10.0) -> HubSource:
    """The source of a hub whose large files come from a second host."""
    return HubSource(url, allowed_hosts=(cdn_url.rpartition("//")[2],) if cdn_url else (), stall_timeout=stall_timeout)


def fetch_from(
    hub: Hub, folder: Path, content: bytes, progress: t.Callable[[int, int], None] = lambda done, total: None, **options: t.Any
) -> TransferReport:
    """Fetch the large file in this process and compare what the store has."""
    given: dict[str, t.Any] = {"retry_policy": RetryPolicy(base=0.01), "stall_timeout": 10.0, **options}
    file, blobs = file_of(hub.url, content), Blobs(str(folder))
    report = fetch([source_of(hub.url, hub.cdn_url, given["stall_timeout"])], [file], blobs, TransferOptions(**given), progress)
    assert Path(blobs.path(report.digests[file.announced])).read_bytes() == content
    return report


_CHILD = """
import sys
from integration.transfer_support import file_of_parts, source_of
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs
from ansible_collections.venom.llm.plugins.module_utils.transfer.engine import TransferOptions, fetch
url, cdn_url, folder, size, sha256, streams = sys.argv[1:]
fetch([source_of(url, cdn_url)], [file_of_parts(url, int(size), sha256)], Blobs(folder), TransferOptions(int(streams)), lambda done, total: None)
"""


def file_of_parts(url: str, size: int, sha256: str) -> RemoteFile:
    """The large file for a process that does not have its bytes."""
    return RemoteFile(NAME, size, sha256, None, f"{url}/a/b/resolve/main/{NAME}")


def start_child(hub: Hub, folder: Path, content: bytes, streams: int) -> subprocess.Popen[bytes]:
    """Fetch the large file in a process of its own."""
    arguments = [hub.url, str(hub.cdn_url), str(folder), str(len(content)), hashlib.sha256(content).hexdigest(), str(streams)]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    return subprocess.Popen([sys.executable, "-c", _CHILD, *arguments], env=environment, stderr=subprocess.DEVNULL)


def sent(hub: Hub) -> int:
    """Bytes of the large file that left the hub, arrived or not."""
    return sum(entry.sent for entry in hub.log.entries(listener="cdn"))


def sent_in_all(hub: Hub) -> int:
    """The same, when the hub has noticed that its clients are gone. Raises ``TimeoutError``."""
    end = time.monotonic() + 60
    while not all(entry.done for entry in hub.log.entries(listener="cdn")):
        if time.monotonic() > end:
            raise TimeoutError("the hub still sends")
        time.sleep(0.01)
    return sent(hub)


def wait_for(condition: t.Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait for something that a child brings about. Raises ``TimeoutError``, also when it ends before."""
    end = time.monotonic() + 60
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            raise TimeoutError("it did not come to that")
        time.sleep(0.002)
