# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that is broken on purpose while a model is activated, as data: what, how, and what has to come of it.

Three test files take their cases from here, and ``failures_page`` makes a page of what they saw.
"""
from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

#: Where a case is run: key to the heading of the page.
SECTIONS = {
    "vllm": "vLLM: a stand-in server, kept by the process supervisor",
    "ollama": "Ollama: a stand-in server, kept by the process supervisor",
    "hosts": "Hosts with systemd: stand-in servers of both runtimes",
    "real": "The real vLLM on a host with systemd",
}
#: Values of ``Break.before`` and ``Break.serves``.
MODEL, NONE = "a model", "nothing"
BEFORE, NOTHING, NEW = "the model before", "nothing", "the new model"


@dataclass(frozen=True)
class Break:
    """One case. ``step`` and ``reason`` as in the result of the activation, ``said`` a part of its cause; ``serves`` is what serves then.

    ``step`` is 'refused' when nothing was done, 'cut' when the activation died with its process, and '' when it came through.
    ``do`` says how the test causes it, in words of that test.
    """

    section: str
    name: str
    before: str
    step: str
    reason: str
    said: str
    serves: str
    do: t.Mapping[str, t.Any] = field(default_factory=dict)
    rolled_back: bool | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from every other case."""
        return self.section, self.name, self.before


def _failing(section: str, name: str, step: str, said: str, **do: t.Any) -> list[Break]:
    """A failure behind the point of no return, with a model before it and without one."""
    return [
        Break(section, name, MODEL, step, "activation_failed", said, BEFORE, do, True),
        Break(section, name, NONE, step, "activation_failed", said, NOTHING, do, False),
    ]


def _refused(section: str, name: str, reason: str, said: str, **do: t.Any) -> list[Break]:
    """A refusal before anything is touched."""
    return [
        Break(section, name, MODEL, "refused", reason, said, BEFORE, do, None),
        Break(section, name, NONE, "refused", reason, said, NOTHING, do, None),
    ]


_HEADER = "safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata, file not fully covered"
_ARCHITECTURE = "ValueError: Model architectures ['NoSuchForCausalLM'] are not supported for now."

_VLLM = [
    *_refused("vllm", "a weight file is missing", "not_installed", "No such file", weights="missing"),
    *_refused("vllm", "a safetensors file is cut", "not_installed", "bytes instead of", weights="cut"),
    *_failing("vllm", "weights that do not load", "start", "exit status 1", behave={"die": 1, "says": [_HEADER]}),
    *_failing("vllm", "an unknown architecture", "start", "exit status 1", behave={"die": 1, "says": [_ARCHITECTURE]}),
    *_failing("vllm", "health that hangs", "start", "not ready after", behave={"hang": ["/health"]}, patience=0.5),
    *_failing("vllm", "health that answers 500", "start", "GET /health answered 500", behave={"health": 500}),
    *_failing("vllm", "health that stays 503", "start", "not ready after", behave={"health": 503}, patience=0.5),
    *_failing("vllm", "a server that never listens", "start", "not ready after", behave={"silent": True}, patience=0.5),
    *_failing("vllm", "a completion that fails", "prove", "answered 500", behave={"chat": 500}),
    *_failing("vllm", "a completion without text", "prove", "without any text", behave={"text": " "}),
    *_failing("vllm", "a wrong served name", "prove", "the server serves other from", behave={"id": "other"}),
    *_failing("vllm", "a wrong root", "prove", "from /elsewhere", behave={"root": "/elsewhere"}),
    *_failing("vllm", "the server is killed while it starts", "start", "ended", behave={"delay": 30}, kill="server at start"),
    *_failing("vllm", "the server dies while it is proved", "prove", "no completion", behave={"die_at_completion": True}),
    Break("vllm", "the old server is killed while it is drained", MODEL, "", "", "", NEW, {"kill": "server at drain"}),
    Break("vllm", "the server is killed during the rollback", MODEL, "start", "activation_failed", "exit status 3", NOTHING,
          {"behave": {"die": 3}, "kill": "server at rollback"}, False),
    Break("vllm", "the model before is broken by now", MODEL, "start", "activation_failed", "exit status 3", NOTHING,
          {"behave": {"die": 3}, "good": {"die": 4}}, False),
    Break("vllm", "another program has the port", NONE, "refused", "port_in_use", "http.server", NOTHING, {"port": "before"}),
    Break("vllm", "another program takes the port between stop and start", MODEL, "start", "activation_failed", "port_in_use", NOTHING,
          {"port": "between"}, False),
    Break("vllm", "another program has the port for a moment between stop and start", MODEL, "start", "activation_failed", "port_in_use",
          BEFORE, {"port": "moment"}, True),
    Break("vllm", "requests outlive the drain", MODEL, "drain", "activation_failed", "still in flight", BEFORE, {"busy": "fail"}, False),
    Break("vllm", "another activation holds the lock", MODEL, "refused", "locked", "", BEFORE, {"together": "refused"}),
    Break("vllm", "two activations at once", MODEL, "", "", "", NEW, {"together": "both"}),
]  # fmt: skip

