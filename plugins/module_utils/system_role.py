# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a running server really does with a system message, and what the manifest has to say then.

Two system messages of different texts are sent before the same words of the user. Where the prompts are the same, nobody reads them.
vLLM shows the prompt itself (POST /tokenize, which loads no GPU); any other OpenAI endpoint counts the prompt's tokens with an answer of
one token, so there the two texts differ in length.
"""
from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field

from ansible_collections.venom.llm.plugins.module_utils.bounded_json import plain_text
from ansible_collections.venom.llm.plugins.module_utils.http_probe import Answer, ProbeFailed
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest, change_manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry
from ansible_collections.venom.llm.plugins.module_utils.manifest_facts import with_facts
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import CompletionFailed
from ansible_collections.venom.llm.plugins.module_utils.templates.verdict import ROLES

#: Sends a body to a path of the server and gives the answer. Raises ``CompletionFailed`` or ``ProbeFailed`` when none comes.
Post = t.Callable[[str, "dict[str, t.Any]"], Answer]
Capabilities = t.Mapping[str, t.Any]

TOKENIZE, CHAT = "/tokenize", "/v1/chat/completions"
_SYSTEM_TEXTS = ("Speak only of ships.", "You know nothing but the names of birds, and you tell them one after the other, slowly.")
_USER = {"role": "user", "content": "Hello"}
_MAX_ERROR = 300


@dataclass(frozen=True)
class SystemRole:
    """What was found: ``handling`` is accepted, dropped or rejected, None where nothing could be found out; ``remark`` says why.

    ``error`` has the server's words for a system message that it rejects, ``endpoint`` is what was asked.
    """

    handling: str | None
    endpoint: str = ""
    error: str | None = None
    remark: str = ""


@dataclass(frozen=True)
class Correction:
    """Capabilities as the server was found to have them, by name; none when the record is right. ``warning`` is for the operator."""

    probed: dict[str, t.Any] = field(default_factory=dict)
    warning: str | None = None


def probe(post: Post, model: str) -> SystemRole:
    """Ask the server that serves ``model`` (its alias). Raises nothing: what cannot be found out is no verdict."""
    found = _ask(post, TOKENIZE, model, _tokens)
    return found if found.handling is not None else _ask(post, CHAT, model, _prompt_length)


def _ask(post: Post, endpoint: str, model: str, read: t.Callable[[Answer], t.Any]) -> SystemRole:
    prompts: list[t.Any] = []
    try:
        for text in _SYSTEM_TEXTS:
            answer = post(endpoint, _body(endpoint, model, [{"role": "system", "content": text}, _USER]))
            if answer.status == 400:
                return _refused(post, endpoint, model, answer)
            if answer.status != 200:
                return SystemRole(None, endpoint, remark=f"POST {endpoint} answered {answer.status}")
            prompts.append(read(answer))
    except (CompletionFailed, ProbeFailed, LookupError, TypeError) as error:
        return SystemRole(None, endpoint, remark=f"POST {endpoint} gave no usable answer: {str(error)[:_MAX_ERROR]}")
    return SystemRole("dropped" if prompts[0] == prompts[1] else "accepted", endpoint)


def _refused(post: Post, endpoint: str, model: str, answer: Answer) -> SystemRole:
    """A refusal is the system message's fault only if the same request without it is taken."""
    if post(endpoint, _body(endpoint, model, [_USER])).status != 200:
        return SystemRole(None, endpoint, remark=f"POST {endpoint} refuses every chat: {answer.text(_MAX_ERROR)}")
    return SystemRole("rejected", endpoint, error=_error_of(answer))


def _body(endpoint: str, model: str, messages: list[dict[str, str]]) -> dict[str, t.Any]:
    body: dict[str, t.Any] = {"model": model, "messages": messages}
    return body if endpoint == TOKENIZE else dict(body, temperature=0, max_tokens=1)


def _tokens(answer: Answer) -> list[int]:
    tokens = answer.json()["tokens"]
    if not isinstance(tokens, list) or not tokens:
        raise TypeError("no tokens")
    return tokens


