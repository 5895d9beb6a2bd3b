# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's line about its settings, as recorded, and which of the wanted ones it did not take over."""
from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.runtimes import ollama_config
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_config import Difference
from lab.ollama.config import Config
from lab.ollama.gojson import dumps

#: Lines of a recorded 0.32.15: with nothing but address, store and cloud set, and with garbage in GARBAGE.
PLAIN = (
    'time=2026-11-20T15:40:03.553Z level=INFO source=routes.go:1951 msg="server config" '
    'env="map[CUDA_VISIBLE_DEVICES: GGML_VK_VISIBLE_DEVICES: GPU_DEVICE_ORDINAL: HIP_VISIBLE_DEVICES: '
    'HSA_OVERRIDE_GFX_VERSION: HTTPS_PROXY: HTTP_PROXY: LLAMA_ARG_FIT: LLAMA_ARG_FIT_TARGET: NO_PROXY: '
    'OLLAMA_CONTEXT_LENGTH:0 OLLAMA_DEBUG:INFO OLLAMA_DEBUG_LOG_REQUESTS:false OLLAMA_EDITOR: '
    'OLLAMA_FLASH_ATTENTION:false OLLAMA_GO_TEMPLATE:true OLLAMA_GPU_OVERHEAD:0 OLLAMA_HOST:http://127.0.0.1:11653 '
    'OLLAMA_IGPU_ENABLE: OLLAMA_KEEP_ALIVE:5m0s OLLAMA_KV_CACHE_TYPE: OLLAMA_LLM_LIBRARY: OLLAMA_LOAD_TIMEOUT:5m0s '
    'OLLAMA_MAX_LOADED_MODELS:0 OLLAMA_MAX_QUEUE:512 OLLAMA_MAX_TRANSFER_STREAMS:4 '
    'OLLAMA_MODELS:/var/lib/ollama-test/models OLLAMA_NOHISTORY:false OLLAMA_NOPRUNE:false OLLAMA_NO_CLOUD:true '
    'OLLAMA_NUM_PARALLEL:1 OLLAMA_ORIGINS:[http://localhost https://localhost http://localhost:* '
    'https://localhost:* http://127.0.0.1 https://127.0.0.1 http://127.0.0.1:* https://127.0.0.1:* http://0.0.0.0 '
    'https://0.0.0.0 http://0.0.0.0:* https://0.0.0.0:* app://* file://* tauri://* vscode-webview://* '
    'vscode-file://*] OLLAMA_REMOTES:[ollama.com] OLLAMA_SCHED_SPREAD:false OLLAMA_VULKAN:true '
    'ROCR_VISIBLE_DEVICES: http_proxy: https_proxy: no_proxy:]"'
)
GARBLED = (
    'time=2026-11-20T15:40:03.614Z level=INFO source=routes.go:1951 msg="server config" '
    'env="map[CUDA_VISIBLE_DEVICES: GGML_VK_VISIBLE_DEVICES: GPU_DEVICE_ORDINAL: HIP_VISIBLE_DEVICES: '
    'HSA_OVERRIDE_GFX_VERSION: HTTPS_PROXY: HTTP_PROXY: LLAMA_ARG_FIT: LLAMA_ARG_FIT_TARGET: NO_PROXY: '
    'OLLAMA_CONTEXT_LENGTH:0 OLLAMA_DEBUG:DEBUG OLLAMA_DEBUG_LOG_REQUESTS:false OLLAMA_EDITOR: '
    'OLLAMA_FLASH_ATTENTION:true OLLAMA_GO_TEMPLATE:true OLLAMA_GPU_OVERHEAD:0 OLLAMA_HOST:http://127.0.0.1:11653 '
    'OLLAMA_IGPU_ENABLE: OLLAMA_KEEP_ALIVE:5m0s OLLAMA_KV_CACHE_TYPE: OLLAMA_LLM_LIBRARY: '
    'OLLAMA_LOAD_TIMEOUT:2562047h47m16.854775807s OLLAMA_MAX_LOADED_MODELS:0 OLLAMA_MAX_QUEUE:512 '
    'OLLAMA_MAX_TRANSFER_STREAMS:4 OLLAMA_MODELS:/var/lib/ollama-test/models OLLAMA_NOHISTORY:false '
    'OLLAMA_NOPRUNE:true OLLAMA_NO_CLOUD:true OLLAMA_NUM_PARALLEL:1 OLLAMA_ORIGINS:[http://localhost '
    'https://localhost http://localhost:* https://localhost:* http://127.0.0.1 https://127.0.0.1 http://127.0.0.1:* '
    'https://127.0.0.1:* http://0.0.0.0 https://0.0.0.0 http://0.0.0.0:* https://0.0.0.0:* app://* file://* '
    'tauri://* vscode-webview://* vscode-file://*] OLLAMA_REMOTES:[ollama.com] OLLAMA_SCHED_SPREAD:false '
    'OLLAMA_VULKAN:true ROCR_VISIBLE_DEVICES: http_proxy: https_proxy: no_proxy:]"'
)
GARBAGE = {
    "OLLAMA_NUM_PARALLEL": "abc",
    "OLLAMA_KEEP_ALIVE": "garbage",
    "OLLAMA_MAX_QUEUE": "-3",
    "OLLAMA_DEBUG": "1",
    "OLLAMA_FLASH_ATTENTION": "maybe",
    "OLLAMA_NOPRUNE": "no",
    "OLLAMA_GPU_OVERHEAD": "1GB",
    "OLLAMA_LOAD_TIMEOUT": "0",
}


