# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Go's text/template as a tree, as far as chat templates use it (https://pkg.go.dev/text/template).

Everything of the language is read but ``call``; a text that Go would not take raises ``GoSyntaxError``.
"""
from __future__ import annotations

import ast
import re
import typing as t
from dataclasses import dataclass, field


class GoSyntaxError(ValueError):
    """The text is no template."""


@dataclass(frozen=True)
class Operand:
    """A literal, a field, a variable, a function or a pipeline in parentheses, and the fields asked of its value.

    ``kind`` is one of literal, dot, variable, function, pipeline.
    """

    kind: str
    value: t.Any
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pipeline:
    """Commands, each a list of operands; the value of one is the last argument of the next. ``names`` get the result."""

    commands: tuple[tuple[Operand, ...], ...]
    names: tuple[str, ...] = ()
    is_declaration: bool = False


@dataclass(frozen=True)
class Text:
    """Text between actions."""

    text: str


@dataclass(frozen=True)
class Action:
    """``{{ pipeline }}``."""

    pipeline: Pipeline


@dataclass(frozen=True)
class Branch:
    """``if``, ``with`` or ``range``."""

    keyword: str
    pipeline: Pipeline
    body: tuple[Node, ...]
    other: tuple[Node, ...]


@dataclass(frozen=True)
class Include:
    """``template`` or ``block``."""

    name: str
    pipeline: Pipeline | None


@dataclass(frozen=True)
class Jump:
    """``break`` or ``continue``."""

    keyword: str


Node = t.Union[Text, Action, Branch, Include, Jump]


@dataclass(frozen=True)
class Tree:
    """A parsed template with the templates that it defines."""

    root: tuple[Node, ...]
    defined: t.Mapping[str, tuple[Node, ...]] = field(default_factory=dict)


#: Nesting beyond this no template has; it bounds Python's own stack.
MAX_DEPTH = 60
_KEYWORDS = ("if", "else", "end", "range", "with", "define", "template", "block", "break", "continue")
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)|(?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)|(?P<char>'(?:[^'\\\n]|\\.)+')"""
    r"""|(?P<number>[+-]?(?:0[xXoObB])?[0-9][0-9a-fA-F_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9]+)?)"""
    r"""|(?P<variable>\$[^\W\d]?\w*)|(?P<field>\.[^\W\d]\w*)|(?P<word>[^\W\d]\w*)|(?P<sign>:=|[.()|,=])"""
)
_Token = tuple[str, str]


def parse(text: str) -> Tree:
    """Parse a template. Raises ``GoSyntaxError``."""
    return _Parser(_split(text)).parse()


def _split(text: str) -> list[str | list[_Token]]:
    """Texts and the tokens of actions in their order; trim markers are obeyed, comments are gone."""
    pieces: list[str | list[_Token]] = []
    position, trims = 0, False
    while True:
        begin = text.find("{{", position)
        literal = text[position:] if begin < 0 else text[position:begin]
        if trims:
            literal = literal.lstrip(" \t\r\n")
        if begin < 0:
            pieces.append(literal)
            return pieces
        if text[begin + 2 : begin + 3] == "-" and text[begin + 3 : begin + 4] in (" ", "\t", "\r", "\n"):
            literal = literal.rstrip(" \t\r\n")
            begin += 1
        pieces.append(literal)
        tokens, position, trims = _tokens(text, begin + 2)
        if tokens:
            pieces.append(tokens)


def _tokens(text: str, position: int) -> tuple[list[_Token], int, bool]:
    """The tokens of an action, where it ends, and whether it trims what follows."""
    comment = re.compile(r"\s*/\*.*?\*/(?P<trim>\s-)?\}\}", re.DOTALL).match(text, position)
    if comment:
        return [], comment.end(), comment.group("trim") is not None
    tokens: list[_Token] = []
    while True:
        if text.startswith("}}", position):
            if not any(kind != "space" for kind, dummy in tokens):
                raise GoSyntaxError("an action is empty")
            return tokens, position + 2, False
        if text.startswith("-}}", position) and tokens and tokens[-1][0] == "space":
            return tokens, position + 3, True
        found = _TOKEN.match(text, position)
        if not found:
            raise GoSyntaxError(f"an action has {ascii(text[position : position + 20])}")
        tokens.append((str(found.lastgroup), found.group()))
        position = found.end()


