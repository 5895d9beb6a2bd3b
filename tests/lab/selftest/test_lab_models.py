# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The makers of models: their bytes, and, where there is one, a real vLLM that speaks the reply."""
from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import time
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from gguf import GGUFReader

from lab.models import HOSTILE_KINDS, gguf, hostile, llama
from lab.models.tokenizer import encode, pieces, vocabulary

VLLM = os.environ.get("VENOM_TEST_VLLM_PYTHON", "")


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def header(path: Path) -> dict[str, t.Any]:
    """The header of a safetensors file, checked against its size."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    found: dict[str, t.Any] = json.loads(data[8 : 8 + length])
    assert found.pop("__metadata__") == {"format": "pt"}
    ends = sorted(tensor["data_offsets"] for tensor in found.values())
    assert [first for first, dummy in ends] == [0, *(last for dummy, last in ends[:-1])]
    assert 8 + length + ends[-1][1] == len(data)
    return found


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    first, again = llama(tmp_path / "a", "I am one."), llama(tmp_path / "b", "I am one.")
    other = llama(tmp_path / "c", "I am two.")
    assert digests(first) == digests(again)
    assert digests(first)["model.safetensors"] != digests(other)["model.safetensors"]
    assert {path.stat().st_mode & 0o777 for path in first.iterdir()} == {0o644}
    assert 200_000 < sum(path.stat().st_size for path in first.iterdir()) < 400_000


@pytest.mark.parametrize(
    "reply", ["I am demo/tiny and I speak.", "the the the cat the", "a b a b", "é ü say é", "hello", "two  spaces\nand lines"]
)
def test_pieces_are_unique_and_make_the_reply(reply: str) -> None:
    parts = pieces(reply)
    assert "".join(parts) == reply
    assert len(set(parts)) == len(parts)
    assert len(vocabulary(parts)) == 7 + 256 + len(parts)


def test_a_reply_of_one_byte_is_refused() -> None:
    with pytest.raises(ValueError, match="two bytes"):
        pieces("x")


def test_the_head_leads_from_word_to_word(tmp_path: Path) -> None:
    reply = "I am a small chain of words."
    folder = llama(tmp_path, reply)
    data = (folder / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = header(folder / "model.safetensors")
    sign = {b"\x80\x3f": 1, b"\x80\xbf": -1, b"\0\0": 0}

    def rows(name: str) -> list[list[int]]:
        first, last = tensors[name]["data_offsets"]
        values = [sign[data[place : place + 2]] for place in range(start + first, start + last, 2)]
        return [values[place : place + 64] for place in range(0, len(values), 64)]

    embedding, head = rows("model.embed_tokens.weight"), rows("lm_head.weight")
    vocab = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    for begin in ("<|assistant|>", "Z"):
        token, said = vocab[begin], []
        while token != vocab["<|eos|>"]:
            logits = [sum(a * b for a, b in zip(embedding[token], row)) for row in head]
            best = sorted(logits)[-2:]
            assert best[1] - best[0] >= 24
            token = logits.index(best[1])
            said.append(token)
        assert said == [*(vocab[encode(part)] for part in pieces(reply)), vocab["<|eos|>"]]


@pytest.mark.parametrize("shards", [2, 3, 7, 21])
def test_shards_hold_every_tensor_once(tmp_path: Path, shards: int) -> None:
    whole = header(llama(tmp_path / "whole") / "model.safetensors")
    folder = llama(tmp_path / "shards", shards=shards)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    files = sorted(folder.glob("model-*.safetensors"))
    assert [file.name for file in files] == [f"model-{n:05d}-of-{shards:05d}.safetensors" for n in range(1, shards + 1)]
    assert {name: file.name for file in files for name in header(file)} == index["weight_map"]
    assert set(index["weight_map"]) == set(whole)
    assert index["metadata"]["total_size"] == sum(tensor["data_offsets"][1] - tensor["data_offsets"][0] for tensor in whole.values())


def test_padding_adds_about_so_many_megabytes(tmp_path: Path) -> None:
    folder = llama(tmp_path, pad_mb=5)
    assert 5_200_000 < (folder / "model.safetensors").stat().st_size < 5_400_000
    size = json.loads((folder / "config.json").read_text())["intermediate_size"]
    assert header(folder / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]["shape"] == [size, 64]


def test_templates(tmp_path: Path) -> None:
    inside = llama(tmp_path / "inside", system_role=False)
    assert "System role not supported" in json.loads((inside / "tokenizer_config.json").read_text())["chat_template"]
    beside = llama(tmp_path / "beside", template_file=True)
    assert "<|system|>" in (beside / "chat_template.jinja").read_text()
    assert "chat_template" not in json.loads((beside / "tokenizer_config.json").read_text())


@pytest.mark.parametrize("kind", HOSTILE_KINDS)
def test_hostile_folders_differ_from_a_good_one(tmp_path: Path, kind: str) -> None:
    assert digests(hostile(tmp_path / "bad", kind)) != digests(llama(tmp_path / "good", shards=2 if kind.endswith("_shard") else 1))


def test_an_unknown_hostile_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no hostile kind"):
        hostile(tmp_path, "none")


def test_gguf_as_its_own_reader_sees_it(tmp_path: Path) -> None:
    reader = GGUFReader(str(gguf(tmp_path, name="small", context=777) / "small.gguf"))
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert (fields["general.architecture"], fields["llama.context_length"], fields["general.name"]) == ("llama", 777, "small")
    assert "<|assistant|>" in fields["tokenizer.chat_template"]
    assert {tensor.name: list(tensor.shape) for tensor in reader.tensors} == {"token_embd.weight": [64, 263], "output_norm.weight": [64]}
    assert set(reader.tensors[0].data.flat) == {-1.0, 1.0}


def test_gguf_begins_as_the_format_says(tmp_path: Path) -> None:
    data = (gguf(tmp_path, chat_template="") / "tiny.gguf").read_bytes()
    assert data[:8] == b"GGUF\x03\0\0\0"
    assert b"tokenizer.chat_template" not in data


def chat(url: str, messages: t.Sequence[tuple[str, str]], **options: t.Any) -> tuple[int, t.Any]:
    body = {"model": "speaker", "messages": [{"role": role, "content": text} for role, text in messages], **options}
    request = urllib.request.Request(url + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.mark.vllm
@pytest.mark.parametrize(
    ("system_role", "options"),
    [(True, {}), (False, {"shards": 2, "template_file": True, "kv_heads": 4}), (True, {"pad_mb": 20})],
)
def test_a_real_vllm_speaks_the_reply(tmp_path: Path, system_role: bool, options: dict[str, t.Any]) -> None:
    if not VLLM:
        pytest.fail("VENOM_TEST_VLLM_PYTHON does not name the interpreter of a venv with vLLM")
    reply = "I am the tiny one, and the one I am says é."
    folder = llama(tmp_path / "model", reply, system_role=system_role, **options)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [VLLM, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--served-model-name", "speaker"]
    argv += ["--max-model-len", "256", "--enforce-eager", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "HOME": str(tmp_path)}
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + 300
        while time.monotonic() < end and process.poll() is None:
            try:
                urllib.request.urlopen(url + "/health", timeout=5).close()
                break
            except OSError:
                time.sleep(1)
        for temperature in (0, 1):
            status, answer = chat(url, [("user", "Who are you?")], temperature=temperature)
            assert status == 200, (tmp_path / "log").read_text(errors="replace")[-3000:]
            assert (answer["choices"][0]["message"]["content"], answer["choices"][0]["finish_reason"]) == (reply, "stop")
        status, answer = chat(url, [("system", "Be brief."), ("user", "Hi")], temperature=0)
        assert status == (200 if system_role else 400)
        assert system_role or "System role not supported" in json.dumps(answer)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
