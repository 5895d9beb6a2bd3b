# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Model folders that a careful installer must refuse. Nothing in them runs or harms by itself: the bait is inert."""
from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

from lab.models import safetensors as st
from lab.models.tiny_llama import llama

#: A pickle whose loading would call ``print`` (protocol 0, written by hand so that making it needs no object).
PICKLE = b"c__builtin__\nprint\n(S'a pickle ran code'\ntR."
#: Kind to what is wrong with the folder.
HOSTILE_KINDS = {
    "pickle": "weights are a pickle, pytorch_model.bin, and nothing else",
    "pickle_beside": "a pickle lies beside good safetensors",
    "remote_code": "config.json has auto_map, and a .py file lies beside it",
    "short_header": "model.safetensors ends inside its header",
    "long_header": "the header length of model.safetensors is larger than the file",
    "short_body": "model.safetensors ends before its last tensor",
    "traversal_shard": "weight_map names ../../etc/passwd",
    "missing_shard": "weight_map names a shard that is not there",
    "unknown_architecture": "config.json names an architecture that no runtime knows",
    "no_config": "there is no config.json",
    "broken_config": "config.json is not JSON",
    "no_template": "there is no chat template",
    "dies_on_first_token": "vLLM on a CPU loads it and reports health, then dies at the first completion (heads of 16)",
}


def _edit_json(path: Path, **changes: t.Any) -> None:
    st.write_json(path, {**json.loads(path.read_text(encoding="utf-8")), **changes})


def hostile(folder: str | Path, kind: str, **options: t.Any) -> Path:
    """Write a tiny Llama (``options`` go to its maker) with one thing wrong; see ``HOSTILE_KINDS``."""
    if kind not in HOSTILE_KINDS:
        raise ValueError(f"no hostile kind {kind!r}; there are {', '.join(HOSTILE_KINDS)}")
    if kind.endswith("_shard"):
        options["shards"] = 2
    if kind == "no_template":
        options["chat_template"] = ""
    if kind == "dies_on_first_token":
        options["head_dim"] = 16
    folder = llama(folder, **options)
    weights, config, index = folder / "model.safetensors", folder / "config.json", folder / "model.safetensors.index.json"
    if kind in ("pickle", "pickle_beside"):
        (folder / "pytorch_model.bin").write_bytes(PICKLE)
        if kind == "pickle":
            weights.unlink()
    elif kind == "remote_code":
        _edit_json(config, architectures=["EvilForCausalLM"], auto_map={"AutoModelForCausalLM": "modeling_evil.EvilForCausalLM"})
        st.write_text(folder / "modeling_evil.py", "raise SystemExit('remote code ran')\n")
    elif kind == "short_header":
        os.truncate(weights, 100)
    elif kind == "long_header":
        weights.write_bytes((1 << 40).to_bytes(8, "little") + weights.read_bytes()[8:])
    elif kind == "short_body":
        os.truncate(weights, weights.stat().st_size - 1000)
    elif kind == "traversal_shard":
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        _edit_json(index, weight_map={**weight_map, "lm_head.weight": "../../etc/passwd"})
    elif kind == "missing_shard":
        (folder / "model-00002-of-00002.safetensors").unlink()
    elif kind == "unknown_architecture":
        _edit_json(config, architectures=["NeverHeardOfForCausalLM"], model_type="never_heard_of")
    elif kind == "no_config":
        config.unlink()
    elif kind == "broken_config":
        st.write_text(config, '{"architectures": [')
    return folder
