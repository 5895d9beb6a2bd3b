# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The execution environment: its build context, and the same installation without a container, in which ansible-runner runs the project's playbooks.

What ansible-builder would do in an image is done here in folders: the collection from its archive, the requirements that it declares, and a venv
with the ansible-core and ansible-runner of the definition and nothing else.
"""
from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from integration.aap_checks import COMMAND_LINE
from integration.automation_support import environment, load, tools, venv
from integration.operations_support import TOKEN, WEIGHTS, model_hub

from lab.settings import CHECKOUT

EXTENSIONS = CHECKOUT / "extensions/aap"
PROGRESS = re.compile(r"^localhost \| a/b: (\d+)% \([\d.]+ of 8\.0 MB\)")
#: Filters and lookups of a play that runs on the controller alone.
FILTERS = """
- name: Use the filters of the collection
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Use them
      ansible.builtin.debug:
        msg: "{{ [{'role': 'user', 'content': 'hello'}] | venom.llm.chat_messages({'system_role': 'separate', 'allowed_roles': ['user']}) }}"
"""


def run(argv: t.Sequence[str | Path], cwd: Path, **more: str) -> str:
    """What a command prints; it has to succeed."""
    done = subprocess.run([str(part) for part in argv], cwd=cwd, env=environment(**more), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Image(t.NamedTuple):
    """What an image would hold: programs and collections."""

    context: Path
    programs: Path
    collections: Path
    python: list[str]
    system: list[str]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("ee")
    definition = folder / "execution-environment"
    shutil.copytree(EXTENSIONS / "execution-environment", definition)
    run(["ansible-galaxy", "collection", "build", "--output-path", folder, "."], CHECKOUT)
    (archive,) = folder.glob("venom-llm-*.tar.gz")
    shutil.copy(archive, definition / "venom-llm.tar.gz")
    run([tools() / "ansible-builder", "create"], definition)
    wanted = load(definition / "execution-environment.yml")["dependencies"]
    programs = venv("execution-environment", [wanted["ansible_core"]["package_pip"], wanted["ansible_runner"]["package_pip"]])
    # The two commands of the image's stage for collections, in the folder that they run in.
    build, collections = definition / "context/_build", folder / "collections"
    here = {"ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_HOME": str(folder / "home")}
    run([programs / "ansible-galaxy", "role", "install", "-r", "requirements.yml", "--roles-path", folder / "roles"], build, **here)
    run([programs / "ansible-galaxy", "collection", "install", "-r", "requirements.yml", "--collections-path", collections], build, **here)
    written = {kind: folder / kind for kind in ("pip", "bindep")}
    run([tools() / "ansible-builder", "introspect", collections, *(f"--write-{kind}={path}" for kind, path in written.items())], folder)
    found = [path.read_text(encoding="utf-8").splitlines() if path.exists() else [] for path in written.values()]
    return Image(definition / "context", programs, collections, *found)


def play(image: Image, folder: Path, playbook: str, tags: str = "all", **variables: t.Any) -> tuple[str, list[dict[str, t.Any]]]:
    """Run a playbook of the project as AWX would; its status and the events of the job."""
    data = folder / playbook
    (data / "inventory").mkdir(parents=True)
    shutil.copytree(EXTENSIONS / "project", data / "project")
    (data / "project/filters.yml").write_text(FILTERS, encoding="utf-8")
    line = f"localhost ansible_connection=local ansible_python_interpreter={sys.executable}\n"
    (data / "inventory/hosts").write_text(f"[venom]\n{line}", encoding="utf-8")
    (data / "env").mkdir()
    (data / "env/extravars").write_text(json.dumps(variables), encoding="utf-8")
    (data / "env/cmdline").write_text(f"--tags {tags}", encoding="utf-8")
    argv = [str(image.programs / "ansible-runner"), "run", str(data), "-p", f"{playbook}.yml", "--ident", "job", "--quiet"]
    known = environment(image.programs, ANSIBLE_COLLECTIONS_PATH=str(image.collections), ANSIBLE_HOME=str(folder / "home"))
    subprocess.run(argv, cwd=folder, env=known, capture_output=True, text=True, check=False)
    events = [json.loads(path.read_text(encoding="utf-8")) for path in (data / "artifacts/job/job_events").glob("*.json")]
    return (data / "artifacts/job/status").read_text(encoding="utf-8"), sorted(events, key=lambda event: event["counter"])


def printed(events: t.Iterable[t.Mapping[str, t.Any]]) -> str:
    """All that a job's events show."""
    return "\n".join(event["stdout"] for event in events)


