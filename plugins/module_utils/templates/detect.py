# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A template's verdict from a confined child: whatever the template does, the caller gets a value within the limits."""
from __future__ import annotations

import typing as t

from ansible_collections.venom.llm.plugins.module_utils.templates import jinja_template
from ansible_collections.venom.llm.plugins.module_utils.templates.confine import LIMITS, ConfinedError, Limits, run_confined
from ansible_collections.venom.llm.plugins.module_utils.templates.ollama_template import OllamaTemplate
from ansible_collections.venom.llm.plugins.module_utils.templates.probe import Rendering, RenderingFailed, TooExpensive, find_capabilities
from ansible_collections.venom.llm.plugins.module_utils.templates.verdict import TemplateCapabilities

#: Characters. The longest known templates have some 30 000.
MAX_TEMPLATE = 512 * 1024


def detect_jinja(text: str, special_tokens: t.Mapping[str, str], limits: Limits = LIMITS) -> TemplateCapabilities:
    """What a Jinja chat template can do. Without jinja2 (3.1 or later) on this interpreter nothing is known, with a warning."""
    try:
        jinja_template.preload()
    except ImportError:
        return TemplateCapabilities(warning="this Python has no jinja2 3.1, so the chat template was not rendered")
    return _detect(text, lambda: jinja_template.JinjaTemplate(text, special_tokens), limits)


def detect_go(text: str, limits: Limits = LIMITS) -> TemplateCapabilities:
    """What a Go chat template of Ollama can do."""
    return _detect(text, lambda: OllamaTemplate(text), limits)


def _detect(text: str, make: t.Callable[[], Rendering], limits: Limits) -> TemplateCapabilities:
    if len(text) > MAX_TEMPLATE:
        return TemplateCapabilities(warning=f"the chat template has {len(text)} characters, more than {MAX_TEMPLATE}, and was not rendered")

    def work() -> dict[str, t.Any]:
        try:
            return find_capabilities(make())
        except RenderingFailed as error:
            return {"warning": f"the chat template is malformed: {error}"}
        except TooExpensive as error:
            return {"warning": f"the rendering of the chat template was given up: {error}"}

    try:
        return TemplateCapabilities.from_answer(run_confined(work, limits))
    except (ConfinedError, OSError, ValueError) as error:
        return TemplateCapabilities(warning=f"the rendering of the chat template was given up: {error}")
