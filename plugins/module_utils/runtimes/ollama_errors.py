# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an Ollama server means by an error text: once it streams, the text is all that tells one cause from another.

The texts are those of Ollama 0.32.15, most of them recorded, the rest read from its source (server/images.go, server/download.go
and the Go standard library). A registry's own words are part of some, so a rule looks at the place where the server puts its own.
"""
from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.http_probe import Answer

_MAX_SHOWN = 400

_URL_SECRETS = (
    # A registry hands blobs out by signed links: whoever has the query has the blob. Ordinary text has no '?' behind a URL.
    (re.compile(r"((?:https?://|/)[^\s\"'<>?]*)\?[^\s\"'<>\\]*"), r"\1?..."),
    (re.compile(r"(https?://)[^\s/\"'@]*@"), r"\1...@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), r"\1 ..."),
    (re.compile(r"(?i)\b([\w-]*(?:token|password|secret|signature|credential))((?:\\?\")?\s*[:=]\s*(?:\\?\")?)[^\s\"\\&,}]+"), r"\1\2..."),
)
_REGISTRY = "check the registry option, name resolution, proxy and firewall of the Ollama server's host, then try again"
_STORE = "ollama_method store fetches such models by itself"
_PLAIN_HTTP = "give the registry option with http:// if plain http is meant there; the server then may use it"
_CERTIFICATE = "make the Ollama server's host trust the registry's certificate, or see whether the registry's address is right"


@dataclass(frozen=True)
class Failure:
    """One failure of a server: reason code, what was found, what to do, and whether another try may cure it."""

    reason_code: str
    found: str
    todo: str
    is_transient: bool = False
    details: t.Mapping[str, t.Any] = field(default_factory=dict)

    def to_error(self, wanted: str, **details: t.Any) -> VenomError:
        """The failure as the error to raise."""
        return VenomError(self.reason_code, wanted=wanted, found=self.found, todo=self.todo, **dict(self.details, **details))


@dataclass(frozen=True)
class _Rule:
    pattern: t.Pattern[str]
    reason_code: str
    todo: str
    is_transient: bool = False


def _rule(pattern: str, reason_code: str, todo: str, is_transient: bool = False) -> _Rule:
    return _Rule(re.compile(pattern), reason_code, todo, is_transient)


#: What failed on the server's own disk ends with the system's words: ``write <path>: no space left on device``.
_ON_DISK = (
    r"\A(?:[a-z]+: )?(?:open|read|write|remove|unlinkat|mkdir|rename|link|symlink|chmod|chtimes|truncate|stat|lstat|sync|close|fallocate)\b.*: "
)

_RULES = (
    _rule(
        r"digest mismatch, file must be downloaded again",
        "digest_mismatch",
        "the registry or something on the way changes bytes; try again later, or use another registry",
    ),
    _rule(r"\Apull model manifest: file does not exist\Z", "not_found", "check the model's name and tag, and the registry option"),
    _rule(
        r"\Afile does not exist\Z",
        "not_found",
        "the registry has the model's manifest, but not all of its blobs: have the model pushed to it again",
    ),
    _rule(
        r"(?:\A|: )invalid model name\Z|\Aname \".*\" is invalid\Z|\A(?:source|destination) \".*\" is invalid\Z|\Amodel is required\Z",
        "invalid_name",
        "use [host[:port]/]namespace/model[:tag]; a name with a host needs its namespace",
    ),
    _rule(
        r"insecure protocol http|server gave HTTP response to HTTPS client|first record does not look like a TLS handshake",
        "hub_unreachable",
        _PLAIN_HTTP,
    ),
    _rule(r"x509: |tls: ", "hub_unreachable", _CERTIFICATE),
    _rule(
        r"realm host .* does not match original host",
        "redirect_refused",
        f"the registry asks for a login at another host or for none that Ollama knows, which its server refuses; {_STORE}, with token or password",
    ),
    _rule(r"no Location header in response", "unsupported_source", f"Ollama's server takes blobs from a registry only by redirect; {_STORE}"),
    _rule(
        _ON_DISK + r"(?:no space left on device|disk quota exceeded)\Z",
        "disk_full",
        "free space on the file system of OLLAMA_MODELS, then try again",
    ),
    _rule(
        _ON_DISK + r"(?:permission denied|operation not permitted)\Z",
        "permission_denied",
        "give the account of the Ollama server write access to everything in its models folder",
    ),
    _rule(
        _ON_DISK + r"(?:read-only file system|input/output error|no such file or directory)\Z",
        "io_error",
        "see the disk of OLLAMA_MODELS on the server's host",
    ),
    _rule(
        r"\A(?:pull model manifest: )?unauthorized\b",
        "unauthorized",
        f"Ollama's server logs in with its own key only; {_STORE}, with token or password",
    ),
    _rule(
        r"could not connect to (?:a running )?[Oo]llama (?:server|instance|app)",
        "server_unreachable",
        "start the Ollama server, or set ollama_url",
        True,
    ),
    _rule(r"max retries exceeded|context deadline exceeded", "hub_unreachable", _REGISTRY, True),
    _rule(
        r"\bdial tcp\b|no such host|connection refused|connection reset|broken pipe|i/o timeout|Client\.Timeout|no route to host"
        r"|network is unreachable|server misbehaving|\bEOF\Z|http2: |stream error|use of closed network connection",
        "hub_unreachable",
        _REGISTRY,
        True,
    ),
    _rule(
        r"\Apull model manifest: (?:invalid character|unexpected end of JSON|json: )",
        "unsupported_source",
        "the registry's answer is no manifest: check the registry option",
    ),
    _rule(r"\Acontext canceled\Z", "pull_failed", "the server gave up the download; try again", True),
)
_STATUS = re.compile(r"\A(?:pull model manifest: )?([1-5][0-9][0-9]):(?: |\Z)")
_DIGESTS = re.compile(r"want (sha256:[0-9a-f]{64}), got (sha256:[0-9a-f]{64})")
#: How the command ``ollama`` shows an answer that is no stream: ``400 Bad Request: invalid model name``.
_COMMAND_STATUS = re.compile(r"\A[45][0-9][0-9] [A-Z][A-Za-z' -]*: ")


def scrub(text: str) -> str:
    """The text as one printable line of at most 400 characters, without what may be a secret: queries of URLs, logins, tokens."""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    for pattern, instead in _URL_SECRETS:
        line = pattern.sub(instead, line)
    return line if len(line) <= _MAX_SHOWN else line[: _MAX_SHOWN - 3] + "..."


def classify(text: str) -> Failure:
    """The failure that an error text of a pull stands for; ``pull_failed`` with the server's words where no rule knows it."""
    line = _COMMAND_STATUS.sub("", " ".join(text.split()))
    found = f"the Ollama server says: {scrub(line) or 'nothing'}"
    status = _STATUS.match(line)
    if status:
        code, todo, is_transient = _of_registry_status(int(status.group(1)))
        return Failure(code, found, todo, is_transient, {"status": int(status.group(1))})
    for rule in _RULES:
        if rule.pattern.search(line):
            digests = _DIGESTS.search(line) if rule.reason_code == "digest_mismatch" else None
            details = {"expected": digests.group(1), "actual": digests.group(2)} if digests else {}
            return Failure(rule.reason_code, found, rule.todo, rule.is_transient, details)
    return Failure("pull_failed", found, f"see the log of the Ollama server; {_STORE}")


