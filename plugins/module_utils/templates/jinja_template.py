# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jinja chat templates, rendered as transformers does it (transformers 5, utils/chat_template_utils.py).

To be used in a confined child only: the sandbox of jinja2 keeps a template from Python's insides, but bounds neither time nor memory.
"""
from __future__ import annotations

import datetime
import importlib
import json
import re
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.templates.probe import Conversation, Rendering, RenderingFailed, TooExpensive

#: Characters of one rendered conversation; those of the probes are short.
MAX_OUTPUT = 1024 * 1024
#: Stand-ins for the special tokens that a tokenizer would bring, for templates that add them to something.
SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
#: Names that a server gives to every template.
_GIVEN = {"messages", "tools", "documents", "add_generation_prompt", "raise_exception", "strftime_now"}
_WORD = re.compile(r"[A-Za-z_]{3,20}\Z")
_MAX_WORDS = 32


#: What Python and jinja2 import only when they need it, and a confined child no longer can.
_LAZY = (
    *("jinja2", "jinja2.sandbox", "jinja2.ext", "jinja2.meta", "jinja2.debug", "jinja2.filters", "jinja2.tests", "jinja2.constants"),
    *("encodings.unicode_escape", "encodings.raw_unicode_escape", "encodings.ascii", "encodings.latin_1", "encodings.idna"),
    *("random", "pprint", "html", "locale", "unicodedata", "urllib.parse"),
)
#: Makes compiler, sandbox and filters import the rest.
_WARM_UP = (
    "{% macro m(x) %}{{ x | tojson }}{% endmacro %}{% set n = namespace(a='\\n\\u00e9') %}{% for c in [1, 2] %}{% if loop.last %}{% break %}"
    "{% endif %}{{ m({'a': n.a ~ c}) }}{% generation %}{{ '%s' | format(c) }}{{ 'a b' | title | trim | indent | urlize | pprint }}"
    "{% endgeneration %}{% endfor %}{{ strftime_now('%d %b %Y') }}{{ raise_exception('warm') }}"
)


def preload() -> None:
    """Import all that a rendering needs, also what is imported at the first error. Raises ``ImportError`` without jinja2 3.1 or later."""
    for name in _LAZY:
        importlib.import_module(name)
    try:
        JinjaTemplate(_WARM_UP, {}).render(Conversation([]))
    except RenderingFailed as error:
        if str(error) != "warm":
            # It is too old to know what chat templates use.
            raise ImportError(f"jinja2 cannot render chat templates: {error}") from error


class JinjaTemplate(Rendering):
    """One compiled template. Raises ``RenderingFailed`` for a text that is no template."""

    def __init__(self, text: str, special_tokens: t.Mapping[str, str]) -> None:
        import jinja2
        import jinja2.meta

        self._error: type[Exception] = jinja2.TemplateError
        self.special_tokens = dict(SPECIAL_TOKENS, **special_tokens)
        try:
            environment = _environment()
            tree = environment.parse(text)
            self._template = environment.from_string(text)
            names = jinja2.meta.find_undeclared_variables(tree)
        except (MemoryError, RecursionError) as error:
            raise TooExpensive("it is nested too deeply") from error
        except ImportError as error:
            raise TooExpensive("it needs a module that is not loaded") from error
        except Exception as error:
            raise RenderingFailed(_text(error)) from error
        #: Variables that the template reads and no server sets by itself.
        self.unknown_names = tuple(sorted(names - _GIVEN - set(self.special_tokens) - set(environment.globals)))
        #: Words of the template that may be names of roles.
        self.words = _words(tree)

    def render(self, conversation: Conversation) -> str:
        """The prompt. Raises ``RenderingFailed``, ``TooExpensive``."""
        variables: dict[str, t.Any] = dict(self.special_tokens)
        variables.update(messages=conversation.messages, add_generation_prompt=conversation.add_generation_prompt)
        variables.update(conversation.variables)
        pieces: list[str] = []
        length = 0
        try:
            for piece in self._template.generate(variables):
                pieces.append(piece)
                length += len(piece)
                if length > MAX_OUTPUT:
                    raise TooExpensive("its output is too long")
        except TooExpensive:
            raise
        except (MemoryError, RecursionError) as error:
            raise TooExpensive("it needs too much memory") from error
        except ImportError as error:
            # No template can ask for one; it is ours that ``preload`` does not know, and says nothing of the template.
            raise TooExpensive("it needs a module that is not loaded") from error
        except Exception as error:
            # A server turns whatever is raised into a refusal of the request, be it meant so or not.
            raise RenderingFailed(_text(error) if isinstance(error, self._error) else f"{type(error).__name__}: {_text(error)}") from error
        return "".join(pieces)


def _environment() -> t.Any:
    import jinja2
    import jinja2.ext
    import jinja2.nodes
    import jinja2.sandbox

    class Generation(jinja2.ext.Extension):
        """Blocks that mark what an assistant has said, for training; they render as what is inside them."""

        tags = {"generation"}

        def parse(self, parser: t.Any) -> t.Any:
            """The block as a call, which gives it a scope of its own, as in transformers."""
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("_call"), [], [], body).set_lineno(line)

        def _call(self, caller: t.Callable[[], str]) -> str:
            return caller()

    def raise_exception(message: t.Any) -> t.NoReturn:
        raise jinja2.TemplateError(message)

    def to_json(
        value: t.Any, ensure_ascii: bool = False, indent: t.Any = None, separators: t.Any = None, sort_keys: bool = False
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    now = datetime.datetime.now()

    def strftime_now(pattern: str) -> str:
        # One moment for all conversations of a template: they are compared, and may differ in nothing else.
        return now.strftime(pattern)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = strftime_now
    return environment


def _words(tree: t.Any) -> tuple[str, ...]:
    import jinja2.nodes

    found: dict[str, None] = {}
    for node in tree.find_all(jinja2.nodes.Const):
        if isinstance(node.value, str) and _WORD.match(node.value):
            found.setdefault(node.value.lower())
    return tuple(found)[:_MAX_WORDS]


def _text(error: Exception) -> str:
    try:
        return " ".join(str(error).split())[:300]
    except Exception:
        return type(error).__name__
