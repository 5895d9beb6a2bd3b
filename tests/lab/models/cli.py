# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``lab models make``: write a tiny model folder."""
from __future__ import annotations

import argparse
import json
import typing as t
from pathlib import Path

from lab.models.hostile import HOSTILE_KINDS, hostile
from lab.models.tiny_gguf import gguf
from lab.models.tiny_llama import DEFAULT_REPLY, llama


def add_commands(subparsers: t.Any) -> None:
    """Add ``models`` to the subcommands of the lab; the parsed arguments carry ``function``, which returns the exit status."""
    parser = subparsers.add_parser("models", help="makers of tiny model folders")
    add_actions(parser)


def add_actions(parser: argparse.ArgumentParser) -> None:
    """Add the actions of ``models``."""
    make = parser.add_subparsers(dest="action", required=True).add_parser("make", help="write a model folder, print one JSON line")
    make.add_argument("kind", choices=["llama", "gguf", *HOSTILE_KINDS])
    make.add_argument("folder", type=Path)
    make.add_argument("--name", default="tiny", help="goes into the model card and the seed")
    make.add_argument("--reply", default=DEFAULT_REPLY, help="what the model says")
    make.add_argument("--no-system-role", action="store_true", help="a chat template that refuses the system role")
    make.add_argument("--shards", type=int, default=1)
    make.add_argument("--pad-mb", type=float, default=0, help="weights that change nothing, in MB")
    make.set_defaults(function=run)


def run(arguments: argparse.Namespace) -> int:
    """Make the folder; print its path and size."""
    options: dict[str, t.Any] = {"name": arguments.name, "system_role": not arguments.no_system_role}
    if arguments.kind == "gguf":
        folder = gguf(arguments.folder, **options)
    else:
        options.update(reply=arguments.reply, shards=arguments.shards, pad_mb=arguments.pad_mb)
        if arguments.kind == "llama":
            folder = llama(arguments.folder, **options)
        else:
            folder = hostile(arguments.folder, arguments.kind, **options)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(json.dumps({"folder": str(folder), "kind": arguments.kind, "size_bytes": size}))
    return 0
