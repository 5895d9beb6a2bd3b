# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that is hard to end: four processes that hold one listener, shared memory and semaphores, three of which ignore SIGTERM.

Arguments: the port, and the name that its shared memory begins with. One child leaves the session, one leaves the session, its parent
and its environment, and becomes another program. Standard library only, and fast to start; it says ``up`` when all of it is there.
"""
from __future__ import annotations

import ctypes
import mmap
import os
import signal
import socket
import sys
import time

KEPT = []


def share(part: str) -> None:
    """A file of shared memory that stays mapped, and nothing else open."""
    descriptor = os.open(f"/dev/shm/psm_{sys.argv[2]}-{part}", os.O_RDWR | os.O_CREAT, 0o600)
    os.ftruncate(descriptor, 4096)
    KEPT.append(mmap.mmap(descriptor, 4096))
    os.close(descriptor)


def child(part: str, ready: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    share(part)
    if part != "near":
        os.setsid()
    if part == "disguised":
        # Its parent goes at once, and so does all by which one could tell where it comes from. The listener goes with it.
        if os.fork():
            os._exit(0)
        os.write(ready, b"x")
        os.execve("/bin/sleep", ["sleep", "600"], {})
    os.write(ready, b"x")
    time.sleep(600)
    os._exit(0)


def main() -> None:
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    os.set_inheritable(listener.fileno(), True)
    library = ctypes.CDLL(None)
    library.shmget(0, 4096, 0o1600)
    library.semget(0, 1, 0o1600)
    reading, writing = os.pipe()
    for part in ("near", "apart", "disguised"):
        pid = os.fork()
        if pid == 0:
            child(part, writing)
        if part == "disguised":
            os.waitpid(pid, 0)
    share("leader")
    for dummy in range(3):
        os.read(reading, 1)
    print("up", flush=True)
    time.sleep(600)


if __name__ == "__main__":
    main()
