# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan that a host with models hands to others: what each model consists of, read off records and manifests."""
from __future__ import annotations

import typing as t

from ansible_collections.venom.llm.plugins.module_utils.bundle_index import BundleIndex
from ansible_collections.venom.llm.plugins.module_utils.bundles import describe_models
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry
from ansible_collections.venom.llm.plugins.module_utils.models_observe import observe


def make_plan(manifest: Manifest, entries: t.Sequence[Entry], warn: t.Callable[[str], None]) -> dict[str, t.Any]:
    """The plan of these models: the same models give the same plan. A model that is damaged or cannot be read is left out with a warning."""
    index = BundleIndex()
    for entry in entries:
        try:
            damaged = observe(entry).damaged if entry.is_vouched_for else ()
            ((model, dummy),) = describe_models(manifest.models_dir, [entry])
        except VenomError as error:
            warn(f"{entry.name} is not in the plan: {error.found}.")
        except PermissionError as error:
            warn(f"{entry.name} is not in the plan: {error.strerror}, {error.filename}.")
        else:
            if damaged:
                warn(f"{entry.name} is not in the plan: {len(damaged)} files are missing or changed.")
            else:
                index = index.merge(model)
    return index.to_dict()
