# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``state: verified`` and ``verify: full`` against a hub: every byte hashed again, only what is bad fetched again."""
from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from integration.models_support import FakeContext, install, model_params, small_model, tree

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.models import run_models
from lab.hub import Hub

pytest.importorskip("huggingface_hub")


@pytest.fixture
def hub(tmp_path: Path) -> t.Iterator[Hub]:
    with Hub(cdn_host="127.0.0.2") as running:
        yield running


def step(folder: Path, hub: Hub, changed: bool, **options: t.Any) -> dict[str, t.Any]:
    """One step in check mode, which must touch nothing, then for real; both must tell the same."""
    before = tree(folder)
    checked = install(folder, hub, check=True, **options)
    assert tree(folder) == before
    real = install(folder, hub, **options)
    assert (checked["changed"], real["changed"]) == (changed, changed)
    for key in ("diff", "plan", "bytes_total", "bytes_to_fetch", "bytes_kept"):
        assert checked[key] == real[key]
    return real


def rot(path: Path) -> None:
    """Change one byte as a failing disk does: size, time and inode stay."""
    status = path.stat()
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x01
    with open(path, "r+b") as stream:
        stream.write(content)
    path.chmod(0o444)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def file_of(host: Path, commit: str, name: str = "model.safetensors") -> Path:
    return host / "models" / "hf" / f"a--b@{commit}" / name


def test_twelve_steps(tmp_path: Path, hub: Hub) -> None:
    first = hub.add_repo("a/b", small_model(tmp_path / "one", 1, README__md="one"))
    host = tmp_path / "host"
    host.mkdir()
    step(host, hub, True, name="a/b", state="verified")
    step(host, hub, False, name="a/b", state="verified")

    rot(file_of(host, first))
    assert install(host, hub, name="a/b")["changed"] is False, "a quick look cannot see it"
    hub.log.clear()
    repaired = step(host, hub, True, name="a/b", state="verified")
    assert (repaired["files_repaired"], repaired["plan"][0]["repaired"]) == (1, ["model.safetensors"])
    assert repaired["bytes_fetched"] == repaired["bytes_to_fetch"] == file_of(host, first).stat().st_size
    assert [entry.path for entry in hub.log.entries("*/resolve/*/README.md")] == []
    step(host, hub, False, name="a/b", state="verified")
    step(host, hub, False, name="a/b", verify="full")

    step(host, hub, True, name="a/b", state="absent")
    step(host, hub, False, name="a/b", state="absent")


def test_good_files_are_not_touched(tmp_path: Path, hub: Hub) -> None:
    commit = hub.add_repo("a/b", small_model(tmp_path / "one", 1, README__md="one"))
    install(tmp_path, hub, name="a/b")
    before = tree(tmp_path / "models" / "hf")
    rot(file_of(tmp_path, commit, "README.md"))
    install(tmp_path, hub, name="a/b", state="verified")
    after = tree(tmp_path / "models" / "hf")
    assert {path for path in before if before[path] != after[path]} <= {f"a--b@{commit}", f"a--b@{commit}/README.md"}
    assert file_of(tmp_path, commit, "README.md").read_text() == "one"


def test_every_revision_that_shares_the_bad_blob_is_right_again(tmp_path: Path, hub: Hub) -> None:
    first = hub.add_repo("a/b", small_model(tmp_path / "one", 1, README__md="one"))
    install(tmp_path, hub, name="a/b")
    second = hub.add_repo("a/b", small_model(tmp_path / "two", 1, README__md="two"))
    install(tmp_path, hub, name="a/b", state="latest")
    weights = file_of(tmp_path, first)
    assert weights.samefile(file_of(tmp_path, second))
    good = weights.read_bytes()
    rot(weights)
    assert install(tmp_path, hub, name="a/b", revision=second, state="verified")["files_repaired"] == 1
    assert file_of(tmp_path, first).read_bytes() == file_of(tmp_path, second).read_bytes() == good
    assert file_of(tmp_path, first).samefile(file_of(tmp_path, second))
    hub.stop()
    for revision in (first, second):
        assert install(tmp_path, hub, name="a/b", revision=revision, state="verified")["changed"] is False


def test_a_file_whose_blob_is_good_is_linked_anew_without_the_hub(tmp_path: Path, hub: Hub) -> None:
    commit = hub.add_repo("a/b", small_model(tmp_path / "one", 1))
    install(tmp_path, hub, name="a/b")
    path = file_of(tmp_path, commit)
    good = path.read_bytes()
    path.unlink()
    path.write_bytes(b"x" * len(good))
    hub.stop()
    result = install(tmp_path, hub, name="a/b", state="verified")
    assert (result["changed"], result["files_repaired"], result["bytes_fetched"]) == (True, 1, 0)
    assert path.read_bytes() == good


def test_what_cannot_be_fetched_again_is_told_and_nothing_is_lost(tmp_path: Path, hub: Hub) -> None:
    commit = hub.add_repo("a/b", small_model(tmp_path / "one", 1, README__md="one"))
    install(tmp_path, hub, name="a/b")
    rot(file_of(tmp_path, commit))
    before = tree(tmp_path / "models" / "hf")
    hub.stop()
    with pytest.raises(VenomError) as caught:
        install(tmp_path, hub, name="a/b", state="verified", retries=0)
    assert caught.value.reason_code == "hub_unreachable"
    assert tree(tmp_path / "models" / "hf") == before
    assert [entry.revision for entry in Manifest.load(str(tmp_path / "models")).models] == [commit]


def test_latest_with_full_verification_repairs_what_did_not_move(tmp_path: Path, hub: Hub) -> None:
    commit = hub.add_repo("a/b", small_model(tmp_path / "one", 1))
    install(tmp_path, hub, name="a/b", state="latest")
    rot(file_of(tmp_path, commit))
    assert install(tmp_path, hub, name="a/b", state="latest")["changed"] is False
    assert install(tmp_path, hub, name="a/b", state="latest", verify="full")["files_repaired"] == 1
    assert install(tmp_path, hub, name="a/b", state="latest", verify="full")["changed"] is False


def test_hashing_is_reported(tmp_path: Path, hub: Hub) -> None:
    hub.add_repo("a/b", small_model(tmp_path / "one", 1))
    size = install(tmp_path, hub, name="a/b")["bytes_total"]
    told: list[tuple[str, int | None, int | None]] = []

    class Listener(FakeContext):
        def report(self, message: str, done: int | None = None, total: int | None = None) -> None:
            told.append((message, done, total))

    run_models(model_params(tmp_path, hub, name="a/b", state="verified"), Listener())
    assert told[-1] == ("hashing a/b", size, size)
