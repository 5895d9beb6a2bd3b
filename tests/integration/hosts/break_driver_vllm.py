# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host with systemd and the real vLLM: the models, and one activation or look for each call; prints what came of it."""
from __future__ import annotations

import json
import os
import sys
import typing as t
from pathlib import Path

from integration.break_stage import ask, committed, pid_of_unit, says

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry, FileRecord, snapshot_path, utc_now
from ansible_collections.venom.llm.plugins.module_utils.names import Digest, ModelRef
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.runtime_fakes import COMMIT, FakeHost
from lab import models

ROOT = Path("/srv/venom")
GOOD = {"one": "Alpha speaks here.", "two": "Beta is the one."}
BAD = ("unknown_architecture", "missing_shard", "short_body")
ARGS = "--max-model-len 256 --enforce-eager"


class RealHost(FakeHost):
    """The server is the real one."""

    def __init__(self, fresh: bool) -> None:
        if fresh:
            super().__init__(ROOT)
        self.root, self.warnings, self.python, self.port = ROOT, [], Path("/srv/vllm/bin/python"), 8001
        if fresh:
            self.set_args("")
            for name in (*GOOD, *BAD):
                self.add(name)

    def set_args(self, more: str) -> None:
        """Settings of the role's kind, with further arguments for the server."""
        home = ROOT / "home"
        home.mkdir(exist_ok=True)
        self.write_settings(
            VENOM_VLLM_ARGS=f'"{ARGS} {more}"', HOME=str(home), VLLM_CACHE_ROOT=str(home / "vllm"), HF_HUB_OFFLINE="1",
            VLLM_NO_USAGE_STATS="1", VLLM_CPU_KVCACHE_SPACE="1", VENOM_FIT="warn",
        )  # fmt: skip

    def folder(self, name: str) -> Path:
        """Where a model lies."""
        return Path(snapshot_path(str(ROOT / "models"), ModelRef.parse(f"lab/{name}"), COMMIT))

    def add(self, name: str) -> None:
        """A model with its manifest entry, as an install leaves them: what is wrong with it was wrong at its source."""
        folder = self.folder(name)
        if name in GOOD:
            models.llama(folder, reply=GOOD[name])
        else:
            models.hostile(folder, name)
        records = []
        for path in sorted(folder.iterdir()):
            status = path.stat()
            records.append(FileRecord(path.name, status.st_size, Digest("sha256", "0" * 64), status.st_mtime_ns, status.st_ino))
        entry = Entry(
            name=f"lab/{name}", provider="huggingface", runtime="vllm", revision=COMMIT, requested_revision="main", alias=name,
            local_path=str(folder), size_bytes=sum(record.size for record in records), files=tuple(records), sha256="0" * 64,
            installed_at=utc_now(),
        )  # fmt: skip
        Manifest.load(str(ROOT / "models")).merge(entry).save()

    def params(self, **options: t.Any) -> dict[str, t.Any]:
        return super().params(**{"supervisor": "auto", "run_dir": "/run/venom", "health_timeout": "400", **options})

    def serving(self) -> str | None:
        """The model that gives a client its own words; None when nobody answers."""
        listed = ask(self.port, "GET", "/v1/models")
        name = str(listed.data["data"][0]["id"]) if listed is not None else ""
        return name if name and says(self.port, name, timeout=60.0).split()[:1] == GOOD.get(name, "").split()[:1] else None

    def look(self) -> dict[str, t.Any]:
        """From outside and from inside."""
        status = self.status()
        said = {key: status[key] for key in ("status", "service", "active_model", "pid", "pids", "error_message")}
        return {"serving": self.serving(), "committed": committed(self, "vllm"), "unit_pid": pid_of_unit("vllm"), **said}


def main() -> None:
    order: dict[str, t.Any] = json.loads(sys.argv[1])
    fresh = not ROOT.exists()
    if fresh:
        ROOT.mkdir()
    os.makedirs("/run/venom", exist_ok=True)
    host = RealHost(fresh)
    result: t.Any = None
    if "args" in order:
        host.set_args(order["args"].format(two=host.folder("two")))
    if "activate" in order:
        try:
            result = host.activate(f"lab/{order['activate']}", stop_timeout=20.0)
        except VenomError as error:
            result = error.to_result()
    print(json.dumps([result, host.look()]))


if __name__ == "__main__":
    main()
