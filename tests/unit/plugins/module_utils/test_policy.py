# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may come onto a host at all."""
from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef
from ansible_collections.venom.llm.plugins.module_utils.policy import check_code, check_indexes, select_files
from ansible_collections.venom.llm.plugins.module_utils.policy_headers import check_weights
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.header_samples import gguf, safetensors

REF = ModelRef.parse("a/b")


def listing(*paths: str) -> list[RemoteFile]:
    return [RemoteFile(path, 1, "a" * 64, None, "") for path in paths]


def reader(contents: dict[str, t.Any]) -> t.Callable[[RemoteFile], bytes]:
    def read(file: RemoteFile) -> bytes:
        content = contents[file.path]
        return content if isinstance(content, bytes) else json.dumps(content).encode()

    return read


def test_unsafe_weights_beside_safe_ones_are_left_out() -> None:
    files = listing("config.json", "model.safetensors", "pytorch_model.BIN", "original/consolidated.00.pth", "training_args.bin", "flax.msgpack")
    assert [file.path for file in select_files(REF, files, (), False)] == ["config.json", "model.safetensors"]
    assert [file.path for file in select_files(REF, files, (), True)] == ["config.json", "model.safetensors"]


def test_unsafe_weights_come_where_they_are_asked_for_by_name() -> None:
    files = listing("model.safetensors", "x.pt")
    assert [file.path for file in select_files(REF, files, ("*.safetensors", "*.pt"), True)] == ["model.safetensors", "x.pt"]
    assert [file.path for file in select_files(REF, files, ("*.safetensors", "*.pt"), False)] == ["model.safetensors"]
    assert [file.path for file in select_files(REF, files, ("*",), True)] == ["model.safetensors"]


#: Weights in formats that run code when they are loaded, or that nobody here knows; among them names that hide a format.
UNSAFE = [
    *("pytorch_model.bin", "x.pt", "x.ckpt", "x.pkl", "m.onnx", "tf_model.h5", "model.nemo", "pytorch_model.pt2", "weights.pdparams"),
    *("model.th", "model.dill", "model.tar.gz", "saved_model.pb", "data.pkl.gz", "model.mar", "checkpoint.tar", "x.llamafile", "X.PKL.XZ"),
    *("model.onnx_data", "variables.data-00000-of-00001", "model.zip", "model.7z", "LICENSE.pkl"),
    *("config.json.dill", ".pkl", "weights.pt 2", "m.safetensors.bak"),
]

#: Names of files that real repositories have beside their weights, and that a model or its reader would miss.
HARMLESS = [
    *("config.json", "generation_config.json", "model.safetensors.index.json", "added_tokens.json", "tekken.json", "tokenizer.json", "results.jsonl"),
    *("tokenizer.model", "tokenizer.model.v3", "tokenizer.model.v7m1", "mistral_instruct_tokenizer_240323.model.v3", "sentencepiece.bpe.model"),
    *("spiece.model", "source.spm", "qwen.tiktoken", "tiktoken.model", "vocab.txt", "vocab.bpe", "bpe.codes", "merges.txt", "dict.txt", "sp.vocab"),
    *("prophetnet.tokenizer", "chat_template.jinja", "chat_template.json", "additional_chat_templates/tool_use.jinja", "am.mvn"),
    *("README.md", "README_zh.md", "LICENSE", "LICENSE.txt", "NOTICE", "USE_POLICY.md", "Llama-3.1-LICENSE-v1.0"),
    *("Gemma Terms of Use", ".gitattributes", "Terms v1.0 of use"),
    *("paper.pdf", "figures/bench.PNG", "assets/a.jpeg", "a.svg", "a.webp", "sample.wav", "video.mp4", "recipe.yaml", "a.yml"),
    *("modeling_x.py", "kernel.cu", "cpp_kernels.cpp", "demo.ipynb", "params", "template", "SimSun.ttf", "model.sig", "special_tokens_map.json"),
]


@pytest.mark.parametrize("path", HARMLESS)
def test_what_real_repositories_have_comes_with_the_weights(path: str) -> None:
    for weights in ("model.safetensors", "model.gguf"):
        files = listing(weights, path)
        assert list(select_files(REF, files, (), False)) == files
    assert list(select_files(REF, listing(path), (), False)) == listing(path)


@pytest.mark.parametrize("path", ["word2vec.model", "state.dict", "x.vocab", "a.model.v3"])
def test_a_tokenizer_has_a_size(path: str) -> None:
    small, large = (RemoteFile(path, size, "a" * 64, None, "") for size in (64 * 1024 * 1024, 2 * 10**9))
    assert select_files(REF, [small], (), False) == (small,)
    with pytest.raises(VenomError) as caught:
        select_files(REF, [large], (), False)
    assert caught.value.reason_code == "pickle_refused" and caught.value.details["files"] == [path]


@pytest.mark.parametrize("path", UNSAFE)
def test_what_is_not_known_is_left_out_beside_safe_weights(path: str) -> None:
    assert [file.path for file in select_files(REF, listing("model.safetensors", path), (), False)] == ["model.safetensors"]


def test_a_name_without_a_suffix_is_a_text_only_while_it_is_small() -> None:
    for name in ("weights", "consolidated.00"):
        large = [RemoteFile(name, 2**20 + 1, "a" * 64, None, "")]
        with pytest.raises(VenomError, match=name):
            select_files(REF, large, (), False)
        assert select_files(REF, [*large, *listing("m.gguf")], ("*",), True) == tuple(listing("m.gguf"))
        assert len(select_files(REF, [*large, *listing("m.gguf")], ("m.gguf", name), True)) == 2


