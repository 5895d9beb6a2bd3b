# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate, name by name."""
from __future__ import annotations

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import (
    Alias,
    Digest,
    ModelRef,
    check_paths,
    fold_name,
    is_commit,
    parse_revision,
    runtime_for,
    safe_relative_path,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "provider", "key"),
    [
        ("google/gemma-2b-it", "auto", "huggingface:google/gemma-2b-it"),
        ("gpt2", "huggingface", "huggingface:gpt2"),
        ("phi3:mini", "auto", "ollama:phi3:mini"),
        ("phi3", "auto", "ollama:phi3:latest"),
        ("library/phi3", "ollama", "ollama:phi3:latest"),
        ("a_b/c.d-e_f", "auto", "huggingface:a_b/c.d-e_f"),
    ],
)
def test_good_names(text: str, provider: str, key: str) -> None:
    assert ModelRef.parse(text, provider).key == key


@pytest.mark.parametrize(
    "text",
    [
        "", "/", "a/", "/etc/passwd", "../x", "a/../b", "a/./b", "a//b", "-rf", "a\\b", "a b/c", "owner/name\n", "owner/nаme",  # a Cyrillic letter
        "a:b:c", "a/b:", "a/b:c/d", "owner/name\0", "owner/" + "x" * 300, "٣/x", "a/b/..", "~/x", "a@b/c", "http://a/b", "a/b?c",
    ],
)  # fmt: skip
@pytest.mark.parametrize("provider", ["auto", "huggingface", "ollama"])
def test_bad_names_everywhere(text: str, provider: str) -> None:
    with pytest.raises(VenomError) as caught:
        ModelRef.parse(text, provider)
    assert caught.value.reason_code == "invalid_name"


@pytest.mark.parametrize("text", ["a/b/c", "a--b/c", "a/b..c", ".a/b", "a/b.", "a/-b", "a/b-", "a/b.git", "a/b:c", "a/" + "b" * 95])
def test_names_that_no_repository_has(text: str) -> None:
    with pytest.raises(VenomError) as caught:
        ModelRef.parse(text, "huggingface")
    assert caught.value.reason_code == "invalid_name"


def test_the_folder_reads_back() -> None:
    ref = ModelRef.parse("google/gemma-2b-it")
    assert ref.folder(COMMIT) == f"google--gemma-2b-it@{COMMIT}"
    assert ModelRef.from_folder(ref.folder(COMMIT)) == (ref, COMMIT)


@pytest.mark.parametrize("folder", ["x", "x@main", f"..@{COMMIT}", f"a--b--c@{COMMIT}", f"a@b@{COMMIT}", f"@{COMMIT}", f".venom.1@{COMMIT}"])
def test_foreign_folders_are_not_read(folder: str) -> None:
    with pytest.raises(VenomError):
        ModelRef.from_folder(folder)


def test_a_folder_needs_a_commit() -> None:
    with pytest.raises(VenomError):
        ModelRef.parse("a/b").folder("main")


@pytest.mark.parametrize("runtime", ["auto", "vllm"])
def test_hugging_face_goes_to_vllm(runtime: str) -> None:
    assert runtime_for(ModelRef.parse("a/b"), runtime) == "vllm"


@pytest.mark.parametrize(("name", "runtime"), [("a/b", "ollama"), ("phi3:mini", "vllm"), ("a/b", "onnx")])
def test_other_pairs_are_incompatible(name: str, runtime: str) -> None:
    with pytest.raises(VenomError) as caught:
        runtime_for(ModelRef.parse(name), runtime)
    assert caught.value.reason_code == "incompatible_runtime"


@pytest.mark.parametrize("text", ["main", "v1.0", "feature/x", COMMIT, "refs/pr/1"])
def test_good_revisions(text: str) -> None:
    assert parse_revision(text) == text


def test_a_commit_is_lowercase() -> None:
    assert parse_revision(COMMIT.upper()) == COMMIT
    assert is_commit(COMMIT)
    assert not is_commit(COMMIT + "\n")
    assert not is_commit(None)


@pytest.mark.parametrize("text", ["", "-x", "a..b", "../x", "a b", "a\n", "/x", "x/", "a//b", "a?b", "a#b", "a%2fb", "x" * 256])
def test_bad_revisions(text: str) -> None:
    with pytest.raises(VenomError) as caught:
        parse_revision(text)
    assert caught.value.reason_code == "invalid_name"


@pytest.mark.parametrize("text", ["", "-x", "a b", "a\n", "a=b", "$(x)", "a'b", "ä", "x" * 256, "../x", "a//b", ".x"])
def test_bad_aliases(text: str) -> None:
    with pytest.raises(VenomError) as caught:
        Alias.parse(text)
    assert caught.value.reason_code == "invalid_name"


def test_digests() -> None:
    assert str(Digest.parse("sha256:" + "a" * 64)) == "sha256:" + "a" * 64
    for text in ("sha256:" + "A" * 64, "sha256:" + "a" * 63, "sha256:../../x", "md5:" + "a" * 32, "a" * 64, "", "sha256:" + "a" * 64 + "\n"):
        with pytest.raises(VenomError):
            Digest.parse(text)


@pytest.mark.parametrize("text", ["config.json", "a/b/c.safetensors", ".gitattributes", "ünïcode name.txt", "a..b", "console.txt", "-x", "日本/語"])
def test_good_paths(text: str) -> None:
    assert safe_relative_path(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "/", "/etc/passwd", "../x", "a/../../x", "a/..", ".", "./x", "a//b", "a/", "C:\\x", "C:x", "\\\\host\\share", "a\\..\\x", "a:stream",
        "a\nb", "a\0b", "a\rb", "a\u202eb", "\ud800", "a\u2028b", "nul", "NUL.txt", "a/Con", "com1.json", "COM\u00b9", "a.", "a ", " a",
        "a/ b", "x./y", "l" * 256, "é" * 128, "d/" * 600 + "x", ".venom.1", "a/.VENOM.x",
    ],
)  # fmt: skip
def test_bad_paths(text: str) -> None:
    with pytest.raises(VenomError) as caught:
        safe_relative_path(text)
    assert caught.value.reason_code == "invalid_name"


@pytest.mark.parametrize("paths", [["a", "a"], ["a", "A"], ["é", "e\u0301"], ["a", "a/b"], ["A/b", "a"], ["ß", "SS"], ["x", "a/b/c", "a/B"]])
def test_paths_in_each_others_way(paths: list[str]) -> None:
    with pytest.raises(VenomError) as caught:
        check_paths(paths)
    assert caught.value.reason_code == "invalid_name"


def test_messages_show_hostile_names_harmlessly() -> None:
    with pytest.raises(VenomError) as caught:
        safe_relative_path("a\n\x1b[31mred\u202e" + "x" * 500)
    assert str(caught.value).isascii()
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_folding_knows_a_port_from_a_tag() -> None:
    assert fold_name("host:5000/library/tiny") == "host:5000/library/tiny:latest"
    assert fold_name("registry.ollama.ai/User/M:T") == "user/m:t"
    assert fold_name("Library/phi3") == fold_name("phi3") == "phi3:latest"
