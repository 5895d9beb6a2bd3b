# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names in a running server: what an alias costs, and that undoing it never takes a model's last name."""
from __future__ import annotations

import pytest

from ansible_collections.venom.llm.plugins.module_utils import activation_names as names
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import fold_name
from ansible_collections.venom.llm.plugins.module_utils.record import NameChange
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Active, ServedModel

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
ACTIVE = Active("chat", A, "phi:1b")


class Names:
    """A server that knows only names."""

    keeps_models = True

    def __init__(self, **digests: str) -> None:
        self.digests = {name.replace("_", ":"): digest for name, digest in digests.items()}

    def listed(self) -> tuple[ServedModel, ...]:
        return tuple(ServedModel(name, digest) for name, digest in self.digests.items())

    def loaded(self) -> tuple[ServedModel, ...]:
        return ()

    def sharing(self, name: str) -> tuple[ServedModel, ...]:
        raise AssertionError(name)

    def load(self, name: str, timeout: float) -> None:
        raise AssertionError(name)

    def unload(self, paths: object, timeout: float) -> None:
        raise AssertionError(paths)

    def copy(self, source: str, name: str) -> None:
        self.digests[name] = self.digests[source]

    def remove(self, name: str) -> None:
        del self.digests[name]


def plan(live: Names, active: Active = ACTIVE, own: tuple[str, ...] = ()) -> NameChange | None:
    return names.plan_name(live.listed(), fold_name, active, own)


def given(live: Names, change: NameChange | None) -> NameChange:
    if change is None:
        raise AssertionError("nothing to give")
    names.give(live, change, ACTIVE.model)
    return change


def test_nothing_to_do_for_its_own_name_in_any_spelling_and_for_an_alias_that_is_right() -> None:
    assert plan(Names(phi_1b=A), Active("registry.ollama.ai/library/PHI:1b", A, "phi:1b")) is None
    assert plan(Names(phi_1b=A, chat_latest=A)) is None


def test_a_new_name_is_given_and_taken_back() -> None:
    live = Names(phi_1b=A, other=B)
    change = given(live, plan(live))
    assert live.digests == {"phi:1b": A, "other": B, "chat": A}
    assert "is gone" in names.take_back(live, fold_name, change) and live.digests == {"phi:1b": A, "other": B}
    assert "not ours" in names.take_back(live, fold_name, change)


def test_the_name_of_another_model_is_given_back() -> None:
    live = Names(phi_1b=A, other=B, chat=B)
    change = given(live, plan(live))
    assert change == NameChange("chat", A, B, "other") and live.digests["chat"] == A
    assert "means other again" in names.take_back(live, fold_name, change) and live.digests["chat"] == B


def test_the_only_name_of_another_model_is_refused_unless_it_is_an_alias_of_ours() -> None:
    live = Names(phi_1b=A, chat=B)
    with pytest.raises(VenomError) as caught:
        plan(live)
    assert caught.value.reason_code == "alias_taken" and live.digests == {"phi:1b": A, "chat": B}
    change = given(live, plan(live, own=("Chat",)))
    assert change.other.startswith(names.KEPT) and live.digests == {"phi:1b": A, "chat": A, change.other: B}
    names.take_back(live, fold_name, change)
    assert live.digests == {"phi:1b": A, "chat": B}
    given(live, change)
    names.drop_kept(live)
    assert live.digests == {"phi:1b": A, "chat": A}


def test_taking_back_never_removes_a_last_name_or_somebody_elses() -> None:
    live = Names(chat=A)
    assert "only name" in names.take_back(live, fold_name, NameChange("chat", A)) and live.digests == {"chat": A}
    live = Names(chat=B, phi_1b=A)
    assert "not ours" in names.take_back(live, fold_name, NameChange("chat", A)) and live.digests["chat"] == B
    # The model it belonged to before is gone, or moved on: then it is only taken away.
    live = Names(chat=A, phi_1b=A, other=A)
    assert "is gone" in names.take_back(live, fold_name, NameChange("chat", A, B, "other"))


@pytest.mark.parametrize(("digests", "code"), [({}, "not_installed"), ({"phi_1b": B}, "digest_mismatch"), ({"other": A}, "not_installed")])
def test_a_model_that_the_server_has_not(digests: dict[str, str], code: str) -> None:
    with pytest.raises(VenomError) as caught:
        names.check_model(Names(**digests).listed(), fold_name, ACTIVE)
    assert caught.value.reason_code == code


def test_a_model_that_the_server_has_under_its_name_or_the_alias() -> None:
    names.check_model(Names(PHI_1b=A).listed(), fold_name, ACTIVE)
    names.check_model(Names(phi_1b=B, chat_latest=A).listed(), fold_name, ACTIVE)


def test_a_name_given_again_keeps_what_it_was_before_it_was_ours() -> None:
    first, second = NameChange("chat", A, B, "other"), NameChange("Chat:latest", B, A, "phi:1b")
    assert names.merge(fold_name, [first], [second]) == (NameChange("Chat:latest", B, B, "other"),)
    assert names.merge(fold_name, [first], [NameChange("talk", A)]) == (first, NameChange("talk", A))