@pytest.mark.parametrize("path", UNSAFE)
def test_only_unsafe_weights_are_refused(path: str) -> None:
    with pytest.raises(VenomError) as caught:
        select_files(REF, listing("config.json", path), (), False)
    assert caught.value.reason_code == "pickle_refused"
    assert caught.value.details["files"] == [path]
    assert len(select_files(REF, listing("config.json", path), (), True)) == 2


@pytest.mark.parametrize("path", ["modeling_x.py", "sub/x.py", "x.so", "x.PYC"])
def test_program_files_are_refused(path: str) -> None:
    with pytest.raises(VenomError) as caught:
        check_code(REF, listing("model.safetensors", path), reader({}), False)
    assert caught.value.reason_code == "remote_code_refused"
    check_code(REF, listing("model.safetensors", path), reader({}), True)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "sub/preprocessor_config.json"])
@pytest.mark.parametrize("content", [{"auto_map": {"AutoModel": "x.Y"}}, {"text_config": {"auto_map": {}}}, {"list": [{"auto_map": 1}]}])
def test_auto_map_is_refused_wherever_it_is(name: str, content: dict[str, t.Any]) -> None:
    with pytest.raises(VenomError) as caught:
        check_code(REF, listing(name), reader({name: content}), False)
    assert caught.value.reason_code == "remote_code_refused"


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100000])
def test_a_configuration_that_cannot_be_read_is_refused(content: bytes) -> None:
    with pytest.raises(VenomError) as caught:
        check_code(REF, listing("config.json"), reader({"config.json": content}), False)
    assert caught.value.reason_code == "unsupported_source"


INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize("shard", ["../../etc/passwd", "/etc/passwd", "a\\b", "C:x", "", "a\0b"])
def test_hostile_shard_names_are_refused(shard: str) -> None:
    with pytest.raises(VenomError) as caught:
        check_indexes(REF, listing(INDEX), reader({INDEX: {"weight_map": {"w": shard}}}))
    assert caught.value.reason_code == "invalid_name"


@pytest.mark.parametrize("index", [{"weight_map": {"w": "missing.safetensors"}}, {"weight_map": []}, {}, []])
def test_incomplete_indexes_are_refused(index: t.Any) -> None:
    with pytest.raises(VenomError) as caught:
        check_indexes(REF, listing(INDEX, "m.safetensors"), reader({INDEX: index}))
    assert caught.value.reason_code == "unsupported_source"


def test_shards_are_looked_for_beside_their_index() -> None:
    check_indexes(REF, listing(f"sub/{INDEX}", "sub/m.safetensors"), reader({f"sub/{INDEX}": {"weight_map": {"w": "m.safetensors"}}}))


GOOD = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        (2**40).to_bytes(8, "little") + b"{}",
        safetensors(b"[]"),
        safetensors(b"{"),
        safetensors(GOOD),
        safetensors(GOOD, b"12345"),
        safetensors({"w": {"shape": [-1], "data_offsets": [0, 4]}}, b"1234"),
        safetensors({"w": {"shape": [1], "data_offsets": [4, 0]}}, b"1234"),
        safetensors({"w": 5}, b"1234"),
    ],
)
def test_weights_whose_header_is_wrong_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "blob"
    path.write_bytes(content)
    with pytest.raises(VenomError) as caught:
        check_weights(REF, "model.safetensors", str(path))
    assert caught.value.reason_code == "unsupported_source"


def test_an_index_tells_which_tensors_each_shard_must_have() -> None:
    index = {"weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "1.safetensors"}}
    files = listing(f"sub/{INDEX}", "sub/1.safetensors", "sub/2.safetensors")
    found = check_indexes(REF, files, reader({f"sub/{INDEX}": index}))
    assert found == {"sub/1.safetensors": {"a", "c"}, "sub/2.safetensors": {"b"}}


def test_a_configuration_nested_deeper_than_calls_can_follow() -> None:
    content = b'{"a":' + b"[" * 900 + b'{"auto_map":1}' + b"]" * 900 + b"}"
    with pytest.raises(VenomError) as caught:
        check_code(REF, listing("config.json"), reader({"config.json": content}), False)
    assert caught.value.reason_code == "remote_code_refused"


def test_an_index_of_absurd_size_is_refused() -> None:
    content = b'{"weight_map":{"a":[' + b"[]," * 1_000_001 + b"0]}}"
    with pytest.raises(VenomError) as caught:
        check_indexes(REF, listing(INDEX), reader({INDEX: content}))
    assert caught.value.reason_code == "unsupported_source"


def test_the_numbers_that_transformers_writes_are_read() -> None:
    content = b'{"model_max_length": 1000000000000000019884624838656, "x": 1e-05, "y": Infinity}'
    check_code(REF, listing("tokenizer_config.json"), reader({"tokenizer_config.json": content}), False)


def test_good_weights_pass(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(safetensors({"__metadata__": {"x": "y"}, **GOOD}, b"1234"))
    (tmp_path / "b").write_bytes(gguf())
    check_weights(REF, "model.safetensors", str(tmp_path / "a"))
    check_weights(REF, "model.gguf", str(tmp_path / "b"))
    with pytest.raises(VenomError):
        check_weights(REF, "model.gguf", str(tmp_path / "a"))
