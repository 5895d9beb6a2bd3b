# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a mirror meets on a host, as one JSON line. Argument: address, port and names as a JSON object.

Run with ``python -c``, so it uses the standard library only.
"""
from __future__ import annotations

import errno
import glob
import grp
import ipaddress
import json
import os
import pwd
import socket
import sys


def addresses(name):
    """What the host knows a name by."""
    try:
        return list(dict.fromkeys(each[4][0] for each in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)))
    except (OSError, UnicodeError):
        return []


def bind(ip, port):
    """The number of the error that a listener would get, or 0."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((ip, port))
    except (OSError, OverflowError) as error:
        return getattr(error, "errno", None) or errno.EINVAL
    return 0


def sockets_on(port):
    """Names of the listening sockets of a port, as they stand in /proc/PID/fd; proc_pid_net(5)."""
    found = set()
    for name in ("tcp", "tcp6"):
        try:
            with open("/proc/net/" + name, encoding="ascii") as stream:
                lines = [line.split() for line in stream.readlines()[1:]]
        except OSError:
            continue
        found |= {"socket:[" + line[9] + "]" for line in lines if line[3] == "0A" and int(line[1].rpartition(":")[2], 16) == port}
    return found


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def holder(port, unit):
    """Who listens on the port, unless it is the unit itself."""
    wanted = sockets_on(port)
    for path in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(path) not in wanted:
                continue
        except OSError:
            continue
        pid = path.split("/")[2]
        if "/" + unit + ".service" in read("/proc/" + pid + "/cgroup"):
            return None
        return "pid " + pid + ", " + (read("/proc/" + pid + "/cmdline").replace("\0", " ").strip() or "of unknown command")
    return "a process that is not to be seen"


def exists(find, name):
    try:
        find(name)
    except KeyError:
        return False
    return True


def networks(texts):
    """Networks and addresses as they are, names as all that the host knows them by; and those that are neither."""
    found, wrong = [], []
    for text in texts:
        try:
            known = [str(ipaddress.ip_network(text))]
        except ValueError:
            known = [] if "/" in text else addresses(text)
        found.extend(known)
        wrong.extend([] if known else [text])
    return found, wrong


def main():
    wanted = json.loads(sys.argv[1])
    ip = next(iter(addresses(wanted["address"])), None)
    allowed, wrong = networks(wanted["networks"])
    lacking = [folder for folder in wanted["folders"] if not os.path.isdir(folder)]
    lacking += ["account " + wanted["account"]] if not exists(pwd.getpwnam, wanted["account"]) else []
    lacking += ["group " + wanted["group"]] if not exists(grp.getgrnam, wanted["group"]) else []
    # Port 0 is any free one: what is left to fail is the address.
    is_on_host = bool(ip) and bind(ip, 0) == 0
    is_taken = is_on_host and bind(ip, wanted["port"]) == errno.EADDRINUSE
    print(json.dumps({
        "has_nginx": os.access("/usr/sbin/nginx", os.X_OK),
        "ip": ip,
        "is_on_host": is_on_host,
        "is_loopback": bool(ip) and ipaddress.ip_address(ip.partition("%")[0]).is_loopback,
        "holder": holder(wanted["port"], wanted["unit"]) if is_taken else None,
        "networks": allowed,
        "bad_networks": wrong,
        "missing": [path for path in wanted["files"] if not os.path.isfile(path)],
        "lacking": lacking,
    }))  # fmt: skip


main()
