# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a running server does with a system message, asked over HTTP, and what becomes of the manifest."""
from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import http_probe, system_role
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry, FileRecord, snapshot_path, snapshot_sha256, utc_now
from ansible_collections.venom.llm.plugins.module_utils.names import Digest, ModelRef
from ansible_collections.venom.llm.plugins.module_utils.system_role import SystemRole, compare, probe, settle
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.scripted_http import Line, ScriptedHttp, Speaker, reply

REFUSAL = {"error": {"message": "System role\nnot supported", "type": "BadRequestError", "code": 400}}


def tokens(*numbers: int) -> Speaker:
    return reply(200, {"count": len(numbers), "tokens": list(numbers), "max_model_len": 99})


def usage(count: t.Any) -> Speaker:
    return reply(200, {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": count}})


def ask(tokenize: t.Sequence[Speaker], chat: t.Sequence[Speaker] = ()) -> tuple[SystemRole, ScriptedHttp]:
    """What is found at a server that answers so, and the server with what it was asked."""
    with ScriptedHttp() as server:
        server.on("POST", "/tokenize", *tokenize)
        server.on("POST", "/v1/chat/completions", *(chat or [reply(404)]))
        return probe(lambda path, body: http_probe.request("127.0.0.1", server.port, path, body, timeout=5), "bee"), server


def test_a_prompt_that_changes_with_the_system_message_has_it() -> None:
    found, server = ask([tokens(1, 2, 9), tokens(1, 3, 9)])
    assert found == SystemRole("accepted", "/tokenize")
    first, second = (request.json() for request in server.requests)
    assert first["model"] == "bee" and [message["role"] for message in first["messages"]] == ["system", "user"]
    assert first["messages"][0] != second["messages"][0] and first["messages"][1] == second["messages"][1]


def test_a_prompt_that_does_not_change_lacks_it() -> None:
    assert ask([tokens(1, 9), tokens(1, 9)])[0] == SystemRole("dropped", "/tokenize")


def test_a_refusal_of_the_system_message_alone_is_one() -> None:
    found, server = ask([reply(400, REFUSAL), tokens(1, 9)])
    assert found == SystemRole("rejected", "/tokenize", "System role not supported")
    assert [message["role"] for message in server.requests[1].json()["messages"]] == ["user"]


def test_a_server_that_refuses_every_chat_says_nothing_of_the_role() -> None:
    found = ask([reply(400, REFUSAL)], [reply(400, {"error": {"message": "no chat template"}})])[0]
    assert found.handling is None and "refuses every chat" in found.remark


@pytest.mark.parametrize(
    ("chat", "handling"),
    [([usage(10), usage(20)], "accepted"), ([usage(10)], "dropped"), ([reply(400, REFUSAL), usage(10)], "rejected")],
)
@pytest.mark.parametrize("tokenize", [reply(404), reply(405), reply(500), reply(200, {"tokens": []}), reply(200, "no JSON"), reply(200, [])])
def test_without_tokenize_a_completion_of_one_token_tells(tokenize: Speaker, chat: list[Speaker], handling: str) -> None:
    found, server = ask([tokenize], chat)
    assert (found.handling, found.endpoint) == (handling, "/v1/chat/completions")
    body = server.requests[-1].json()
    assert body["max_tokens"] == 1 and body["temperature"] == 0


def hang_up(dummy: Line) -> None:
    """Close the connection without a word."""


@pytest.mark.parametrize("answer", [hang_up, usage("ten"), usage(0), reply(200, {}), reply(503)])
def test_a_server_that_gives_no_answer_is_no_verdict(answer: Speaker) -> None:
    found = ask([answer], [answer])[0]
    assert found.handling is None and found.remark


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (REFUSAL, "System role not supported"),
        ({"message": "no"}, "no"),
        ("plain words", "plain words"),
        ({"error": "x"}, "x"),
        ({"error": "a\ud800"}, "a\ufffd"),
        ([1], "[1]"),
    ],
)
def test_the_servers_words(body: t.Any, error: str) -> None:
    assert ask([reply(400, body), tokens(1)])[0].error == error


def capabilities(supports: bool | None, source: str | None = "detected", **more: t.Any) -> dict[str, t.Any]:
    known = {"supports_system_role": {"value": supports, "source": source}}
    return dict(known, **{name: {"value": value, "source": "detected"} for name, value in more.items()})


