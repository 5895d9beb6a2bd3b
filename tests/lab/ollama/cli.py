# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``ollama``: serve, pull, list, ps, show, rm, cp, stop, --version; exit status 1 and ``Error: ...`` for every failure."""
from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import time
import typing as t
import urllib.parse
from datetime import datetime, timezone

from lab.ollama.config import VERSION, Config
from lab.ollama.process import serve
from lab.ollama.server import command

_BEGIN, _END = "\x1b[?2026h\x1b[?25l\x1b[1G", "\x1b[?25h\x1b[?2026l"
_SPINNER = "\x1b[?25l\x1b[?2026h\x1b[?25l\x1b[1G\x1b[K\x1b[?25h\x1b[?2026l\x1b[2K\x1b[1G\x1b[?25h"


def add_commands(subparsers: t.Any) -> None:
    """Add ``ollama serve`` and ``ollama command`` to the command line of the lab."""
    actions = subparsers.add_parser("ollama", help="a stand-in for the Ollama server").add_subparsers(required=True)
    start = actions.add_parser("serve", help="serve until SIGTERM; other settings are the variables of the real server")
    start.add_argument("--models", required=True, help="folder of the models (OLLAMA_MODELS)")
    start.add_argument("--host", default="127.0.0.1")
    start.add_argument("--port", type=int, default=11434, help="0 picks a free one and logs it (default: %(default)s)")
    start.set_defaults(function=_serve)
    put = actions.add_parser("command", help="put an executable ollama into FOLDER, for PATH")
    put.add_argument("folder")
    put.set_defaults(function=lambda arguments: print(command(arguments.folder)))


def _serve(arguments: argparse.Namespace) -> int:
    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    return serve({**os.environ, "OLLAMA_MODELS": arguments.models, "OLLAMA_HOST": f"{host}:{arguments.port}"})


class Failed(Exception):
    """What is said after ``Error: ``."""


class Down(Failed):
    """Nobody answers."""

    def __init__(self) -> None:
        super().__init__("could not connect to ollama server, run 'ollama serve' to start it")


