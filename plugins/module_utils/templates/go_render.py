# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Go's text/template evaluated: the tree of ``go_parse`` over plain data and ``Struct`` values.

Where Go stops with an error, this does, too: a field that a struct does not have, values of different kinds compared, an index out of
range. Time and memory are bounded by the confined child in which it runs; the number of steps is bounded here as well.
"""
from __future__ import annotations

import collections.abc
import json
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.templates.go_functions import FUNCTIONS, GoError, Struct, is_true, show
from ansible_collections.venom.llm.plugins.module_utils.templates.go_parse import (
    Action,
    Branch,
    Include,
    Node,
    Operand,
    Pipeline,
    Text,
    Tree,
)

#: Go's own bound is 100 000 nested templates; no chat template nests ten.
MAX_INCLUDES = 40
MAX_OUTPUT = 1024 * 1024
MAX_STEPS = 200_000


class GoTooMuch(Exception):
    """More output, steps or nesting than an honest template has."""


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class _Scope:
    """The variables of a block; what a block declares is gone at its end, what it assigns stays."""

    def __init__(self, parent: _Scope | None = None) -> None:
        self._parent = parent
        self.values: dict[str, t.Any] = {}

    def get(self, name: str) -> t.Any:
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope._parent
        raise GoError(f"undefined variable {name}")

    def set(self, name: str, value: t.Any) -> None:
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.values:
                scope.values[name] = value
                return
            scope = scope._parent
        raise GoError(f"undefined variable {name}")


def render(tree: Tree, data: t.Any, nodes: t.Sequence[Node] | None = None) -> str:
    """The text that the template, or some of its nodes, makes of the data. Raises ``GoError``, ``GoTooMuch``."""
    run = _Run(tree)
    scope = _Scope()
    scope.values["$"] = data
    run.walk(tree.root if nodes is None else nodes, data, scope)
    return "".join(run.pieces)


class _Run:
    """One evaluation."""

    def __init__(self, tree: Tree) -> None:
        self.pieces: list[str] = []
        self._tree = tree
        self._length = 0
        self._steps = 0
        self._includes = 0

    def _write(self, text: str) -> None:
        self._length += len(text)
        if self._length > MAX_OUTPUT:
            raise GoTooMuch("its output is too long")
        self.pieces.append(text)

    def _count(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise GoTooMuch("it takes too many steps")

    def walk(self, nodes: t.Iterable[Node], dot: t.Any, scope: _Scope) -> None:
        """Each node in its turn."""
        for node in nodes:
            self._count()
            if isinstance(node, Text):
                self._write(node.text)
            elif isinstance(node, Action):
                value = self._evaluate(node.pipeline, dot, scope)
                if not node.pipeline.names:
                    self._write(show(value))
            elif isinstance(node, Branch):
                self._branch(node, dot, scope)
            elif isinstance(node, Include):
                self._include(node, dot, scope)
            else:
                raise _JUMPS[node.keyword]

    def _include(self, node: Include, dot: t.Any, scope: _Scope) -> None:
        body = self._tree.defined.get(node.name)
        if body is None:
            raise GoError(f"template {ascii(node.name)} not defined")
        self._includes += 1
        if self._includes > MAX_INCLUDES:
            raise GoTooMuch("its templates are nested too deeply")
        value = self._evaluate(node.pipeline, dot, scope) if node.pipeline is not None else None
        inner = _Scope()
        inner.values["$"] = value
        self.walk(body, value, inner)
        self._includes -= 1

    def _branch(self, node: Branch, dot: t.Any, scope: _Scope) -> None:
        scope = _Scope(scope)
        if node.keyword == "range":
            self._range(node, dot, scope)
            return
        value = self._evaluate(node.pipeline, dot, scope)
        if is_true(value):
            self.walk(node.body, value if node.keyword == "with" else dot, scope)
        else:
            self.walk(node.other, dot, scope)

    def _range(self, node: Branch, dot: t.Any, scope: _Scope) -> None:
        bare = Pipeline(node.pipeline.commands)
        value = self._evaluate(bare, dot, scope)
        pairs = _pairs(value)
        names = node.pipeline.names
        is_empty = True
        for key, item in pairs:
            is_empty = False
            self._count()
            inner = _Scope(scope)
            # One variable gets the element, two get its index or key, too.
            for name, bound in zip(names, (key, item) if len(names) > 1 else (item,)):
                if node.pipeline.is_declaration:
                    inner.values[name] = bound
                else:
                    scope.set(name, bound)
            try:
                self.walk(node.body, item, inner)
            except _Continue:
                continue
            except _Break:
                break
        if is_empty:
            self.walk(node.other, dot, scope)

    def _evaluate(self, pipeline: Pipeline, dot: t.Any, scope: _Scope) -> t.Any:
        value: t.Any = None
        for place, command in enumerate(pipeline.commands):
            value = self._command(command, dot, scope, [value] if place else [])
        for name in pipeline.names:
            if pipeline.is_declaration:
                scope.values[name] = value
            else:
                scope.set(name, value)
        return value

    def _command(self, command: tuple[Operand, ...], dot: t.Any, scope: _Scope, piped: list[t.Any]) -> t.Any:
        self._count()
        first = command[0]
        if first.kind == "function":
            value = self._call(first.value, command[1:], dot, scope, piped)
            for name in first.fields:
                value = _field(value, name)
            return value
        if len(command) > 1 or piped:
            # Methods with arguments are the only other thing that takes any, and no value of a chat has such.
            raise GoError("can't give argument to a non-function")
        return self._operand(first, dot, scope)

    def _call(self, name: str, operands: tuple[Operand, ...], dot: t.Any, scope: _Scope, piped: list[t.Any]) -> t.Any:
        if name in ("and", "or"):
            # They stop at the first argument that decides.
            value: t.Any = None
            thunks: list[t.Callable[[], t.Any]] = [self._thunk(operand, dot, scope) for operand in operands]
            thunks += [self._constant(item) for item in piped]
            if not thunks:
                raise GoError(f"wrong number of args for {name}")
            for thunk in thunks:
                value = thunk()
                if is_true(value) is (name == "or"):
                    break
            return value
        function = FUNCTIONS.get(name)
        if function is None:
            raise GoError(f"function {ascii(name)} not defined")
        arguments = [self._operand(operand, dot, scope) for operand in operands] + piped
        try:
            return function(*arguments)
        except (TypeError, ValueError, IndexError, KeyError, OverflowError) as error:
            raise GoError(f"error calling {name}") from error

    def _thunk(self, operand: Operand, dot: t.Any, scope: _Scope) -> t.Callable[[], t.Any]:
        return lambda: self._operand(operand, dot, scope)

    def _constant(self, value: t.Any) -> t.Callable[[], t.Any]:
        return lambda: value

    def _operand(self, operand: Operand, dot: t.Any, scope: _Scope) -> t.Any:
        if operand.kind == "literal":
            return operand.value
        if operand.kind == "function":
            value = self._call(operand.value, (), dot, scope, [])
        elif operand.kind == "pipeline":
            value = self._evaluate(operand.value, dot, scope)
        elif operand.kind == "variable":
            value = scope.get(operand.value)
        else:
            value = dot
        for name in operand.fields:
            value = _field(value, name)
        return value


_JUMPS: dict[str, type[Exception]] = {"break": _Break, "continue": _Continue}


def _field(value: t.Any, name: str) -> t.Any:
    if isinstance(value, Struct):
        if name not in value.fields and not value.is_map:
            raise GoError(f"can't evaluate field {ascii(name)} in type {value.type_name}")
        return value.fields.get(name)
    if isinstance(value, dict):
        return value.get(name)
    if value is None:
        raise GoError(f"nil pointer evaluating interface {{}}.{ascii(name)[1:-1]}")
    raise GoError(f"can't evaluate field {ascii(name)} in type {type(value).__name__}")


def _pairs(value: t.Any) -> list[tuple[t.Any, t.Any]]:
    if value is None:
        return []
    if isinstance(value, Struct) and value.is_map:
        value = value.fields
    if isinstance(value, collections.abc.Mapping):
        return sorted(value.items(), key=lambda pair: json.dumps(pair[0]))
    if isinstance(value, int) and not isinstance(value, bool):
        if value > MAX_STEPS:
            raise GoTooMuch("it takes too many steps")
        return [(number, number) for number in range(value)]
    if isinstance(value, list):
        return list(enumerate(value))
    if isinstance(value, Struct) and value.items is not None:
        return list(enumerate(value.items))
    raise GoError(f"range can't iterate over {type(value).__name__}")
