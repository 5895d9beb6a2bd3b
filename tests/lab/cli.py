# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the lab. Exit status: 0 done, 1 the lab says why not, 2 wrong usage or this machine cannot run hosts."""
from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import shlex
import sys
import time
import typing as t
from dataclasses import asdict
from pathlib import Path

from lab import images, layers, wheels
from lab.hosts import TOOLS, Lab
from lab.settings import Settings
from lab.system import LabError, NotReady, require


def main(argv: t.Sequence[str] | None = None) -> int:
    parser = build_parser()
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.function(arguments) or 0)
    except NotReady as exc:
        print(f"lab: {exc}", file=sys.stderr)
        return 2
    except (LabError, OSError) as exc:
        print(f"lab: {exc}", file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    """Every command sets ``function``, a function of the parsed arguments that returns an exit status."""
    parser = argparse.ArgumentParser(prog="lab", description="Real systemd hosts, a hub and tiny models to test on.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_image_commands(commands)
    _add_lab_commands(commands)
    _add_host_commands(commands)
    for neighbour in ("lab.hub.cli", "lab.registry.cli", "lab.ollama.cli", "lab.models.cli"):
        _add_from(neighbour, commands)
    return parser


def _add_from(module: str, commands: t.Any) -> None:
    """Commands of the lab's other parts, where they are: each part describes its own."""
    if importlib.util.find_spec(module.rpartition(".")[0]) is None or importlib.util.find_spec(module) is None:
        return
    add = getattr(importlib.import_module(module), "add_commands", None)
    if add is not None:
        add(commands)


def _add_image_commands(commands: t.Any) -> None:
    image = commands.add_parser("image", help="build and cache the root of a suite")
    image.add_argument("suite", nargs="?", choices=images.SUITES, default="bookworm")
    image.set_defaults(function=_image)

    fetch = commands.add_parser("wheels", help="fill a folder with the wheels of the real vLLM (CPU) and of the modules")
    fetch.add_argument("folder", type=Path, nargs="?", help="default: <cache>/wheels")
    fetch.add_argument("--python", default="3.11", help="version of the hosts' Python (default: %(default)s)")
    fetch.add_argument("--only", choices=sorted(wheels.SETS), help="one set instead of both")
    fetch.set_defaults(function=_wheels)

    layer = commands.add_parser("layer", help="keep what a host has installed, for others to boot on").add_subparsers(required=True)
    save = layer.add_parser("save", help="stop HOST, keep its disk as layer NAME, boot it again on top")
    save.add_argument("name")
    save.add_argument("host")
    save.set_defaults(function=_layer_save)
    layer.add_parser("list", help="the layers in the cache").set_defaults(function=_layer_list)
    remove = layer.add_parser("remove", help="delete layer NAME of a suite")
    remove.add_argument("name")
    remove.add_argument("--suite", choices=images.SUITES, default="bookworm")
    remove.set_defaults(function=_layer_remove)


def _add_lab_commands(commands: t.Any) -> None:
    up = commands.add_parser("up", help="boot hosts lab1..labN; hosts that run are left alone")
    up.add_argument("--hosts", type=int, default=1, metavar="N")
    up.add_argument("--suite", choices=(*images.SUITES, "mixed"), default="bookworm", help="mixed: in turn (default: %(default)s)")
    up.add_argument("--bind-ro", action="append", default=[], metavar="SRC:DST", help="show a folder of this machine to every new host")
    up.add_argument("--tmpfs", action="append", default=[], metavar="PATH:SIZE", help="a small disk to fill; it forgets at a stop")
    up.add_argument("--layer", metavar="NAME", help="boot new hosts on this layer, see 'lab layer save'")
    up.add_argument("--timeout", type=float, default=60, metavar="S", help="for each host to answer (default: %(default)g)")
    up.set_defaults(function=_up)

    status = commands.add_parser("status", help="what runs")
    status.add_argument("--json", action="store_true")
    status.set_defaults(function=_status)
    commands.add_parser("down", help="stop and remove everything of this lab").set_defaults(function=lambda arguments: Lab().down())
    commands.add_parser("clean", help="down, and the cache too").set_defaults(function=_clean)


def _add_host_commands(commands: t.Any) -> None:
    actions: dict[str, tuple[str, t.Callable[[Lab, str], t.Any]]] = {
        "power-cut": ("SIGKILL to the host's nspawn and everything in it; its disk stays", Lab.power_cut),
        "boot": ("power on a host that was cut or stopped", Lab.boot),
        "stop": ("shut a host down cleanly", lambda lab, host: "stopped" if lab.stop(host) else "killed: it did not shut down in time"),
        "reboot": ("shut a host down cleanly, then boot it", Lab.reboot),
        "cut": ("take a host off the network", Lab.cut),
        "heal": ("put a host back on the network", Lab.heal),
    }
    for name, (text, action) in actions.items():
        command = commands.add_parser(name, help=text)
        command.add_argument("host")
        command.set_defaults(function=_host_handler(action))
    ssh = commands.add_parser("ssh", help="a shell on a host, or: lab ssh HOST -- COMMAND ...")
    ssh.add_argument("host")
    ssh.add_argument("command", nargs=argparse.REMAINDER)
    ssh.set_defaults(function=_ssh)


def _host_handler(action: t.Callable[[Lab, str], t.Any]) -> t.Callable[[argparse.Namespace], None]:
    def handle(arguments: argparse.Namespace) -> None:
        require(*TOOLS)
        said = action(Lab(), arguments.host)
        print(f"{arguments.host}: {said or 'done'}")

    return handle


def _image(arguments: argparse.Namespace) -> None:
    print(images.ensure(Settings.from_env(), arguments.suite))


def _wheels(arguments: argparse.Namespace) -> None:
    folder = arguments.folder or Settings.from_env().cache / "wheels"
    wheels.ensure(folder, arguments.python, [arguments.only] if arguments.only else tuple(wheels.SETS))
    print(folder)


def _layer_save(arguments: argparse.Namespace) -> None:
    require(*TOOLS)
    print(Lab().save_layer(arguments.name, arguments.host).folder)


def _layer_list(arguments: argparse.Namespace) -> None:
    for layer in layers.every(Settings.from_env()):
        print(f"{layer.name}  {layer.suite}  on {layer.image}  {layer.folder}")


def _layer_remove(arguments: argparse.Namespace) -> int:
    require("mount")
    if layers.remove(Settings.from_env(), arguments.name, arguments.suite):
        return 0
    print(f"lab: no layer {arguments.name} for {arguments.suite}", file=sys.stderr)
    return 1


def _up(arguments: argparse.Namespace) -> None:
    began = time.monotonic()
    lab = Lab()
    before = {host.name: host for host in lab.record.hosts}
    states = lab.up(
        arguments.hosts,
        arguments.suite,
        binds_ro=arguments.bind_ro,
        tmpfs=arguments.tmpfs,
        layer=arguments.layer,
        timeout=arguments.timeout,
    )
    for host in lab.status():
        kept = "  (was here: keeps its suite, binds and layers)" if host.name in before else ""
        print(f"{host.name}  {host.address}  {host.suite}  {states[host.name]}{kept}")
    print(f"{len(states)} hosts up in {time.monotonic() - began:.1f} s; inventory: {lab.inventory}")


def _status(arguments: argparse.Namespace) -> None:
    lab = Lab()
    hosts = lab.status()
    if arguments.json:
        print(json.dumps({"state": str(lab.settings.state), "hosts": [asdict(host) for host in hosts]}, indent=2))
        return
    print(f"lab in {lab.settings.state}, bridge {lab.settings.bridge} {lab.settings.network}")
    for host in hosts:
        print(f"{host.name}  {host.address}  {host.suite}  {host.state}  pid {host.pid or '-'}  layers {', '.join(host.layers) or '-'}")


def _clean(arguments: argparse.Namespace) -> None:
    require("ip", "mount")
    Lab().clean()


def _ssh(arguments: argparse.Namespace) -> int:
    require("ssh")
    lab = Lab()
    lab.record.host(arguments.host)
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    argv = lab.ssh_argv(arguments.host)
    if command:
        argv.append(shlex.join(command))
    os.execvp(argv[0], argv)
