# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rate of ``state: verified`` on an installed model, beside ``sha256sum`` on one core and on all of them, in one run.

    make bench        # or: python tests/bench/verify.py --rounds 3 --gib 2

The model is in 1 and in 8 files, in the page cache. Every result is compared: digests for sha256sum, and the module has to report nothing to do;
at the end one byte is changed, which it has to find. Otherwise the status is 1.
"""

from __future__ import annotations

import os
import shutil
import sys
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.support import (  # noqa: E402
    GIB,
    MIB,
    Cost,
    Median,
    Wrong,
    digests,
    make_model,
    need,
    operate,
    parse,
    rounds,
    run,
    scratch_folder,
    serving,
    show,
    size_of,
)

LAYOUTS = (1, 8)
VENOM, ONE_CORE, ALL_CORES, OPENSSL = "state: verified", "sha256sum, 1 core", "xargs -P sha256sum", "openssl dgst, 1 core"


class Installed:
    """A model that was installed from a hub."""

    def __init__(self, scratch: Path, url: str) -> None:
        self._scratch = scratch
        self._options: dict[str, t.Any] = {"name": "bench/model", "models_dir": str(scratch / "models"), "endpoint": url}
        dummy, result = operate(scratch, **self._options)
        self._folder = Path(result["models"][0]["local_path"])
        self._wanted = digests(self._folder)
        self._paths = [str(self._folder / name) for name in self._wanted]
        self.size = size_of(self._folder)
        (scratch / "paths").write_text("".join(f"{path}\n" for path in self._paths), encoding="utf-8")

    def contenders(self) -> dict[str, t.Callable[[], Cost]]:
        """What is compared."""
        pinned = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
        found: dict[str, t.Callable[[], Cost]] = {
            VENOM: self.verify,
            ONE_CORE: lambda: self._sha256sum(*pinned, "sha256sum", *self._paths),
            ALL_CORES: lambda: self._sha256sum("xargs", "-a", "paths", "-P", str(os.cpu_count()), "-n", "1", "sha256sum"),
        }
        if shutil.which("openssl"):
            found[OPENSSL] = lambda: self._sha256sum(*pinned, "openssl", "dgst", "-sha256", "-r", *self._paths)
        return found

    def verify(self) -> Cost:
        """By the operation of venom_model."""
        cost, result = operate(self._scratch, state="verified", **self._options)
        need(not result["changed"], "venom_model found damage where there is none")
        return cost

    def _sha256sum(self, *command: str) -> Cost:
        cost, output = run(command, scratch=self._scratch)
        found = {os.path.relpath(path.lstrip("*"), self._folder): digest for digest, path in (line.split(maxsplit=1) for line in output.splitlines())}
        need(found == self._wanted, f"{command[0]} has other digests")
        return cost

    def damage(self) -> None:
        """Change a byte in the middle of the largest file, as a disk does that fails, and see that it is found."""
        path = max(self._paths, key=os.path.getsize)
        status = os.stat(path)
        os.chmod(path, 0o644)
        with open(path, "r+b") as stream:
            stream.seek(status.st_size // 2)
            byte = stream.read(1)
            stream.seek(status.st_size // 2)
            stream.write(bytes([byte[0] ^ 1]))
        os.chmod(path, 0o444)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        dummy, result = operate(self._scratch, check=True, state="verified", **self._options)
        need(result["changed"], "venom_model did not find a changed byte")


def rows(what: str, size: int, found: dict[str, Median]) -> list[list[str]]:
    """Lines of the table. A rate per core is bytes for each second of processor time, the start of the process included."""
    one, every = found[ONE_CORE], found[ALL_CORES]
    return [
        [
            what,
            name,
            f"{cost.seconds:.2f}",
            f"{cost.least:.2f}",
            f"{cost.most:.2f}",
            f"{size / cost.seconds / GIB:.2f}",
            f"{cost.cpu / cost.seconds:.1f}",
            f"{size / cost.cpu / GIB:.2f}",
            f"{cost.peak / MIB:.0f}",
            f"{one.cpu / cost.cpu:.2f}",
            f"{every.seconds / cost.seconds:.2f}",
        ]
        for name, cost in found.items()
    ]


def main() -> None:
    """Measure and print."""
    arguments = parse(__doc__, rounds=3)
    table: list[list[str]] = []
    with scratch_folder(arguments.folder) as scratch:
        for files in LAYOUTS:
            root = scratch / "hub"
            make_model(root / "bench" / "model", files, int(arguments.gib * GIB))
            with serving(scratch, "hub", "serve", "--root", str(root)) as hub:
                installed = Installed(scratch, hub["url"])
                table += rows(f"{files} file{'s' if files > 1 else ''}", installed.size, rounds(installed.contenders(), arguments.rounds))
                installed.damage()
            shutil.rmtree(root)
            shutil.rmtree(scratch / "models")
    print(f"{arguments.gib:g} GiB, {arguments.rounds} rounds, {os.cpu_count()} cores; medians of one run, seconds with their range")
    show(("model", "who", "seconds", "min", "max", "GiB/s", "cores", "GiB per core s", "peak MiB", "per core to sha256sum", "rate to xargs"), table)


if __name__ == "__main__":
    try:
        main()
    except Wrong as error:
        raise SystemExit(f"{Path(__file__).name}: {error}") from error
