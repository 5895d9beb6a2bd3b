# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be wrong with the AWX objects of extensions/aap, told without an AWX: names that nothing has, choices that no role takes, ways that end.

The keys of each object are those that the roles of infra.aap_configuration (3.0) hand to the modules of awx.awx; the rules of surveys and of
recurrence are those that AWX (24) applies when it is given them.
"""
from __future__ import annotations

import functools
import re
import typing as t
from pathlib import Path

from integration.automation_support import playbooks, specs

from lab.settings import CHECKOUT

PROJECT = CHECKOUT / "extensions/aap/project"
#: Playbooks that AWX has no template for: they read or write a folder of the machine that runs them, which a job's container is not.
COMMAND_LINE = {"bundle_export", "bundle_import"}
#: Object: the keys that are used here, of those that its role knows.
KEYS: dict[str, set[str]] = {
    "controller_credential_types": {"name", "description", "kind", "inputs", "injectors"},
    "controller_execution_environments": {"name", "description", "image", "organization", "credential", "pull"},
    "controller_projects": {
        "name", "description", "organization", "scm_type", "scm_url", "scm_branch", "scm_clean", "scm_update_on_launch",
        "scm_update_cache_timeout", "default_environment", "credential", "allow_override",
    },
    "controller_inventories": {"name", "description", "organization", "variables"},
    "controller_inventory_sources": {
        "name", "description", "organization", "inventory", "source", "source_project", "source_path", "source_vars", "execution_environment",
        "overwrite", "overwrite_vars", "update_on_launch", "update_cache_timeout",
    },
    "controller_templates": {
        "name", "description", "organization", "project", "inventory", "execution_environment", "credentials", "playbook", "extra_vars", "job_type",
        "ask_limit_on_launch", "ask_job_type_on_launch", "ask_tags_on_launch", "ask_variables_on_launch", "diff_mode", "forks", "timeout",
        "survey_enabled", "survey_spec", "allow_simultaneous", "limit",
    },
    "controller_workflows": {
        "name", "description", "organization", "inventory", "allow_simultaneous", "ask_limit_on_launch", "survey_enabled", "survey_spec",
        "destroy_current_nodes", "simplified_workflow_nodes",
    },
    "controller_schedules": {
        "name", "description", "organization", "unified_job_template", "rrule", "extra_data", "job_type", "limit", "enabled",
    },
}  # fmt: skip
NODE_KEYS = {"identifier", "unified_job_template", "approval_node", "limit", "extra_data", "success_nodes", "failure_nodes", "always_nodes"}
SURVEY_KEYS = {"question_name", "question_description", "variable", "type", "required", "default", "choices", "min", "max"}
_WAYS = ("success_nodes", "failure_nodes", "always_nodes")
_TYPES: dict[str, type] = {"text": str, "textarea": str, "password": str, "multiplechoice": str, "multiselect": str, "integer": int, "float": float}
#: What a survey's question may ask for an option of a role. AWX gives texts where a role wants a number or a truth, and the roles take them.
_ASKED = {
    "str": {"text", "multiplechoice"}, "int": {"integer", "text"}, "float": {"float", "integer"}, "bool": {"multiplechoice"}, "list": {"multiselect"},
}  # fmt: skip
_NAME = re.compile(r"\bvenom_[a-z0-9_]+")
Data = t.Mapping[str, t.Any]


def problems(data: Data) -> list[str]:
    """Everything that is wrong, in words; nothing for good data."""
    return [*_objects(data), *_templates(data), *_workflows(data), *_schedules(data)]


@functools.cache
def taken_by(playbook: str) -> dict[str, dict[str, t.Any]]:
    """The variables that a playbook or the tasks of its roles read, with what the roles' argument specs say of them."""
    path = playbooks()[playbook]
    texts = [path.read_text(encoding="utf-8")]
    for role in re.findall(r"name: venom\.llm\.(\w+)$", texts[0], re.MULTILINE):
        folders = [CHECKOUT / "roles" / role / part for part in ("tasks", "defaults", "vars")]
        texts += [file.read_text(encoding="utf-8") for folder in folders for file in folder.rglob("*.yml")]
    known = specs()
    return {name: known.get(name, {}) for text in texts for name in _NAME.findall(text)}


def _names(data: Data, kind: str) -> list[str]:
    return [each.get("name", "") for each in data.get(kind, [])]


