# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers and configurations that anybody may have written: no crash, no endless reading, no memory by an announced count."""
from __future__ import annotations

import json
import struct
import tracemalloc
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils import gguf_header, safetensors_header
from ansible_collections.venom.llm.plugins.module_utils.compatibility import Device, Host, judge
from ansible_collections.venom.llm.plugins.module_utils.memory_estimate import Workload, estimate
from ansible_collections.venom.llm.plugins.module_utils.model_facts import ModelFacts, gguf_facts, read_model_facts
from ansible_collections.venom.llm.plugins.module_utils.model_files import ModelFiles
from ansible_collections.venom.llm.plugins.module_utils.serve_settings import ServeSettings
from ansible_collections.venom.llm.tests.unit.plugins.module_utils import header_samples as headers
from ansible_collections.venom.llm.tests.unit.plugins.module_utils import model_samples as samples

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

SETTINGS = hypothesis.settings(max_examples=150, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
#: Bytes of Python's own that one small hostile file may cost.
MAX_MEMORY = 32 * 1024 * 1024

GGUF = headers.gguf()
SAFETENSORS = headers.safetensors({"a": headers.tensor(0, 4), "b": headers.tensor(4, 8), "__metadata__": {"x": "y"}}, b"\0" * 8)
EDGES = st.sampled_from([0, 1, 2, 7, 64, 2**31, 2**63, 10**30])
NUMBERS = st.one_of(st.integers(), st.floats(), st.booleans(), st.none(), st.text(max_size=5), EDGES)
JSON = st.recursive(NUMBERS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=12)
KEYS = sorted({key for sample in vars(samples).values() if isinstance(sample, dict) and "architectures" in sample for key in sample}) + [
    "layer_types", "sliding_window_pattern", "attn_layer_period", "attn_layer_indices", "full_attention_interval", "hybrid_override_pattern",
    "auto_map", "rope_parameters", "model_max_length", "multi_query", "global_head_dim", "num_global_key_value_heads", "attention_k_eq_v",
    "per_layer_config", "hybrid_layer_pattern", "swa_head_dim", "swa_num_key_value_heads", "tie_word_embeddings", "position_embedding_type",
]  # fmt: skip


def bounded(read: t.Callable[[], t.Any]) -> t.Any:
    """What the reader gives, or its refusal; anything but ``ValueError``, and too much memory, fails the test."""
    tracemalloc.start()
    try:
        return read()
    except ValueError as error:
        return error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MAX_MEMORY


def read_gguf(content: bytes, size: int | None = None) -> t.Any:
    """The header of a file that says it is ``size`` bytes long; no read may go beyond, or be huge."""
    claimed = len(content) if size is None else size

    def read_range(offset: int, length: int) -> bytes:
        assert offset >= 0 and offset + length <= claimed and length <= 1024 * 1024
        return content[offset : offset + length]

    return bounded(lambda: gguf_header.read_gguf(read_range, claimed))


def use(facts: ModelFacts) -> None:
    """Everything that is concluded from facts."""
    bounded(lambda: ModelFacts.from_dict(json.loads(json.dumps(facts.to_dict()))))
    found = estimate(facts, Workload(4096))
    assert found.total >= 0
    for host in (Host(devices=(Device("x", 2**34, 80),), version="0.32.0", cpu=False), Host(memory=2**34, cpu=True)):
        for problem in judge("a/b", facts, "vllm", host, ServeSettings()).problems:
            assert str(problem).startswith("Wanted: ")
    judge("a:b", facts, "ollama", Host(memory=2**34), ServeSettings())


def damage(content: bytes, changes: t.Sequence[tuple[int, int]], cut: int) -> bytes:
    damaged = bytearray(content)
    for position, value in changes:
        damaged[position % len(damaged)] = value
    return bytes(damaged[: len(damaged) - cut % len(damaged)])


CHANGES = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=6)


@SETTINGS
@hypothesis.given(CHANGES, st.integers(0, 400))
def test_damaged_gguf(changes: list[tuple[int, int]], cut: int) -> None:
    found = read_gguf(damage(GGUF, changes, cut))
    if isinstance(found, gguf_header.GgufFacts):
        use(gguf_facts(found, len(GGUF), "x"))


