# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models that an index lists, as a source resolves them: what a name and a revision mean among them, and which files belong to that."""
from __future__ import annotations

import typing as t

from ansible_collections.venom.llm.plugins.module_utils.bundle_index import BundleFile, BundleIndex, BundleModel
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef, is_commit
from ansible_collections.venom.llm.plugins.module_utils.ollama_manifest import OllamaManifest
from ansible_collections.venom.llm.plugins.module_utils.sources.base import ModelPlan, RemoteFile, is_wanted

#: What a request means that names no revision of a Hugging Face model.
_DEFAULT_BRANCH = "main"
_SHOWN_MODELS = 10


class IndexedModels:
    """The models of an index. ``where`` names it in messages, ``todo`` says how it gets what it lacks, ``details`` go with errors."""

    def __init__(self, index: BundleIndex, where: str, todo: str, **details: t.Any) -> None:
        self.index = index
        self._where = where
        self._todo = todo
        self._details = details

    def find_commit(self, ref: ModelRef, revision: str | None = None) -> str:
        """The commit, or the manifest's digest, that a revision stands for here. Raises ``VenomError``."""
        return self.find(ref, revision).revision

    def find(self, ref: ModelRef, revision: str | None = None) -> BundleModel:
        """The model that a name and a revision mean here.

        A commit or digest means itself; a branch or tag what was asked for by that name before the index was made; no revision, or the
        default branch, the newest. Raises ``not_found``, ``revision_not_found``.
        """
        if ref.provider == "ollama":
            return self._find_tagged(ref, revision)
        held = [model for model in self.index.models if model.ref.key == ref.key]
        if not held:
            raise self._missing("not_found", ref, revision)
        if is_commit(revision):
            found = [model for model in held if model.revision == revision]
        else:
            wanted = revision or _DEFAULT_BRANCH
            found = [model for model in held if model.requested_revision == wanted]
            if not found and wanted == _DEFAULT_BRANCH:
                found = held
        return self._newest(ref, revision, found)

    def _find_tagged(self, ref: ModelRef, revision: str | None) -> BundleModel:
        place = (ref.host.lower(), ref.repository.lower())
        held = [model for model in self.index.models if _place(model) == place]
        if not held:
            raise self._missing("not_found", ref, revision)
        if revision is not None and revision.startswith("sha256:"):
            found = [model for model in held if model.revision == revision]
        else:
            tag = (revision or str(ref.tag)).lower()
            found = [model for model in held if str(model.ref.tag).lower() == tag]
        return self._newest(ref, revision, found)

    def _newest(self, ref: ModelRef, revision: str | None, found: t.Sequence[BundleModel]) -> BundleModel:
        if not found:
            raise self._missing("revision_not_found", ref, revision)
        return max(found, key=lambda model: model.installed_at or "")

    def _missing(self, code: str, ref: ModelRef, revision: str | None) -> VenomError:
        held = [f"{model.name} {model.requested_revision or ''} {model.revision}" for model in self.index.models]
        shown = ", ".join(" ".join(text.split()) for text in held[:_SHOWN_MODELS]) or "nothing"
        more = f" and {len(held) - _SHOWN_MODELS} more" if len(held) > _SHOWN_MODELS else ""
        return VenomError(
            code,
            wanted=f"{ref}{f' at {revision}' if revision else ''} in {self._where}",
            found=f"it holds {shown}{more}",
            todo=f"check name and revision, or {self._todo}",
            model=str(ref),
            **self._details,
        )

    def find_manifest(self, ref: ModelRef, revision: str | None = None) -> OllamaManifest:
        """The manifest of an Ollama model, as a registry gives it. Raises ``not_found``, ``revision_not_found``."""
        model = self.find(ref, revision)
        if model.manifest is None:
            raise self._missing("not_found", ref, revision)
        return OllamaManifest.parse(model.manifest)

    def resolve(self, ref: ModelRef, revision: str | None, include: t.Sequence[str], exclude: t.Sequence[str]) -> ModelPlan:
        """The files of a revision that the patterns choose. Raises ``VenomError``.

        ``invalid_option`` where the model was installed with other patterns: files that are not listed cannot be chosen.
        """
        model = self.find(ref, revision)
        if (model.include or model.exclude) and (model.include, model.exclude) != (tuple(include), tuple(exclude)):
            raise VenomError(
                "invalid_option",
                wanted=f"{ref} with include {list(include)} and exclude {list(exclude)}",
                found=f"{self._where} has the files of include {list(model.include)} and exclude {list(model.exclude)}",
                todo="use the same patterns, or export the model with other ones",
                model=str(ref),
            )
        files = tuple(
            RemoteFile(file.path, file.size, file.sha256, file.git_sha1, self.locate(model, file))
            for file in sorted(model.files, key=lambda file: file.path)
            if model.manifest is not None or is_wanted(file.path, include, exclude)
        )
        asked = revision or (str(ref.tag) if ref.provider == "ollama" else _DEFAULT_BRANCH)
        return ModelPlan(ref, model.revision, asked, files, model.manifest)

    def locate(self, dummy_model: BundleModel, file: BundleFile) -> str:
        """Where the bytes of a file are, as a URL."""
        return f"sha256:{file.sha256}"


def _place(model: BundleModel) -> tuple[str, str]:
    ref = model.ref
    return (ref.host.lower(), ref.repository.lower()) if ref.provider == "ollama" else ("", "")
