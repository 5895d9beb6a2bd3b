# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running ansible-rulebook to which a test posts events, and a server that answers as the API of AWX does when a rulebook starts jobs."""
from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
import typing as t
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import yaml
from integration.automation_support import environment, tools

from ansible_collections.venom.llm.tests.unit.plugins.module_utils.runtime_fakes import free_port, wait_until

TOKEN = "token-of-the-sender"


class Rulebook:
    """One rulebook that runs in a folder, with collections found at ``collections``. Ends with the with statement."""

    def __init__(self, folder: Path, name: str, collections: Path, inventory: str, *options: str, **variables: t.Any) -> None:
        self.folder = folder
        self.port = free_port()
        self.output = folder / "rulebook.log"
        (folder / "inventory").write_text(inventory, encoding="utf-8")
        values = {"venom_eda_port": self.port, "venom_eda_token": TOKEN, **variables}
        (folder / "eda.yml").write_text(yaml.safe_dump({key: value for key, value in values.items() if value is not None}), encoding="utf-8")
        programs = tools()
        self._argv = [str(programs / "ansible-rulebook"), "-r", f"venom.llm.{name}", "-i", "inventory", "--vars", "eda.yml", *options]
        self._environment = environment(
            programs,
            ANSIBLE_COLLECTIONS_PATH=str(collections),
            ANSIBLE_HOME=str(folder / "ansible"),
            ANSIBLE_RETRY_FILES_ENABLED="0",
            EDA_JOB_TEMPLATE_REFRESH_DELAY="0.1",
            # Folders of jobs that were ended stay where they were made.
            TMPDIR=str(folder),
        )

    def __enter__(self) -> Rulebook:
        with self.output.open("w") as output:
            self._process = subprocess.Popen(
                self._argv, cwd=self.folder, env=self._environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        try:
            wait_until(self._listens, 90)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *dummy: object) -> None:
        # A playbook that an event started is in a session of its own, and goes on when ansible-rulebook ends.
        started = psutil.Process(self._process.pid).children(recursive=True) if self._process.poll() is None else []
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for process in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _listens(self) -> bool:
        assert self._process.poll() is None, self.printed()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def printed(self) -> str:
        """All that it has printed."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    def post(self, payload: t.Any, token: str | None = TOKEN) -> int:
        """Send one event; the status of the answer."""
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token is not None else {})}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/endpoint", json.dumps(payload).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def alert(self, *alerts: dict[str, t.Any]) -> None:
        """Send alerts as Alertmanager does: one message for a group of them."""
        assert self.post({"version": "4", "receiver": "venom", "status": "firing", "alerts": list(alerts)}) == 200


def alert(name: str, instance: str, status: str = "firing", **labels: str) -> dict[str, t.Any]:
    """One alert of a message of Alertmanager."""
    return {
        "status": status,
        "labels": {"alertname": name, "instance": instance, "job": "node", "severity": "critical", **labels},
        "annotations": {"summary": f"{name} on {instance}"},
        "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example.com/graph",
        "fingerprint": "0123456789abcdef",
    }


class FakeAwx:
    """The parts of AWX's API that starting a job needs. It takes what the job templates prompt for, as AWX does, and ends every job at once."""

    def __init__(self, templates: t.Sequence[t.Mapping[str, t.Any]], token: str) -> None:
        self.templates = dict(enumerate(templates, 1))
        self.token = token
        #: (name of the template, what was taken of the launch's data)
        self.launched: list[tuple[str, dict[str, t.Any]]] = []
        #: What the templates do not prompt for, and so was not taken.
        self.ignored: list[dict[str, t.Any]] = []

    @contextlib.contextmanager
    def serving(self) -> t.Iterator[str]:
        """Its URL while it answers."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def get(self, path: str, query: dict[str, list[str]]) -> dict[str, t.Any] | None:
        """The answer to GET; None for what is not there."""
        if path == "/api/v2/config/":
            return {"version": "24.6.1"}
        if path == "/api/v2/unified_job_templates/":
            return _page([self._template(number) for number, each in self.templates.items() if each["name"] in query.get("name", [])])
        if path == "/api/v2/jobs/":
            wanted = query.get("id__in", [""])[0].split(",")
            jobs = [{"id": int(number), "status": "successful", "created": "2026-01-01T00:00:00Z", "artifacts": {}} for number in wanted]
            return _page(jobs)
        return None

    def launch(self, number: int, data: dict[str, t.Any]) -> dict[str, t.Any]:
        """The answer to the launch of a template; a limit counts where the template asks for one, variables where it has them prompted."""
        template = self.templates[number]
        asks = {"limit": template.get("ask_limit_on_launch"), "extra_vars": template.get("ask_variables_on_launch")}
        given = {key: value for key, value in data.items() if value not in ({}, "")}
        self.launched.append((template["name"], {key: value for key, value in given.items() if asks.get(key)}))
        self.ignored += [{key: value} for key, value in given.items() if not asks.get(key)]
        return {"id": len(self.launched), "url": f"/api/v2/jobs/{len(self.launched)}/"}

    def _template(self, number: int) -> dict[str, t.Any]:
        template = self.templates[number]
        asks = {f"ask_{what}_on_launch": bool(template.get(f"ask_{what}_on_launch")) for what in ("limit", "labels", "inventory", "variables")}
        return {
            "id": number,
            "type": "job_template",
            "name": template["name"],
            "summary_fields": {"organization": {"name": template["organization"]}},
            "related": {"launch": f"/api/v2/job_templates/{number}/launch/"},
            **asks,
        }


def _page(results: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    return {"count": len(results), "next": None, "results": results}


def _handler(awx: FakeAwx) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            self._answer(lambda: awx.get(url.path, urllib.parse.parse_qs(url.query)))

        def do_POST(self) -> None:
            data = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            number = int(self.path.strip("/").split("/")[-2])
            self._answer(lambda: awx.launch(number, data))

        def _answer(self, what: t.Callable[[], dict[str, t.Any] | None]) -> None:
            allowed = self.headers.get("Authorization") == f"Bearer {awx.token}"
            found = what() if allowed else None
            body = json.dumps(found).encode()
            self.send_response(401 if not allowed else 404 if found is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *dummy: object) -> None:
            pass

    return Handler
