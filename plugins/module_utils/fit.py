# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does a model fit this host: what is known of the model beside what the host has, before a download and before an activation."""
from __future__ import annotations

import glob
import os
import typing as t

from ansible_collections.venom.llm.plugins.module_utils import envfile, gpus, host
from ansible_collections.venom.llm.plugins.module_utils.compatibility import Device, Host, Verdict, judge
from ansible_collections.venom.llm.plugins.module_utils.facts_record import facts_of
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.model_facts import ModelFacts, read_model_facts
from ansible_collections.venom.llm.plugins.module_utils.model_files import ModelFiles
from ansible_collections.venom.llm.plugins.module_utils.quantization_support import capability_number
from ansible_collections.venom.llm.plugins.module_utils.runtimes.vllm_knowledge import find_installed
from ansible_collections.venom.llm.plugins.module_utils.serve_settings import ServeSettings, of_ollama, of_vllm_file

#: A variable of ``vllm.env`` or ``ollama.env``: with the value ``warn`` what would refuse an activation only warns.
ESCAPE = "VENOM_FIT"
REFUSE, WARN = "refuse", "warn"


def check_download(name: str, facts: ModelFacts, runtime: str, config_dir: str, cpu: bool | None, mode: str) -> list[str]:
    """Warnings about a model that is about to be fetched. Raises what ``compatibility`` finds, unless ``mode`` is ``warn``."""
    variables = _variables(config_dir, runtime)
    found = look(runtime, variables, cpu)
    return _settle(judge(name, facts, runtime, found, _settings(runtime, variables)), mode)


def plan_facts(
    sizes: t.Mapping[str, int], read: t.Callable[[str], bytes | None], tensors: t.Callable[[str], t.Mapping[str, t.Any] | None]
) -> ModelFacts:
    """The facts of files that are not here yet: by their listing, by their small JSON files, which ``read`` gives, and by the headers of
    weights, which ``tensors`` gives; None where there is none.
    """
    return read_model_facts(ModelFiles(sizes, read, tensors))


def check_activation(models_dir: str, config_dir: str, runtime: str, model: str, revision: str) -> list[str]:
    """Warnings about an installed model that is about to be served. Raises what ``compatibility`` finds, ``VENOM_FIT=warn`` apart."""
    entry = Manifest.load(models_dir).find(model, revision)
    facts = None if entry is None else facts_of(entry)
    if facts is None:
        return []
    variables = _variables(config_dir, runtime)
    mode = WARN if variables.get(ESCAPE) == WARN else REFUSE
    return _settle(judge(model, facts, runtime, look(runtime, variables, None), _settings(runtime, variables)), mode)


def look(runtime: str, variables: t.Mapping[str, str], cpu: bool | None) -> Host:
    """The host as far as fitting is concerned. ``cpu`` is what the operator says; left out, the build of vLLM that is installed tells,
    else whether there is a GPU.
    """
    reading = gpus.read_gpus()
    shown = [gpu for gpu in reading.gpus if gpu.mig] or list(reading.gpus)
    devices = tuple(Device(gpu.name, gpu.memory_total, capability_number(gpu.compute_capability)) for gpu in _visible(shown, variables))
    try:
        memory: host.Memory | None = host.read_memory()
    except (OSError, KeyError, ValueError):
        memory = None
    installed = find_installed(variables.get("VENOM_VLLM_PYTHON", "")) if runtime == "vllm" else None
    if cpu is None and installed is not None and installed.cpu:
        cpu = True
    if cpu is None and devices:
        cpu = False
    total = None if memory is None else memory.total
    if runtime == "vllm" and cpu and total is not None:
        total = min(total, _node_memory() or total)
    version = installed.version if installed else _ollama_version(variables) if runtime == "ollama" else None
    return Host(
        devices=devices if runtime == "ollama" or not cpu else (),
        memory=total,
        available=None if memory is None else memory.available,
        version=version,
        cpu=cpu,
        has_gguf_plugin=installed is not None and installed.has_gguf,
    )


def _node_memory(root: str = "/sys/devices/system/node") -> int | None:
    """Bytes of the largest memory node: vLLM on a processor uses one of them (``utils/cpu_resource_utils.py``, 0.32)."""
    sizes: list[int] = []
    for path in glob.glob(os.path.join(root, "node*", "meminfo")):
        try:
            with open(path, encoding="ascii") as stream:
                # Node 0 MemTotal:       97421888 kB
                sizes += [int(words[3]) * 1024 for words in map(str.split, stream) if words[2:3] == ["MemTotal:"]]
        except (OSError, ValueError, IndexError):
            continue
    return max(sizes) if sizes else None


def _visible(found: t.Sequence[gpus.Gpu], variables: t.Mapping[str, str]) -> t.Sequence[gpus.Gpu]:
    """Those that the server's environment lets it see."""
    wanted = variables.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return found
    names = [item.strip() for item in wanted.split(",") if item.strip()]
    return [gpu for gpu in found if gpu.index in names or (gpu.uuid is not None and gpu.uuid in names)]


def _ollama_version(variables: t.Mapping[str, str]) -> str | None:
    """The release folder that the link ``current`` leads to, where the role has installed it so."""
    binary = variables.get("VENOM_OLLAMA_BINARY", "/opt/venom/ollama/current/bin/ollama")
    folder = os.path.basename(os.path.realpath(os.path.dirname(os.path.dirname(binary))))
    return folder if folder[:1].isdigit() else None


def _variables(config_dir: str, runtime: str) -> t.Mapping[str, str]:
    try:
        return envfile.read(os.path.join(config_dir, f"{runtime}.env")) or {}
    except OSError:
        return {}


def _settings(runtime: str, variables: t.Mapping[str, str]) -> ServeSettings:
    return of_ollama(variables) if runtime == "ollama" else of_vllm_file(variables)


def _settle(verdict: Verdict, mode: str) -> list[str]:
    if verdict.problems and mode != WARN:
        raise verdict.problems[0]
    return [*verdict.warnings, *(f"{problem.reason_code}: {problem}" for problem in verdict.problems)]
