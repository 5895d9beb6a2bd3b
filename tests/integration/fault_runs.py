# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One fault schedule played against the product and judged at every step: bytes, record, reason, secrets, threads, descriptors."""
from __future__ import annotations

import fnmatch
import gc
import hashlib
import json
import os
import tempfile
import threading
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from integration.fault_schedules import FATAL, HARMLESS, TRY, WRONG, Schedule, build_hub_model, build_ollama_model
from integration.models_support import FAST, FakeContext, model_params, tree

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.models import run_models
from lab.hub import Hub
from lab.hub.faults import Fault
from lab.hub.site import Site
from lab.ollama import OllamaServer
from lab.registry import Registry

huggingface_hub = pytest.importorskip("huggingface_hub")

TOKEN, USER, PASSWORD = "hf_scheduleTokenForTests", "alice", "schedulePasswordForTests"
#: Seconds that threads and connections of a call get to end; they have ended long before, but for a hanging server.
GRACE = 8.0


class Broken(Exception):
    """The product did what it must not do."""


def need(condition: object, what: str) -> None:
    """Raises ``Broken`` unless the condition holds."""
    if not condition:
        raise Broken(what)


@dataclass
class Lab:
    """The servers of all schedules. Nobody may ever ask ``foreign``."""

    hub: Hub
    registries: dict[str, Registry]
    foreign: Hub

    @property
    def sites(self) -> list[Site]:
        return [self.hub, *self.registries.values(), self.foreign]