def effective(**environment: str) -> dict[str, str]:
    """What a server with this environment logs; the stand-in reads it as the recorded server does."""
    config = Config({"HOME": "/h", "OLLAMA_MODELS": "/var/lib/ollama", "OLLAMA_HOST": "127.0.0.1:11434", **environment})
    found = ollama_config.parse_line(f'time=2026-11-20T15:40:03.553Z level=INFO msg="server config" env={dumps(config.show())}')
    assert found is not None
    return found


def test_the_recorded_line() -> None:
    found = ollama_config.parse_line(PLAIN)
    assert found is not None and len(found) == 39
    assert (found["OLLAMA_KEEP_ALIVE"], found["OLLAMA_HOST"], found["OLLAMA_KV_CACHE_TYPE"]) == ("5m0s", "http://127.0.0.1:11653", "")
    assert found["OLLAMA_ORIGINS"].startswith("[http://localhost https://localhost") and found["OLLAMA_ORIGINS"].endswith("vscode-file://*]")
    assert found["OLLAMA_REMOTES"] == "[ollama.com]" and found["no_proxy"] == ""


def test_the_recorded_garbage_is_found_out() -> None:
    found = ollama_config.parse_line(GARBLED)
    assert found is not None
    names = {difference.name for difference in ollama_config.differences(GARBAGE, found)}
    # 1 is DEBUG, "maybe" and "no" are true: these were taken over, if not as they were meant; a preflight refuses them.
    assert names == {"OLLAMA_NUM_PARALLEL", "OLLAMA_KEEP_ALIVE", "OLLAMA_MAX_QUEUE", "OLLAMA_GPU_OVERHEAD"}


@pytest.mark.parametrize("line", ["", 'msg="Listening"', 'msg="server config" env=map[OLLAMA_HOST:x]', 'msg="server config" env="no map"'])
def test_other_lines(line: str) -> None:
    assert ollama_config.parse_line(line) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OLLAMA_CONTEXT_LENGTH", "32768"), ("OLLAMA_KEEP_ALIVE", "30m"), ("OLLAMA_KEEP_ALIVE", "90"), ("OLLAMA_KEEP_ALIVE", "-1"),
        ("OLLAMA_KEEP_ALIVE", "0"), ("OLLAMA_KEEP_ALIVE", "1h30m"), ("OLLAMA_LOAD_TIMEOUT", "10m"), ("OLLAMA_LOAD_TIMEOUT", "0"),
        ("OLLAMA_FLASH_ATTENTION", "1"), ("OLLAMA_FLASH_ATTENTION", "false"), ("OLLAMA_NO_CLOUD", "1"), ("OLLAMA_NOPRUNE", "0"),
        ("OLLAMA_KV_CACHE_TYPE", "q8_0"), ("OLLAMA_MODELS", "/srv/models of ours"), ("OLLAMA_ORIGINS", "https://a.example.com,http://b:8080"),
        ("OLLAMA_HOST", "0.0.0.0:11435"), ("OLLAMA_HOST", "[::1]:11434"), ("OLLAMA_DEBUG", "1"), ("OLLAMA_EXPERIMENT", "not in the line"),
        ("CUDA_VISIBLE_DEVICES", "0,1"), ("HOME", "/elsewhere"),
    ],
)  # fmt: skip
def test_what_was_taken_over_is_no_difference(name: str, value: str) -> None:
    assert ollama_config.differences({name: value}, effective(**{name: value})) == ()


