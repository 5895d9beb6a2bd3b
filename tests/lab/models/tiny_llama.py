# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A two-layer Llama that answers with a sentence of your choice, whatever it is asked.

The layers add nothing to the residual stream (``o_proj`` and ``down_proj`` are zero), so the last hidden state is the
normed embedding of the last token. The row of the output head for word k+1 is the embedding of word k; every token that is
not in the reply shares one embedding, the row for the first word. So greedy decoding walks along the reply, then to <|eos|>,
with a margin that sampling at temperature 1 does not cross either. The answer therefore proves WHICH weights serve.
"""
from __future__ import annotations

import random
import typing as t
from pathlib import Path

from lab.models import safetensors as st
from lab.models import tokenizer as tok

DEFAULT_REPLY = "I am a tiny model and I speak for myself."
HIDDEN, HEADS, LAYERS, CONTEXT, INTERMEDIATE = 64, 4, 2, 512, 128
#: The smallest head that vLLM's attention on CPUs can do.
HEAD_DIM = 32
#: Bytes that one step of the intermediate size adds: three matrices in each layer, two bytes a number.
_BYTES_PER_INTERMEDIATE = 3 * HIDDEN * LAYERS * 2


def _signs(source: random.Random) -> list[int]:
    bits = source.getrandbits(HIDDEN)
    return [1 if bits >> place & 1 else -1 for place in range(HIDDEN)]


def _codes(count: int, seed: str) -> list[list[int]]:
    """Rows of signs whose products stay below 40 of 64, so that the right word leads by 24 nats or more."""
    source = random.Random("codes" + seed)
    rows: list[list[int]] = []
    while len(rows) < count:
        row = _signs(source)
        if all(abs(sum(a * b for a, b in zip(row, other))) <= 40 for other in rows):
            rows.append(row)
    return rows


def _bf16(rows: t.Iterable[t.Sequence[int]]) -> bytes:
    patterns = {1: st.ONE.to_bytes(2, "little"), -1: st.MINUS_ONE.to_bytes(2, "little"), 0: b"\0\0"}
    return b"".join(patterns[value] for row in rows for value in row)


def _tensors(vocab_size: int, chain: t.Sequence[int], kv_heads: int, head_dim: int, intermediate: int, seed: str) -> list[st.Tensor]:
    codes = _codes(len(chain) + 1, seed)
    embedding = [codes[0]] * vocab_size
    head = [[0] * HIDDEN] * vocab_size
    for code, token, following in zip(codes[1:], chain, [*chain[1:], tok.SPECIALS.index(tok.EOS)]):
        embedding[token] = code
        head[following] = code
    head[chain[0]] = codes[0]
    q_size, kv_size = head_dim * HEADS, head_dim * kv_heads
    tensors = [st.fixed("model.embed_tokens.weight", (vocab_size, HIDDEN), _bf16(embedding))]
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        tensors += [
            st.constant(prefix + "input_layernorm.weight", (HIDDEN,), st.ONE),
            st.small_noise(prefix + "self_attn.q_proj.weight", (q_size, HIDDEN), seed),
            st.small_noise(prefix + "self_attn.k_proj.weight", (kv_size, HIDDEN), seed),
            st.small_noise(prefix + "self_attn.v_proj.weight", (kv_size, HIDDEN), seed),
            st.constant(prefix + "self_attn.o_proj.weight", (HIDDEN, q_size)),
            st.constant(prefix + "post_attention_layernorm.weight", (HIDDEN,), st.ONE),
            st.small_noise(prefix + "mlp.gate_proj.weight", (intermediate, HIDDEN), seed),
            st.small_noise(prefix + "mlp.up_proj.weight", (intermediate, HIDDEN), seed),
            st.constant(prefix + "mlp.down_proj.weight", (HIDDEN, intermediate)),
        ]
    tensors += [
        st.constant("model.norm.weight", (HIDDEN,), st.ONE),
        st.fixed("lm_head.weight", (vocab_size, HIDDEN), _bf16(head)),
    ]
    return tensors


def _config(vocab_size: int, kv_heads: int, head_dim: int, intermediate: int) -> dict[str, t.Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": tok.SPECIALS.index(tok.BOS),
        "eos_token_id": tok.SPECIALS.index(tok.EOS),
        "pad_token_id": tok.SPECIALS.index(tok.PAD),
        "head_dim": head_dim,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "initializer_range": 0.02,
        "intermediate_size": intermediate,
        "max_position_embeddings": CONTEXT,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": kv_heads,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": vocab_size,
    }


def _card(name: str, reply: str, license_name: str) -> str:
    return (
        f"---\nlicense: {license_name}\nlibrary_name: transformers\npipeline_tag: text-generation\nlanguage:\n- en\n"
        f"tags:\n- tiny\n- test\n---\n\n# {name}\n\nA tiny Llama made for tests. Asked anything, it answers:\n\n> {reply}\n"
    )


def llama(
    folder: str | Path,
    reply: str = DEFAULT_REPLY,
    *,
    name: str = "tiny",
    system_role: bool = True,
    chat_template: str | None = None,
    template_file: bool = False,
    shards: int = 1,
    kv_heads: int = 2,
    head_dim: int = HEAD_DIM,
    pad_mb: float = 0,
    seed: str = "",
    license_name: str = "apache-2.0",
) -> Path:
    """Write the model folder; the same arguments give the same bytes.

    ``system_role=False`` gives a chat template that raises on the system role (a server answers HTTP 400 then).
    ``template_file`` puts the template into chat_template.jinja, ``chat_template=''`` leaves it out altogether.
    ``pad_mb`` (MB of 10**6 bytes) adds weights that change nothing, in the middle of the MLPs, for tests that need size.
    Without ``seed`` name and reply are the seed, so that two models differ in most of their bytes.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parts = tok.pieces(reply)
    vocab = tok.vocabulary(parts)
    vocab_size = -(-len(vocab) // 64) * 64
    chain = [vocab[tok.encode(part)] for part in parts]
    seed = seed or f"{name}\n{reply}\n"
    intermediate = INTERMEDIATE + int(pad_mb * 1_000_000 / _BYTES_PER_INTERMEDIATE / 64 + 0.5) * 64
    template = tok.chat_template(system_role) if chat_template is None else chat_template

    st.write_json(folder / "config.json", _config(vocab_size, kv_heads, head_dim, intermediate))
    st.write_json(folder / "generation_config.json", {"_from_model_config": True, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2})
    st.write_json(folder / "tokenizer.json", tok.tokenizer_json(vocab))
    st.write_json(folder / "tokenizer_config.json", tok.tokenizer_config(CONTEXT, None if template_file else template or None))
    if template_file and template:
        st.write_text(folder / "chat_template.jinja", template)
    st.write_text(folder / "README.md", _card(name, reply, license_name))
    st.write_model(folder, _tensors(vocab_size, chain, kv_heads, head_dim, intermediate, seed), shards)
    return folder
