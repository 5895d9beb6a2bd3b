# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The endpoints below /v1, in the shape of OpenAI."""
from __future__ import annotations

import time
import typing as t

from lab.ollama import gojson, models, names
from lab.ollama.api import Api
from lab.ollama.errors import GoError
from lab.ollama.models import Model
from lab.ollama.wire import JSON, PLAIN_JSON, Handler, Refused, Stream

_TYPES = {400: "invalid_request_error", 404: "not_found_error"}


def failure(handler: Handler, status: int, text: str, content_type: str = PLAIN_JSON, end: str = "\n") -> None:
    """An error as OpenAI has it."""
    error = {"message": text, "type": _TYPES.get(status, "api_error"), "param": None, "code": None}
    handler.json({"error": error}, status, content_type, end)


class OpenAI:
    """The endpoints, on top of the others."""

    def __init__(self, api: Api) -> None:
        self.api = api

    def models(self, handler: Handler) -> None:
        """GET /v1/models: null when there is none."""
        found = [self._entry(model, model.name.shortest) for model in models.tags(self.api.store)]
        handler.json({"object": "list", "data": found or None}, 200, PLAIN_JSON, "\n")

    def model(self, handler: Handler, text: str) -> None:
        """GET /v1/models/{model}."""
        name = names.parse(text)
        try:
            if not name.is_valid:
                raise Refused(400, "invalid model name")
            handler.json(self._entry(models.find(self.api.store, name), text), 200, PLAIN_JSON, "\n")
        except GoError as exc:
            raise Refused(404, f"model '{name.shortest}' not found") if exc.missing else Refused(500, exc.text) from None

    def _entry(self, model: Model, text: str) -> dict[str, t.Any]:
        created = self.api.store.modified_ns(model.name) // 10**9
        return {"id": text, "object": "model", "created": created, "owned_by": model.name.namespace}

    def chat(self, handler: Handler) -> None:
        """POST /v1/chat/completions."""
        data = handler.data()
        if not data.get("messages"):
            failure(handler, 400, "[] is too short - 'messages'", JSON, "")
            return
        self._complete(handler, data, "chatcmpl", "chat.completion", self._chat_choice)

    def complete(self, handler: Handler) -> None:
        """POST /v1/completions."""
        self._complete(handler, handler.data(), "cmpl", "text_completion", lambda text: {"text": text, "index": 0})

    @staticmethod
    def _chat_choice(text: str) -> dict[str, t.Any]:
        return {"index": 0, "message": {"role": "assistant", "content": text}}

    def _complete(self, handler: Handler, data: dict[str, t.Any], prefix: str, kind: str, choice: t.Callable[[str], dict[str, t.Any]]) -> None:
        if not data.get("model"):
            raise Refused(400, "model is required")
        model = self.api.find_for(data, "ChatRequest")
        self.api.load(model, {key: value for key, value in data.items() if key == "model"}, "chat" if prefix == "chatcmpl" else "generate")
        said = self.api.say(model)
        head = {
            "id": f"{prefix}-{int(model.manifest.digest[:6], 16) % 1000}",
            "object": kind,
            "created": int(time.time()),
            "model": data["model"],
            "system_fingerprint": "fp_ollama",
        }
        if data.get("stream"):
            self._stream(handler, head, said, prefix)
            return
        usage = {"prompt_tokens": 1, "completion_tokens": len(said) + 1, "total_tokens": len(said) + 2}
        text = "".join(said)
        choices = [{**choice(text), "finish_reason": "stop"}]
        handler.json({**head, "choices": choices, "usage": usage}, 200, PLAIN_JSON, "\n")

    @staticmethod
    def _stream(handler: Handler, head: dict[str, t.Any], said: list[str], prefix: str) -> None:
        stream = Stream(handler, "text/event-stream")
        chat = prefix == "chatcmpl"
        if chat:
            head = {**head, "object": "chat.completion.chunk"}
        for number, word in enumerate([*said, ""]):
            role = {"role": "assistant"} if number == 0 else {}
            body: dict[str, t.Any] = {"delta": {**role, "content": word} if word else {}} if chat else {"text": word}
            choices = [{"index": 0, **body, "finish_reason": None if word else "stop"}]
            stream.text(f"data: {gojson.dumps({**head, 'choices': choices})}\n\n")
        stream.text("data: [DONE]\n\n")
        stream.close()
