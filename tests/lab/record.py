# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab remembers: its hosts, in ``<state>/lab.json``, and the files that let ssh and Ansible reach them."""
from __future__ import annotations

import ipaddress
import json
import os
import typing as t
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lab import images
from lab.settings import Settings
from lab.system import LabError, call

#: Everything that the lab writes into its state folder beside the folder ``hosts``.
KEYS = ("id_ed25519", "host_ed25519")
FILES = ("lab.json", "ssh_config", "known_hosts", "inventory.yml", *KEYS, *(f"{key}.pub" for key in KEYS))


@dataclass(frozen=True)
class HostSpec:
    """One host as it was asked for. ``image`` is the folder it stands on, ``layers`` those between it and its own disk, topmost first."""

    index: int
    suite: str
    image: str
    layers: tuple[str, ...] = ()
    binds_ro: tuple[str, ...] = ()
    tmpfs: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, data: dict[str, t.Any]) -> HostSpec:
        many = {key: tuple(str(text) for text in data[key]) for key in ("layers", "binds_ro", "tmpfs")}
        return cls(int(data["index"]), str(data["suite"]), str(data["image"]), **many)

    @property
    def name(self) -> str:
        return f"lab{self.index}"


@dataclass(frozen=True)
class Record:
    """The whole lab as it was asked for."""

    settings: Settings
    hosts: tuple[HostSpec, ...] = ()

    @classmethod
    def load(cls, settings: Settings) -> Record:
        """What the state folder says; an empty lab when there is none. A living lab keeps the bridge and subnet it was made with."""
        file = settings.state / "lab.json"
        if not file.exists():
            return cls(settings)
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            settings = replace(
                settings, cache=Path(data["cache"]), bridge=data["bridge"], network=ipaddress.IPv4Interface(data["network"])
            )
            return cls(settings, tuple(map(HostSpec.from_dict, data["hosts"])))
        except (ValueError, KeyError, TypeError) as exc:
            raise LabError(f"{file} cannot be read ({exc}): remove the lab with 'lab down'") from exc

    def save(self) -> None:
        data = {
            "bridge": self.settings.bridge,
            "network": str(self.settings.network),
            "cache": str(self.settings.cache),
            "hosts": [asdict(host) for host in self.hosts],
        }
        write(self.settings.state / "lab.json", json.dumps(data, indent=2) + "\n")
        if self.hosts:
            write_access(self)

    def host(self, name: str) -> HostSpec:
        for host in self.hosts:
            if host.name == name:
                return host
        raise LabError(f"no host {name!r} here: there are {', '.join(h.name for h in self.hosts) or 'none'}")

    def with_host(self, host: HostSpec) -> Record:
        others = [other for other in self.hosts if other.index != host.index]
        return replace(self, hosts=tuple(sorted([*others, host], key=lambda h: h.index)))

    def address(self, host: HostSpec) -> str:
        return str(self.settings.address(host.index).ip)


def ensure_keys(settings: Settings) -> None:
    """The lab's own key pairs, for ssh's user and for the hosts' sshd, so that known_hosts can be strict and nobody's key is used."""
    for name in KEYS:
        if not (settings.state / name).exists():
            call(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "venom-lab", "-f", str(settings.state / name)])


def write_access(record: Record) -> None:
    """Write ``ssh_config``, ``known_hosts`` and ``inventory.yml`` for all hosts of the lab."""
    state = record.settings.state
    kind, key = (state / "host_ed25519.pub").read_text(encoding="utf-8").split()[:2]
    write(state / "known_hosts", "".join(f"{record.address(host)} {kind} {key}\n" for host in record.hosts))
    write(state / "ssh_config", _ssh_config(record))
    write(state / "inventory.yml", _inventory(record))


def write(file: Path, text: str, mode: int = 0o644) -> None:
    """Replace a file as a whole: a reader sees the old text or the new."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(text)
    temporary.replace(file)


def _ssh_config(record: Record) -> str:
    state = record.settings.state
    hosts = "".join(f"Host {h.name} {record.address(h)}\n    HostName {record.address(h)}\n\n" for h in record.hosts)
    # ServerAlive: a connection that is kept open must notice a power cut instead of hanging in the next task.
    return hosts + (
        "Host *\n    User root\n"
        f'    IdentityFile "{state / "id_ed25519"}"\n    IdentitiesOnly yes\n    IdentityAgent none\n'
        f'    UserKnownHostsFile "{state / "known_hosts"}"\n    GlobalKnownHostsFile none\n    StrictHostKeyChecking yes\n'
        "    BatchMode yes\n    ConnectTimeout 5\n    ServerAliveInterval 3\n    ServerAliveCountMax 2\n    LogLevel ERROR\n"
    )


def _inventory(record: Record) -> str:
    """A string of JSON is a string of YAML, so json quotes the values."""
    settings = record.settings
    shared: dict[str, t.Any] = {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(settings.state / "id_ed25519"),
        "ansible_ssh_common_args": f'-F "{settings.state / "ssh_config"}"',
        "ansible_control_path_dir": str(settings.run),
        "ansible_pipelining": True,
        "ansible_python_interpreter": "/usr/bin/python3",
        "lab_address": str(settings.network.ip),
    }
    lines = ["---", "# Written by the lab; it goes with 'lab down'.", "venom:", "  hosts:"]
    for host in record.hosts:
        lines += [f"    {host.name}:", f"      ansible_host: {record.address(host)}", f"      lab_suite: {host.suite}"]
        if host.suite == "trixie":
            lines.append(f"      lab_python311: {images.PYTHON311_HOME}/usr/bin/python3.11")
        else:
            lines.append("      lab_python311: /usr/bin/python3.11")
    lines.append("  vars:")
    lines += [f"    {name}: {json.dumps(value)}" for name, value in shared.items()]
    return "\n".join(lines) + "\n"