def hash_of(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def contents(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder by its path."""
    return {path.relative_to(folder).as_posix(): hash_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def open_files(ports: t.Collection[int]) -> list[str]:
    """The descriptors of this process, but for the sockets of its own servers."""
    served = set()
    for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) in ports:
            served.add(f"socket:[{fields[9]}]")
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
        if target not in served:
            found.append(target)
    return sorted(found)


def client_threads() -> list[str]:
    """Threads of this process, but for those of its servers."""
    return sorted(
        each.name for each in threading.enumerate() if "process_request_thread" not in each.name and not each.name.startswith("lab-")
    )


class Run:
    """One schedule played, and judged at every step."""

    def __init__(self, drawn: Schedule, lab: Lab, folder: Path) -> None:
        self.drawn, self.lab, self.folder = drawn, lab, folder
        self.site: Hub | Registry = lab.hub if drawn.flow == "hub" else lab.registries[drawn.login]
        self.host, self.store = folder / "sandbox" / "host", folder / "sandbox" / "store"
        self.models = self.host / "models"
        self.server: OllamaServer | None = None
        #: What the source has now: digest of each file by path; for Ollama the blobs of the manifest. And its revision, and its size in bytes.
        self.truth: dict[str, str] = {}
        self.revision = ""
        self.total = 0
        self.faults: list[Fault] = []

    # The source

    def publish(self, version: int) -> None:
        """Put a version of the model at its source."""
        folder = self.folder / f"version{version}"
        if isinstance(self.site, Hub):
            build_hub_model(folder, self.drawn, version)
            self.revision = self.site.add_repo(self.drawn.repository, folder, copy=False)
            self.truth = contents(folder)
            self.total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        else:
            config, layers = build_ollama_model(folder, self.drawn, version)
            self.revision = self.site.add(self.drawn.repository, "mini", layers, config)
            document = json.loads(self.site.manifest(self.drawn.repository, "mini"))
            blobs = {layer["digest"]: layer["size"] for layer in [*document["layers"], document["config"]]}
            self.truth = {f"sha256-{digest[7:]}": digest[7:] for digest in blobs}
            self.total = sum(blobs.values())

    def withdraw(self) -> None:
        """Leave nothing of the schedule at the servers."""
        if isinstance(self.site, Hub):
            self.site.store.repos.pop(self.drawn.repository, None)
        else:
            self.site.store.repositories.pop(self.drawn.repository, None)

    def set_up_faults(self) -> None:
        """From now on the source is what the schedule makes of it."""
        foreign = self.lab.foreign.address("hub")
        words = {
            "{foreign}": f"http://{foreign}",
            "{foreign_host}": f"//{foreign}",
            "{foreign_name}": foreign,
            "{own}": self.site.url,
            "{own_login}": self.site.url,
        }
        for strike in self.drawn.strikes:
            options = dict(strike.options)
            for word, meaning in words.items():
                if "location" in options:
                    options["location"] = options["location"].replace(word, meaning)
            self.faults.append(self.site.fault(strike.kind, **options))

    # The product

    def call(self, **options: t.Any) -> dict[str, t.Any]:
        """Run the operation of venom_model."""
        drawn = self.drawn
        common = {
            "allowed_hosts": [str(self.site.cdn_url).rpartition("//")[2]],
            "max_parallel": drawn.max_parallel,
            "retries": drawn.retries,
            "stall_timeout": drawn.stall_timeout,
            "ollama_models_dir": str(self.store),
        }
        if drawn.flow == "hub":
            common.update(name=drawn.repository, endpoint=self.site.url, token=TOKEN if drawn.login else None)
        else:
            login = {"registry_username": USER, "registry_password": PASSWORD} if drawn.login != "none" else {}
            url = self.server.url if self.server else "http://127.0.0.1:9"
            name = drawn.repository.rpartition("/")[2] + ":mini"
            common.update(name=name, registry=self.site.url, ollama_method=drawn.flow, ollama_url=url, **login)
        return run_models(model_params(self.host.parent / "host", None, **{**FAST, **common, **options}), FakeContext())

    def call_cleanly(self, **options: t.Any) -> dict[str, t.Any]:
        """Run it while the source does nothing wrong."""
        try:
            return self.call(**options)
        except VenomError as error:
            raise Broken(f"a run without faults failed: {json.dumps(error.to_result())}") from error

    def leave_behind(self) -> None:
        """A run that breaks off in the middle of the weights, and bytes that rot afterwards."""
        after = 3 * 1024 * 1024
        bytes_path = f"/lfs/{self.drawn.repository}/*" if self.drawn.flow == "hub" else "*sha256:*"
        cut = self.site.fault("cut", path=bytes_path, after=after, times=-1)
        try:
            self.call(retries=0)
        except VenomError as error:
            need(error.reason_code == "hub_unreachable", f"the earlier run was cut, but failed with {error}")
        need(cut.hits, "the earlier run was not cut")
        self.site.faults.clear()
        root = self.models / "partial" if self.drawn.flow == "hub" else self.store / ".venom" / "partial"
        kept = [path for path in root.iterdir() if path.suffix != ".journal"]
        need(kept, "the run that was cut left nothing")
        if self.drawn.left == "rotten":
            with open(kept[0], "r+b") as stream:
                stream.seek(1000)
                byte = stream.read(1)
                stream.seek(1000)
                stream.write(bytes([byte[0] ^ 1]))

    def play(self) -> None:
        """The whole schedule."""
        drawn = self.drawn
        self.host.mkdir(parents=True)
        self.publish(1)
        if drawn.earlier:
            self.check_installed(self.call_cleanly())
            self.publish(2)
        if drawn.left:
            self.leave_behind()
        before = self.published()
        first = {site: site.log.begin("lab", "GET", "/mark", "", {}, time.time()).number for site in self.lab.sites}
        self.set_up_faults()
        result, failure = None, None
        try:
            result = self.call(state="latest" if drawn.earlier else "present")
        except VenomError as error:
            failure = (error.reason_code, error.wanted, error.found, error.todo, json.dumps(error.to_result()))
        struck = [(strike, fault.hits) for strike, fault in zip(drawn.strikes, self.faults) if fault.hits]
        self.site.faults.clear()
        self.check_secrets(first, json.dumps(result) if result else failure[-1] if failure else "")
        if result is not None:
            need(result["changed"], "a new model, and nothing changed")
            bad = [str(strike) for strike, dummy in struck if strike.cure == FATAL]
            need(not bad, f"success in spite of {bad}")
            self.check_installed(result, self.hidden(struck))
        elif failure is not None:
            self.check_failure(failure, struck)
            need(self.published() == before, f"the failure {failure[0]} changed what is published")
            self.check_installed(self.call_cleanly(state="latest" if drawn.earlier else "present"))
        self.check_unchanged()
        # What is left of a file that the listing hid waits for a run that wants it.
        self.check_sandbox(may_wait=bool(self.drawn.left and self.hidden(struck)))

    # The judgement

    def published(self) -> dict[str, t.Any]:
        """What models there are for anybody else: bytes, times and inodes of snapshots, the record, what Ollama's server reads."""
        found: dict[str, t.Any] = {"hf": tree(self.models / "hf"), "hf bytes": contents(self.models / "hf")}
        record = self.models / "manifest.json"
        found["record"] = record.read_bytes() if record.exists() else None
        found["manifests"] = contents(self.store / "manifests")
        if self.drawn.flow == "store":
            found["blobs"] = contents(self.store / "blobs")
        return found

    def hidden(self, struck: t.Sequence[tuple[t.Any, int]]) -> list[str]:
        """Patterns of the files that a listing left out."""
        return [str(strike.options["file"]) for strike, dummy in struck if strike.kind == "listing" and strike.options["what"] == "drop"]

    def check_failure(self, failure: tuple[str, str, str, str, str], struck: t.Sequence[tuple[t.Any, int]]) -> None:
        """The reason is one of those that the faults which struck excuse, and they could not be cured."""
        code, wanted, found, todo, text = failure
        need(struck, f"a failure without a fault: {text}")
        need(wanted and found and todo, f"half a message: {text}")
        excused = frozenset().union(*(strike.codes for strike, dummy in struck))
        if self.drawn.flow == "api":
            # The server looks at no status of a range and stores what came; its own check of the digest finds that later.
            excused |= {"digest_mismatch", "pull_failed"} | ({"hub_unreachable"} if excused else frozenset())
        need(code in excused, f"{code} is excused by none of {[str(strike) for strike, dummy in struck]}: {text}")
        cures = {strike.cure for strike, dummy in struck}
        tries = sum(hits for strike, hits in struck if strike.cure == TRY)
        wrong = sum(hits for strike, hits in struck if strike.cure == WRONG)
        is_curable = cures <= {HARMLESS, TRY, WRONG} and tries <= self.drawn.retries and wrong <= 1 and self.drawn.flow != "api"
        need(not is_curable, f"given up after {tries} faults with {self.drawn.retries} retries and {wrong} wrong bytes: {text}")

    def check_installed(self, result: dict[str, t.Any], hidden: t.Sequence[str] = ()) -> None:
        """What is there is the source's, byte for byte, and the record says the same."""
        truth = {path: digest for path, digest in self.truth.items() if not any(fnmatch.fnmatchcase(path, pattern) for pattern in hidden)}
        (shown,) = result["models"]
        (step,) = result["plan"]
        need(shown["revision"] == step["revision"] == self.revision, f"revision {shown['revision']} instead of {self.revision}")
        need(hidden or result["bytes_total"] == self.total, f"{result['bytes_total']} bytes in all instead of {self.total}")
        need(result["bytes_kept"] + result["bytes_to_fetch"] <= result["bytes_total"], f"numbers that do not fit: {result}")
        entry = Manifest.load(str(self.models)).find(shown["name"], self.revision)
        if entry is None:
            raise Broken("the manifest does not have it")
        recorded = {record.path.removeprefix("blobs/"): record.digest.hex for record in entry.files}
        if self.drawn.flow == "store":
            truth_recorded = {**truth, f"manifests/registry.ollama.ai/{self.drawn.repository}/mini": self.revision[7:]}
        else:
            truth_recorded = truth
        need(recorded == truth_recorded, f"recorded {recorded} instead of {truth_recorded}")
        if self.drawn.flow == "hub":
            there = contents(Path(entry.local_path))
        else:
            stored = self.store / "manifests" / "registry.ollama.ai" / self.drawn.repository / "mini"
            need(f"sha256:{hash_of(stored)}" == self.revision, "another manifest in the store")
            there = {name: hash_of(self.store / "blobs" / name) for name in truth}
        need(there == truth, f"published {there} instead of {truth}")
        blobs = self.models / "blobs"
        wrong = [str(path) for path in blobs.rglob("*") if path.is_file() and hash_of(path) != path.name]
        need(not wrong, f"blobs with other bytes than their names say: {wrong}")

    def check_unchanged(self) -> None:
        """A second run asks nobody and touches nothing."""
        before, number = tree(self.host), self.site.log.begin("lab", "GET", "/mark", "", {}, time.time()).number
        stored = tree(self.store)
        result = self.call_cleanly()
        need(result["changed"] is False, f"the second run changed {result['diff']}")
        need((tree(self.host), tree(self.store)) == (before, stored), "the second run touched files")
        asked = [entry.path for entry in self.site.log.entries(since=number)]
        need(not asked, f"the second run asked {asked}")

    def check_secrets(self, first: t.Mapping[Site, int], shown: str) -> None:
        """No login left the host that it is for, and nobody asked a host that is not allowed."""
        for word in (TOKEN, PASSWORD):
            need(word not in shown, "a secret in the result")
        cdn = [entry.path for entry in self.site.log.entries(listener="cdn", since=first[self.site]) if entry.authorization]
        need(not cdn, f"a login for {cdn}")
        strangers = self.lab.foreign.log.entries(since=first[self.lab.foreign])
        if self.drawn.flow == "api":
            strangers = [entry for entry in strangers if entry.authorization]
        need(not strangers, f"the foreign host was asked for {[(entry.path, entry.scheme) for entry in strangers]}")

    def check_sandbox(self, may_wait: bool) -> None:
        """Nothing is written but models and store, and no unfinished file is left."""
        sandbox = self.host.parent
        found = {path.name for path in sandbox.iterdir()} | {f"host/{path.name}" for path in self.host.iterdir()}
        need(found <= {"host", "host/models", "store", "home", "tmp", "cwd"}, f"also written: {sorted(found)}")
        for name in ("home", "tmp", "cwd"):
            rest = [path for path in tree(sandbox / name) if not path.startswith("lab-ollama-server-")]
            need(not rest, f"written to {name}: {rest}")
        need(may_wait or not (self.models / "partial").exists(), "unfinished files are left")
        rest = [path for path in tree(self.store / ".venom") if path != "models.lock"]
        need(not rest, f"unfinished files are left in the store: {rest}")


def play(drawn: Schedule, lab: Lab, folder: Path) -> None:
    """One schedule, with everything around it as it was before."""
    run = Run(drawn, lab, folder)
    sandbox = folder / "sandbox"
    for name in ("home", "tmp", "cwd", "store"):
        (sandbox / name).mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(sandbox / "home"))
        patch.setenv("TMPDIR", str(sandbox / "tmp"))
        patch.setattr(tempfile, "tempdir", str(sandbox / "tmp"))
        patch.chdir(sandbox / "cwd")
        forget_hubs()
        ports = {int(site.address(name).rpartition(":")[2]) for site in lab.sites for name in site.servers}
        threads, files = client_threads(), open_files(ports)
        site = run.site
        mode = getattr(site, "mode", "")
        try:
            if isinstance(site, Registry):
                site.mode = drawn.mode
            if drawn.flow == "api":
                with OllamaServer(run.store, env={"LAB_OLLAMA_PART_BYTES": "2000000", "LAB_OLLAMA_TIME_SCALE": "0.002"}) as run.server:
                    run.play()
            else:
                run.play()
        finally:
            site.faults.clear()
            run.withdraw()
            if isinstance(site, Registry):
                site.mode = mode
        errors = [error for each in lab.sites for error in each.errors]
        need(not errors, f"the lab itself failed: {errors}")
        del run
        forget_hubs()
        check_leaks(threads, files, ports)


def forget_hubs() -> None:
    """huggingface_hub keeps its last HTTP client, and what made it, as long as the process lives: one, not one for each call."""
    huggingface_hub.set_client_factory(RuntimeError)
    huggingface_hub.close_session()


def check_leaks(threads: list[str], files: list[str], ports: t.Collection[int]) -> None:
    """No thread and no descriptor is left, after a little while."""
    end = time.monotonic() + GRACE
    while client_threads() != threads or len(open_files(ports)) > len(files):
        gc.collect()
        if time.monotonic() > end:
            raise Broken(f"left: threads {client_threads()} after {threads}, files {open_files(ports)} after {files}")
        time.sleep(0.02)