def _of_registry_status(status: int) -> tuple[str, str, bool]:
    if status in (401, 403):
        return "unauthorized", f"the registry refuses the Ollama server, which has no login but its own key; {_STORE}, with token or password", False
    if status == 404:
        return "not_found", "check the model's name and tag, and the registry option", False
    if status == 412:
        # The public registry's answer for models that the server is too old for.
        return "unsupported_source", "update Ollama: the model needs a newer server", False
    if status == 429:
        return "rate_limited", "try again later; Ollama's server does not wait for as long as a registry asks, ollama_method store does", True
    if status in (408, 425) or status >= 500:
        return "hub_unreachable", "the registry is in trouble; try again later", True
    return "pull_failed", "ask who runs the registry", False


def said(answer: Answer) -> str | None:
    """The error text of an Ollama server's answer, None where the answer is somebody else's."""
    try:
        content = json.loads(answer.body.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    text = content.get("error") if isinstance(content, dict) else None
    return text if isinstance(text, str) else None


def unreachable(url: object, wanted: str, found: str, todo: str = "start the Ollama server, or set ollama_url to where it answers") -> VenomError:
    """Nothing at the URL answers as an Ollama server does."""
    return VenomError("server_unreachable", wanted=wanted, found=found, todo=todo, url=str(url))


def refusal(url: object, answer: Answer, wanted: str, name: str | None = None, remark: str = "") -> VenomError:
    """What an answer other than 200 means, except to a pull: ``not_installed`` for a model that is not there, and so on."""
    text = said(answer)
    if text is None and answer.status == 403 and not answer.body:
        return unreachable(
            url,
            wanted,
            "HTTP 403 without a word, as Ollama answers to a host name that it does not take for its own",
            "put the server's address, or its name ending with .local or .internal, into ollama_url, or let the proxy send 'Host: localhost'",
        )
    if text is None:
        return unreachable(url, wanted, f"HTTP {answer.status}: {scrub(answer.text(120)) or 'nothing'}")
    failure = classify(text)
    if answer.status == 404:
        code, todo = "not_installed", "check the model's name, or install it first"
    elif failure.reason_code in ("invalid_name", "permission_denied", "disk_full"):
        code, todo = failure.reason_code, failure.todo
    else:
        code, todo = "io_error", "see the log of the Ollama server; with ollama_method store, state verified finds and repairs damaged files"
    found = f"HTTP {answer.status}: {scrub(text)}" + (f"; {remark}" if remark else "")
    return VenomError(code, wanted=wanted, found=found, todo=todo, model=name, url=str(url))
