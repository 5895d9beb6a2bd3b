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


def add_commands(subparsers: t.Any) -> None:
    """Add ``hub`` to the subcommands of the lab; the parsed arguments carry ``function``, which returns the exit status."""
    parser = subparsers.add_parser("hub", help="a Hugging Face Hub for tests")
    add_actions(parser)


def add_actions(parser: argparse.ArgumentParser) -> None:
    """Add the actions of ``hub``."""
    serve = parser.add_subparsers(dest="action", required=True).add_parser("serve", help="serve until SIGTERM or SIGINT")
    serve.add_argument("--root", type=Path, help="folder with OWNER/NAME/files; served in place")
    serve.add_argument("--demo", action="store_true", help="serve two tiny models, demo/tiny-aurora and demo/tiny-borealis")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=0, help="0 picks a free one")
    serve.add_argument("--cdn-host", help="address of a second listener, which serves LFS files")
    serve.add_argument("--cdn-port", type=int, default=0)
    serve.add_argument("--token", action="append", default=[], metavar="TOKEN=USER", help="a token and its user; may be given often")
    serve.add_argument("--page-size", type=int, default=1000, help="entries of a listing page")
    serve.add_argument("--log", type=Path, help="write the request log here, as JSON lines")
    serve.add_argument("--pem", type=Path, help="certificate and key, for https")
    serve.add_argument("--port-file", type=Path, help="write the port here once the hub listens")
    serve.add_argument("--pid-file", type=Path)
    serve.set_defaults(function=run)


def _write(path: Path | None, text: str) -> None:
    """Write at once, so that a reader never sees half of it."""
    if path is not None:
        part = path.with_name(f".{path.name}.{os.getpid()}")
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(path)


def run(arguments: argparse.Namespace) -> int:
    """Serve; print one JSON line with url, cdn_url, pid and repos once ready."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *dummy: stop.set())
    tokens = dict(item.split("=", 1) for item in arguments.token)
    hub = Hub(
        arguments.host,
        arguments.port,
        cdn_host=arguments.cdn_host,
        cdn_port=arguments.cdn_port,
        tokens=tokens,
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
        hub.start()
        _write(arguments.port_file, hub.url.rpartition(":")[2])
        _write(arguments.pid_file, str(os.getpid()))
        repos = {name: repo.branches["main"] for name, repo in hub.store.repos.items()}
        print(json.dumps({"url": hub.url, "cdn_url": hub.cdn_url, "pid": os.getpid(), "repos": repos}), flush=True)
        stop.wait()
    finally:
        hub.stop()
        for file in (arguments.port_file, arguments.pid_file):
            if file is not None and file.exists():
                file.unlink()
    return 0
