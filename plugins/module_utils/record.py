# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``runtime.json``: which model each runtime of this host serves by decision, since when, and what it served before."""
from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.venom.llm.plugins.module_utils import files
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError

SCHEMA = 1
HISTORY_LIMIT = 50


@dataclass(frozen=True)
class Activation:
    """A model that was proved to serve: ``path`` is its folder, ``activated_at`` UTC with offset."""

    model: str
    provider: str
    revision: str
    alias: str
    path: str
    activated_at: str = ""

    def is_same_model(self, other: Activation | None) -> bool:
        """Whether both name the same bytes under the same alias, whenever they were activated."""
        return other is not None and replace(self, activated_at="") == replace(other, activated_at="")

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON."""
        return dict(self.__dict__)

    @classmethod
    def from_dict(cls, data: t.Mapping[str, t.Any]) -> Activation:
        """From JSON; fields of later versions are dropped. Raises ``KeyError`` for a missing one."""
        return cls(**{name: str(data[name]) for name in ("model", "provider", "revision", "alias", "path", "activated_at")})


@dataclass(frozen=True)
class RuntimeRecord:
    """The whole file as a value. ``started_with`` is the digest of what each running server was started with.

    ``others`` keeps top-level keys that this version does not know, so that an older collection loses nothing of a newer one.
    """

    active: t.Mapping[str, Activation] = field(default_factory=dict)
    history: tuple[t.Mapping[str, t.Any], ...] = ()
    started_with: t.Mapping[str, str] = field(default_factory=dict)
    others: t.Mapping[str, t.Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str) -> RuntimeRecord:
        """From the file; empty without one. Raises ``io_error`` for a file without sense: guessing would restart servers."""
        try:
            data = files.read_json(path)
            if not isinstance(data, dict):
                raise ValueError("it is not a JSON object")
            return cls(
                active={name: Activation.from_dict(value) for name, value in (data.get("active") or {}).items()},
                history=tuple(item for item in data.get("history") or [] if isinstance(item, dict)),
                started_with={str(name): str(value) for name, value in (data.get("started_with") or {}).items()},
                others={key: value for key, value in data.items() if key not in ("schema", "active", "history", "started_with")},
            )
        except FileNotFoundError:
            return cls()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise VenomError(
                "io_error",
                wanted=f"the record of active models in {path}",
                found=f"{type(error).__name__}: {error}",
                todo="restore it from a backup, or remove it and activate the model again",
                path=path,
            ) from error

    def save(self, path: str) -> None:
        """Write atomically, mode 0644. Raises ``OSError``."""
        files.make_folders(os.path.dirname(path))
        data = dict(
            self.others,
            schema=SCHEMA,
            active={name: value.to_dict() for name, value in self.active.items()},
            started_with=dict(self.started_with),
            history=[dict(item) for item in self.history],
        )
        files.write_atomic(path, files.to_json(data), mode=0o644)

    def with_active(self, runtime: str, activation: Activation) -> RuntimeRecord:
        """A copy with a new active model; the history grows only when the model is another one."""
        history = self.history
        if not activation.is_same_model(self.active.get(runtime)):
            history = (dict(activation.to_dict(), runtime=runtime), *history)[:HISTORY_LIMIT]
        return replace(self, active=dict(self.active, **{runtime: activation}), history=history)

    def with_started(self, runtime: str, digest: str | None) -> RuntimeRecord:
        """A copy that knows what the running server was started with, or with None that none runs."""
        started = {name: value for name, value in self.started_with.items() if name != runtime}
        if digest is not None:
            started[runtime] = digest
        return replace(self, started_with=started)
