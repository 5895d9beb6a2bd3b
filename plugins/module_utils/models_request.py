# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One model as the operator wants it, validated."""
from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import Alias, Digest, ModelRef, parse_revision, runtime_for

DEFAULT_REVISION = "main"

#: Every state of the module.
STATES = ("present", "latest", "verified", "absent")


@dataclass(frozen=True)
class Request:
    """A wanted model. ``revision`` is None when none was given; for Ollama it is a manifest's digest, a tag is part of ``ref``.

    ``deep`` asks for every byte to be hashed, also of what is installed already.
    """

    ref: ModelRef
    runtime: str
    state: str
    revision: str | None
    alias: str | None
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    deep: bool = False

    @classmethod
    def parse(cls, item: t.Mapping[str, t.Any], default_state: str, deep: bool = False) -> Request:
        """From module parameters. Raises ``invalid_name``, ``invalid_option``, ``incompatible_runtime``."""
        ref = ModelRef.parse(item["name"], item.get("provider") or "auto")
        runtime = runtime_for(ref, item.get("runtime") or "auto")
        revision, alias = item.get("revision"), item.get("alias")
        state = item.get("state") or default_state
        include, exclude = tuple(item.get("include") or ()), tuple(item.get("exclude") or ())
        if ref.provider == "ollama":
            ref, revision = _tagged(ref, revision, ":" in item["name"])
            if include or exclude:
                raise VenomError(
                    "invalid_option",
                    wanted=f"{ref} as a whole",
                    found="include or exclude",
                    todo="leave both out: an Ollama model has no files to choose from",
                    model=str(ref),
                )
        elif revision is not None:
            revision = parse_revision(revision)
        return cls(
            ref=ref,
            runtime=runtime,
            state=state,
            revision=revision,
            alias=None if alias is None else str(Alias.parse(alias)),
            include=include,
            exclude=exclude,
            deep=deep or state == "verified",
        )

    @property
    def wanted_revision(self) -> str:
        """The revision to ask the source for."""
        if self.ref.provider == "ollama":
            return self.revision or str(self.ref.tag)
        return self.revision or DEFAULT_REVISION


def _tagged(ref: ModelRef, revision: str | None, has_tag: bool) -> tuple[ModelRef, str | None]:
    if revision is None:
        return ref, None
    if revision.startswith("sha256:"):
        return ref, str(Digest.parse(revision))
    named = ModelRef.parse(f"{ref.name}:{revision}", "ollama")
    if has_tag and named.key != ref.key:
        raise VenomError(
            "invalid_option",
            wanted=f"one tag for {ref}",
            found=f"revision {revision} beside it",
            todo="give the tag in the name or as revision, or a manifest's digest (sha256:...) as revision",
            model=str(ref),
        )
    return named, None
