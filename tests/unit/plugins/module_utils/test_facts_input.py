# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts as playbooks hand them over."""
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.facts_input import arguments_of, estimate_of, facts_from
from ansible_collections.venom.llm.tests.unit.plugins.module_utils import model_samples as samples

FACTS = samples.facts_of(samples.LLAMA_31_8B, 16_060_522_496).to_dict()


@pytest.mark.parametrize("model", [{"name": "a/b", "facts": FACTS}, FACTS])
def test_a_record_or_its_facts(model: dict[str, t.Any]) -> None:
    found = estimate_of(model, {"context": 8192, "kv_cache_dtype": "fp8", "tensor_parallel": "2"})
    assert found["cache_bytes"] == 8192 * 32 * 4 * 256 and found["tensor_parallel"] == 2
    assert estimate_of(model, {})["context"] == 131072
    assert arguments_of(model, {"gpu_memory_gib": 22, "compute_capability": "8.9"}).words[0] == "--max-model-len"


def test_a_configuration() -> None:
    found = estimate_of(samples.LLAMA_31_8B, {"weight_bytes": 16_060_522_496, "context": 4096})
    assert found["weights_bytes"] == 16_060_522_496 and found["unknown"] == []
    assert estimate_of(samples.LLAMA_31_8B, {})["unknown"] == ["bytes of the weights"]
    recorded = dict(FACTS, parameters={"value": 1000, "source": "safetensors"})
    assert estimate_of(recorded, {"weight_bytes": 4000, "dtype": "float32"})["weights_bytes"] == 8000
    assert facts_from({"torch_dtype": 5, "architectures": ["X"]}).dtype is None


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("text", {}), (None, {}), ({}, {}), ({"a": 1}, {}), (FACTS, {"contxt": 1}), (FACTS, {"context": "long"}), (FACTS, {"context": -1}),
        (FACTS, {"parallel": 0}), (FACTS, {"tensor_parallel": 0}), (FACTS, {"platform": "tpu"}), (FACTS, {"context": float("inf")}),
        ({"architectures": ["X"]}, {}),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(model: t.Any, options: dict[str, t.Any]) -> None:
    with pytest.raises(VenomError) as caught:
        estimate_of(model, options)
    assert caught.value.reason_code == "invalid_option"


@pytest.mark.parametrize("options", [{"compute_capability": "new"}, {"gpu_memory_utilization": 0}, {"gpu_memory_utilization": 2}, {"context": 0}])
def test_arguments_that_make_no_sense(options: dict[str, t.Any]) -> None:
    with pytest.raises(VenomError) as caught:
        arguments_of(FACTS, options)
    assert caught.value.reason_code == "invalid_option"


def test_a_processor() -> None:
    assert arguments_of(FACTS, {"gpus": 0, "memory_gib": 64}).words == ()
