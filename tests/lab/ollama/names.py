# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of models as the server reads them: ``[host[:port]/]namespace/model[:tag]``."""
from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, replace

DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG = "registry.ollama.ai", "library", "latest"
_PARTS = {
    "host": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}", re.ASCII),
    "namespace": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}", re.ASCII),
    "model": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", re.ASCII),
    "tag": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", re.ASCII),
}


@dataclass(frozen=True)
class Name:
    """Four parts; a name that came from outside is good only if ``is_valid``."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def is_valid(self) -> bool:
        """Every part is allowed where it stands."""
        return all(pattern.fullmatch(getattr(self, part)) for part, pattern in _PARTS.items())

    @property
    def shortest(self) -> str:
        """As /api/tags lists it: without the default host and namespace, always with a tag."""
        text = f"{self.model}:{self.tag}"
        if self.host != DEFAULT_HOST:
            return f"{self.host}/{self.namespace}/{text}"
        return text if self.namespace == DEFAULT_NAMESPACE else f"{self.namespace}/{text}"

    @property
    def full(self) -> str:
        """Every part."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def parts(self) -> tuple[str, str, str, str]:
        """The path of the manifest, below manifests/."""
        return (self.host, self.namespace, self.model, self.tag)

    @property
    def key(self) -> str:
        """Names that differ in case only are one name."""
        return self.full.lower()

    def like(self, existing: t.Iterable[Name]) -> Name:
        """This name, each part spelled as in the names that exist."""
        name = self
        for other in existing:
            for part in _PARTS:
                if getattr(other, part).lower() == getattr(name, part).lower():
                    name = replace(name, **{part: getattr(other, part)})
        return name


def parse(text: str) -> Name:
    """A name with its defaults; parts that are there but empty are not valid."""
    tag, namespace, host = DEFAULT_TAG, DEFAULT_NAMESPACE, DEFAULT_HOST
    rest = text
    if rest.rfind(":") > rest.rfind("/"):
        rest, dummy, tag = rest.rpartition(":")
    rest, slash, model = rest.rpartition("/")
    if slash:
        rest, slash, namespace = rest.rpartition("/")
        if slash:
            host = rest.split("://", 1)[-1]
    return Name(host, namespace, model, tag)
