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
#: Seconds to wait for a change by somebody else, who may be at work on another runtime; it takes milliseconds.
LOCK_TIMEOUT = 30.0


@dataclass(frozen=True)
class Activation:
    """A model that was proved to serve: ``path`` is its folder, or its digest for Ollama, ``activated_at`` UTC with offset."""

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
class NameChange:
    """A name that an activation gave to a model of a running server: to that with the digest ``path``.

    Where the name had belonged to another model, that is the one with digest ``before``, which also has the name ``other``.
    """

    name: str
    path: str
    before: str = ""
    other: str = ""

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON."""
        return dict(self.__dict__)

    @classmethod
    def from_dict(cls, data: t.Mapping[str, t.Any]) -> NameChange:
        """From JSON. Raises ``KeyError`` for a missing field."""
        return cls(*(str(data[name]) for name in ("name", "path", "before", "other")))


@dataclass(frozen=True)
class Trial:
    """A change that is under way or was cut off: everything that it takes to finish it or to take it back.

    ``activation`` is the model on trial, if another one is. ``version`` is where the link leads meanwhile, ``version_before`` where
    it led (empty: nowhere); no version, no change. ``stopped`` are the runtimes that had to make room.
    """

    activation: Activation | None = None
    names: tuple[NameChange, ...] = ()
    version: str = ""
    version_before: str = ""
    stopped: tuple[str, ...] = ()
    begun_at: str = ""

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON."""
        return {
            "activation": None if self.activation is None else self.activation.to_dict(),
            "names": [change.to_dict() for change in self.names],
            "version": self.version,
            "version_before": self.version_before,
            "stopped": list(self.stopped),
            "begun_at": self.begun_at,
        }

    @classmethod
    def from_dict(cls, data: t.Mapping[str, t.Any]) -> Trial:
        """From JSON. Raises ``KeyError`` for a missing field."""
        return cls(
            activation=None if data["activation"] is None else Activation.from_dict(data["activation"]),
            names=tuple(NameChange.from_dict(item) for item in data["names"]),
            version=str(data["version"]),
            version_before=str(data["version_before"]),
            stopped=tuple(str(name) for name in data["stopped"]),
            begun_at=str(data["begun_at"]),
        )


@dataclass(frozen=True)
class RuntimeRecord:
    """The whole file as a value. ``started_with`` is the digest of what each running server was started with.

    ``trials`` are the changes under way by runtime, ``names`` those that committed activations gave to models of a running server.
    ``set_aside`` are the runtimes that were stopped on purpose: they keep their model, and nothing but an order starts them again.
    ``others`` keeps top-level keys that this version does not know, so that an older collection loses nothing of a newer one.
    """

    active: t.Mapping[str, Activation] = field(default_factory=dict)
    history: tuple[t.Mapping[str, t.Any], ...] = ()
    started_with: t.Mapping[str, str] = field(default_factory=dict)
    trials: t.Mapping[str, Trial] = field(default_factory=dict)
    names: t.Mapping[str, tuple[NameChange, ...]] = field(default_factory=dict)
    set_aside: frozenset[str] = frozenset()
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
                trials={str(name): Trial.from_dict(value) for name, value in (data.get("trials") or {}).items()},
                names={str(name): tuple(map(NameChange.from_dict, value)) for name, value in (data.get("names") or {}).items()},
                set_aside=frozenset(str(name) for name in data.get("set_aside") or []),
                others={key: value for key, value in data.items() if key not in _KEYS},
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
            trials={name: trial.to_dict() for name, trial in self.trials.items()},
            names={name: [change.to_dict() for change in changes] for name, changes in self.names.items()},
            set_aside=sorted(self.set_aside),
        )
        files.write_atomic(path, files.to_json(data), mode=0o644)

    @classmethod
    def change(cls, path: str, change: t.Callable[[RuntimeRecord], RuntimeRecord]) -> RuntimeRecord:
        """Read, change, write if it differs, while nobody else does. Raises ``OSError``, ``io_error``, ``locked``."""
        record = cls.load(path)
        if change(record) == record:
            return record
        with files.Lock(f"{path}.lock", LOCK_TIMEOUT, {"what": "runtime.json"}):
            record = change(cls.load(path))
            record.save(path)
        return record

    def with_active(self, runtime: str, activation: Activation) -> RuntimeRecord:
        """A copy with a new active model; the history grows only when the model is another one."""
        history = self.history
        if not activation.is_same_model(self.active.get(runtime)):
            history = (dict(activation.to_dict(), runtime=runtime), *history)[:HISTORY_LIMIT]
        return replace(self, active=dict(self.active, **{runtime: activation}), history=history, set_aside=self.set_aside - {runtime})

    def with_set_aside(self, runtime: str, aside: bool) -> RuntimeRecord:
        """A copy in which the runtime is set aside, or is not. Of one without an active model nobody expects that it runs."""
        if aside and runtime not in self.active:
            return self
        return replace(self, set_aside=self.set_aside | {runtime} if aside else self.set_aside - {runtime})

    def with_started(self, runtime: str, digest: str | None) -> RuntimeRecord:
        """A copy that knows what the running server was started with, or with None that none runs."""
        started = {name: value for name, value in self.started_with.items() if name != runtime}
        if digest is not None:
            started[runtime] = digest
        return replace(self, started_with=started)

    def with_trial(self, runtime: str, trial: Trial | None) -> RuntimeRecord:
        """A copy with a change under way, or with None that none is."""
        trials = {name: value for name, value in self.trials.items() if name != runtime}
        return replace(self, trials=trials if trial is None else dict(trials, **{runtime: trial}))

    def with_names(self, runtime: str, names: t.Sequence[NameChange]) -> RuntimeRecord:
        """A copy with other names given for good."""
        others = {name: value for name, value in self.names.items() if name != runtime}
        return replace(self, names=dict(others, **{runtime: tuple(names)}) if names else others)

    def previous(self, runtime: str) -> Activation | None:
        """The model that was active before the present one, newest first; None when the history has no other."""
        present = self.active.get(runtime)
        for item in self.history:
            try:
                activation = Activation.from_dict(item)
            except KeyError:
                continue
            if item.get("runtime") == runtime and not activation.is_same_model(present):
                return activation
        return None


_KEYS = ("schema", "active", "history", "started_with", "trials", "names", "set_aside")