def _objects(data: Data) -> t.Iterator[str]:
    for kind, content in data.items():
        if kind.startswith("venom_aap_"):
            continue
        if kind not in KEYS:
            yield f"{kind}: no such objects"
            continue
        for each in content:
            for key in set(each) - KEYS[kind]:
                yield f"{kind}: {each.get('name')}: {key} is no key of it"
        for name in {name for name in _names(data, kind) if not name or _names(data, kind).count(name) > 1}:
            yield f"{kind}: {name!r} is there twice, or has no name"
        for key, where in (("project", "controller_projects"), ("source_project", "controller_projects"), ("inventory", "controller_inventories"),
                           ("execution_environment", "controller_execution_environments"),
                           ("default_environment", "controller_execution_environments")):  # fmt: skip
            for each in content:
                if key in each and each[key] not in _names(data, where):
                    yield f"{kind}: {each['name']}: {key} {each[key]} does not exist"


def _imported(playbook: str) -> str | None:
    path: Path = PROJECT / playbook
    found = re.findall(r"import_playbook: (\S+)", path.read_text(encoding="utf-8")) if path.is_file() else []
    return found[0] if found else None


def _templates(data: Data) -> t.Iterator[str]:
    for each in data.get("controller_templates", []):
        where = f"template {each['name']}"
        if not (PROJECT / each["playbook"]).is_file():
            yield f"{where}: the project has no {each['playbook']}"
            continue
        name = _imported(each["playbook"])
        if name is not None and name not in playbooks():
            yield f"{where}: there is no playbook {name}"
            continue
        taken = taken_by(name) if name else {}
        for variable, value in each.get("extra_vars", {}).items():
            if variable not in taken:
                yield f"{where}: {variable} is nothing that {name} takes"
            elif isinstance(value, str) != (taken[variable].get("type", "str") in ("str", "path")):
                yield f"{where}: {variable} is given {value!r}"
        for problem in _survey(each, taken):
            yield f"{where}: {problem}"


def _survey(each: Data, taken: t.Mapping[str, Data]) -> t.Iterator[str]:
    if bool(each.get("survey_enabled")) != ("survey_spec" in each):
        yield "a survey that is not enabled, or none that is"
    survey = each.get("survey_spec")
    if survey is None:
        return
    if set(survey) != {"name", "description", "spec"} or not survey["spec"]:
        yield "the survey lacks a part"
    variables = [question["variable"] for question in survey["spec"]]
    for question in survey["spec"]:
        variable = question["variable"]
        if variables.count(variable) > 1:
            yield f"{variable} is asked for twice"
        if set(question) - SURVEY_KEYS:
            yield f"{variable}: {set(question) - SURVEY_KEYS} is no part of a question"
        if not {"question_name", "variable", "type", "required", "default"} <= set(question) or question["type"] not in _TYPES:
            yield f"{variable}: the question lacks a part"
        elif variable not in taken:
            yield f"{variable} is nothing that the playbook takes"
        else:
            yield from _question(question, taken[variable])


def _question(question: Data, option: Data) -> t.Iterator[str]:
    variable, kind, default = question["variable"], question["type"], question["default"]
    if not option:
        yield f"{variable} is an option of no role"
        return
    if kind not in _ASKED[option["type"]]:
        yield f"{variable}: asked for as {kind}, and it is {option['type']}"
    if not isinstance(default, _TYPES[kind]):
        yield f"{variable}: the default {default!r} is not what AWX takes for {kind}"
        return
    choices, defaults = str(question.get("choices", "")).split("\n"), str(default).split("\n")
    if kind in ("multiplechoice", "multiselect"):
        wanted = option.get("choices") or (["true", "false"] if option["type"] == "bool" else option.get("default", []))
        if set(choices) != {str(choice) for choice in wanted}:
            yield f"{variable}: the choices are {choices}, and the role takes {wanted}"
        if not set(defaults) <= set(choices) or (kind == "multiplechoice" and len(defaults) > 1):
            yield f"{variable}: the default {default!r} is no choice"
    elif "choices" in question:
        yield f"{variable}: choices of a {kind}"
    elif any(not isinstance(question.get(limit), int) for limit in ("min", "max")):
        yield f"{variable}: no limits"
    known = option.get("default")
    same = defaults == [str(item) for item in known] if isinstance(known, list) else str(default).lower() == str(known).lower()
    if not same:
        yield f"{variable}: the default is {default!r}, and the role's is {known!r}"


