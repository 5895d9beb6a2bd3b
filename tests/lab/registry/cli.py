# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``lab registry serve``: a registry of its own process, for demonstrations and for tests on other hosts."""
from __future__ import annotations

import argparse
import typing as t
from pathlib import Path

from lab.hub.cli import add_listener_options, serve_until_told
from lab.models import ollama_layers
from lab.registry.access import AUTHS
from lab.registry.server import MODES, Registry

#: The models of the demonstration, and the seeds of their weights; they share the template.
DEMO = {"library/tiny-aurora": 1, "library/tiny-borealis": 2}


def add_commands(subparsers: t.Any) -> None:
    """Add ``registry`` to the subcommands of the lab; the parsed arguments carry ``function``, which returns the exit status."""
    parser = subparsers.add_parser("registry", help="an OCI registry with Ollama models, for tests")
    add_actions(parser)


def add_actions(parser: argparse.ArgumentParser) -> None:
    """Add the actions of ``registry``."""
    serve = parser.add_subparsers(dest="action", required=True).add_parser("serve", help="serve until SIGTERM or SIGINT")
    serve.add_argument("--models", type=Path, help="an Ollama models folder (OLLAMA_MODELS); served in place")
    serve.add_argument("--demo", action="store_true", help=f"serve {' and '.join(DEMO)}")
    serve.add_argument("--pad-mb", type=float, default=0, help="so many MB more of weights in the demonstration's models")
    serve.add_argument("--mode", choices=list(MODES), default="307", help="how a blob is handed out (default: %(default)s)")
    serve.add_argument("--auth", choices=AUTHS, default="none")
    serve.add_argument("--user", action="append", default=[], metavar="NAME=PASSWORD", help="may be given often")
    serve.add_argument("--realm", help="where a bearer challenge sends the client (default: /token of the registry itself)")
    add_listener_options(serve, "127.0.0.2")
    serve.set_defaults(function=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve; the JSON line has repositories with their tags, too."""
    registry = Registry(
        arguments.host,
        arguments.port,
        cdn_host=arguments.cdn_host,
        cdn_port=arguments.cdn_port,
        mode=arguments.mode,
        auth=arguments.auth,
        users=dict(item.split("=", 1) for item in arguments.user),
        realm=arguments.realm,
        log_path=arguments.log,
        pem=arguments.pem,
    )
    try:
        for repository, seed in DEMO.items() if arguments.demo else ():
            config, layers = ollama_layers(registry.folder / repository, arguments.pad_mb, seed)
            registry.add(repository, "latest", layers, config)
        if arguments.models:
            registry.store.add_models(arguments.models)
        return serve_until_told(registry, arguments, lambda: {"repos": {name: held.tags for name, held in registry.store.repositories.items()}})
    finally:
        registry.stop()
