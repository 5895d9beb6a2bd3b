# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a lab lives and how it is told from its neighbours: state folder, cache folder, bridge, subnet, machine names."""
from __future__ import annotations

import hashlib
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from lab.system import LabError, filesystem

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Settings:
    """One lab. ``network`` is the address of the bridge with its prefix length, such as 10.213.0.1/24."""

    state: Path
    cache: Path
    bridge: str
    network: ipaddress.IPv4Interface

    @classmethod
    def from_env(cls, state: Path | None = None) -> Settings:
        """VENOM_LAB_STATE, _CACHE, _BRIDGE and _NETWORK of the environment, or their defaults. Raises ``LabError`` on an unusable one."""
        env = os.environ
        text = env.get("VENOM_LAB_NETWORK") or "10.213.0.1/24"
        try:
            network = ipaddress.IPv4Interface(text)
        except ValueError as exc:
            raise LabError(f"VENOM_LAB_NETWORK={text}: {exc}; wanted the bridge's address, such as 10.213.0.1/24") from exc
        if network.network.num_addresses < 256 or network.ip != network.network.network_address + 1:
            raise LabError(f"VENOM_LAB_NETWORK={text}: wanted the first address of a /24 or larger, such as 10.213.0.1/24")
        bridge = env.get("VENOM_LAB_BRIDGE") or "venomlab0"
        if not 1 <= len(bridge) <= 15 or "/" in bridge:
            raise LabError(f"VENOM_LAB_BRIDGE={bridge}: an interface name has 1 to 15 characters")
        return cls(
            state=(state or Path(env.get("VENOM_LAB_STATE") or CHECKOUT / ".lab")).expanduser().resolve(),
            cache=Path(env.get("VENOM_LAB_CACHE") or "~/.cache/venom-lab").expanduser().resolve(),
            bridge=bridge,
            network=network,
        )

    @property
    def prefix(self) -> str:
        """Starts every machine name of this lab. Short, because a link is called ``vb-<prefix>-lab99`` and 15 characters are allowed."""
        return "v" + hashlib.sha256(f"{self.state}\n{self.bridge}".encode()).hexdigest()[:4]

    @property
    def owner(self) -> str:
        """Written on the bridge as its alias: what tells our bridge from another of the same name."""
        return f"venom-lab {self.state}"

    @property
    def run(self) -> Path:
        """Sockets of ssh. Not in the state folder: a Unix socket's path has 108 bytes, unix(7), and a checkout may lie deep."""
        return Path("/run/venom-lab") / self.prefix

    def address(self, index: int) -> ipaddress.IPv4Interface:
        """The address of the host with this number (1 is lab1)."""
        return ipaddress.IPv4Interface(f"{self.network.network.network_address + 10 + index}/{self.network.network.prefixlen}")

    def check_disk(self) -> None:
        """Raise unless the hosts' disks would be real: an overlay cannot hold an upper layer, and a tmpfs is no disk."""
        for folder in (self.state, self.cache):
            if any(letter in str(folder) for letter in ":,\\"):
                raise LabError(f"{folder}: the mount options of overlayfs cannot hold ':' ',' or a backslash in a path")
        kind = filesystem(self.state)
        if kind in ("tmpfs", "ramfs", "overlay"):
            raise LabError(f"{self.state} lies on {kind}: hosts need a real disk; point VENOM_LAB_STATE at one")