REJECTED, DROPPED, ACCEPTED = SystemRole("rejected", "/tokenize", "No"), SystemRole("dropped", "/tokenize"), SystemRole("accepted", "/tokenize")


@pytest.mark.parametrize(("found", "recorded"), [(ACCEPTED, True), (REJECTED, False), (DROPPED, False), (SystemRole(None), True)])
def test_a_record_that_is_right_stays(found: SystemRole, recorded: bool) -> None:
    assert compare(found, capabilities(recorded), "bee") == system_role.Correction()


def test_a_record_that_is_wrong_is_corrected_and_warned_about() -> None:
    wrong = compare(REJECTED, capabilities(True, allowed_roles=["system", "user"], system_handling="separate"), "bee")
    assert wrong.probed == {
        "supports_system_role": False,
        "system_handling": "rejected",
        "system_role_error": "No",
        "allowed_roles": ["user"],
    }
    assert wrong.warning == (
        "The manifest says that bee takes system messages (detected), but the server refuses system messages (No). The manifest is corrected."
    )
    other = compare(ACCEPTED, capabilities(False, allowed_roles=["user"], system_handling="dropped"), "bee")
    assert other.probed == {"supports_system_role": True, "system_handling": "separate", "allowed_roles": ["system", "user"]}
    assert "does not take system messages (detected), but the server takes" in (other.warning or "")
    assert "without a word" in (compare(DROPPED, capabilities(True), "bee").warning or "")


def test_a_record_that_says_nothing_is_filled_without_a_warning() -> None:
    assert compare(DROPPED, {}, "bee") == system_role.Correction({"supports_system_role": False, "system_handling": "dropped"}, None)


def test_what_was_declared_stays_and_is_contradicted() -> None:
    correction = compare(REJECTED, capabilities(True, "declared"), "bee")
    assert correction.probed == {} and "(declared), but the server refuses" in (correction.warning or "")
    assert "correct it with venom_manifest" in (correction.warning or "")


def store(root: Path, known: dict[str, t.Any]) -> Entry:
    """A manifest with one model."""
    entry = Entry(
        name="lab/alpha",
        provider="huggingface",
        runtime="vllm",
        revision="a" * 40,
        requested_revision="main",
        alias="bee",
        local_path=snapshot_path(str(root), ModelRef.parse("lab/alpha"), "a" * 40),
        size_bytes=1,
        files=(FileRecord("config.json", 1, Digest("sha256", "0" * 64), 1, 1),),
        sha256="0" * 64,
        installed_at=utc_now(),
        capabilities=known,
    )
    entry = entry.replace(sha256=snapshot_sha256(entry.files))
    Manifest.load(str(root)).merge(entry).save()
    return entry


def recorded(root: Path) -> dict[str, t.Any]:
    return Manifest.load(str(root)).models[0].capabilities


def test_the_manifest_is_corrected_once(tmp_path: Path) -> None:
    entry = store(tmp_path, dict(capabilities(True), allowed_roles={"value": ["user", "system"], "source": "declared"}))
    assert len(settle(str(tmp_path), entry.name, entry.revision, REJECTED)) == 1
    known = recorded(tmp_path)
    assert known["supports_system_role"] == {"value": False, "source": "probed"}
    assert known["system_role_error"] == {"value": "No", "source": "probed"}
    # What an operator declared is not touched.
    assert known["allowed_roles"] == {"value": ["user", "system"], "source": "declared"}
    assert settle(str(tmp_path), entry.name, entry.revision, REJECTED) == []


@pytest.mark.parametrize("found", [ACCEPTED, SystemRole(None, remark="no answer")])
def test_a_manifest_that_is_right_is_not_written(tmp_path: Path, found: SystemRole) -> None:
    entry = store(tmp_path, capabilities(True))
    before = (tmp_path / "manifest.json").stat().st_mtime_ns
    assert settle(str(tmp_path), entry.name, entry.revision, found) == []
    assert (tmp_path / "manifest.json").stat().st_mtime_ns == before


def test_other_models_are_left_alone(tmp_path: Path) -> None:
    entry = store(tmp_path, capabilities(True))
    assert settle(str(tmp_path), entry.name, "b" * 40, REJECTED) == []
    assert settle(str(tmp_path), "lab/other", entry.revision, REJECTED) == []
    assert recorded(tmp_path)["supports_system_role"]["value"] is True