def main(argv: t.Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    arguments = _parser().parse_args(argv)
    if arguments.command in ("serve", "start"):
        return serve()
    try:
        if arguments.version:
            _version()
        elif arguments.command is None:
            _parser().print_help()
        else:
            arguments.function(Client(), arguments)
    except Failed as exc:
        print(f"Error: {exc}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ollama", description="A stand-in for Ollama.")
    parser.add_argument("-v", "--version", action="store_true")
    commands = parser.add_subparsers(dest="command")
    for name in ("serve", "start"):
        commands.add_parser(name)
    pull = commands.add_parser("pull")
    pull.add_argument("model")
    pull.add_argument("--insecure", action="store_true")
    pull.set_defaults(function=_pull)
    for name in ("list", "ls"):
        listing = commands.add_parser(name)
        listing.add_argument("prefix", nargs="?", default="")
        listing.set_defaults(function=_list)
    commands.add_parser("ps").set_defaults(function=_ps)
    show = commands.add_parser("show")
    show.add_argument("model")
    show.add_argument("--modelfile", action="store_true")
    show.set_defaults(function=_show)
    remove = commands.add_parser("rm")
    remove.add_argument("models", nargs="+")
    remove.set_defaults(function=_remove)
    copy = commands.add_parser("cp")
    copy.add_argument("source")
    copy.add_argument("destination")
    copy.set_defaults(function=_copy)
    stop = commands.add_parser("stop")
    stop.add_argument("model")
    stop.set_defaults(function=_stop)
    return parser


class Client:
    """The server that OLLAMA_HOST names."""

    def __init__(self) -> None:
        parts = urllib.parse.urlsplit(Config().url)
        host = parts.hostname or "127.0.0.1"
        self.host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        self.port = parts.port or 11434

    def open(self, method: str, path: str, body: t.Any = None) -> http.client.HTTPResponse:
        """An answer; Down if there is none."""
        connection = http.client.HTTPConnection(self.host, self.port)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
            return connection.getresponse()
        except OSError:
            raise Down from None

    def ask(self, method: str, path: str, body: t.Any = None) -> t.Any:
        """The JSON of an answer, None if it has no body; Failed with the server's error."""
        self.open("HEAD", "/").read()
        response = self.open(method, path, body)
        text = response.read().decode()
        data = json.loads(text) if text else None
        if response.status >= 400:
            raise Failed(data["error"] if data else f"{response.status} {response.reason}")
        return data


def _version() -> None:
    try:
        print(f"ollama version is {Client().ask('GET', '/api/version')['version']}")
    except Down:
        print(f"Warning: could not connect to a running Ollama instance\nWarning: client version is {VERSION}")


def _pull(client: Client, arguments: argparse.Namespace) -> None:
    client.open("HEAD", "/").read()
    response = client.open("POST", "/api/pull", {"model": arguments.model, "insecure": arguments.insecure})
    if response.status >= 400:
        print(f"{_BEGIN}{_END}", file=sys.stderr)
        raise Failed(f"{response.status} {response.reason}: {json.loads(response.read())['error']}")
    shown: list[str] = []
    for line in response:
        data = json.loads(line)
        if "error" in data:
            print(file=sys.stderr)
            raise Failed(data["error"])
        text = data["status"]
        if "digest" in data:
            total, done = data.get("total", 0), data.get("completed", 0)
            text += f": {done * 100 // total if total else 0:3d}% {_size(total):>8}"
        if shown and shown[-1].partition(":")[0] == text.partition(":")[0]:
            shown.pop()
        shown.append(text)
        body = "\n".join(f"{each} \x1b[K" for each in shown)
        print(f"{_BEGIN}{body}{_END}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    if not shown or shown[-1] != "success":
        raise Failed("unexpected EOF")


def _list(client: Client, arguments: argparse.Namespace) -> None:
    rows = [
        (model["name"], model["digest"][:12], _size(model["size"]), _ago(model["modified_at"]))
        for model in client.ask("GET", "/api/tags")["models"]
        if model["name"].lower().startswith(arguments.prefix.lower())
    ]
    _table(("NAME", "ID", "SIZE", "MODIFIED"), rows)


def _ps(client: Client, dummy: argparse.Namespace) -> None:
    rows = [
        (model["name"], model["digest"][:12], _size(model["size"]), "100% CPU", str(model["context_length"]), _left(model["expires_at"]))
        for model in client.ask("GET", "/api/ps")["models"]
    ]
    _table(("NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"), rows)


def _show(client: Client, arguments: argparse.Namespace) -> None:
    found = client.ask("POST", "/api/show", {"model": arguments.model})
    if arguments.modelfile:
        print(found["modelfile"])
        return
    info, details = found["model_info"], found["details"]
    architecture = info["general.architecture"]
    print("  Model")
    for name, value in (
        ("architecture", architecture),
        ("parameters", details["parameter_size"]),
        ("context length", info.get(f"{architecture}.context_length", "")),
        ("embedding length", info.get(f"{architecture}.embedding_length", "")),
        ("quantization", details["quantization_level"]),
    ):
        print(f"    {name:<19} {value}    ")
    print("\n  Capabilities")
    for name in found["capabilities"]:
        print(f"    {name}    ")
    print()


def _remove(client: Client, arguments: argparse.Namespace) -> None:
    for model in arguments.models:
        client.open("HEAD", "/").read()
        print(_SPINNER, end="", file=sys.stderr, flush=True)
        loaded = {entry["name"] for entry in client.ask("GET", "/api/ps")["models"]}
        if model in loaded or f"{model}:latest" in loaded:
            client.ask("POST", "/api/generate", {"model": model, "keep_alive": 0})
        client.ask("DELETE", "/api/delete", {"model": model})
        print(f"deleted '{model}'")


def _copy(client: Client, arguments: argparse.Namespace) -> None:
    client.ask("POST", "/api/copy", {"source": arguments.source, "destination": arguments.destination})
    print(f"copied '{arguments.source}' to '{arguments.destination}'")


def _stop(client: Client, arguments: argparse.Namespace) -> None:
    client.open("HEAD", "/").read()
    print(_SPINNER, end="", file=sys.stderr, flush=True)
    try:
        client.ask("POST", "/api/generate", {"model": arguments.model, "keep_alive": 0})
    except Failed as exc:
        raise Failed(f"couldn't find model \"{arguments.model}\" to stop") if "not found" in str(exc) else exc from None


def _table(head: t.Sequence[str], rows: t.Sequence[t.Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
        print("    ".join(cells) + ("    " if rows else " "))


def _size(count: int) -> str:
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (1000, "KB")):
        if count >= unit:
            value = count / unit
            return f"{value:.1f} {name}" if value < 10 else f"{int(value)} {name}"
    return f"{count} B"


def _seconds(stamp: str) -> float:
    return datetime.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc).timestamp()


def _ago(stamp: str) -> str:
    passed = time.time() - _seconds(stamp)
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds")):
        if passed >= unit * (2 if unit > 1 else 1):
            return f"{int(passed // unit)} {name} ago"
    return "Less than a second ago"


def _left(stamp: str) -> str:
    left = _seconds(stamp) - time.time()
    if left > 86400 * 3650:
        return "Forever"
    return f"{int(left // 60)} minutes from now" if left >= 120 else f"{max(0, int(left))} seconds from now"


if __name__ == "__main__":
    sys.exit(main())