_COMPLETION = {"kind": "answer", "path": "/v1/chat", "status": 500, "text": "an error was encountered while running the model", "times": 1}
_LOAD = {"kind": "load", "path": "tiny-target", "times": 1}

_OLLAMA = [
    *_refused("ollama", "the model is gone from the server", "not_installed", "it lists", spoil="delete"),
    *_refused("ollama", "the tag was moved to other bytes", "digest_mismatch", "the server has sha256:", spoil="move"),
    *_refused("ollama", "/api/tags says a wrong digest", "digest_mismatch", "the server has sha256:",
              fault=[{"kind": "tags_digest", "model": "tiny-target:latest"}]),
    *_failing("ollama", "the blob of the weights is missing", "start", "does not support generate", spoil="missing"),
    *_failing("ollama", "the blob of the weights is cut", "start", "unexpected EOF", spoil="cut"),
    *_failing("ollama", "loading answers 500", "start", "llama runner process has terminated", fault=[_LOAD]),
    *_failing("ollama", "loading answers 404", "start", "not found", fault=[{**_LOAD, "status": 404, "text": "model 'tiny-target' not found"}]),
    *_failing("ollama", "loading hangs", "start", "within", fault=[{**_LOAD, "seconds": 30}], patience=0.5),
    *_failing("ollama", "a completion that fails", "prove", "answered 500", fault=[_COMPLETION]),
    *_failing("ollama", "a completion without text", "prove", "without any text", fault=[{"kind": "mute", "model": "tiny-target:latest"}]),
    *_failing("ollama", "/api/ps does not list what was loaded", "prove", "in memory", fault=[{"kind": "ps_hides", "model": "tiny-target:latest"}]),
    *_failing("ollama", "an alias was given before the load fails", "start", "llama runner", alias="chat",
              fault=[{**_LOAD, "path": "chat"}]),
    *_failing("ollama", "an alias was given before the completion fails", "prove", "answered 500", alias="chat", fault=[_COMPLETION]),
    *_failing("ollama", "the server is killed while it loads", "start", "", fault=[{**_LOAD, "seconds": 30}], kill="server at load"),
    *_failing("ollama", "the server is killed while it is proved", "prove", "no completion", kill="server at load",
              fault=[{"kind": "hang", "path": "/v1/chat", "seconds": 30, "times": 1}]),
    Break("ollama", "the server is killed during the rollback", MODEL, "start", "activation_failed", "llama runner", NOTHING,
          {"fault": [_LOAD, {"kind": "load", "path": "BEFORE", "seconds": 30, "times": 1}], "kill": "server at load"}, False),
    Break("ollama", "another program has the port", NONE, "refused", "port_in_use", "http.server", NOTHING, {"port": "before"}),
    Break("ollama", "another activation holds the lock", MODEL, "refused", "locked", "", BEFORE, {"together": "refused"}),
    Break("ollama", "two activations at once", MODEL, "", "", "", NEW, {"together": "both"}),
    Break("ollama", "no registry answers", NONE, "", "", "", NEW),
]  # fmt: skip


def _full(section: str) -> list[Break]:
    """The disk is full from a step on, and stays so during the rollback."""
    return [
        Break(section, "the disk is full when the configuration is written", MODEL, "switch", "activation_failed", "No space left", BEFORE,
              {"full": "switch"}, True),
        Break(section, "the disk is full when the configuration is written", NONE, "switch", "activation_failed", "No space left", NOTHING,
              {"full": "switch"}, False),
        Break(section, "the disk is full at the commit", MODEL, "commit", "activation_failed", "No space left", BEFORE, {"full": "commit"}, True),
    ]  # fmt: skip


#: Steps with the moment in them at which the activation's process is killed, and what serves then.
_CUTS = {
    "vllm": (
        ("check", BEFORE), ("drain", BEFORE), ("switch", BEFORE), ("start", BEFORE), ("between stop and start", NOTHING), ("prove", NEW),
        ("commit", NEW), ("the middle of the commit", NEW), ("the end", NEW),
    ),
    "ollama": (
        ("check", BEFORE), ("drain", BEFORE), ("switch", BEFORE), ("start", BEFORE), ("prove", NEW), ("commit", NEW),
        ("the middle of the commit", NEW), ("the end", NEW),
    ),
}  # fmt: skip
#: What fails, so that there is a rollback to be killed in.
_BAD: dict[str, dict[str, t.Any]] = {"vllm": {"behave": {"root": "/elsewhere"}}, "ollama": {"fault": [_COMPLETION]}}


