# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The endpoints below /api: what is asked, what is answered."""
from __future__ import annotations

import os
import queue
import threading
import time
import typing as t

from lab.ollama import create, gojson, models, names
from lab.ollama.config import VERSION, Config
from lab.ollama.errors import Cancelled, GoError
from lab.ollama.faults import Faults
from lab.ollama.loaded import Loaded, keep_alive
from lab.ollama.models import Model, stamp
from lab.ollama.names import Name
from lab.ollama.pull import Puller, Say, stop_when_gone
from lab.ollama.registry_client import Context, Registry
from lab.ollama.store import Store, hash_file, write_file
from lab.ollama.wire import NDJSON, PLAIN_JSON, Handler, Refused, Stream


class Api:
    """Everything a request may ask for."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.faults = Faults(config.environ.get("LAB_OLLAMA_FAULTS", ""))
        self.store = Store(config.models)
        self.puller = Puller(self.store, config, self.faults)
        self.loaded = Loaded(config, self.faults)
        self._known: dict[tuple[Name, str], models.Known] = {}

    # -- small ones

    def version(self, handler: Handler) -> None:
        """GET /api/version."""
        handler.json({"version": VERSION})

    def status(self, handler: Handler) -> None:
        """GET /api/status."""
        disabled = self.config.booleans["OLLAMA_NO_CLOUD"]
        handler.json({"cloud": {"disabled": disabled, "source": "env" if disabled else "none"}})

    def tags(self, handler: Handler) -> None:
        """GET /api/tags."""
        entries = self._list()
        for entry in entries:
            lie = self.faults.take("tags_digest") if entries else None
            if lie is not None and lie.get("model", entry["name"]) == entry["name"]:
                entry["digest"] = lie.get("digest", "f" * 64)
        handler.json({"models": entries})

    def _list(self) -> list[dict[str, t.Any]]:
        """The entries. What was read of a GGUF is remembered as long as its name stays listed with the same manifest: a blob may be gone by then."""
        entries, seen = [], {}
        for model in models.tags(self.store):
            key = (model.name, model.manifest.digest)
            try:
                known = self._known.get(key) or model.read_header()
                entries.append(model.listed(known))
            except (GoError, OSError):
                continue
            if known[0]:
                seen[key] = known
        self._known = seen
        return entries

    def ps(self, handler: Handler) -> None:
        """GET /api/ps."""
        entries = self.loaded.listed()
        hidden = self.faults.take("ps_hides")
        if hidden is not None:
            entries = [entry for entry in entries if hidden.get("model", entry["name"]) != entry["name"]]
        handler.json({"models": entries})

    # -- models on disk

    def show(self, handler: Handler) -> None:
        """POST /api/show."""
        data = handler.data()
        text = _text(data, "model", "ShowRequest") or _text(data, "name", "ShowRequest")
        if not text:
            raise Refused(400, "model is required")
        name = _name(text)
        if name.tag.endswith("cloud") and self.config.booleans["OLLAMA_NO_CLOUD"]:
            raise Refused(403, "ollama cloud is disabled: remote model details are unavailable")
        try:
            handler.json(create.show(models.find(self.store, name), bool(data.get("verbose"))))
        except GoError as exc:
            raise Refused(404, f"model '{name.shortest}' not found") if exc.missing else Refused(500, exc.text) from None

    def delete(self, handler: Handler) -> None:
        """DELETE /api/delete."""
        data = handler.data()
        text = _text(data, "model", "DeleteRequest") or _text(data, "name", "DeleteRequest")
        if not text:
            raise Refused(400, "model is required")
        name = names.parse(text)
        if not name.is_valid:
            raise Refused(400, f'name "{text}" is invalid')
        failing = self.faults.take("delete_500")
        if failing is not None:
            raise Refused(500, failing.get("text", "remove: input/output error"))
        try:
            self.store.remove(self.store.existing(name))
        except GoError as exc:
            raise Refused(404, f"model '{text}' not found") if exc.missing else Refused(500, exc.text) from None
        handler.send(200, "", None)

    def copy(self, handler: Handler) -> None:
        """POST /api/copy."""
        data = handler.data()
        found = {}
        for key in ("source", "destination"):
            text = _text(data, key, "CopyRequest")
            found[key] = names.parse(text)
            if not found[key].is_valid:
                raise Refused(400, f'{key} "{text}" is invalid')
        try:
            content = self.store.read(self.store.existing(found["source"])).content
            self.store.write(self.store.existing(found["destination"]), content)
        except GoError as exc:
            raise Refused(404, f'model "{data["source"]}" not found') if exc.missing else Refused(500, exc.text) from None
        handler.send(200, "", None)

    def blob(self, handler: Handler, digest: str) -> None:
        """HEAD and POST /api/blobs/sha256:..."""
        try:
            path = self.store.blob(digest)
        except GoError as exc:
            raise Refused(400, exc.text) from None
        if handler.command == "HEAD":
            if not os.path.exists(path):
                raise Refused(404, f'blob "{digest}" not found')
            handler.head(200, {})
            return
        if os.path.exists(path):
            handler.send(200, "", None)
            return
        part = os.path.join(self.store.blobs, f"sha256-{os.getpid()}-{threading.get_ident()}")
        write_file(part, handler.body())
        found = hash_file(part)
        os.rename(part, self.store.blob(found))
        if found != digest:
            raise Refused(400, f'digest mismatch, expected "{digest}", got "{found}"')
        handler.send(201, "", None)

    # -- streams

    def pull(self, handler: Handler) -> None:
        """POST /api/pull."""
        data = handler.data()
        name = _name(_text(data, "model", "PullRequest") or _text(data, "name", "PullRequest"))
        name = self.store.existing(name)

        def pull(context: Context, say: Say) -> None:
            self.puller.pull(name, bool(data.get("insecure")), context, say)
            self._list()

        self._stream(handler, data, pull)

    def push(self, handler: Handler) -> None:
        """POST /api/push: as far as its failures go. Nothing is sent anywhere."""
        data = handler.data()
        name = _name(_text(data, "model", "PushRequest") or _text(data, "name", "PushRequest"))

        def push(context: Context, say: Say) -> None:
            say({"status": "retrieving manifest"})
            try:
                manifest = self.store.read(self.store.existing(name))
            except GoError:
                say({"status": "couldn't retrieve manifest"})
                raise
            registry = Registry(bool(data.get("insecure")), context)
            for layer in manifest.all:
                registry.ask("HEAD", registry.url(name.host, "v2", name.namespace, name.model, "blobs", layer.digest)).close()
                say({"status": f"pushing {layer.digest[7:19]}", "digest": layer.digest, "total": layer.size, "completed": layer.size})
            raise GoError("the stand-in does not upload")

        self._stream(handler, data, push)

    def create(self, handler: Handler) -> None:
        """POST /api/create."""
        data = handler.data()
        name = _name(_text(data, "model", "CreateRequest") or _text(data, "name", "CreateRequest"))
        if not data.get("from") and not data.get("files"):
            stream = Stream(handler, PLAIN_JSON, 400)
            stream.text(gojson.dumps({"error": "neither 'from' or 'files' was specified"}))
            stream.close()
            return

        def make(context: Context, say: Say) -> None:
            if data.get("from"):
                base = _name(str(data["from"]))
                if self.store.existing(base) not in self.store.names():
                    self.puller.pull(base, False, context, say)
            create.create(self.store, self.store.existing(name), data, say)

        self._stream(handler, data, make)

    def _stream(self, handler: Handler, data: t.Mapping[str, t.Any], work: t.Callable[[Context, Say], None]) -> None:
        """Run work in a thread of its own, and stop it when the client leaves."""
        lines: queue.Queue[dict[str, t.Any] | None] = queue.Queue()
        context = Context()

        def run() -> None:
            try:
                work(context, stop_when_gone(context, lambda line: lines.put(dict(line))))
            except GoError as exc:
                lines.put({"error": exc.text})
            except Cancelled:
                pass
            except OSError as exc:
                lines.put({"error": str(exc)})
            finally:
                lines.put(None)

        worker = threading.Thread(target=run, daemon=True)
        worker.start()
        try:
            if data.get("stream", True) is False:
                self._answer(handler, lines)
            else:
                self._send_lines(handler, lines)
        finally:
            context.cancel()

    @staticmethod
    def _next(handler: Handler, lines: queue.Queue[dict[str, t.Any] | None]) -> dict[str, t.Any] | None:
        while True:
            try:
                return lines.get(timeout=0.05)
            except queue.Empty:
                if handler.gone():
                    raise ConnectionResetError("the client has left") from None

    def _send_lines(self, handler: Handler, lines: queue.Queue[dict[str, t.Any] | None]) -> None:
        stream = Stream(handler, NDJSON)
        while True:
            line = self._next(handler, lines)
            if line is None:
                stream.close()
                return
            cut = self.faults.take("pull_cut") if self._is_cut(line) else None
            if cut is not None:
                stream.cut()
                return
            if handler.gone():
                raise ConnectionResetError("the client has left")
            stream.line(line)

    def _is_cut(self, line: t.Mapping[str, t.Any]) -> bool:
        """Is this the line that a fault takes away?"""
        before = next((fault.get("before", "success") for fault in self.faults.waiting() if fault["kind"] == "pull_cut"), None)
        return before is not None and str(line.get("status", "")).startswith(before)

    def _answer(self, handler: Handler, lines: queue.Queue[dict[str, t.Any] | None]) -> None:
        last: dict[str, t.Any] = {}
        while True:
            line = self._next(handler, lines)
            if line is None:
                break
            last = line
        if "error" in last:
            handler.json({"error": last["error"]}, 500, PLAIN_JSON)
        else:
            handler.json({"status": "success"}, 200, PLAIN_JSON)

    # -- inference

    def find_for(self, data: t.Mapping[str, t.Any], struct: str) -> Model:
        """The model that a request wants to use."""
        text = _text(data, "model", struct)
        if not text:
            raise Refused(404, "model '' not found")
        name = _name(text)
        try:
            model = models.find(self.store, name)
            model.details()
            return model
        except GoError as exc:
            raise Refused(404, f"model '{text}' not found") if exc.missing else Refused(500, exc.text) from None

    def load(self, model: Model, data: t.Mapping[str, t.Any], what: str = "generate") -> None:
        """Load it, for as long as the request says."""
        if "completion" not in model.capabilities():
            raise Refused(400, f'"{data["model"]}" does not support {what}')
        failing = self.faults.take("load", model.name.shortest)
        if failing is not None:
            time.sleep(float(failing.get("seconds", 0)))
            raise Refused(int(failing.get("status", 500)), failing.get("text", "llama runner process has terminated: exit status 2"))
        try:
            self.loaded.use(model, _keep_alive(data), data.get("options") or {})
        except GoError as exc:
            raise Refused(500, exc.text) from None

    def say(self, model: Model) -> list[str]:
        """The words of a completion: always the same, and by the model's digest."""
        mute = self.faults.take("mute")
        if mute is not None and mute.get("model", model.name.shortest) == model.name.shortest:
            return []
        return [" I am", f" {model.manifest.digest[:12]}"]

    def generate(self, handler: Handler) -> None:
        """POST /api/generate: load, unload, or words."""
        data = handler.data()
        self._infer(handler, data, str(data.get("prompt") or ""), "generate", lambda text: {"response": text})

    def chat(self, handler: Handler) -> None:
        """POST /api/chat."""
        data = handler.data()
        messages = data.get("messages") or []
        asked = "\n".join(str(message.get("content", "")) for message in messages)
        self._infer(handler, data, asked, "chat", lambda text: {"message": {"role": "assistant", "content": text}})

    def _infer(self, handler: Handler, data: dict[str, t.Any], prompt: str, what: str, part: t.Callable[[str], dict[str, t.Any]]) -> None:
        duration = _keep_alive(data)
        model = self.find_for(data, "GenerateRequest" if what == "generate" else "ChatRequest")

        def line(text: str, **rest: t.Any) -> dict[str, t.Any]:
            return {"model": data["model"], "created_at": stamp(time.time_ns()), **part(text), "done": bool(rest), **rest}

        if not prompt and duration == 0:
            self.loaded.unload(model)
            handler.json(line("", done_reason="unload"))
            return
        began = time.monotonic_ns()
        self.load(model, data, what)
        if not prompt:
            handler.json(line("", done_reason="load"))
            return
        said = self.say(model)
        end: dict[str, t.Any] = {"done_reason": "stop"}
        if what == "generate":
            end["context"] = [len(prompt), *range(len(said))]
        spent = time.monotonic_ns() - began
        end.update(total_duration=spent, load_duration=spent // 2, prompt_eval_count=len(prompt.split()) + 1, prompt_eval_duration=spent // 4)
        end.update(eval_count=len(said) + 1, eval_duration=spent // 4)
        if data.get("stream", True) is False:
            handler.json(line("".join(said), **end))
        else:
            stream = Stream(handler, NDJSON)
            for word in said:
                stream.line(line(word))
            stream.line(line("", **end))
            stream.close()
        if duration == 0:
            self.loaded.unload(model)

    def embed(self, handler: Handler) -> None:
        """POST /api/embed: no model of the lab can."""
        data = handler.data()
        text = _text(data, "model", "EmbedRequest")
        try:
            self.load(models.find(self.store, _name(text)), data, "embeddings")
        except GoError as exc:
            raise Refused(404, f'model "{text}" not found, try pulling it first') if exc.missing else Refused(500, exc.text) from None
        raise Refused(501, "This server does not support embeddings. Start it with `--embeddings`")


def _text(data: t.Mapping[str, t.Any], key: str, struct: str) -> str:
    try:
        return gojson.check_string(data, key, struct)
    except GoError as exc:
        raise Refused(400, exc.text) from None


def _name(text: str) -> Name:
    name = names.parse(text)
    if not text or not name.is_valid:
        raise Refused(400, "invalid model name")
    return name


def _keep_alive(data: t.Mapping[str, t.Any]) -> int | None:
    try:
        return keep_alive(data.get("keep_alive"))
    except GoError as exc:
        raise Refused(400, exc.text) from None
