# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a model can be served by a runtime on a host: format, quantisation, architecture, memory. Values only, nothing is read here.

What is certain to fail is a problem. What is not known, or only suspected, is a warning: a fact that nobody told refuses nothing.
"""
from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.memory_estimate import GIB, Estimate, Workload, estimate, gib, longest_context
from ansible_collections.venom.llm.plugins.module_utils.model_facts import ModelFacts
from ansible_collections.venom.llm.plugins.module_utils.quantization_support import GONE, is_table_version, parse_version, support_of
from ansible_collections.venom.llm.plugins.module_utils.runtimes import vllm_knowledge
from ansible_collections.venom.llm.plugins.module_utils.serve_settings import ServeSettings
from ansible_collections.venom.llm.plugins.module_utils.version_floors import floor_warnings

GPU_REQUIRED, CPU_OK = "gpu_required", "cpu_ok"
#: What vLLM takes where a model tells no length (``config/model.py``).
_UNTOLD_CONTEXT = 2048
_DEVICES = (2, 4, 8, 16)


@dataclass(frozen=True)
class Device:
    """A GPU: bytes of its memory, compute capability as ten times the number; None is what the driver did not tell."""

    name: str
    memory: int | None = None
    capability: int | None = None


@dataclass(frozen=True)
class Host:
    """What there is to serve on. ``memory`` and ``available`` are bytes of main memory, ``version`` the installed release of the runtime.

    ``cpu`` tells whether the runtime would work on the processor; None where that cannot be told.
    """

    devices: tuple[Device, ...] = ()
    memory: int | None = None
    available: int | None = None
    version: str | None = None
    cpu: bool | None = None
    has_gguf_plugin: bool = False


@dataclass(frozen=True)
class Verdict:
    """``problems`` in the order of their weight; ``estimate`` is None where memory was not looked at."""

    problems: tuple[VenomError, ...] = ()
    warnings: tuple[str, ...] = ()
    estimate: Estimate | None = None


@dataclass
class _Case:
    model: str
    facts: ModelFacts
    host: Host
    settings: ServeSettings
    problems: list[VenomError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def refuse(self, reason_code: str, wanted: str, found: str, todo: str, **details: t.Any) -> None:
        self.problems.append(VenomError(reason_code, wanted=wanted, found=found, todo=todo, model=self.model, **details))


def requires_gpu(facts: ModelFacts, runtime: str) -> bool | None:
    """Whether the weights can be used on a GPU only; None where nobody knows."""
    if runtime == "ollama" or facts.formats == ("gguf",):
        return False
    if facts.quantization is not None:
        support = support_of(facts.quantization)
        return None if support is None else not support.cpu
    return False if facts.architectures and facts.weight_bytes is not None else None


def gpu_tag(facts: ModelFacts, runtime: str) -> str | None:
    """``gpu_required`` or ``cpu_ok``, None where nobody knows."""
    needs = requires_gpu(facts, runtime)
    return None if needs is None else GPU_REQUIRED if needs else CPU_OK


def judge(model: str, facts: ModelFacts, runtime: str, host: Host, settings: ServeSettings) -> Verdict:
    """Everything that is known to be against it."""
    case = _Case(model, facts, host, settings)
    case.warnings.extend(floor_warnings(runtime, host.version))
    found = _judge_ollama(case) if runtime == "ollama" else _judge_vllm(case)
    return Verdict(tuple(case.problems), tuple(case.warnings), found)


def _judge_vllm(case: _Case) -> Estimate | None:
    _check_format(case)
    _check_architecture(case)
    _check_quantization(case)
    if case.host.cpu is None:
        return None
    return _check_processor(case) if case.host.cpu else _check_devices(case)


def _check_format(case: _Case) -> None:
    facts, host = case.facts, case.host
    if facts.formats == ("gguf",) and not host.has_gguf_plugin:
        text = f"{case.model} has only GGUF files: {GONE['gguf']}; Ollama reads them"
        if is_table_version(parse_version(host.version)):
            todo = "choose a repository with safetensors, serve it with Ollama, or install the plugin into the venv of vLLM"
            case.refuse("incompatible_quantization", f"{case.model} served by vLLM {host.version}", "GGUF files and no vllm-gguf-plugin", todo)
        else:
            case.warnings.append(text)


def _check_architecture(case: _Case) -> None:
    facts, host = case.facts, case.host
    names = facts.architectures
    if not names or facts.formats == ("gguf",):
        return
    if any(vllm_knowledge.is_known(name) for name in names):
        return
    name, shown = names[0], ascii(names[0])[1:-1][:80]
    if name in vllm_knowledge.BACKEND:
        case.warnings.append(f"{case.model} ({shown}) has no class of its own in vLLM 0.32, so the slower Transformers backend serves it")
        return
    if facts.has_code:
        case.warnings.append(f"{case.model} ({shown}) needs the program that it brings; vLLM loads it only with --trust-remote-code")
        return
    last = vllm_knowledge.REMOVED.get(name)
    found = f"{shown}, which vLLM had until {last}" if last else f"{shown}, which is in no list of vLLM 0.32"
    if is_table_version(parse_version(host.version)):
        todo = f"install vLLM {last}, or choose another model" if last else "check the model, or update vLLM if a later release knows it"
        wanted = f"an architecture of {case.model} that vLLM {host.version} knows"
        case.refuse("incompatible_architecture", wanted, found, todo, architectures=list(names))
    else:
        case.warnings.append(f"the architecture of {case.model} is {found}")


def _check_quantization(case: _Case) -> None:
    quantization, host = case.facts.quantization, case.host
    if quantization is None or quantization.method == "gguf":
        return
    shown = ascii(quantization.method)[1:-1][:40] + (f" ({quantization.scheme})" if quantization.scheme else "")
    support = support_of(quantization)
    if support is None:
        gone = GONE.get(quantization.method)
        if gone is not None and is_table_version(parse_version(host.version)):
            todo = "choose the model in another form, or another release of vLLM"
            case.refuse("incompatible_quantization", f"{case.model} served by vLLM {host.version}", f"weights as {shown}: {gone}", todo)
        else:
            case.warnings.append(f"{case.model} has weights as {shown}" + (f": {gone}" if gone else ", which this version has no facts about"))
        return
    if host.cpu and not support.cpu:
        todo = "choose the model in another form, or a host with a GPU"
        case.refuse("gpu_required", f"{case.model} on a processor", f"weights as {shown}, for which vLLM 0.32 has code for GPUs only", todo)
        return
    for device in host.devices if host.cpu is False else ():
        if device.capability is not None and device.capability < support.capability:
            case.refuse(
                "incompatible_quantization",
                f"{case.model} on {device.name}",
                f"weights as {shown} need compute capability {support.capability / 10:g}, and this GPU has {device.capability / 10:g}",
                "choose the model in another form, or another GPU",
                needed_capability=support.capability / 10,
                found_capability=device.capability / 10,
            )
            return


def _context(case: _Case) -> int:
    told = case.facts.context
    wanted = case.settings.context
    if told is not None and wanted is not None and wanted > told.maximum:
        case.warnings.append(f"--max-model-len {wanted} is more than the {told.maximum} tokens of {case.model}; vLLM refuses that")
    return wanted or (told.default if told else _UNTOLD_CONTEXT)


def _estimated(case: _Case, platform: str, context: int) -> Estimate | None:
    found = estimate(case.facts, case.settings.workload(context, platform))
    if case.facts.weight_bytes is None:
        case.warnings.append(f"the memory that {case.model} takes is not known: nobody told the bytes of its weights")
        return None
    return found


def _tell_unknown(case: _Case, found: Estimate, room: int) -> None:
    """What is missing from the sum matters where the sum is not small beside the room."""
    if found.unknown and room / 2 < found.total <= room:
        case.warnings.append(f"{case.model} takes {gib(found.total)} of {gib(room)} without {' and '.join(found.unknown)}, which nobody told")


def _check_devices(case: _Case) -> Estimate | None:
    host, settings = case.host, case.settings
    wanted = settings.tensor_parallel * settings.pipeline_parallel
    if not host.devices:
        todo = "check the driver, or set cpu if it is to run on a processor"
        case.refuse("gpu_required", f"a GPU for {case.model}", "no GPU that the driver shows", todo)
        return None
    if wanted > len(host.devices):
        found = f"{len(host.devices)} GPUs" if len(host.devices) > 1 else "one GPU"
        case.refuse("gpu_required", f"{wanted} GPUs for {case.model}", found, "lower --tensor-parallel-size, or choose another host")
        return None
    shape = case.facts.shape
    if shape is not None and shape.heads % settings.tensor_parallel:
        case.warnings.append(f"{shape.heads} heads of {case.model} cannot be shared by {settings.tensor_parallel} GPUs; vLLM refuses that")
    found_estimate = _estimated(case, "cuda", _context(case))
    sizes = [device.memory for device in host.devices[:wanted] if device.memory is not None]
    if found_estimate is None or len(sizes) < wanted:
        return found_estimate
    room = int(min(sizes) * settings.utilization)
    found_estimate = _shortened(case, found_estimate, room)
    if settings.cache_room is not None:
        found_estimate = _with_room(case, found_estimate, settings.cache_room)
    _tell_unknown(case, found_estimate, room)
    if found_estimate.total > room:
        _refuse_memory(case, found_estimate, room, f"{host.devices[0].name}: {gib(min(sizes))} x {settings.utilization:g} = {gib(room)}")
    return found_estimate


def _check_processor(case: _Case) -> Estimate | None:
    host, settings = case.host, case.settings
    found = _estimated(case, "cpu", _context(case))
    if found is None:
        return found
    room = None
    if host.memory is not None:
        room = host.memory if settings.cache_room is not None else int(host.memory * settings.utilization)
    found = _shortened(case, found, room)
    if settings.cache_room is not None:
        found = _with_room(case, found, settings.cache_room)
    if host.memory is None or room is None:
        return found
    shown = f"{gib(host.memory)} of memory" + ("" if settings.cache_room is not None else f" x {settings.utilization:g} = {gib(room)}")
    _tell_unknown(case, found, room)
    if found.total > room:
        _refuse_memory(case, found, room, shown)
    elif host.available is not None and found.total > host.available:
        case.warnings.append(f"{case.model} takes {gib(found.total)}, and {gib(host.available)} are available now: something has to stop first")
    return found


def _shortened(case: _Case, found: Estimate, room: int | None) -> Estimate:
    """With --max-model-len auto vLLM takes the longest context whose cache fits, be it one block."""
    settings = case.settings
    if settings.cache_room is not None:
        room = found.total - found.cache + settings.cache_room
    if not settings.auto_context or room is None or found.total <= room:
        return found
    context = longest_context(case.facts, found.workload, room) or 1
    return estimate(case.facts, replace(found.workload, context=context))


def _with_room(case: _Case, found: Estimate, room: int) -> Estimate:
    """vLLM takes a fixed cache as a whole, and refuses to start where one request would not fit in."""
    if found.cache > room:
        shorter = None
        if found.cache_per_token:
            shorter = longest_context(case.facts, found.workload, room + found.total - found.cache)
        todo = [f"give the cache {-(-found.cache // GIB)} GiB (VLLM_CPU_KVCACHE_SPACE, --kv-cache-memory-bytes)"]
        todo += [f"--max-model-len {shorter}"] if shorter else []
        case.refuse(
            "insufficient_memory",
            f"one request of {found.workload.context} tokens in the cache that is set for {case.model}",
            f"{gib(found.cache)} against {gib(room)}; " + "; ".join(found.lines),
            ", or ".join(todo),
            estimate=found.to_dict(),
            room_bytes=room,
        )
    return replace(found, cache=max(found.cache, room))


def _judge_ollama(case: _Case) -> Estimate | None:
    host, facts, settings = case.host, case.facts, case.settings
    told = facts.context.maximum if facts.context else None
    context = min(settings.context or _UNTOLD_CONTEXT, told or 2**40)
    found = _estimated(case, "ollama", context)
    if found is None or host.memory is None:
        return found
    on_devices = sum(device.memory or 0 for device in host.devices)
    room = host.memory + on_devices
    _tell_unknown(case, found, room)
    if found.total > room:
        shown = f"{gib(host.memory)} of memory" + (f" and {gib(on_devices)} on GPUs" if on_devices else "")
        _refuse_memory(case, found, room, shown)
    elif on_devices and found.total > on_devices:
        case.warnings.append(f"{case.model} takes {gib(found.total)} and the GPUs have {gib(on_devices)}: Ollama runs some layers on the processor")
    return found


def _refuse_memory(case: _Case, found: Estimate, room: int, shown: str) -> None:
    fitting = what_fits(case.facts, found.workload, room)
    case.refuse(
        "insufficient_memory",
        f"{gib(found.total)} for {case.model} ({'; '.join(found.lines)})",
        f"{shown}; {gib(found.total - room)} too little",
        "; or ".join(fitting) if fitting else "choose a smaller model, one with fewer bits, or a larger host",
        estimate=found.to_dict(),
        room_bytes=room,
        fitting=fitting,
    )


def what_fits(facts: ModelFacts, workload: Workload, room: int) -> list[str]:
    """Settings, each alone, with which it would fit into ``room`` bytes of each device."""
    found: list[str] = []
    is_ollama = workload.platform == "ollama"
    shorter = longest_context(facts, workload, room)
    if shorter is not None and shorter < workload.context:
        found.append(f"a context of at most {shorter} tokens ({'OLLAMA_CONTEXT_LENGTH' if is_ollama else '--max-model-len'} {shorter})")
    for kind in ("q8_0", "q4_0") if is_ollama else ("fp8",):
        if kind != workload.kv_dtype and estimate(facts, replace(workload, kv_dtype=kind)).total <= room:
            found.append(f"a cache of type {kind} ({'OLLAMA_KV_CACHE_TYPE' if is_ollama else '--kv-cache-dtype'} {kind})")
            break
    if is_ollama and workload.parallel > 1 and estimate(facts, replace(workload, parallel=1)).total <= room:
        found.append("one request at a time (OLLAMA_NUM_PARALLEL 1)")
    if workload.platform == "cuda":
        heads = facts.shape.heads if facts.shape else 0
        for count in _DEVICES:
            fits = count > workload.tensor_parallel and estimate(facts, replace(workload, tensor_parallel=count)).total <= room
            if fits and heads % count == 0:
                found.append(f"{count * workload.pipeline_parallel} such GPUs (--tensor-parallel-size {count})")
                break
    return found
