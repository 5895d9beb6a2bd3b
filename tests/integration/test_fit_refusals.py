# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models that the host could not serve are refused before a byte of their weights moves, from the hub and from the registry."""
from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from integration.models_support import FakeContext, model_params, tree

from ansible_collections.venom.llm.plugins.module_utils import fit, gpus, host
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.gpus import Gpu, GpuReading
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.memory_estimate import weight_bytes
from ansible_collections.venom.llm.plugins.module_utils.model_facts import ModelFacts
from ansible_collections.venom.llm.plugins.module_utils.models import run_models
from ansible_collections.venom.llm.plugins.module_utils.models_info import run_info
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.header_samples import safetensors, tensor
from lab import models
from lab.hub import Hub
from lab.models import ollama_layers
from lab.registry import Registry

pytest.importorskip("huggingface_hub")


@pytest.fixture()
def hub(tmp_path: Path) -> t.Iterator[Hub]:
    with Hub() as running:
        running.add_repo("a/b", models.llama(tmp_path / "repo", pad_mb=1))
        yield running


@pytest.fixture()
def registry(tmp_path: Path) -> t.Iterator[Registry]:
    with Registry() as running:
        config, layers = ollama_layers(tmp_path / "ollama", 1, 1)
        running.add("library/tiny", "mini", layers, config)
        yield running


@pytest.fixture()
def small_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU of one MiB, and not much more memory."""
    gpu = Gpu("0", "Toy", None, 2**20, 0, compute_capability="9.0")
    monkeypatch.setattr(gpus, "read_gpus", lambda: GpuReading((gpu,)))
    monkeypatch.setattr(host, "read_memory", lambda: host.Memory(2**20, 2**20))


def refused(folder: Path, hub: Hub | None, **options: t.Any) -> VenomError:
    """Refused in check mode and for real, without a trace."""
    folder.mkdir(exist_ok=True)
    before = tree(folder)
    for check in (True, False):
        with pytest.raises(VenomError) as caught:
            run_models(model_params(folder, hub, **options), FakeContext(check))
        assert tree(folder) == before
    return caught.value


@pytest.mark.usefixtures("small_host")
def test_the_hub(tmp_path: Path, hub: Hub) -> None:
    error = refused(tmp_path / "host", hub, name="a/b")
    assert error.reason_code == "insufficient_memory" and "weights" in error.wanted and error.details["room_bytes"] == int(2**20 * 0.92)
    assert refused(tmp_path / "host", hub, name="a/b", cpu=True).reason_code == "insufficient_memory"


@pytest.mark.usefixtures("small_host")
def test_warned_it_is_installed_with_its_facts(tmp_path: Path, hub: Hub) -> None:
    context = FakeContext()
    params = model_params(tmp_path / "host", hub, name="a/b", fit="warn")
    assert run_models(params, context)["changed"]
    assert any(text.startswith("insufficient_memory: ") for text in context.warnings)
    entry = Manifest.load(params["models_dir"]).models[0]
    assert entry.facts["context"] == {"value": {"maximum": 512, "default": 512, "scaling": None, "factor": None}, "source": "config.json"}
    assert entry.requires_gpu is False and entry.parameters
    # What is there stays there: a no-op looks at no GPU, and refuses nothing.
    again = FakeContext()
    assert not run_models(model_params(tmp_path / "host", None, name="a/b"), again)["changed"]
    assert again.warnings == []
    # Nor is its repair refused, although nothing about it fits now either.
    (Path(entry.local_path) / "model.safetensors").unlink()
    for blob in (tmp_path / "host" / "models" / "blobs").rglob("*"):
        if blob.is_file() and blob.stat().st_size > 10**6:
            blob.unlink()
    assert run_models(model_params(tmp_path / "host", hub, name="a/b"), again)["files_repaired"] == 1
    usage = run_info(dict(params, limit=0, name=None, usage=True, max_disk_gb=1.0), FakeContext())["usage"]
    assert usage["by_model"][0]["name"] == "a/b" and usage["by_model"][0]["own_bytes"] == entry.size_bytes == usage["models_bytes"]
    assert usage["limit_used_percent"] > 0


@pytest.mark.usefixtures("small_host")
def test_the_registry(tmp_path: Path, registry: Registry) -> None:
    options: dict[str, t.Any] = {"registry": registry.url, "ollama_method": "store", "name": "tiny:mini"}
    options.update(ollama_models_dir=str(tmp_path / "host" / "store"), allowed_hosts=[registry.cdn_url.rpartition("//")[2]])
    (tmp_path / "host" / "store" / "manifests").mkdir(parents=True)
    (tmp_path / "host" / "store" / "blobs").mkdir()
    error = refused(tmp_path / "host", None, **options)
    assert error.reason_code == "insufficient_memory" and "of memory and" in error.found
    params = model_params(tmp_path / "host", None, **{**options, "fit": "warn"})
    assert run_models(params, FakeContext())["changed"]
    entry = Manifest.load(params["models_dir"]).models[0]
    assert entry.facts["shape"]["source"] == "gguf" and entry.requires_gpu is False
    assert entry.capabilities["max_context_length"] == {"value": 512, "source": "detected"}


def test_types_are_those_of_the_files_whatever_the_configuration_says(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of 32 bits are served with 16. Headers tell before anything is fetched, those of the hub and those of blobs that are here."""
    folder = models.llama(tmp_path / "wide")
    (folder / "model.safetensors").write_bytes(safetensors({"w": tensor(0, 4000, (1000,))}, bytes(4000)))
    hub.add_repo("a/wide", folder)
    hub.add_repo("a/again", folder)
    seen: list[ModelFacts] = []
    monkeypatch.setattr(fit, "check_download", lambda name, facts, *others: seen.append(facts) or [])
    for name in ("a/wide", "a/again"):
        assert run_models(model_params(tmp_path / "host", hub, name=name), FakeContext())["changed"]
    first, second = seen
    assert (first.dtype, first.parameters, first.float32_elements) == ("bfloat16", 1000, 1000)
    assert weight_bytes(first) == weight_bytes(second) == (first.weight_bytes or 0) - 2000


def test_a_host_with_room(tmp_path: Path, hub: Hub) -> None:
    context = FakeContext()
    assert run_models(model_params(tmp_path / "host", hub, name="a/b"), context)["changed"]
    assert context.warnings == []
