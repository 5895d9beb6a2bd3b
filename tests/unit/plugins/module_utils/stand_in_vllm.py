# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that speaks the part of vLLM's HTTP interface that the collection uses, and misbehaves as its model folder says.

It takes vLLM's own arguments. ``behaviour.json`` in the model folder: ``die`` (exit status at start), ``says`` (lines of its log before
that), ``delay`` (seconds before it listens), ``silent`` (never listens), ``id`` and ``root`` (what it lists), ``health`` and ``chat``
(HTTP status), ``hang`` (paths that get no answer), ``text`` (the completion), ``no_template``, ``die_at_completion``, ``in_flight`` (gauge,
or the file that holds it; without it, the requests that are really in work), ``seconds`` (that a completion takes; a request may name
its own), ``ignore_term``,
``children`` (that ignore SIGTERM, each in a session of its own).
"""
from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NO_TEMPLATE = "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat template"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def make_handler(options: argparse.Namespace, behaviour: dict[str, t.Any]) -> type[BaseHTTPRequestHandler]:
    in_work: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def _send(self, status: int, body: t.Any, kind: str = "application/json") -> None:
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            if self.path in behaviour.get("hang", ()):
                time.sleep(600)
            elif self.path == "/health":
                self._send(behaviour.get("health", 200), "")
            elif self.path == "/v1/models":
                name = behaviour.get("id", options.served_model_name)
                self._send(200, {"object": "list", "data": [{"id": name, "root": behaviour.get("root", options.model)}]})
            elif self.path == "/metrics":
                count = behaviour.get("in_flight", len(in_work))
                if isinstance(count, str):
                    with open(count, encoding="ascii") as stream:
                        count = int(stream.read())
                self._send(200, f'vllm:num_requests_running{{model_name="x"}} {count}.0\nvllm:num_requests_waiting{{x="y"}} 0.0\n', "text/plain")
            else:
                self._send(404, {})

        def do_POST(self) -> None:
            in_work.append(threading.get_ident())
            try:
                self._answer()
            finally:
                in_work.remove(threading.get_ident())

        def _answer(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path in behaviour.get("hang", ()):
                time.sleep(600)
            if behaviour.get("die_at_completion"):
                os._exit(1)
            time.sleep(asked.get("seconds", behaviour.get("seconds", 0)))
            chat = self.path == "/v1/chat/completions"
            if asked["model"] != options.served_model_name:
                self._send(404, {"error": {"message": f"The model `{asked['model']}` does not exist."}})
            elif chat and behaviour.get("no_template"):
                self._send(400, {"error": {"message": NO_TEMPLATE}})
            elif chat and behaviour.get("chat", 200) != 200:
                self._send(behaviour["chat"], {"error": {"message": "Internal Server Error"}})
            else:
                text = behaviour.get("text", f"I am {options.served_model_name}")
                self._send(200, {"choices": [{"message": {"content": text}} if chat else {"text": text}]})

        def log_message(self, format: str, *args: t.Any) -> None:  # noqa: A002
            return

    return Handler


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-m", dest="module")
    for name in ("--model", "--served-model-name", "--host"):
        parser.add_argument(name)
    parser.add_argument("--port", type=int)
    options = parser.parse_known_args()[0]
    try:
        with open(os.path.join(options.model, "behaviour.json"), encoding="utf-8") as stream:
            behaviour = json.load(stream)
    except OSError:
        behaviour = {}
    print(f"stand-in starts {options.served_model_name}", flush=True)
    if behaviour.get("ignore_term"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for dummy in range(behaviour.get("children", 0)):
        subprocess.Popen([sys.executable, "-c", STUBBORN], start_new_session=True)
    for line in behaviour.get("says", ()):
        print(line, flush=True)
    if "die" in behaviour:
        print("RuntimeError: the engine could not be initialised, token hf_abcdefghijklmnopqrstuvwx", flush=True)
        sys.exit(behaviour["die"])
    time.sleep(behaviour.get("delay", 0))
    if behaviour.get("silent"):
        time.sleep(600)
    ThreadingHTTPServer((options.host, options.port), make_handler(options, behaviour)).serve_forever()


if __name__ == "__main__":
    main()