def _cuts(section: str) -> list[Break]:
    found = []
    for step, serves in _CUTS[section]:
        name = f"the activation is killed at {step}" if step != "between stop and start" else f"the activation is killed {step}"
        found.append(Break(section, name, MODEL, "cut", "", "", serves, {"cut": step}))
    found.append(Break(section, "the activation is killed at start", NONE, "cut", "", "", NOTHING, {"cut": "start"}))
    found.append(Break(section, "the activation is killed at prove", NONE, "cut", "", "", NEW, {"cut": "prove"}))
    for step, serves in (("rollback start", NEW), ("rollback prove", BEFORE)):
        found.append(Break(section, f"the activation is killed at {step}", MODEL, "cut", "", "", serves, {"cut": step, **_BAD[section]}))
    return found


#: Steps at which the power goes, and what the host serves after the next boot.
POWER_CUTS = {
    "check": BEFORE, "drain": BEFORE, "switch": BEFORE, "start": BEFORE, "between stop and start": BEFORE, "prove": BEFORE, "commit": BEFORE,
    "the middle of the commit": NEW, "the end": NEW,
}  # fmt: skip
LABELS = {"vllm": "vLLM", "ollama": "Ollama"}


def power_cut(runtime: str, step: str) -> Break:
    """The power of a host goes while an activation is at a step, and it boots again."""
    at = step if step.startswith("between") else f"at {step}"
    return Break("hosts", f"{LABELS[runtime]}: power cut {at}", MODEL, "cut", "", "", POWER_CUTS[step])


def has_moment(runtime: str, step: str) -> bool:
    """Ollama is not stopped for another model."""
    return runtime == "vllm" or step != "between stop and start"


_HOSTS = [
    Break("hosts", "vLLM: weights that do not load", NONE, "start", "activation_failed", "exit status 1", NOTHING,
          {"behave": {"die": 1, "says": [_HEADER]}}, False),
    Break("hosts", "vLLM: weights that do not load", MODEL, "start", "activation_failed", "exit status 1", BEFORE,
          {"behave": {"die": 1, "says": [_HEADER]}}, True),
    Break("hosts", "vLLM: a unit has the port", NONE, "refused", "port_in_use", "unit taker.service", NOTHING),
    Break("hosts", "Ollama: a unit has the port", NONE, "refused", "port_in_use", "unit taker.service", NOTHING),
    Break("hosts", "vLLM: the disk with the configuration is full", MODEL, "switch", "activation_failed", "No space left", BEFORE, {}, True),
    Break("hosts", "Ollama: the disk with the configuration is full", MODEL, "switch", "activation_failed", "No space left", BEFORE, {}, True),
    Break("hosts", "vLLM: two activations at once", MODEL, "", "", "", NEW),
    Break("hosts", "Ollama: two activations at once", MODEL, "", "", "", NEW),
    Break("hosts", "vLLM: the server is killed while it serves", MODEL, "", "", "", BEFORE),
    Break("hosts", "Ollama: the server is killed while it serves", MODEL, "", "", "", BEFORE),
    Break("hosts", "vLLM: the host is rebooted", MODEL, "", "", "", BEFORE),
    Break("hosts", "Ollama: the host is rebooted", MODEL, "", "", "", BEFORE),
    *[power_cut(runtime, step) for step in POWER_CUTS for runtime in LABELS if has_moment(runtime, step)],
]  # fmt: skip


_REAL = [
    Break("real", "an unknown architecture", NONE, "start", "activation_failed", "exit status", NOTHING, {"model": "unknown_architecture"}, False),
    Break("real", "a shard that the index names is missing", NONE, "start", "activation_failed", "exit status", NOTHING,
          {"model": "missing_shard"}, False),
    Break("real", "a safetensors file ends before its last tensor", NONE, "start", "activation_failed", "exit status", NOTHING,
          {"model": "short_body"}, False),
    Break("real", "the server is killed while it starts", MODEL, "start", "activation_failed", "the server ended", BEFORE,
          {"log": "another one each time"}, True),
    Break("real", "settings that serve other bytes under the name", MODEL, "prove", "activation_failed", "the server serves one from", NOTHING,
          {"log": "another one each time"}, False),
]  # fmt: skip


BREAKS: tuple[Break, ...] = (*_VLLM, *_full("vllm"), *_cuts("vllm"), *_OLLAMA, *_full("ollama"), *_cuts("ollama"), *_HOSTS, *_REAL)


def of(section: str) -> list[t.Any]:
    """The cases of a section."""
    return [case for case in BREAKS if case.section == section]


def title(case: Break) -> str:
    """The name of a case's test."""
    return f"{case.name}, {'a model' if case.before == MODEL else 'nothing'} before"