class _Parser:
    """One text's pieces, read once from left to right."""

    def __init__(self, pieces: list[str | list[_Token]]) -> None:
        self._pieces = pieces
        self._next = 0
        self._defined: dict[str, tuple[Node, ...]] = {}

    def parse(self) -> Tree:
        root, end = self._nodes(0, False)
        if end:
            raise GoSyntaxError(f"{end[0][1]} without a beginning")
        return Tree(root, self._defined)

    def _nodes(self, depth: int, is_loop: bool) -> tuple[tuple[Node, ...], list[_Token]]:
        """Nodes up to ``else`` or ``end``, whose tokens are returned, or to the end of all."""
        if depth > MAX_DEPTH:
            raise GoSyntaxError("it is nested too deeply")
        nodes: list[Node] = []
        while self._next < len(self._pieces):
            piece = self._pieces[self._next]
            self._next += 1
            if isinstance(piece, str):
                if piece:
                    nodes.append(Text(piece))
                continue
            tokens = _strip(piece)
            word = tokens[0][1] if tokens[0][0] == "word" else ""
            if word in ("else", "end"):
                return tuple(nodes), tokens
            node = self._node(word, tokens, depth, is_loop) if word in _KEYWORDS else Action(_Reader(tokens, depth).whole(True))
            if node is not None:
                nodes.append(node)
        return tuple(nodes), []

    def _node(self, word: str, tokens: list[_Token], depth: int, is_loop: bool) -> Node | None:
        if word in ("if", "with", "range"):
            return self._branch(word, tokens[1:], depth, is_loop)
        if word in ("break", "continue"):
            if len(tokens) > 1 or not is_loop:
                raise GoSyntaxError(f"{word} where there is no loop")
            return Jump(word)
        rest = _strip(tokens[1:])
        if not rest or rest[0][0] != "string":
            raise GoSyntaxError(f"{word} without a name")
        name, argument = unquote(rest[0][1]), _strip(rest[1:])
        pipeline = _Reader(argument, depth).whole(False) if argument else None
        if word == "template":
            return Include(name, pipeline)
        body, end = self._nodes(depth + 1, False)
        if not end or end[0][1] != "end":
            raise GoSyntaxError(f"{word} without an end")
        self._defined[name] = body
        return Include(name, pipeline) if word == "block" else None

    def _branch(self, word: str, tokens: list[_Token], depth: int, is_loop: bool) -> Branch:
        if depth > MAX_DEPTH:
            raise GoSyntaxError("it is nested too deeply")
        tokens = _strip(tokens)
        if not tokens:
            raise GoSyntaxError(f"{word} without a value")
        pipeline = _Reader(tokens, depth).whole(True)
        inside = is_loop or word == "range"
        body, end = self._nodes(depth + 1, inside)
        other: tuple[Node, ...] = ()
        if end and end[0][1] == "else":
            rest = _strip(end[1:])
            if rest:
                # "else if" and "else with" share the end of the first.
                if rest[0][1] not in ("if", "with") or word == "range":
                    raise GoSyntaxError("else is followed by something else")
                return Branch(word, pipeline, body, (self._branch(rest[0][1], rest[1:], depth + 1, is_loop),))
            other, end = self._nodes(depth + 1, is_loop)
        if not end or end[0][1] != "end":
            raise GoSyntaxError(f"{word} without an end")
        return Branch(word, pipeline, body, other)


def _strip(tokens: list[_Token]) -> list[_Token]:
    while tokens and tokens[0][0] == "space":
        tokens = tokens[1:]
    while tokens and tokens[-1][0] == "space":
        tokens = tokens[:-1]
    return tokens


