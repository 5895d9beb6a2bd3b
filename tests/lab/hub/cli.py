# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``lab hub serve``: a hub of its own process, for demonstrations and for tests on other hosts."""
from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
import threading
import typing as t
from pathlib import Path

from lab.hub.demo import add_demo
from lab.hub.server import Hub
from lab.hub.site import Site


def add_commands(subparsers: t.Any) -> None:
    """Add ``hub`` to the subcommands of the lab; the parsed arguments carry ``function``, which returns the exit status."""
    parser = subparsers.add_parser("hub", help="a Hugging Face Hub for tests")
    add_actions(parser)


def add_actions(parser: argparse.ArgumentParser) -> None:
    """Add the actions of ``hub``."""
    serve = parser.add_subparsers(dest="action", required=True).add_parser("serve", help="serve until SIGTERM or SIGINT")
    serve.add_argument("--root", type=Path, help="folder with OWNER/NAME/files; served in place")
    serve.add_argument("--demo", action="store_true", help="serve two tiny models, demo/tiny-aurora and demo/tiny-borealis")
    add_listener_options(serve, None)
    serve.add_argument("--token", action="append", default=[], metavar="TOKEN=USER", help="a token and its user; may be given often")
    serve.add_argument("--page-size", type=int, default=1000, help="entries of a listing page")
    serve.set_defaults(function=run)


def add_listener_options(serve: argparse.ArgumentParser, cdn_host: str | None) -> None:
    """The options that hub and registry share."""
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=0, help="0 picks a free one")
    serve.add_argument("--cdn-host", default=cdn_host, help="address of a second listener, which serves large files (default: %(default)s)")
    serve.add_argument("--cdn-port", type=int, default=0)
    serve.add_argument("--log", type=Path, help="write the request log here, as JSON lines")
    serve.add_argument("--pem", type=Path, help="certificate and key, for https")
    serve.add_argument("--port-file", type=Path, help="write the port here once it listens")
    serve.add_argument("--pid-file", type=Path)


def _write(path: Path | None, text: str) -> None:
    """Write at once, so that a reader never sees half of it."""
    if path is not None:
        part = path.with_name(f".{path.name}.{os.getpid()}")
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(path)


def serve_until_told(site: Site, arguments: argparse.Namespace, describe: t.Callable[[], dict[str, t.Any]]) -> int:
    """Start, print one JSON line with url, cdn_url, pid and what ``describe`` adds; stop at SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *dummy: stop.set())
    try:
        site.start()
        _write(arguments.port_file, site.url.rpartition(":")[2])
        _write(arguments.pid_file, str(os.getpid()))
        print(json.dumps({"url": site.url, "cdn_url": site.cdn_url, "pid": os.getpid(), **describe()}), flush=True)
        stop.wait()
    finally:
        site.stop()
        for file in (arguments.port_file, arguments.pid_file):
            if file is not None and file.exists():
                file.unlink()
    return 0


def run(arguments: argparse.Namespace) -> int:
    """Serve; the JSON line has repos, too."""
    hub = Hub(
        arguments.host,
        arguments.port,
        cdn_host=arguments.cdn_host,
        cdn_port=arguments.cdn_port,
        tokens=dict(item.split("=", 1) for item in arguments.token),
        page_size=arguments.page_size,
        log_path=arguments.log,
        pem=arguments.pem,
    )
    try:
        if arguments.demo:
            with tempfile.TemporaryDirectory(prefix="lab-demo-") as folder:
                add_demo(hub, Path(folder))
        for path in sorted(arguments.root.glob("*/*")) if arguments.root else []:
            if path.is_dir():
                hub.add_repo(path.relative_to(arguments.root).as_posix(), path, copy=False)
        return serve_until_told(hub, arguments, lambda: {"repos": {name: repo.branches["main"] for name, repo in hub.store.repos.items()}})
    finally:
        hub.stop()
