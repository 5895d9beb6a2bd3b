# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of several sources of a capability is believed: an operator over a live server, a live server over files."""
from __future__ import annotations

import typing as t

from ansible_collections.venom.llm.plugins.module_utils.capabilities import CAPABILITY_TYPES
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import SOURCES, Entry

Values = t.Mapping[str, t.Any]


def with_facts(entry: Entry, declared: Values, detected: Values | None = None, probed: Values | None = None) -> Entry:
    """The entry with each capability's value from the best source that knows it.

    ``declared`` is what its operator states now, all of it. ``detected`` and ``probed`` replace what the record has from that source;
    None keeps it. A value that was overridden stays in the record, so it is back when what overrides it is taken back.
    """
    layers: dict[str, Values] = {
        "declared": declared,
        "probed": entry.facts_from("probed") if probed is None else probed,
        "detected": entry.facts_from("detected") if detected is None else detected,
    }
    known = dict.fromkeys([*CAPABILITY_TYPES, *(name for values in layers.values() for name in sorted(values))])
    capabilities: dict[str, t.Any] = {}
    overridden: dict[str, dict[str, t.Any]] = {}
    for name in known:
        found = [source for source in SOURCES if layers[source].get(name) is not None]
        capabilities[name] = {"value": layers[found[0]][name], "source": found[0]} if found else {"value": None, "source": None}
        if len(found) > 1:
            overridden[name] = {source: layers[source][name] for source in found[1:]}
    return entry.replace(capabilities=capabilities, overridden=overridden)
