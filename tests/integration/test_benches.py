# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benches run to their end at a small size, have every row, and notice wrong bytes. What they measure is not looked at."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench import activation, install, support

pytest.importorskip("huggingface_hub")

BENCH = Path(__file__).resolve().parents[1] / "bench"
QUICK = ("--rounds", "1", "--gib", "0.05")


def bench(name: str, folder: Path, *arguments: str) -> str:
    """What a bench prints; its scratch folder must be gone."""
    command = [sys.executable, str(BENCH / name), *QUICK, "--folder", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    return done.stdout


def has_row(output: str, what: str, who: str) -> bool:
    """Whether there is a line with both and with figures."""
    return any(line.startswith(what) and line[len(what) :].strip().startswith(who) and line.rstrip()[-1].isdigit() for line in output.splitlines())


def test_install_has_every_row(tmp_path: Path) -> None:
    output = bench("install.py", tmp_path)
    for what in ("hub, 1 file ", "hub, 4 files", "hub, 16 files"):
        for who in ("venom_model", "hf download", "curl | sha256sum"):
            assert has_row(output, what, who), output
    for who in ("venom_model", "stand-in's pull", "curl | sha256sum"):
        assert has_row(output, "registry", who), output


def test_verify_has_every_row(tmp_path: Path) -> None:
    output = bench("verify.py", tmp_path)
    for what in ("1 file ", "8 files"):
        for who in ("state: verified", "sha256sum, 1 core", "xargs -P sha256sum"):
            assert has_row(output, what, who), output


def test_activation_has_every_row(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCH / "activation.py"), "--rounds", "1", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
    for row in ("bare restart", "playbook start to proved", "ours: the rest of the module", "of it from ready to seen"):
        assert any(row in line and line.rstrip().endswith(" s") for line in done.stdout.splitlines()), done.stdout
    counts = {line.partition("  ")[0]: line.split()[-3:] for line in done.stdout.splitlines() if f"{activation.CLIENTS} clients" in line}
    assert counts["drain, out of the balancer"][1:] == ["0", "0"] and int(counts["drain, out of the balancer"][0]) > 0
    assert int(counts["no drain, clients go on"][1]) > 0, "a switch without draining cut nobody off, so the clients did not ask"


def test_wrong_bytes_are_noticed(tmp_path: Path) -> None:
    root = tmp_path / "hub"
    source = root / "bench" / "model"
    support.make_model(source, 1, support.MIB)
    with support.serving(tmp_path, "hub", "serve", "--root", str(root), "--cdn-host", "127.0.0.2") as hub:
        model = install.HuggingFace(tmp_path, hub, "bench/model", source)
        for measure in model.contenders().values():
            measure()
        weights = source / "model.safetensors"
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        for name, measure in model.contenders().items():
            # The hub still announces the digest of the bytes that it had: one fails, the others bring what nobody announced.
            with pytest.raises(support.Wrong, match="digest_mismatch|twice|other bytes"):
                measure()
                pytest.fail(f"{name} got away with it")


def test_a_terminated_bench_leaves_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, str(BENCH / "verify.py"), *QUICK, "--rounds", "1000", "--folder", str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 60
        while not list(tmp_path.glob("*/models/manifest.json")) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(60) == 143
    finally:
        process.kill()
        process.wait()
    assert list(tmp_path.iterdir()) == []