def test_the_build_context_is_whole(image: Image) -> None:
    (recipe,) = [path for name in ("Containerfile", "Dockerfile") for path in [image.context / name] if path.exists()]
    text = recipe.read_text(encoding="utf-8")
    wanted = load(EXTENSIONS / "execution-environment/execution-environment.yml")
    assert wanted["images"]["base_image"]["name"] in text
    assert wanted["dependencies"]["ansible_core"]["package_pip"] in text and wanted["dependencies"]["ansible_runner"]["package_pip"] in text
    assert (image.context / "_build/archives/venom-llm.tar.gz").stat().st_size > 100_000
    needed = (CHECKOUT / "tests/requirements/controller.txt").read_text(encoding="utf-8").splitlines()[-1]
    assert wanted["dependencies"]["ansible_core"]["package_pip"] == needed


def test_what_the_collection_declares_is_found_by_the_builder(image: Image) -> None:
    assert [line for line in image.python if line.strip()] == []
    assert {line.split()[0] for line in image.system} == {"openssh-clients", "openssh-client", "sshpass"}
    assert (image.collections / "ansible_collections/venom/llm/MANIFEST.json").exists()


def test_the_project_has_a_playbook_that_awx_lists_for_each_of_the_collection() -> None:
    # AWX lists files in which a line begins like this one, and takes no other for the playbook of a template.
    listed = re.compile(r"^\s*-?\s*(ansible\.builtin\.)?(hosts|import_playbook):", re.MULTILINE)
    files = {path.stem: path.read_text(encoding="utf-8") for path in (EXTENSIONS / "project").glob("*.yml")}
    assert all(listed.search(text) for text in files.values())
    imported = {name: re.findall(r"import_playbook: (\S+)", text) for name, text in files.items() if name != "stopped"}
    names = {path.stem for path in (CHECKOUT / "playbooks").glob("*.yml")} - COMMAND_LINE
    assert imported == {name: [f"venom.llm.{name}"] for name in names}


def test_progress_arrives_as_events_while_a_job_runs(image: Image, tmp_path: Path) -> None:
    places = {f"venom_{name}_dir": str(tmp_path / "host" / name) for name in ("models", "config", "state", "log", "run", "install")}
    own = {"venom_become": False, "venom_manage_account": False, "venom_supervisor": "process", "venom_backend_python": sys.executable}
    with model_hub(tmp_path, rate=WEIGHTS / 8) as hub:
        wanted = {"venom_hf_endpoint": hub.url, "venom_hf_token": TOKEN, "venom_model_name": "a/b", "venom_models_reserve_gib": 0}
        status, events = play(image, tmp_path, "install", tags="models", **places, **own, **wanted, venom_progress_interval=1)
    assert status == "successful", printed(events)
    lines = [(event, found) for event in events for found in [PROGRESS.match(event["stdout"])] if found]
    assert len(lines) >= 2, printed(events)
    # Each line is an event of its own with its own time, so AWX shows it when it comes.
    assert {event["event"] for event, dummy in lines} == {"verbose"}
    assert len({event["created"] for event, dummy in lines}) == len(lines)
    assert [int(found[1]) for dummy, found in lines] == sorted(int(found[1]) for dummy, found in lines)
    (ended,) = [event for event in events if event["event"] == "runner_on_ok" and event["event_data"]["task_action"] == "venom.llm.venom_model"]
    assert ended["counter"] > lines[-1][0]["counter"] and ended["event_data"]["res"]["changed"]
    assert TOKEN not in json.dumps(events)


def test_other_playbooks_run_there_and_a_stopped_workflow_fails(image: Image, tmp_path: Path) -> None:
    assert play(image, tmp_path, "filters")[0] == "successful"
    status, events = play(image, tmp_path, "status", venom_become=False, venom_config_dir=str(tmp_path), venom_models_dir=str(tmp_path))
    assert status == "successful" and "localhost" in printed(events)
    assert play(image, tmp_path, "stopped")[0] == "failed"