def _workflows(data: Data) -> t.Iterator[str]:
    templates = {each["name"]: each for each in data.get("controller_templates", [])}
    for each in data.get("controller_workflows", []):
        where = f"workflow {each['name']}"
        nodes = {node["identifier"]: node for node in each["simplified_workflow_nodes"]}
        if len(nodes) != len(each["simplified_workflow_nodes"]):
            yield f"{where}: two nodes of one name"
        broken = [*_nodes(nodes, templates)]
        yield from (f"{where}: {problem}" for problem in broken)
        if not broken:
            yield from (f"{where}: {problem}" for problem in _ends(nodes, templates))
        asked = {question["variable"]: question for question in each.get("survey_spec", {}).get("spec", [])}
        used = [templates[node["unified_job_template"]] for node in nodes.values() if node.get("unified_job_template") in templates]
        offered = {question["variable"]: question for template in used for question in template.get("survey_spec", {}).get("spec", [])}
        for variable, question in asked.items():
            if variable not in offered:
                yield f"{where}: no job of it takes {variable}"
            elif any(question.get(key) != offered[variable].get(key) for key in ("type", "default", "choices", "max")):
                yield f"{where}: {variable} is asked for otherwise than by its jobs"


def _nodes(nodes: t.Mapping[str, Data], templates: t.Mapping[str, Data]) -> t.Iterator[str]:
    for name, node in nodes.items():
        if set(node) - NODE_KEYS:
            yield f"{name}: {set(node) - NODE_KEYS} is no part of a node"
        if ("unified_job_template" in node) == ("approval_node" in node):
            yield f"{name}: neither a job nor an approval, or both"
        yield from (f"{name}: {way} names {other}, which is no node" for way in _WAYS for other in node.get(way, []) if other not in nodes)
        if node.get("always_nodes") and (node.get("success_nodes") or node.get("failure_nodes")):
            yield f"{name}: AWX takes always_nodes alone"
        template = templates.get(node.get("unified_job_template", ""))
        if "unified_job_template" in node and template is None:
            yield f"{name}: there is no template {node['unified_job_template']}"
        if "limit" in node and template is not None and not template.get("ask_limit_on_launch"):
            yield f"{name}: its template asks for no limit"


def _ends(nodes: t.Mapping[str, Data], templates: t.Mapping[str, Data]) -> t.Iterator[str]:
    """A circle; a failure whose way does not end in a job that fails, since AWX counts such a workflow as successful."""
    def following(name: str) -> list[str]:
        return [other for way in _WAYS for other in nodes[name].get(way, [])]

    def visit(name: str, path: tuple[str, ...]) -> t.Iterator[tuple[str, ...]]:
        if name in path or not following(name):
            yield (*path, name)
        else:
            for other in following(name):
                yield from visit(other, (*path, name))

    starts = set(nodes) - {other for name in nodes for other in following(name)}
    if len(starts) != 1:
        yield f"begins at {sorted(starts)}"
    ways = [way for start in sorted(starts) for way in visit(start, ())]
    for way in ways:
        if len(set(way)) != len(way):
            yield f"goes in a circle: {way}"
        failing = any(second in nodes[first].get("failure_nodes", []) for first, second in zip(way, way[1:]))
        last = templates[nodes[way[-1]]["unified_job_template"]] if "unified_job_template" in nodes[way[-1]] else {}
        if failing and last.get("playbook") != "stopped.yml":
            yield f"the failure {way} ends as a success"
    for name in set(nodes) - {name for way in ways for name in way}:
        yield f"{name} is reached by no way"


def _schedules(data: Data) -> t.Iterator[str]:
    templates = {each["name"]: each for kind in ("controller_templates", "controller_workflows") for each in data.get(kind, [])}
    for each in data.get("controller_schedules", []):
        where = f"schedule {each['name']}"
        template = templates.get(each["unified_job_template"])
        if template is None:
            yield f"{where}: there is no template {each['unified_job_template']}"
            continue
        questions = {question["variable"]: question for question in template.get("survey_spec", {}).get("spec", [])}
        for variable, value in each.get("extra_data", {}).items():
            question = questions.get(variable, {})
            if not question or ("choices" in question and value not in question["choices"].split("\n")):
                yield f"{where}: {variable}: {value!r} is no answer to the survey"
        for key in {"limit", "job_type"} & set(each):
            if not template.get(f"ask_{key}_on_launch"):
                yield f"{where}: its template asks for no {key}"
        rule = each["rrule"]
        if not re.fullmatch(r"DTSTART:\d{8}T\d{6}Z RRULE:FREQ=(MINUTELY|HOURLY|DAILY|WEEKLY|MONTHLY|YEARLY);INTERVAL=\d+(;[A-Z]+=[A-Z0-9,]+)*", rule):
            yield f"{where}: AWX takes no {rule!r}"
