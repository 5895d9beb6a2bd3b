# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils import module as venom_module
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.failures import Failed
from ansible_collections.venom.llm.plugins.module_utils.interrupts import Interrupted


class Exit(Exception):
    """What AnsibleModule does by ending the process."""

    def __init__(self, failed: bool, result: dict[str, t.Any]) -> None:
        super().__init__(result)
        self.failed = failed
        self.result = result


class FakeModule:
    """The part of AnsibleModule that module.py uses."""

    check_mode = True
    _diff = False

    def __init__(self, argument_spec: dict[str, t.Any], **kwargs: t.Any) -> None:
        self.params = {"name": "x"}
        self.no_log_values = {"hf_secret"}
        self.warnings: list[str] = []
        assert kwargs["supports_check_mode"] is True

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def exit_json(self, **result: t.Any) -> t.NoReturn:
        raise Exit(False, result)

    def fail_json(self, **result: t.Any) -> t.NoReturn:
        raise Exit(True, result)


@pytest.fixture(autouse=True)
def fake_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(venom_module, "AnsibleModule", FakeModule)


def outcome(operation: venom_module.Operation) -> Exit:
    with pytest.raises(Exit) as caught:
        venom_module.run({}, operation)
    return caught.value


def raising(error: BaseException) -> venom_module.Operation:
    def operation(params: dict[str, t.Any], context: venom_module.Context) -> dict[str, t.Any]:
        raise error

    return operation


def test_a_result_is_passed_on_and_its_diff_only_in_diff_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    def operation(params: dict[str, t.Any], context: venom_module.Context) -> dict[str, t.Any]:
        assert params == {"name": "x"} and context.check_mode is True
        return {"changed": True, "diff": {"before": 1, "after": 2}}

    assert outcome(operation).result == {"changed": True}
    monkeypatch.setattr(FakeModule, "_diff", True)
    assert outcome(operation).result == {"changed": True, "diff": {"before": 1, "after": 2}}


def test_an_error_of_the_backend_keeps_its_reason() -> None:
    ended = outcome(raising(VenomError("gated", wanted="a", found="b", todo="c", url="d")))
    assert ended.failed and (ended.result["reason_code"], ended.result["url"]) == ("gated", "d")


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EDQUOT, "disk_full"),
        (errno.EACCES, "permission_denied"),
        (errno.EPERM, "permission_denied"),
        (errno.EIO, "io_error"),
    ],
)
def test_an_error_of_the_system_has_a_reason_and_the_path(number: int, reason: str) -> None:
    ended = outcome(raising(OSError(number, "words of the kernel", "/some/path")))
    assert ended.failed and (ended.result["reason_code"], ended.result["path"]) == (reason, "/some/path")
    assert "words of the kernel" in ended.result["msg"]


def test_an_interruption_is_a_failure_with_a_reason() -> None:
    ended = outcome(raising(Interrupted("it was stopped by SIGTERM")))
    assert ended.failed and ended.result["reason_code"] == "cancelled"


def test_what_a_worker_reported_is_passed_on() -> None:
    assert outcome(raising(Failed({"msg": "no", "reason_code": "gated"}))).result == {"msg": "no", "reason_code": "gated"}


def test_the_operation_knows_what_has_to_stay_secret() -> None:
    def operation(params: dict[str, t.Any], context: venom_module.Context) -> dict[str, t.Any]:
        return {"changed": False, "secrets": len(context.secrets)}

    assert outcome(operation).result["secrets"] == 1


def test_a_defect_is_called_one_and_shows_where() -> None:
    ended = outcome(raising(KeyError("missing")))
    assert ended.failed and ended.result["reason_code"] == "internal_error"
    assert "KeyError" in ended.result["msg"] and "test_module.py" in ended.result["exception"]


def test_a_backend_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    respawned: list[str] = []
    monkeypatch.setattr(venom_module, "respawn_module", respawned.append)
    monkeypatch.setattr(venom_module, "pass_on_signals", lambda: None)

    def operation(params: dict[str, t.Any], context: venom_module.Context) -> dict[str, t.Any]:
        context.need_backend(python, "no_such_library_anywhere")
        return {"changed": False}

    python = "/nonexistent/python"
    assert outcome(operation).result["reason_code"] == "backend_missing"
    python = "/bin/sh"
    assert outcome(operation).result == {"changed": False} and respawned == ["/bin/sh"]
    monkeypatch.setattr(venom_module, "has_respawned", lambda: True)
    assert outcome(operation).result["reason_code"] == "backend_missing"
    assert respawned == ["/bin/sh"], "one respawn is all that Ansible allows"


def test_a_library_that_is_there_needs_no_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(venom_module, "respawn_module", lambda python: pytest.fail("respawned"))

    def operation(params: dict[str, t.Any], context: venom_module.Context) -> dict[str, t.Any]:
        context.need_backend("/nonexistent", "json")
        return {"changed": False}

    assert outcome(operation).result == {"changed": False}