@SETTINGS
@hypothesis.given(st.binary(max_size=300), st.integers(0, 2**63))
def test_gguf_of_noise(noise: bytes, size: int) -> None:
    read_gguf(b"GGUF" + struct.pack("<I", 3) + noise)
    read_gguf(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + noise, max(size, len(noise) + 24))


@pytest.mark.parametrize("count", [2**16, 2**32, 2**63])
def test_an_announced_count_costs_nothing(count: int) -> None:
    array = headers.key("llama.x", 9, struct.pack("<IQ", 4, count))
    assert isinstance(read_gguf(headers.gguf(keys=(array,)), 2**40), ValueError)
    assert isinstance(read_gguf(b"GGUF" + struct.pack("<IQQ", 3, count, count)), ValueError)
    announced = struct.pack("<Q", count) + b"{}"
    assert isinstance(bounded(lambda: safetensors_header.header_length(announced, len(announced))), ValueError)


def test_many_values_are_not_all_kept() -> None:
    """Sixteen thousand lists within every single bound would be gigabytes together."""
    item = struct.pack("<IQ", 4, 2048) + b"\1\0\0\0" * 2048
    keys = [headers.key(f"llama.list{number}", 9, item) for number in range(400)]
    texts = [headers.key(f"llama.text{number}", 8, headers.text("x" * 4096)) for number in range(400)]
    found = read_gguf(headers.gguf(keys=(*headers.KEYS, *keys, *texts)))
    assert isinstance(found, gguf_header.GgufFacts) and found.context_length == 512
    assert sum(len(value) if isinstance(value, (list, str)) else 1 for value in found.values.values()) < 70_000


@SETTINGS
@hypothesis.given(CHANGES, st.integers(0, 200))
def test_damaged_safetensors(changes: list[tuple[int, int]], cut: int) -> None:
    content = damage(SAFETENSORS, changes, cut)

    def read() -> t.Any:
        length = safetensors_header.header_length(content[:8], len(content))
        return safetensors_header.parse_header(content[8 : 8 + length], len(content) - 8 - length)

    bounded(read)


@SETTINGS
@hypothesis.given(JSON, st.binary(max_size=16))
def test_safetensors_of_any_json(value: t.Any, data: bytes) -> None:
    text = json.dumps(value).encode()
    bounded(lambda: safetensors_header.parse_header(text, len(data)))
    bounded(lambda: safetensors_header.parse_header(b'{"a": ' + text + b"}", len(data)))


@SETTINGS
@hypothesis.given(
    st.sampled_from([samples.LLAMA_31_8B, samples.DEEPSEEK_V3, samples.GEMMA_3_27B, samples.GPT_OSS_120B]),
    st.dictionaries(st.sampled_from(KEYS), JSON, max_size=6),
    JSON,
)
def test_any_config(config: dict[str, t.Any], changes: dict[str, t.Any], other: t.Any) -> None:
    contents = {
        "config.json": json.dumps({**config, **changes}).encode(),
        "generation_config.json": json.dumps(other).encode(),
        "tokenizer_config.json": json.dumps({"model_max_length": other}).encode(),
        "hf_quant_config.json": json.dumps({"quantization": other}).encode(),
        "model.safetensors.index.json": json.dumps({"weight_map": other}).encode(),
    }
    sizes = {**{path: len(content) for path, content in contents.items()}, "model.safetensors": 10**9}
    use(bounded(lambda: read_model_facts(ModelFiles(sizes, contents.get))))


@SETTINGS
@hypothesis.given(st.dictionaries(st.text(max_size=10), JSON, max_size=5) | JSON)
def test_any_record(record: t.Any) -> None:
    known = samples.facts_of(samples.LLAMA_31_8B).to_dict()
    for name in ("shape", "context", "quantization", "architectures", "weight_bytes"):
        use(ModelFacts.from_dict({**known, name: {"value": record}}))
    if isinstance(record, dict):
        use(ModelFacts.from_dict(record))
