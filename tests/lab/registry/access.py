# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may pull: no login, basic, or bearer with a token endpoint, in the words of the OCI distribution and Docker token specifications.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md , https://distribution.github.io/distribution/spec/auth/token/
"""
from __future__ import annotations

import base64
import binascii
import hmac
import json
import os
import threading
import typing as t
from dataclasses import dataclass

from lab.hub.wire import Answer, Refusal, Request, json_answer

AUTHS = ("none", "basic", "bearer")
#: What a token says about its own life; it lives until expire().
TOKEN_SECONDS = 300
_CODES = {401: "UNAUTHORIZED", 403: "DENIED", 404: "NAME_UNKNOWN", 405: "UNSUPPORTED", 429: "TOOMANYREQUESTS"}


def oci_error(status: int, message: str, code: str = "", detail: t.Any = None, **headers: str) -> Answer:
    """An error as a registry sends it."""
    body = {"errors": [{"code": code or _CODES.get(status, "UNKNOWN"), "message": message, "detail": detail}]}
    answer = Answer(status, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(body).encode())
    answer.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return answer


@dataclass(frozen=True)
class _Grant:
    user: str
    scopes: tuple[str, ...]


class Logins:
    """Users (name to password), lasting tokens (token to user), and tokens that the endpoint gave."""

    def __init__(self, auth: str, users: t.Mapping[str, str], tokens: t.Mapping[str, str]) -> None:
        if auth not in AUTHS:
            raise ValueError(f"no such auth {auth!r}; there are {', '.join(AUTHS)}")
        self.auth = auth
        self.users = dict(users)
        self.tokens = dict(tokens)
        self.anonymous = not users and not tokens
        self._given: dict[str, _Grant] = {}
        self._lock = threading.Lock()

    def expire(self) -> None:
        """Forget every token that the endpoint gave."""
        with self._lock:
            self._given.clear()

    def _basic_user(self, request: Request) -> str | None:
        """The user of Basic credentials, None if none came; raises Refusal for wrong ones."""
        scheme, dummy, value = (request.headers.get("Authorization") or "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            name, dummy, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            name, password = "", ""
        if name not in self.users or not hmac.compare_digest(self.users[name].encode(), password.encode()):
            raise Refusal(oci_error(401, "authentication required", WWW_Authenticate='Basic realm="lab"'))
        return name

    def _bearer_user(self, request: Request) -> str | None:
        scheme, dummy, value = (request.headers.get("Authorization") or "").partition(" ")
        return self.tokens.get(value.strip()) if scheme.lower() == "bearer" else None

    def check(self, request: Request, realm: str, service: str, repository: str) -> None:
        """Let a request for a repository ('' is the ping) pass and note its user; raises Refusal with a challenge."""
        if self.auth == "none":
            return
        if self.auth == "basic":
            user = self._basic_user(request) or self._bearer_user(request)
            if user is None:
                raise Refusal(oci_error(401, "authentication required", WWW_Authenticate='Basic realm="lab"'))
            request.entry.user = user
            return
        scope = f"repository:{repository}:pull" if repository else ""
        challenge = f'Bearer realm="{realm}",service="{service}"' + (f',scope="{scope}"' if scope else "")
        scheme, dummy, token = (request.headers.get("Authorization") or "").partition(" ")
        if scheme.lower() != "bearer":
            raise Refusal(oci_error(401, "authentication required", WWW_Authenticate=challenge))
        with self._lock:
            grant = self._given.get(token.strip())
        lasting = self._bearer_user(request)
        if lasting is None and grant is None:
            raise Refusal(oci_error(401, "authentication required", WWW_Authenticate=challenge + ',error="invalid_token"'))
        if grant is not None and scope and scope not in grant.scopes:
            raise Refusal(oci_error(401, "authentication required", WWW_Authenticate=challenge + ',error="insufficient_scope"'))
        request.entry.user = lasting or (grant.user if grant else None)

    def give(self, request: Request) -> Answer:
        """Answer the token endpoint; raises Refusal for wrong credentials, or for none where none are not enough."""
        user = self._basic_user(request) or self._bearer_user(request)
        if user is None and not self.anonymous:
            raise Refusal(oci_error(401, "authentication required", WWW_Authenticate='Basic realm="lab"'))
        request.entry.user = user
        scopes = tuple(scope for value in request.query.get("scope", []) for scope in value.split())
        token = base64.urlsafe_b64encode(os.urandom(24)).decode()
        with self._lock:
            self._given[token] = _Grant(user or "anonymous", scopes)
        return json_answer({"token": token, "access_token": token, "expires_in": TOKEN_SECONDS})
