# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The example pipeline of docs/ci-pipeline.md, its steps run as they are written: the real set-up, and playbooks that note how they were called."""
from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import typing as t
from pathlib import Path

import pytest
from integration.automation_support import environment, load, playbooks

from lab.settings import CHECKOUT

EXAMPLES = CHECKOUT / "docs/examples"
INVENTORY = "[venom]\ngpu-1\ngpu-2\n[all:vars]\nansible_connection=local\n"
#: Instead of a playbook of the collection. A file named like the playbook and the host makes it fail there.
NOTING = """
- name: Note
  hosts: venom
  gather_facts: false
  tasks:
    - name: Note
      ansible.builtin.raw: >-
        echo NAME {{ inventory_hostname }} {{ ansible_check_mode }} {{ venom_diagnose_dest is defined }} >> PLACE/noted
        && test ! -e PLACE/NAME.{{ inventory_hostname }}
      changed_when: true
      check_mode: false
"""


class Runner:
    """A runner of the pipeline: a checkout in a folder, and the files that carry paths and variables from one step to the next."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkout = folder / "checkout"
        (self.checkout / "inventories/fleet").mkdir(parents=True)
        (self.checkout / "inventories/fleet/hosts").write_text(INVENTORY, encoding="utf-8")
        (self.checkout / "ci").mkdir()
        shutil.copy(EXAMPLES / "set-up.sh", self.checkout / "ci")
        self.workflow = load(EXAMPLES / "deploy-models.yml")

    def collection(self) -> Path:
        """An archive of a venom.llm whose playbooks note their calls."""
        source = self.folder / "source"
        (source / "playbooks").mkdir(parents=True)
        for name in ("galaxy.yml", "README.md", "LICENSE"):
            shutil.copy(CHECKOUT / name, source)
        shutil.copytree(CHECKOUT / "meta", source / "meta")
        for name in playbooks():
            text = NOTING.replace("NAME", name.rpartition(".")[2]).replace("PLACE", str(self.folder))
            (source / "playbooks" / f"{name.rpartition('.')[2]}.yml").write_text(text, encoding="utf-8")
        argv = ["ansible-galaxy", "collection", "build", "--output-path", str(self.folder), str(source)]
        subprocess.run(argv, env=environment(), check=True, capture_output=True)
        (archive,) = self.folder.glob("venom-llm-*.tar.gz")
        return archive

    def job(self, name: str, archive: Path) -> bool:
        """Run a job's steps as the service would: the next after a success, those for a failure after a failure; whether it succeeded."""
        files = {key: self.folder / f"{name}-{key}" for key in ("GITHUB_PATH", "GITHUB_ENV")}
        for path in files.values():
            path.touch()
        given = {key: value.replace("${{ github.workspace }}", str(self.checkout)) for key, value in self.workflow["env"].items()}
        given = {key: re.sub(r"\$\{\{ (secrets|vars)\.(\w+) \}\}", r"value of \2", value) for key, value in given.items()}
        succeeded = True
        for step in self.workflow["jobs"][name]["steps"]:
            if "run" not in step or (step.get("if") == "failure()") == succeeded:
                continue
            lines = [line.partition("=") for line in files["GITHUB_ENV"].read_text(encoding="utf-8").splitlines()]
            known = environment(*map(Path, files["GITHUB_PATH"].read_text(encoding="utf-8").split()), **given)
            known.update({key: value for key, dummy, value in lines}, VENOM_COLLECTION=str(archive))
            known.update({key: str(path) for key, path in files.items()})
            done = subprocess.run(["bash", "-e", "-c", step["run"]], cwd=self.checkout, env=known, capture_output=True, text=True, check=False)
            assert step.get("name") != "Set up" or done.returncode == 0, done.stdout + done.stderr
            succeeded = succeeded and done.returncode == 0
        return succeeded

    def noted(self) -> list[str]:
        """What the playbooks have noted since the last call."""
        path = self.folder / "noted"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> tuple[Runner, Path]:
    runner = Runner(tmp_path_factory.mktemp("pipeline"))
    return runner, runner.collection()


def test_the_plan_changes_nothing_and_sees_all_hosts(runner: tuple[Runner, Path]) -> None:
    pipeline, archive = runner
    assert pipeline.job("plan", archive)
    assert sorted(pipeline.noted()) == ["site gpu-1 True False", "site gpu-2 True False"]
    key = pipeline.checkout / ".ci/key"
    assert key.read_text(encoding="utf-8") == "value of FLEET_SSH_KEY\n" and stat.S_IMODE(key.stat().st_mode) == 0o600
    assert (pipeline.checkout / ".ci/known_hosts").read_text(encoding="utf-8") == "value of FLEET_SSH_KNOWN_HOSTS\n"


def test_the_canary_serves_alone_and_then_all(runner: tuple[Runner, Path]) -> None:
    pipeline, archive = runner
    assert pipeline.job("canary", archive)
    noted = pipeline.noted()
    assert sorted(noted[:2]) == ["install gpu-1 False False", "install gpu-2 False False"]
    assert noted[2:] == ["site gpu-1 False False", "verify gpu-1 False False"]
    assert pipeline.workflow["jobs"]["roll"]["needs"] == "canary" and pipeline.workflow["jobs"]["roll"]["environment"]
    assert pipeline.job("roll", archive)
    noted = pipeline.noted()
    assert sorted(noted[:2]) == ["site gpu-1 False False", "site gpu-2 False False"]
    assert sorted(noted[2:]) == ["verify gpu-1 False False", "verify gpu-2 False False"]


def test_what_the_plan_shows_is_what_the_jobs_after_the_merge_do(runner: tuple[Runner, Path]) -> None:
    commands = {name: " ".join(step.get("run", "") for step in job["steps"]) for name, job in runner[0].workflow["jobs"].items()}
    shown = set(re.findall(r"venom\.llm\.\w+", commands["plan"]))
    assert shown and all(shown <= set(re.findall(r"venom\.llm\.\w+", commands[name])) for name in ("canary", "roll"))


def test_a_canary_that_fails_is_looked_into_and_ends_the_pipeline(runner: tuple[Runner, Path]) -> None:
    pipeline, archive = runner
    broken = pipeline.folder / "site.gpu-1"
    broken.touch()
    try:
        assert not pipeline.job("canary", archive)
    finally:
        broken.unlink()
    assert pipeline.noted()[2:] == ["site gpu-1 False False", "diagnose gpu-1 False True"]


def test_every_playbook_and_path_of_the_pipeline_exists() -> None:
    workflow: dict[str, t.Any] = load(EXAMPLES / "deploy-models.yml")
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert {name for command in commands for name in re.findall(r"venom\.llm\.\w+", command)} <= set(playbooks())
    assert os.access(EXAMPLES / "set-up.sh", os.X_OK)
