"""Run ansible-test on a copy of the collection outside the checkout, and refuse a run that tested nothing.

ansible-test leaves with status 0 and "No tests applicable" in a checkout that is not below ``ansible_collections``, in a tree
of links and in a folder that git ignores. So the files that git knows are copied to a real path, the tested files are
counted, and a file with a known defect is put in at the end: a run that accepts it has looked at nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "ansible-test"
IMPORT_TREE = "collections/ansible_collections/"
CANARY = "plugins/module_utils/canary.py"
#: Lines of a verbose run that tell what was tested, in how many files, and what was found; the rest is pip and bookkeeping.
TELLING = re.compile(r"Running |Checking |No tests applicable|All targets skipped|FAILED|ERROR|WARNING|FATAL|See |[=]+ |.*(passed|failed)")
#: From the first title on, a failed run of units tells what failed; before it there are dots, after it the command of thousands of characters.
FAILURES = re.compile(r"^=+ (?:FAILURES|ERRORS) =+$.*?(?=^=+ short test summary)", re.MULTILINE | re.DOTALL)


def copy_collection(target: Path) -> int:
    """Copy what git tracks or would track; return the number of files."""
    listing = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"], check=True, capture_output=True, text=True
    ).stdout
    names = [name for name in listing.split("\0") if name and not name.startswith(IMPORT_TREE) and (ROOT / name).is_file()]
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)
    return len(names)


@contextlib.contextmanager
def alone() -> t.Iterator[None]:
    """Sanity and units begin side by side and prepare the same folder: one made a link that the other was about to make."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def prepare_home(home: Path) -> None:
    """Give ansible-test a HOME of its own, with the bootstrap of the pip version that it wants."""
    import ansible_test

    data = Path(next(iter(ansible_test.__path__)))
    version = re.search(r"pip='([0-9.]+)'", (data / "_internal/python_requirements.py").read_text(encoding="utf-8"))
    if not version:
        raise SystemExit("ansible-test no longer says which pip it wants: mend tests/tools/run_ansible_test.py")
    cache = home / ".ansible/test/cache"
    wheels = cache / "wheels"
    if not list(wheels.glob(f"pip-{version.group(1)}-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(wheels), f"pip=={version.group(1)}"]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    shutil.copy2(Path(__file__).with_name("get_pip.py"), cache / f"get_pip_{version.group(1).replace('.', '_')}.py")


def interpreters(target: Path) -> str:
    """PATH on which every pythonX.Y really starts: links to the oldest, the newest and our own, without the folders of those that don't.

    pyenv puts a launcher for each version on PATH that ends with 127 unless that version is selected, and ansible-test takes
    the launcher for an interpreter. The versions that pyenv keeps are used all the same. Those between the oldest and the newest are
    left out: what they refuse one of these refuses, and each costs half a minute.
    """
    target.mkdir(parents=True, exist_ok=True)
    folders = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep)]
    kept = [str(path.parent) for path in Path.home().glob(".pyenv/versions/*/bin/python3")]
    found: dict[str, Path] = {}
    for minor in range(9, 16):
        name = f"python3.{minor}"
        for candidate in [folder / name for folder in [*folders, *map(Path, kept)] if (folder / name).exists()]:
            if subprocess.run([str(candidate), "-c", ""], check=False, capture_output=True).returncode:
                folders = [folder for folder in folders if folder != candidate.parent]
            else:
                found.setdefault(name, candidate)
    for name in {*list(found)[:1], *list(found)[-1:], f"python3.{sys.version_info[1]}"} & set(found):
        if not (target / name).exists():
            (target / name).symlink_to(found[name])
    return os.pathsep.join([str(target), *map(str, folders)])


def ansible_test(collection: Path, *arguments: str) -> tuple[int, str]:
    """Run ansible-test in the copy. What tells something is shown as it comes; all of it is returned."""
    with alone():
        path = interpreters(CACHE / "bin")
    environment = dict(os.environ, HOME=str(CACHE / "home"), PYTHONPATH="", PIP_REQUIRE_VIRTUALENV="0", PATH=path)
    command = [str(Path(sys.executable).with_name("ansible-test")), *arguments, "--color", "no"]
    with subprocess.Popen(command, cwd=collection, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        lines = []
        for line in process.stdout or []:
            lines.append(line)
            if TELLING.match(line):
                sys.stdout.write(line)
                sys.stdout.flush()
    return process.returncode, "".join(lines)


def sanity(collection: Path) -> None:
    """All sanity tests; every plugin file is tested, and a planted defect is found."""
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    code, output = ansible_test(collection, "sanity", "-v")
    if code:
        raise SystemExit(f"ansible-test sanity failed with status {code}")
    ran = output.count('Running sanity test "')
    idle = output.count("No tests applicable") + output.count("All targets skipped")
    files = sum(1 for dummy in (collection / "plugins").rglob("*.py"))
    if ran - idle < 10 or not files:
        raise SystemExit(f"ansible-test sanity tested nothing: {ran} tests started, {idle} without a file, {files} plugin files")
    (collection / CANARY).write_text("import os\nprint( 'canary' )\nassert os\n", encoding="utf-8")
    sys.stdout.write("A file with defects is planted: the next two failures are wanted\n")
    for test in ("pep8", "no-assert"):
        code, dummy = ansible_test(collection, "sanity", "--test", test, "--python", python, CANARY)
        if not code:
            raise SystemExit(f"ansible-test sanity --test {test} accepted a file with a defect: it looks at no file")
    sys.stdout.write(f"ansible-test sanity: {ran - idle} tests over {files} plugin files, the planted defects were found\n")


def units(collection: Path) -> None:
    """The unit tests under ansible-test's own runner; the count comes from its JUnit report."""
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    code, output = ansible_test(collection, "units", "--python", python)
    if code:
        found = FAILURES.search(output)
        sys.stdout.write(found.group() if found else output[-8000:])
        raise SystemExit(f"ansible-test units failed with status {code}")
    reports = list((collection / "tests/output/junit").glob("*.xml"))
    count = sum(int(suite.get("tests", "0")) for report in reports for suite in ElementTree.parse(report).iter("testsuite"))
    if not count:
        raise SystemExit("ansible-test units ran no test")
    sys.stdout.write(f"ansible-test units: {count} tests\n")


COMMANDS = {"sanity": sanity, "units": units}


def main() -> None:
    """Copy, run, count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("command", choices=sorted(COMMANDS))
    arguments = parser.parse_args()
    home = CACHE / "home"
    home.mkdir(parents=True, exist_ok=True)
    with alone():
        prepare_home(home)
    with tempfile.TemporaryDirectory(prefix="venom-ansible-test-") as scratch:
        collection = Path(scratch) / "ansible_collections/venom/llm"
        count = copy_collection(collection)
        sys.stdout.write(f"{count} files copied to {collection}\n")
        COMMANDS[arguments.command](collection)


if __name__ == "__main__":
    main()
