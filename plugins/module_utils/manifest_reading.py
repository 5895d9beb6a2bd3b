# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of a manifest as what can be trusted of them. Values only: whatever the bytes are, no disk is touched.

A part without its right seal is not believed, whether a disk, a cut or a hand changed it: it is named here and looked for elsewhere.
"""
from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.venom.llm.plugins.module_utils.bounded_json import is_integer, load_json
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry
from ansible_collections.venom.llm.plugins.module_utils.manifest_seal import has_seals, is_head_sealed, is_sealed, salvage, unsealed

if t.TYPE_CHECKING:
    from ansible_collections.venom.llm.plugins.module_utils.manifest_migration import OlderRecord

SCHEMA = 2
#: Keys of the head; any other one was added by another version and is kept.
HEAD = ("schema", "updated_at", "declared", "foreign", "models", "seal")

_STORE = re.compile(rb'"local_path"\s*:\s*"(/[^"\\\0-\x1f]{1,1000})"')


@dataclass(frozen=True)
class Reading:
    """What a manifest's bytes are worth.

    ``damage`` says why the file has to be rebuilt, None for a good one. ``lost`` are names of records that were found damaged.
    ``stores`` are folders that damaged records may have meant: hints where to look, nothing more.
    """

    entries: tuple[Entry, ...] = ()
    declared: dict[str, dict[str, t.Any]] = field(default_factory=dict)
    older: tuple[OlderRecord, ...] = ()
    foreign: tuple[t.Any, ...] = ()
    unknown: dict[str, t.Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    damage: str | None = None
    lost: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()


def read_manifest(content: bytes, models_dir: str) -> Reading:
    """Read whatever is there. Raises ``manifest_unreadable`` only for what a newer version of this collection wrote."""
    try:
        data = load_json(content)
        if not isinstance(data, dict):
            raise ValueError("it is no object")
        if has_seals(data):
            _refuse_newer(data)
            return _read_sealed(content, data, models_dir)
        if data.get("schema", 1) != 1 or isinstance(data.get("schema", 1), bool):
            raise ValueError("it has no seals, and not the schema of a manifest without")
        return _read_older(data, models_dir)
    except (ValueError, RecursionError) as error:
        return _read_ruin(content, models_dir, str(error))


def _refuse_newer(data: t.Mapping[str, t.Any]) -> None:
    # The seal of the head means the same in every schema from 2 on, so a number that a flipped bit raised refuses nobody.
    schema = data.get("schema")
    if isinstance(schema, int) and is_integer(schema) and schema > SCHEMA and is_head_sealed(data):
        raise VenomError(
            "manifest_unreadable",
            wanted=f"a manifest of schema {SCHEMA} or older",
            found=f"it has schema {schema}, so a newer version of this collection wrote it",
            todo="use that version on this host",
        )


def _read_sealed(content: bytes, data: dict[str, t.Any], models_dir: str) -> Reading:
    models, listed = _list(data.get("models")), _list(data.get("declared"))
    is_whole = data.get("schema") == SCHEMA and is_head_sealed(data)
    good: list[t.Any] = []
    bad: list[t.Any] = []
    for item in models:
        (good if is_sealed(item) else bad).append(item)
    if not is_whole:
        # The key of a list may be what was damaged; the parts are good wherever they are.
        parts = salvage(content)
        good, listed = [part for part in parts if "name" in part] + good, listed + parts
    entries, refused, warnings = _entries(good, models_dir)
    damage = [f"the record of {_name(item)} does not match its seal" for item in bad]
    damage += [f"what is declared of {_name(item, 'model')} does not match its seal" for item in listed if not is_sealed(item)]
    if not is_whole and not damage:
        damage.append("its head does not match its seal")
    return Reading(
        entries=entries,
        declared=_declared(listed),
        # Without its seal the head may say anything; records and declarations have seals of their own.
        foreign=(*refused, *_list(data.get("foreign"))) if is_whole else refused,
        unknown={key: value for key, value in data.items() if key not in HEAD} if is_whole else {},
        warnings=(*warnings, *(_unusable(item) for item in _list(data.get("foreign")) if is_whole)),
        damage="; ".join(damage) or None,
        lost=tuple(_name(item) for item in bad),
        stores=_stores(content, entries) if damage else (),
    )


def _read_older(data: dict[str, t.Any], models_dir: str) -> Reading:
    from ansible_collections.venom.llm.plugins.module_utils.manifest_migration import migrate

    # What cannot be written again as JSON in UTF-8 is not kept either.
    json.dumps(data, allow_nan=False, ensure_ascii=False).encode("utf-8")
    found = migrate(data)
    entries, refused, warnings = _entries(found.records, models_dir)
    return Reading(
        entries=entries,
        declared=found.declared,
        older=found.older,
        foreign=refused,
        unknown={key: value for key, value in data.items() if key not in HEAD},
        warnings=warnings,
    )


def _read_ruin(content: bytes, models_dir: str, why: str) -> Reading:
    parts = salvage(content)
    entries = _entries([part for part in parts if "name" in part], models_dir)[0]
    return Reading(
        entries=entries,
        declared=_declared(parts),
        damage=f"it is unreadable: {why}",
        stores=_stores(content, entries),
    )


def _entries(items: t.Sequence[t.Any], models_dir: str) -> tuple[tuple[Entry, ...], tuple[t.Any, ...], tuple[str, ...]]:
    """The records that can be acted on, those that cannot, and sentences about the latter."""
    entries: dict[tuple[str, str, str], Entry] = {}
    refused: list[t.Any] = []
    warnings: list[str] = []
    for item in items:
        try:
            if not isinstance(item, dict):
                raise VenomError("manifest_unreadable", wanted="a record", found="it is no record", todo="run venom_manifest sanitized")
            entry = Entry.from_dict(item, models_dir)
        except VenomError as error:
            refused.append(unsealed(item) if isinstance(item, dict) else item)
            warnings.append(_unusable(item, error.found))
        else:
            entries[(entry.provider, entry.name, entry.revision)] = entry
    return tuple(entries.values()), tuple(refused), tuple(warnings)


def _unusable(item: t.Any, why: str = "it was kept from an earlier run") -> str:
    return f"The manifest's record of {_name(item)} is not usable: {why}. Run venom_manifest with state sanitized."


def _declared(items: t.Sequence[t.Any]) -> dict[str, dict[str, t.Any]]:
    """Declared capabilities by model key, of the declarations whose seals are good."""
    good = (item for item in items if is_sealed(item) and isinstance(item.get("model"), str))
    return {item["model"]: item["capabilities"] for item in good if isinstance(item.get("capabilities"), dict)}


def _stores(content: bytes, entries: t.Sequence[Entry]) -> tuple[str, ...]:
    """Folders of Ollama models that are named anywhere, as far as they are not those of snapshots."""
    known = [entry.local_path for entry in entries if entry.provider == "ollama"]
    snapshots = {entry.local_path for entry in entries if entry.provider != "ollama"}
    named = (match.decode("utf-8", "replace") for match in _STORE.findall(content))
    return tuple(path for path in dict.fromkeys([*known, *named]) if path and path not in snapshots and "@" not in path.rpartition("/")[2])


def _list(value: t.Any) -> list[t.Any]:
    return value if isinstance(value, list) else []


def _name(item: t.Any, key: str = "name") -> str:
    return ascii(item.get(key) if isinstance(item, dict) else None)[:120]


def is_confirmed(item: t.Any, entries: t.Sequence[Entry]) -> bool:
    """Whether this is an older record of a model that is recorded by now, so that it has nothing left to say."""
    from ansible_collections.venom.llm.plugins.module_utils.manifest_migration import migrate

    keys = {entry.ref.key for entry in entries}
    return any(record.ref.key in keys for record in migrate({"models": [item]}).older)
