# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan that was made on another host: what its models consist of, so that a host needs no hub and no registry to know."""
from __future__ import annotations

import typing as t

from ansible_collections.venom.llm.plugins.module_utils.bundle_index import BundleFile, BundleIndex, BundleModel
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import Digest, ModelRef
from ansible_collections.venom.llm.plugins.module_utils.sources.hub import file_url
from ansible_collections.venom.llm.plugins.module_utils.sources.indexed import IndexedModels
from ansible_collections.venom.llm.plugins.module_utils.sources.registry import blob_url


class PlannedModels(IndexedModels):
    """The models of a plan. ``endpoint`` and ``registry_of`` say where the origin has their bytes. Raises ``invalid_option``."""

    def __init__(self, plan: t.Mapping[str, t.Any], endpoint: str, registry_of: t.Callable[[ModelRef], str]) -> None:
        try:
            index = BundleIndex.from_dict(plan)
        except ValueError as error:
            raise VenomError(
                "invalid_option",
                wanted="plan as venom_model_info returns it",
                found=str(error),
                todo="hand over the plan of a host that has the models, unchanged",
                option="plan",
            ) from error
        super().__init__(index, "the plan", "make the plan on a host that has the model")
        self._endpoint = endpoint
        self._registry_of = registry_of

    def holds_revision(self, ref: ModelRef, revision: str | None) -> bool:
        """Whether the plan knows what a revision stands for."""
        try:
            self.find(ref, revision)
        except VenomError:
            return False
        return True

    def holds(self, ref: ModelRef, revision: str | None, include: t.Sequence[str], exclude: t.Sequence[str]) -> bool:
        """Whether the plan answers for a model as it is wanted. With other patterns it may lack files that its maker did not want."""
        if not self.holds_revision(ref, revision):
            return False
        model = self.find(ref, revision)
        return (model.include, model.exclude) == (tuple(include), tuple(exclude))

    def locate(self, model: BundleModel, file: BundleFile) -> str:
        """Where the origin has a file."""
        if model.provider == "ollama":
            return blob_url(self._registry_of(model.ref), model.ref, Digest("sha256", file.sha256))
        return file_url(self._endpoint, model.ref, model.revision, file.path)