@pytest.mark.parametrize(
    ("name", "wanted", "served", "found"),
    [
        ("OLLAMA_CONTEXT_LENGTH", "32768", "16384", "16384"),
        ("OLLAMA_CONTEXT_LENGTH", "32k", "32k", "0"),
        ("OLLAMA_KEEP_ALIVE", "30m", "", "5m0s"),
        ("OLLAMA_KEEP_ALIVE", "half an hour", "half an hour", "5m0s"),
        ("OLLAMA_FLASH_ATTENTION", "0", "1", "true"),
        ("OLLAMA_NO_CLOUD", "1", "0", "false"),
        ("OLLAMA_KV_CACHE_TYPE", "q8_0", "q4_0", "q4_0"),
        ("OLLAMA_HOST", "127.0.0.1:11434", "127.0.0.1:11435", "http://127.0.0.1:11435"),
    ],
)
def test_what_was_not_taken_over_is_named(name: str, wanted: str, served: str, found: str) -> None:
    assert ollama_config.differences({name: wanted}, effective(**{name: served})) == (Difference(name, wanted, found),)


def test_an_origin_that_is_missing() -> None:
    (difference,) = ollama_config.differences({"OLLAMA_ORIGINS": "https://a,https://b"}, effective(OLLAMA_ORIGINS="https://a"))
    assert difference.name == "OLLAMA_ORIGINS"


def test_a_variable_that_an_old_server_does_not_know() -> None:
    shown = effective(OLLAMA_KV_CACHE_TYPE="q8_0")
    del shown["OLLAMA_KV_CACHE_TYPE"]
    assert ollama_config.differences({"OLLAMA_KV_CACHE_TYPE": "q8_0"}, shown) == (Difference("OLLAMA_KV_CACHE_TYPE", "q8_0", None),)


def line(value: str) -> str:
    """A line of a log."""
    return f'time=x msg="server config" env="map[OLLAMA_MODELS:{value} OLLAMA_HOST:y]"\n'


def test_the_last_start_counts_wherever_it_is_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "ollama.log"
    assert ollama_config.last_settings(str(log)) is None
    text = line("first") + "noise\n" * 5000 + line("second") + "more noise\n" * 3000
    log.write_text(text, encoding="utf-8")
    for block in (1, 7, 64, 1000, 4096, len(text)):
        monkeypatch.setattr(ollama_config, "_BLOCK", max(block, 200))
        found = ollama_config.last_settings(str(log))
        assert found is not None and found["OLLAMA_MODELS"] == "second", block


def test_a_mark_across_two_blocks_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "ollama.log"
    for shift in range(220):
        log.write_text(line("it") + "x" * shift + "\n", encoding="utf-8")
        monkeypatch.setattr(ollama_config, "_BLOCK", 200)
        found = ollama_config.last_settings(str(log))
        assert found is not None and found["OLLAMA_MODELS"] == "it", shift


def test_a_rotated_log_is_looked_at_too(tmp_path: Path) -> None:
    (tmp_path / "ollama.log").write_text("nothing of it\n", encoding="utf-8")
    (tmp_path / "ollama.log.1").write_text(line("before"), encoding="utf-8")
    found = ollama_config.last_settings(str(tmp_path / "ollama.log"))
    assert found is not None and found["OLLAMA_MODELS"] == "before"


def test_an_endless_log_is_not_read_from_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "ollama.log"
    log.write_text(line("long ago") + "x" * 5000, encoding="utf-8")
    monkeypatch.setattr(ollama_config, "MAX_SEARCH_BYTES", 1000)
    assert ollama_config.last_settings(str(log)) is None
