# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's bridge and the hosts' links to it. Only what carries this lab's mark is touched."""
from __future__ import annotations

import ipaddress
import json
import os
from pathlib import Path

from lab.settings import Settings
from lab.system import LabError, call

_NET = Path("/sys/class/net")


def ensure_bridge(settings: Settings) -> None:
    """Make the bridge with its address, or find it made. Raises ``LabError`` when its name or its subnet belongs to something else."""
    if exists(settings.bridge):
        if _alias(settings.bridge) != settings.owner:
            whose = _alias(settings.bridge) or "nobody's mark on it"
            raise LabError(f"interface {settings.bridge} is not this lab's ({whose}): set VENOM_LAB_BRIDGE and VENOM_LAB_NETWORK")
    else:
        _refuse_overlap(settings)
        call(["ip", "link", "add", settings.bridge, "type", "bridge"])
        call(["ip", "link", "set", "dev", settings.bridge, "alias", settings.owner])
    call(["ip", "address", "replace", str(settings.network), "dev", settings.bridge])
    call(["ip", "link", "set", settings.bridge, "up"])


def delete_bridge(settings: Settings) -> None:
    """Delete the bridge if it is ours."""
    if exists(settings.bridge) and _alias(settings.bridge) == settings.owner:
        call(["ip", "link", "delete", settings.bridge])


def link_name(machine: str) -> str:
    """This machine's end of a host's link, systemd-nspawn(1) ``--network-bridge``."""
    return f"vb-{machine}"


def set_link(machine: str, *, up: bool) -> None:
    """Cut a host off (its end keeps its address, packets go nowhere) or heal it."""
    if not exists(link_name(machine)):
        raise LabError(f"{machine} has no link: it does not run")
    call(["ip", "link", "set", link_name(machine), "up" if up else "down"])


def is_cut(machine: str) -> bool:
    """Is the host's link there but down? Flag IFF_UP, netdevice(7)."""
    try:
        return not int((_NET / link_name(machine) / "flags").read_text(encoding="ascii"), 16) & 1
    except OSError:
        return False


def block(machine: str, port: int) -> None:
    """Drop what comes to a host from this port, as a line does that has died without a word; everything else goes on. tc-htb(8), tc-u32(8)."""
    link = link_name(machine)
    if not exists(link):
        raise LabError(f"{machine} has no link: it does not run")
    unblock(machine)
    call(["tc", "qdisc", "add", "dev", link, "root", "handle", "1:", "htb"])
    call(["tc", "class", "add", "dev", link, "parent", "1:", "classid", "1:1", "htb", "rate", "1gbit", "quantum", "1500"])
    # A queue without room takes nothing.
    call(["tc", "qdisc", "add", "dev", link, "parent", "1:1", "pfifo", "limit", "0"])
    match = ["protocol", "ip", "u32", "match", "ip", "sport", str(port), "0xffff"]
    call(["tc", "filter", "add", "dev", link, "parent", "1:", *match, "flowid", "1:1"])


def unblock(machine: str) -> None:
    """End ``block``. Idempotent."""
    call(["tc", "qdisc", "delete", "dev", link_name(machine), "root"], check=False)


def limit(settings: Settings, port: int, rate: str) -> None:
    """Let a server of this machine send at most so much (tc(8), such as 100mbit) to all hosts together; hosts among themselves are not slowed."""
    unlimit(settings)
    call(["tc", "qdisc", "add", "dev", settings.bridge, "root", "handle", "1:", "htb"])
    call(["tc", "class", "add", "dev", settings.bridge, "parent", "1:", "classid", "1:1", "htb", "rate", rate, "quantum", "60000"])
    match = ["protocol", "ip", "u32", "match", "ip", "sport", str(port), "0xffff"]
    call(["tc", "filter", "add", "dev", settings.bridge, "parent", "1:", *match, "flowid", "1:1"])


def unlimit(settings: Settings) -> None:
    """End ``limit``. Idempotent."""
    call(["tc", "qdisc", "delete", "dev", settings.bridge, "root"], check=False)


def delete_link(machine: str) -> None:
    """After a power cut the kernel takes the link away late; the next boot must not find it."""
    if exists(link_name(machine)):
        call(["ip", "link", "delete", link_name(machine)], check=False)


def exists(interface: str) -> bool:
    return os.path.lexists(_NET / interface)


def _alias(interface: str) -> str:
    try:
        return (_NET / interface / "ifalias").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _refuse_overlap(settings: Settings) -> None:
    for interface in json.loads(call(["ip", "-json", "address"]).stdout):
        for info in interface.get("addr_info", ()):
            if info.get("family") != "inet":
                continue
            other = ipaddress.IPv4Interface(f"{info['local']}/{info['prefixlen']}")
            if other.network.overlaps(settings.network.network):
                raise LabError(f"{settings.network.network} is in use on {interface['ifname']} ({other}): set VENOM_LAB_NETWORK")
