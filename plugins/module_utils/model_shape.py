# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of a model, as far as memory depends on it: layers by the kind of attention, heads, widths.

The names of config.json are those of transformers' configuration classes; how vLLM 0.32 reads them is in its
``transformers_utils/model_arch_config_convertor.py`` and ``v1/kv_cache_interface.py``. GGUF keys: gguf.md and llama.cpp.
"""
from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass

from ansible_collections.venom.llm.plugins.module_utils.config_values import MAX_NUMBER, Config, fraction, mapping, number, text, text_part, texts

MAX_LAYERS = 10_000
#: Of so many layers one looks at everything, the others at a window: what config.json and GGUF leave to the architecture.
_PATTERNS = {
    "gemma2": 2, "gemma3": 6, "gemma3_text": 6, "gemma4": 6, "gemma4_text": 6, "cohere2": 4, "gpt_oss": 2, "gptoss": 2, "gpt-oss": 2,
    "llama4": 4, "llama4_text": 4,
}  # fmt: skip
#: What a shape may leave out.
_UNTOLD = ("window", "latent", "windowed_kv_heads", "windowed_key_size", "windowed_value_size")
#: Models whose layers that look at everything have heads of 512 where nothing is told (transformers, Gemma4TextConfig and its kin).
_WIDE = ("gemma4", "diffusion_gemma", "embedding_gemma2")
_WIDE_HEAD = 512
#: Heads for keys, and elements of a key and of a value of each.
_Widths = tuple[int, int, int]
_FULL = ("full_attention", "attention", "global", "*", "hybrid")
_WINDOWED = ("sliding_attention", "chunked_attention", "local", "sliding_window_attention")


@dataclass(frozen=True)
class ModelShape:
    """Widths in elements. ``full_layers`` keep every token, ``windowed_layers`` the last ``window``, ``other_layers`` a state of fixed size.

    ``latent`` is what a layer with multi-head latent attention keeps of a token, in place of keys and values. ``encoder`` models
    keep nothing. The widths are those of layers that keep every token; layers with a window have others where ``windowed_`` tells them.
    ``experts`` are those that a token is routed to some of, ``embeddings`` tables of words: two where those of the input and
    of the output are told to be apart.
    """

    full_layers: int
    windowed_layers: int
    other_layers: int
    window: int | None
    heads: int
    kv_heads: int
    key_size: int
    value_size: int
    latent: int | None
    hidden: int
    intermediate: int
    vocabulary: int
    encoder: bool = False
    experts: int = 0
    embeddings: int = 1
    windowed_kv_heads: int | None = None
    windowed_key_size: int | None = None
    windowed_value_size: int | None = None

    @property
    def windowed(self) -> _Widths:
        """Heads for keys, size of a key and of a value in layers with a window."""
        return (
            self.windowed_kv_heads or self.kv_heads,
            self.windowed_key_size or self.key_size,
            self.windowed_value_size or self.value_size,
        )

    @property
    def layers(self) -> int:
        """All layers."""
        return self.full_layers + self.windowed_layers + self.other_layers

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Config) -> ModelShape | None:
        """From JSON, None for anything else than what ``to_dict`` gives."""
        fields = {name: None if name in _UNTOLD else field.default for name, field in cls.__dataclass_fields__.items() if name != "encoder"}
        numbers: t.Any = {name: data.get(name, default) for name, default in fields.items()}
        told = [value for name, value in numbers.items() if value is not None or name not in _UNTOLD]
        if not all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER for value in told):
            return None
        return cls(**numbers, encoder=data.get("encoder") is True)


def shape_of_config(config: Config) -> ModelShape | None:
    """From config.json; None where layers, heads or width are not told."""
    outer, config = config, text_part(config)
    layers = number(config, "num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers")
    hidden = number(config, "hidden_size", "n_embd", "d_model", "dim", "model_dim")
    heads = number(config, "num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads")
    if layers is None or hidden is None or layers > MAX_LAYERS or "block_configs" in config:
        # Nemotron's searched models have other heads, or none, in each layer (block_configs).
        return None
    kinds = _layer_kinds(config, layers)
    shared = number(config, "num_kv_shared_layers")
    if shared is not None and shared < layers:
        # The last layers look into the cache of earlier ones.
        kinds = [*kinds[: layers - shared], *["shared"] * shared]
    window = _window(config)
    full = sum(kind in _FULL for kind in kinds)
    windowed = sum(kind in _WINDOWED for kind in kinds)
    if window is None:
        full, windowed = full + windowed, 0
    if heads is None:
        if full + windowed and not _is_attention_free(config):
            return None
        full = windowed = 0
        heads = 1
    head = number(config, "head_dim", "kv_channels", "attention_head_dim", "d_head") or max(1, hidden // heads)
    (kv_heads, key, value), narrow = _widths(config, kinds, (_kv_heads(config, heads), head, number(config, "v_head_dim") or head))
    latent = number(config, "kv_lora_rank")
    intermediate = number(config, "intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "d_ff") or 4 * hidden
    experts = number(config, "num_local_experts", "num_experts", "n_routed_experts")
    active = number(config, "num_experts_per_tok", "num_experts_per_token", "moe_topk", "top_k_experts")
    expert = number(config, "moe_intermediate_size", "expert_ffn_hidden_size") or (intermediate if experts else None)
    if active and expert:
        shared = number(config, "shared_expert_intermediate_size") or expert * (number(config, "n_shared_experts") or 0)
        intermediate = active * expert + shared
    return ModelShape(
        full_layers=full,
        windowed_layers=windowed,
        other_layers=layers - full - windowed,
        window=window,
        heads=heads,
        kv_heads=kv_heads,
        key_size=key,
        value_size=value,
        latent=None if latent is None else latent + (number(config, "qk_rope_head_dim") or 0),
        hidden=hidden,
        intermediate=intermediate,
        vocabulary=number(config, "vocab_size", "padded_vocab_size") or 0,
        encoder=_is_encoder(outer),
        experts=experts or 0,
        embeddings=2 if config.get("tie_word_embeddings") is False else 1,
        **_told_apart((kv_heads, key, value), narrow),
    )


def _widths(config: Config, kinds: t.Sequence[str], base: _Widths) -> tuple[_Widths, _Widths]:
    """Of layers that keep every token, and of those with a window."""
    kind = (text(config, "model_type") or "").lower()
    heads, key, value = base
    wide = number(config, "global_head_dim") or (_WIDE_HEAD if kind.startswith(_WIDE) else None)
    if wide is not None:
        key = value = wide
        # Gemma 4 has other heads there only where keys are values too; its kin always.
        if config.get("attention_k_eq_v", not kind.startswith("gemma4")) is True:
            heads = number(config, "num_global_key_value_heads") or heads
    first = next((str(index) for index, layer in enumerate(kinds) if layer in _FULL), "")
    own = mapping(mapping(config, "per_layer_config"), first)
    key, value = number(own, "head_dim") or key, number(own, "head_dim") or value
    narrow = number(config, "swa_head_dim")
    windowed = (number(config, "swa_num_key_value_heads") or base[0], narrow or base[1], number(config, "swa_v_head_dim") or narrow or base[2])
    return (number(own, "num_key_value_heads") or heads, key, value), windowed


def _told_apart(full: _Widths, windowed: _Widths) -> dict[str, t.Any]:
    """The widths of layers with a window, where they are others."""
    names = ("windowed_kv_heads", "windowed_key_size", "windowed_value_size")
    return {} if full == windowed else dict(zip(names, windowed))


def _is_attention_free(config: Config) -> bool:
    kind = (text(config, "model_type") or "").lower()
    return kind.startswith(("mamba", "rwkv", "falcon_mamba", "xlstm"))


def _is_encoder(config: Config) -> bool:
    """Whether it is a BERT-like encoder, which has no cache."""
    names = texts(config, "architectures")
    kind = (text(config, "model_type") or "").lower()
    return "bert" in kind or any("bert" in name.lower() for name in names) or kind in ("new", "gte", "nomic_bert")


def _kv_heads(config: Config, heads: int) -> int:
    found = number(config, "num_key_value_heads", "n_head_kv", "num_kv_heads", "multi_query_group_num", "num_query_groups")
    found = found or number(mapping(config, "attn_config"), "kv_n_heads") or number(mapping(config, "attention"), "num_key_value_heads")
    found = found or _average(config.get("num_key_value_heads"))
    # Falcon says multi_query and means one head, unless it is of the newer kind, which says num_kv_heads.
    if config.get("multi_query") is True and config.get("new_decoder_architecture") is not True and "multi_query_group_num" not in config:
        return 1
    return min(found or heads, heads)


def _window(config: Config) -> int | None:
    if config.get("use_sliding_window") is False:
        return None
    return number(config, "sliding_window", "sliding_window_size", "attention_chunk_size", "local_attention_window_size", "attention_window_size")


def _layer_kinds(config: Config, layers: int) -> list[str]:
    """One word for each layer: what it says itself, else what its architecture does."""
    for name in ("layer_types", "layers_block_type", "block_types"):
        kinds = texts(config, name)
        if len(kinds) == layers:
            return list(kinds)
    pattern = text(config, "hybrid_override_pattern")
    if pattern is not None and len(pattern) == layers:
        return list(pattern)
    numbers = config.get("hybrid_layer_pattern")
    if isinstance(numbers, list) and len(numbers) == layers:
        # MiMo: 1 has a window.
        return ["local" if kind == 1 else "attention" for kind in numbers]
    chosen = config.get("attn_layer_indices")
    if isinstance(chosen, list):
        return ["attention" if index in chosen[:MAX_LAYERS] else "mamba" for index in range(layers)]
    period = number(config, "attn_layer_period")
    if period is not None:
        offset = int(fraction(config, "attn_layer_offset") or 0)
        return ["attention" if index % period == offset else "mamba" for index in range(layers)]
    interval = number(config, "full_attention_interval")
    if interval is not None:
        return ["attention" if (index + 1) % interval == 0 else "linear_attention" for index in range(layers)]
    if _window(config) is None:
        return ["attention"] * layers
    every = number(config, "sliding_window_pattern", "_sliding_window_pattern") or _PATTERNS.get((text(config, "model_type") or "").lower())
    if every is not None:
        return ["attention" if (index + 1) % every == 0 else "local" for index in range(layers)]
    letters = text(config, "sliding_window_pattern") or ""
    if letters and set(letters) <= {"L", "G"}:
        return ["attention" if letters[index % len(letters)] == "G" else "local" for index in range(layers)]
    # Qwen2 and its kin: the first layers look at everything.
    first = number(config, "max_window_layers")
    if first is not None and config.get("use_sliding_window") is True:
        return ["attention" if index < first else "local" for index in range(layers)]
    return ["local"] * layers


def shape_of_gguf(architecture: str | None, values: Config) -> ModelShape | None:
    """From GGUF metadata; None where layers, heads or width are not told."""
    own = {key[len(f"{architecture}.") :]: value for key, value in values.items() if key.startswith(f"{architecture}.")}
    layers, hidden = number(own, "block_count"), number(own, "embedding_length")
    heads = _largest(own.get("attention.head_count"))
    if layers is None or hidden is None or heads is None or layers > MAX_LAYERS:
        return None
    kv_counts = own.get("attention.head_count_kv")
    window = number(own, "attention.sliding_window")
    counts = kv_counts if isinstance(kv_counts, list) and len(kv_counts) == layers else [kv_counts] * layers
    # A layer without heads for keys is one of another kind, with a state of fixed size; the last ones may look into the cache of others.
    cut = layers - min(layers, number(own, "attention.shared_kv_layers") or 0)
    has_window = _gguf_windows(own, architecture, layers) if window is not None else [False] * layers
    kept = [(count, is_windowed) for count, is_windowed in zip(counts[:cut], has_window) if count != 0]
    full, windowed = ([count for count, is_windowed in kept if is_windowed is kind] for kind in (False, True))
    head = number(own, "attention.key_length") or max(1, hidden // heads)
    value = number(own, "attention.value_length") or head
    average = _average(kv_counts) or heads
    wide = (_average(full) or average, head, value)
    narrow = number(own, "attention.key_length_swa")
    latent = number(own, "attention.kv_lora_rank")
    return ModelShape(
        full_layers=len(full),
        windowed_layers=len(windowed),
        other_layers=layers - len(kept),
        window=window if windowed else None,
        heads=heads,
        kv_heads=wide[0],
        key_size=head,
        value_size=value,
        latent=None if latent is None else latent + (number(own, "rope.dimension_count") or 0),
        hidden=hidden,
        intermediate=_largest(own.get("feed_forward_length")) or 4 * hidden,
        vocabulary=number(own, "vocab_size") or 0,
        encoder=(architecture or "").endswith("bert"),
        **_told_apart(wide, (_average(windowed) or wide[0], narrow or head, number(own, "attention.value_length_swa") or narrow or value)),
    )


def _gguf_windows(own: Config, architecture: str | None, layers: int) -> list[bool]:
    """Which layers have a window: told for each, else what the architecture does."""
    told = own.get("attention.sliding_window_pattern")
    if isinstance(told, list) and len(told) == layers:
        return [bool(has_window) for has_window in told]
    every = _PATTERNS.get(architecture or "")
    return [every is not None and (index + 1) % every != 0 for index in range(layers)]


def _counts(value: t.Any) -> list[int]:
    """One number for all layers, or one for each; layers without any are left out."""
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, int) and not isinstance(item, bool) and 0 < item <= MAX_NUMBER]


def _largest(value: t.Any) -> int | None:
    return max(_counts(value), default=None)


def _average(value: t.Any) -> int | None:
    """Rounded up: all layers together are what the cache depends on."""
    counts = _counts(value)
    return -(-sum(counts) // len(counts)) if counts else None