def _prompt_length(answer: Answer) -> int:
    count = answer.json()["usage"]["prompt_tokens"]
    if not isinstance(count, int) or count < 1:
        raise TypeError("no count of the prompt's tokens")
    return count


def _error_of(answer: Answer) -> str:
    try:
        data = json.loads(answer.body.decode("utf-8"))
        error = data.get("error", data)
        text = error.get("message") if isinstance(error, dict) else error
        return plain_text(" ".join(str(text).split())[:_MAX_ERROR]) if text else answer.text(_MAX_ERROR)
    except (ValueError, AttributeError, RecursionError):
        return answer.text(_MAX_ERROR)


def compare(found: SystemRole, capabilities: Capabilities, model: str) -> Correction:
    """What a manifest entry's ``capabilities`` have to become. What an operator declared stays, and is contradicted in the warning."""
    if found.handling is None:
        return Correction()
    supports = found.handling == "accepted"
    recorded, source = _value(capabilities, "supports_system_role"), _source(capabilities, "supports_system_role")
    if recorded is supports:
        return Correction()
    warning = _warning(found, model, recorded, source)
    if source == "declared":
        return Correction({}, warning)
    probed: dict[str, t.Any] = {"supports_system_role": supports}
    if not supports:
        probed["system_handling"] = found.handling
        if found.error:
            probed["system_role_error"] = found.error
    elif _value(capabilities, "system_handling") in ("dropped", "rejected"):
        # It is not among those; which of the others it is, the prompt does not say.
        probed["system_handling"] = "separate"
    roles = _value(capabilities, "allowed_roles")
    if isinstance(roles, list):
        probed["allowed_roles"] = [role for role in ROLES if (supports if role == "system" else role in roles)]
    return Correction(probed, warning)


def _value(capabilities: Capabilities, name: str) -> t.Any:
    item = capabilities.get(name)
    return item.get("value") if isinstance(item, dict) else None


def _source(capabilities: Capabilities, name: str) -> str | None:
    item = capabilities.get(name)
    return item.get("source") if isinstance(item, dict) else None


def _warning(found: SystemRole, model: str, recorded: bool | None, source: str | None) -> str | None:
    if recorded is None:
        # Nothing was claimed, so nothing was wrong.
        return None
    does = {
        "accepted": "takes system messages",
        "dropped": "leaves system messages out of the prompt without a word",
        "rejected": f"refuses system messages ({found.error})",
    }[str(found.handling)]
    claim = f"The manifest says that {model} {'takes' if recorded else 'does not take'} system messages ({source}), but the server {does}."
    if source == "declared":
        return f"{claim} What was declared stays; correct it with venom_manifest."
    return f"{claim} The manifest is corrected."


def corrected(entry: Entry, correction: Correction) -> Entry:
    """The entry with what the server was found to do; what an operator declared stays as it is, and over it."""
    return with_facts(entry, entry.facts_from("declared"), probed={**entry.facts_from("probed"), **correction.probed})


def settle(models_dir: str, name: str, revision: str, found: SystemRole) -> list[str]:
    """Correct the manifest entry of the model that serves; the warnings for the operator.

    The caller holds the runtime's lock; the manifest's own is taken here, and only if there is something to write. Raises ``locked``,
    ``OSError``.
    """
    if found.handling is None:
        return []

    def corrections(manifest: Manifest) -> list[tuple[Entry, Correction]]:
        entries = [entry for entry in manifest.models if entry.name == name and entry.revision == revision]
        return [(entry, compare(found, entry.capabilities, entry.served_name)) for entry in entries]

    def change(manifest: Manifest) -> Manifest:
        for entry, correction in corrections(manifest):
            manifest = manifest.merge(corrected(entry, correction))
        return manifest

    needed = [correction for dummy, correction in corrections(Manifest.load(models_dir))]
    if any(correction.probed for correction in needed):
        change_manifest(models_dir, change)
    return [correction.warning for correction in needed if correction.warning]
