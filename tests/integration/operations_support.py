# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of long operations share: a model that takes its time, plays that can be interrupted, a look at the host."""
from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from integration.models_support import small_model

from ansible_collections.venom.llm.plugins.module_utils import calls
from ansible_collections.venom.llm.plugins.module_utils.journal import read_operations
from ansible_collections.venom.llm.plugins.module_utils.processes import command_line, pids
from lab.hub import Hub
from lab.models import safetensors

COLLECTIONS = Path(__file__).resolve().parents[2] / "collections"
#: Bytes of the weights; at SLOW bytes a second they take longer than any of these tests, while the 256 KiB of a header take seconds.
#: At 20 kB/s they took 14 s, twice after a kill (planned again under the lock), and a wait of 30 s was not enough on a busy machine.
WEIGHTS = 8_000_000
SLOW = 80_000.0
TOKEN = "hf_secretOfTheOperator"
#: A task's options for a short test: the first line after half a second.
QUICK = {"operation_wait": 0.5, "reserve_gib": 0, "retries": 0}


@contextlib.contextmanager
def model_hub(folder: Path, *names: str, rate: float = SLOW, weights: int = WEIGHTS) -> t.Iterator[Hub]:
    """A hub with models of so many bytes, of which each connection gets so many a second."""
    with Hub(tokens={TOKEN: "alice"}) as hub:
        for seed, name in enumerate(names or ("a/b",), 1):
            source = small_model(folder / "repos" / name, seed)
            safetensors.write_model(source, [safetensors.constant("weight", (1000, weights // 2000), seed)])
            hub.add_repo(name, source)
        hub.fault("slow", path="*.safetensors", rate=rate)
        yield hub


def wait_for(what: t.Callable[[], t.Any], seconds: float = 120.0) -> t.Any:
    """The first true answer; AssertionError when there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = what()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def workers(models_dir: Path) -> list[int]:
    """Pids of the workers of a models folder, by their command lines."""
    return [pid for pid in pids() if str(models_dir) in command_line(pid) and any("worker import main" in part for part in command_line(pid))]


def fetching(models_dir: Path) -> bool:
    """Whether a journal tells of bytes that have arrived."""
    return any(item["status"] == "in_progress" and item["bytes"] for item in read_operations(str(models_dir / "operations")))


def statuses(models_dir: Path) -> list[str]:
    """Outcomes in the journal, newest first."""
    return [item["status"] for item in read_operations(str(models_dir / "operations"))]


def folders(models_dir: Path) -> list[str]:
    """Ids of the calls that have left a folder."""
    return [call.id for call in calls.all_calls(str(models_dir))]


class Controller:
    """One ansible, one scratch folder, plays on this machine as the host."""

    def __init__(self, folder: Path, programs: Path | None = None, **environment: str) -> None:
        self.folder = folder
        found = shutil.which("ansible-playbook", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        self.program = str(programs / "ansible-playbook") if programs else str(found)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "HF_", "VENOM_", "PYTHONPATH"))}
        self.environment = {
            **kept,
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_HOME": str(folder / "ansible"),
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_RETRY_FILES_ENABLED": "0",
            **environment,
        }

    def options(self, hub: Hub, host: str = "host", **more: t.Any) -> dict[str, t.Any]:
        """Options of venom_model with everything of one host below the scratch folder."""
        base = {"name": "a/b", "models_dir": str(self.folder / host / "models"), "config_dir": str(self.folder / host / "etc")}
        return {**base, "endpoint": hub.url, "backend_python": sys.executable, **QUICK, **more}

    def write(self, *tasks: dict[str, t.Any], hosts: t.Sequence[str] = ("localhost",), **play: t.Any) -> list[str]:
        """A playbook that keeps what each task registers as ``result``, and the command that runs it."""
        book = self.folder / "play.json"
        keep = {"ansible.builtin.copy": {"content": "{{ result | to_json }}", "dest": f"{self.folder}/{{{{ inventory_hostname }}}}.json"}}
        shown = [{"register": "result", "ignore_errors": True, **task} for task in tasks]
        content = [{"hosts": "all", "gather_facts": False, "tasks": [*shown, {**keep, "no_log": True, "delegate_to": "localhost"}], **play}]
        book.write_text(json.dumps(content), encoding="utf-8")
        command = [self.program, "-i", ",".join(hosts) + ",", "-c", "local", str(book), "-e", f"ansible_python_interpreter={sys.executable}"]
        return [*command, "-e", json.dumps({"venom_progress_interval": 1})]

    def play(self, *tasks: dict[str, t.Any], arguments: t.Sequence[str] = (), **options: t.Any) -> tuple[dict[str, t.Any], str]:
        """Run the tasks; what the last one returned on the first host, and everything printed."""
        kept = self.folder / f"{options.get('hosts', ('localhost',))[0]}.json"
        kept.unlink(missing_ok=True)
        done = subprocess.run(
            [*self.write(*tasks, **options), *arguments], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert kept.exists() or "--check" in arguments, done.stdout + done.stderr
        return json.loads(kept.read_text()) if kept.exists() else {}, done.stdout + done.stderr

    @contextlib.contextmanager
    def running(self, *tasks: dict[str, t.Any], arguments: t.Sequence[str] = (), **options: t.Any) -> t.Iterator[subprocess.Popen[bytes]]:
        """The play in a process group of its own, as a shell would start it; ended by force if the test does not."""
        with (self.folder / "output").open("w") as output:
            process = subprocess.Popen(
                [*self.write(*tasks, **options), *arguments],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def printed(self) -> str:
        """What the play that runs, or ran last, has printed."""
        return (self.folder / "output").read_text()


def task(options: dict[str, t.Any], **keywords: t.Any) -> dict[str, t.Any]:
    """A task of venom_model."""
    return {"name": "Models", "venom.llm.venom_model": options, **keywords}
