"""Build the collection, install it elsewhere, and see that the archive is whole and holds nothing of the checkout's own.

The installed copy must list every playbook and document every module without the checkout on its path.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
UNWANTED = (".venv/", ".cache/", ".lab/", ".demo/", ".git/", ".ci/", "collections/ansible_collections")
WANTED = (
    "LICENSE", "README.md", "meta/runtime.yml", "plugins/modules/venom_model.py", "playbooks/site.yml", "roles/vllm/README.md", "templates/",
    "meta/execution-environment.yml", "meta/ee-bindep.txt", "extensions/eda/rulebooks/alerts.yml",
    "extensions/aap/project/collections/requirements.yml",
)  # fmt: skip


def run(*command: str, cwd: Path = ROOT, **environment: str) -> str:
    """Run one tool of the venv; its output, or an error with it."""
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed with status {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def main() -> None:
    """Build, look inside, install, use."""
    with tempfile.TemporaryDirectory(prefix="venom-build-") as scratch:
        run("ansible-galaxy", "collection", "build", "--output-path", scratch, ".")
        (archive,) = Path(scratch).glob("venom-llm-*.tar.gz")
        with tarfile.open(archive) as tar:
            names = tar.getnames()
            links = [member.name for member in tar.getmembers() if member.issym() or member.islnk()]
        stray = [name for name in names if name.startswith(UNWANTED)]
        absent = [name for name in WANTED if not any(entry == name.rstrip("/") or entry.startswith(name) for entry in names)]
        if stray or absent or links:
            raise SystemExit(f"{archive.name}: not wanted {stray[:5]}, absent {absent}, links {links[:5]}")
        target = Path(scratch) / "installed"
        # For the installation too: galaxy installs nothing where the checkout's own import tree already has the collection.
        where: dict[str, t.Any] = {"ANSIBLE_COLLECTIONS_PATH": str(target)}
        run("ansible-galaxy", "collection", "install", "--offline", "-p", str(target), str(archive), **where)
        documented = json.loads(run("ansible-doc", "-t", "module", "-j", "-l", "venom.llm", cwd=target, **where))
        modules = {f"venom.llm.{path.stem}" for path in (ROOT / "plugins/modules").glob("venom_*.py")}
        if set(documented) != modules:
            raise SystemExit(f"documented {sorted(documented)}, present {sorted(modules)}")
        playbooks = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
        for name in playbooks:
            run("ansible-playbook", "--syntax-check", "-i", "localhost,", f"venom.llm.{name}", cwd=target, **where)
        sys.stdout.write(f"{archive.name}: {len(names)} entries, {len(modules)} modules and {len(playbooks)} playbooks work once installed\n")


if __name__ == "__main__":
    main()