class _Reader:
    """The tokens of one pipeline."""

    def __init__(self, tokens: list[_Token], depth: int) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = depth

    def whole(self, may_declare: bool) -> Pipeline:
        """A pipeline that takes all tokens."""
        names, is_declaration = self._names() if may_declare else ((), False)
        pipeline = self._pipeline(self._depth)
        if self._at < len(self._tokens):
            raise GoSyntaxError(f"unexpected {ascii(self._tokens[self._at][1])}")
        return Pipeline(pipeline.commands, names, is_declaration)

    def _names(self) -> tuple[tuple[str, ...], bool]:
        """The variables before ``:=`` or ``=``."""
        names: list[str] = []
        for place, (kind, text) in enumerate(self._tokens):
            if kind == "variable":
                names.append(text)
            elif text in (":=", "=") and names:
                self._at = place + 1
                return tuple(names), text == ":="
            elif kind != "space" and text != ",":
                break
        return (), False

    def _peek(self) -> _Token:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _pipeline(self, depth: int) -> Pipeline:
        if depth > MAX_DEPTH:
            raise GoSyntaxError("it is nested too deeply")
        commands: list[tuple[Operand, ...]] = []
        operands: list[Operand] = []
        while True:
            kind, text = self._peek()
            if kind == "space":
                self._at += 1
            elif kind == "end" or text in (")", "|"):
                if not operands:
                    raise GoSyntaxError("a command is missing")
                commands.append(tuple(operands))
                operands = []
                if text != "|":
                    return Pipeline(tuple(commands))
                self._at += 1
            else:
                operands.append(self._operand(depth))
                kind, text = self._peek()
                if kind not in ("space", "end") and text not in (")", "|"):
                    raise GoSyntaxError(f"unexpected {ascii(text)}")

    def _operand(self, depth: int) -> Operand:
        kind, text = self._peek()
        self._at += 1
        if text == "(":
            inner = self._pipeline(depth + 1)
            if self._peek()[1] != ")":
                raise GoSyntaxError("a parenthesis is open")
            self._at += 1
            return Operand("pipeline", inner, self._fields())
        if kind == "field":
            return Operand("dot", None, (text[1:], *self._fields()))
        if text == ".":
            return Operand("dot", None)
        if kind == "variable":
            return Operand("variable", text, self._fields())
        if kind in ("string", "char", "number"):
            return Operand("literal", {"string": unquote, "char": _character, "number": _number}[kind](text))
        if kind == "word" and text in ("true", "false", "nil"):
            return Operand("literal", {"true": True, "false": False, "nil": None}[text])
        if kind == "word" and text not in _KEYWORDS:
            return Operand("function", text, self._fields())
        raise GoSyntaxError(f"unexpected {ascii(text)}")

    def _fields(self) -> tuple[str, ...]:
        names: list[str] = []
        while self._peek()[0] == "field":
            names.append(self._peek()[1][1:])
            self._at += 1
        return tuple(names)


def unquote(text: str) -> str:
    """The value of a Go string literal. Raises ``GoSyntaxError``."""
    if text.startswith("`"):
        return text[1:-1].replace("\r", "")
    try:
        # Go's escapes are Python's, but for the quote of the other kind.
        return str(ast.literal_eval("'''" + text[1:-1].replace("'", "\\'") + "'''"))
    except (ValueError, SyntaxError, MemoryError) as error:
        raise GoSyntaxError("a string is malformed") from error


def _character(text: str) -> int:
    value = unquote(text)
    if len(value) != 1:
        raise GoSyntaxError("a character is malformed")
    return ord(value)


def _number(text: str) -> int | float:
    try:
        return int(text, 0)
    except ValueError:
        try:
            return float(text)
        except ValueError as error:
            raise GoSyntaxError("a number is malformed") from error


def names_in(nodes: t.Iterable[Node]) -> set[str]:
    """Every field and variable that the nodes read, in small letters, without what they include."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, Branch):
            found |= names_in(node.body) | names_in(node.other)
        pipeline = getattr(node, "pipeline", None)
        if pipeline is not None:
            found |= _names_of(pipeline)
    return found


def _names_of(pipeline: Pipeline) -> set[str]:
    found = set(pipeline.names)
    for command in pipeline.commands:
        for operand in command:
            found.update(name.lower() for name in operand.fields)
            if operand.kind == "pipeline":
                found |= _names_of(operand.value)
    return found
