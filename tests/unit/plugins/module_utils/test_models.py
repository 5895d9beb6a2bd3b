# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call: what the list may say, what is locked, and what a call that changes nothing still remembers."""
from __future__ import annotations

import errno
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import models, models_apply, models_online
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import Lock
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest, change_manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry
from ansible_collections.venom.llm.plugins.module_utils.models import check_aliases, lock_path, parse_requests, run_if_unchanged, run_models
from ansible_collections.venom.llm.plugins.module_utils.models_limits import Budget
from ansible_collections.venom.llm.plugins.module_utils.models_request import Request
from ansible_collections.venom.llm.plugins.module_utils.models_steps import API, CLI, INSTALL, KEEP, REMOVE, SNAPSHOT, STORE, Step
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.models_samples import (
    NEW,
    OLD,
    Context,
    FakeOllamaHost,
    module_params,
    pulled,
    recorded,
    snapshot,
)
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.store.ollama_models import LICENSE, WEIGHTS, digest_of

DIGEST, OTHER_DIGEST = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def reason(call: t.Callable[[], object]) -> str:
    with pytest.raises(VenomError) as caught:
        call()
    return caught.value.reason_code


# The list


def parse(*items: dict[str, t.Any], state: str = "present", verify: str = "quick") -> list[Request]:
    return parse_requests({"models": list(items), "state": state, "verify": verify})


@pytest.mark.parametrize(
    "items",
    [
        [{"name": "a/b"}, {"name": "c/d"}],
        [{"name": "a/b"}, {"name": "a/b", "revision": "v1"}],
        [{"name": "a/b", "revision": NEW}, {"name": "a/b", "revision": OLD, "state": "absent"}],
        [{"name": "phi3:mini"}, {"name": "phi3:medium"}],
        [{"name": "phi3:mini"}, {"name": "phi3/mini"}],
    ],
)
def test_lists_that_make_sense(items: list[dict[str, t.Any]]) -> None:
    assert len(parse(*items)) == 2


@pytest.mark.parametrize(
    "items",
    [
        [{"name": "a/b"}, {"name": "a/b"}],
        [{"name": "a/b"}, {"name": "a/b", "revision": "main"}],
        [{"name": "a/b"}, {"name": "a/b", "state": "absent"}],
        [{"name": "a/b", "state": "absent"}, {"name": "a/b", "revision": "v1"}],
        [{"name": "a/b", "revision": "v1"}, {"name": "a/b", "revision": "v1", "state": "absent"}],
        [{"name": "a/b", "state": "absent"}, {"name": "a/b", "revision": "v1", "state": "absent"}],
        [{"name": "phi3"}, {"name": "PHI3:latest"}],
        [{"name": "phi3"}, {"name": "registry.ollama.ai/library/phi3:latest"}],
        [{"name": "phi3:mini"}, {"name": "phi3", "revision": "mini"}],
        [{"name": "phi3", "revision": DIGEST}, {"name": "phi3", "revision": OTHER_DIGEST}],
        [{"name": "phi3", "revision": DIGEST}, {"name": "phi3", "revision": OTHER_DIGEST, "state": "absent"}],
    ],
)
def test_lists_that_contradict_themselves(items: list[dict[str, t.Any]]) -> None:
    assert reason(lambda: parse(*items)) == reason(lambda: parse(*items[::-1])) == "invalid_option"


def test_one_model_is_a_list_of_one_and_full_verification_is_for_all() -> None:
    (request,) = parse_requests({"name": "a/b", "revision": "v1", "alias": "x", "state": "latest", "verify": "quick"})
    assert (str(request.ref), request.revision, request.alias, request.state, request.deep) == ("a/b", "v1", "x", "latest", False)
    assert [item.deep for item in parse({"name": "a/b"}, {"name": "phi3"}, verify="full")] == [True, True]
    assert [item.deep for item in parse({"name": "a/b", "state": "verified"}, {"name": "phi3"})] == [True, False]


@pytest.mark.parametrize(
    ("option", "value"),
    [("max_parallel", 0), ("retries", -1), ("stall_timeout", 0.0), ("lock_timeout", float("nan")), ("deadline", -1.0), ("max_disk_gb", float("inf"))],
)
def test_numbers_that_make_no_sense(tmp_path: Path, option: str, value: float) -> None:
    with pytest.raises(VenomError) as caught:
        run_models(module_params(tmp_path, name="a/b", **{option: value}), Context())
    assert (caught.value.reason_code, caught.value.details["option"]) == ("invalid_option", option)


def test_an_alias_belongs_to_one_model_when_all_is_done(tmp_path: Path) -> None:
    entry = snapshot(tmp_path, OLD, alias="x")
    manifest = Manifest(str(tmp_path), [entry])

    def check(*items: dict[str, t.Any], removals: t.Sequence[Step] = ()) -> None:
        check_aliases(parse(*items), manifest, removals)

    assert reason(lambda: check({"name": "c/d", "alias": "x"})) == "alias_taken"
    assert reason(lambda: check({"name": "phi3", "alias": "a/b"})) == "alias_taken"
    assert reason(lambda: check({"name": "c/d", "alias": "y"}, {"name": "phi3", "alias": "y"})) == "alias_taken"
    assert reason(lambda: check({"name": "c/d", "alias": "phi3:latest"}, {"name": "phi3"})) == "alias_taken"
    assert reason(lambda: check({"name": "big:1b", "alias": "Phi3"}, {"name": "phi3"})) == "alias_taken"
    assert reason(lambda: check({"name": "big:1b", "alias": "y"}, {"name": "phi3", "alias": "Y:latest"})) == "alias_taken"
    check({"name": "phi3", "alias": "phi3"}, {"name": "c/d", "alias": "PHI3"})
    check({"name": "a/b", "alias": "x"})
    check({"name": "a/b", "alias": "y"}, {"name": "c/d", "alias": "x"})
    gone = Step(Request.parse({"name": "a/b"}, "absent"), REMOVE, before=(entry,))
    check({"name": "a/b", "state": "absent"}, {"name": "c/d", "alias": "x"}, removals=[gone])


# Nothing to do


def save(root: Path, *entries: Entry) -> None:
    def change(manifest: Manifest) -> Manifest:
        for entry in entries:
            manifest = manifest.merge(entry)
        return manifest

    change_manifest(str(root / "models"), change)


def stored(root: Path) -> tuple[Entry, ...]:
    return Manifest.load(str(root / "models")).models


@pytest.fixture
def ollama(tmp_path: Path) -> FakeOllamaHost:
    """A recorded Ollama model, one of whose blobs was touched since."""
    (tmp_path / "store").mkdir()
    host = FakeOllamaHost(tmp_path)
    save(tmp_path, recorded(host, pulled(host, LICENSE, WEIGHTS)))
    os.utime(host.store.published_path(digest_of(WEIGHTS)), ns=(1, 1))
    return host


def phi3(root: Path, **options: t.Any) -> dict[str, t.Any]:
    return module_params(root, name="phi3:mini", ollama_method="store", **options)


@pytest.mark.parametrize("run", [run_models, run_if_unchanged])
def test_what_was_hashed_is_remembered_without_being_a_change(tmp_path: Path, ollama: FakeOllamaHost, run: t.Any) -> None:
    before = stored(tmp_path)
    assert run(phi3(tmp_path), Context(check_mode=True))["changed"] is False
    assert stored(tmp_path) == before, "check mode writes nothing"
    result = run(phi3(tmp_path), Context())
    (after,) = stored(tmp_path)
    assert (result["changed"], result["diff"]["after"], after == before[0]) == (False, {}, False)
    assert 1 in [record.mtime_ns for record in after.files]
    stamp = (tmp_path / "models/manifest.json").stat().st_mtime_ns
    run(phi3(tmp_path), Context())
    assert (tmp_path / "models/manifest.json").stat().st_mtime_ns == stamp


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "Permission denied"), OSError(errno.ENOSPC, "No space left on device")])
def test_whoever_may_not_write_gets_the_right_answer(tmp_path: Path, ollama: FakeOllamaHost, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def refuse(models_dir: str, change: object) -> t.NoReturn:
        raise error

    monkeypatch.setattr(models, "change_manifest", refuse)
    context = Context()
    result = run_models(phi3(tmp_path), context)
    assert (result["changed"], [entry["name"] for entry in result["models"]]) == (False, ["phi3:mini"])
    assert str(error.strerror) in context.warnings[0]


@pytest.mark.parametrize("meanwhile", ["removed", "renamed"])
def test_remembering_does_not_undo_what_others_did_meanwhile(
    tmp_path: Path, ollama: FakeOllamaHost, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    (entry,) = stored(tmp_path)

    def interfere(models_dir: str, change: t.Any) -> Manifest:
        other = Manifest.without if meanwhile == "removed" else (lambda manifest, entry: manifest.merge(entry.replace(alias="new")))
        change_manifest(models_dir, lambda manifest: other(manifest, entry))
        return change_manifest(models_dir, change)

    monkeypatch.setattr(models, "change_manifest", interfere)
    assert run_models(phi3(tmp_path), Context())["changed"] is False
    assert [left.alias for left in stored(tmp_path)] == ([] if meanwhile == "removed" else ["new"])


def test_a_quick_look_answers_only_when_all_is_kept_and_nothing_is_hashed(tmp_path: Path) -> None:
    save(tmp_path, snapshot(tmp_path / "models", OLD))
    context = Context()
    for options in ({"name": "c/d"}, {"name": "a/b", "state": "latest"}, {"name": "a/b", "state": "absent"}, {"name": "a/b", "alias": "x"}):
        assert run_if_unchanged(module_params(tmp_path, **options), context) is None
    for options in ({"name": "a/b", "state": "verified"}, {"name": "a/b", "verify": "full"}):
        assert run_if_unchanged(module_params(tmp_path, **options), context) is None
    kept = run_if_unchanged(module_params(tmp_path, name="a/b"), context)
    assert kept is not None and kept["changed"] is False
    assert (context.backends, context.reports) == ([], [])


# Something to do


def test_the_backend_is_needed_for_what_only_a_source_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Restarted(Exception):
        pass

    def restart(self: Context, python: str, library: str = "") -> t.NoReturn:
        raise Restarted

    monkeypatch.setattr(Context, "need_backend", restart)
    save(tmp_path, snapshot(tmp_path / "models", OLD))
    with pytest.raises(Restarted):
        run_models(module_params(tmp_path, name="c/d"), Context())
    assert run_models(module_params(tmp_path, name="a/b", alias="x"), Context())["changed"] is True
    assert run_models(module_params(tmp_path, name="a/b", state="absent"), Context())["changed"] is True


def test_check_mode_without_backend_says_that_it_does_not_know(tmp_path: Path) -> None:
    context = Context(check_mode=True, has_library=False)
    save(tmp_path, snapshot(tmp_path / "models", OLD))
    result = run_models(module_params(tmp_path, models=[{"name": "a/b"}, {"name": "c/d"}]), context)
    assert (result["changed"], "c/d" in result["diff"]["after"], "c/d" in context.warnings[0]) == (True, True, True)
    assert run_models(module_params(tmp_path, name="a/b"), context)["changed"] is False


def plan_of(*steps: tuple[str, str], method: str = SNAPSHOT) -> t.Callable[..., tuple[list[Step], Budget]]:
    """A planner that knows nothing but names and actions."""

    def plan(self: object, requests: t.Sequence[Request], *dummy: t.Any) -> tuple[list[Step], Budget]:
        return [Step(request, action, method=method) for request, (dummy_name, action) in zip(requests, steps)], Budget(0, 0, 10**12, 0, 0)

    return plan


@pytest.mark.parametrize(
    ("steps", "taken"),
    [
        ([("phi3", INSTALL), ("a/b", INSTALL)], ["ollama", "vllm"]),
        ([("a/b", INSTALL), ("phi3", INSTALL)], ["ollama", "vllm"]),
        ([("a/b", INSTALL), ("phi3", KEEP)], ["vllm"]),
        ([("a/b", REMOVE), ("c/d", INSTALL)], ["vllm"]),
    ],
)
def test_locks_are_taken_in_one_order_for_what_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[tuple[str, str]], taken: list[str]
) -> None:
    entered: list[str] = []

    class Noted(Lock):
        def __enter__(self) -> Lock:
            entered.append(self.path)
            return super().__enter__()

    def apply(self: models_apply.Applier, dummy_steps: object, dummy_doomed: object) -> models_apply.Outcome:
        for runtime in taken:
            with pytest.raises(VenomError), Lock(lock_path(str(tmp_path / "models"), runtime), 0.0):
                pass
        return self.outcome

    monkeypatch.setattr(models, "Lock", Noted)
    monkeypatch.setattr(models_online.Planner, "plan", plan_of(*steps))
    monkeypatch.setattr(models_apply.Applier, "apply", apply)
    items = [{"name": name, "state": "present"} for name, dummy_action in steps]
    run_models(module_params(tmp_path, models=items, ollama_method="store"), Context())
    assert entered == [lock_path(str(tmp_path / "models"), runtime) for runtime in taken]


def call_with_store(tmp_path: Path, models_dir: str) -> dict[str, t.Any]:
    """Parameters of a call that writes into the one store, with its records elsewhere."""
    items = [{"name": "phi3", "state": "present"}]
    return dict(module_params(tmp_path, models=items, ollama_method="store"), models_dir=str(tmp_path / models_dir))


def test_a_store_has_one_writer_whatever_folder_its_records_are_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store").mkdir(0o750)
    lock = str(tmp_path / "store" / ".venom" / "models.lock")
    tried: list[VenomError] = []

    def apply(self: models_apply.Applier, dummy_steps: object, dummy_doomed: object) -> models_apply.Outcome:
        with pytest.raises(VenomError) as caught:
            run_models(call_with_store(tmp_path, "second"), Context())
        tried.append(caught.value)
        return self.outcome

    monkeypatch.setattr(models_online.Planner, "plan", plan_of(("phi3", INSTALL), method=STORE))
    monkeypatch.setattr(models_apply.Applier, "apply", apply)
    run_models(call_with_store(tmp_path, "first"), Context())
    (error,) = tried
    assert (error.reason_code, error.details["path"]) == ("locked", lock)
    assert error.details["holder"]["models_dir"] == str(tmp_path / "first")
    assert (os.stat(lock).st_mode & 0o777, os.stat(os.path.dirname(lock)).st_mode & 0o777) == (0o640, 0o750), "as everything in the store"
    with Lock(lock, 0.0):
        pass


@pytest.mark.parametrize(
    ("action", "method", "is_there", "takes"),
    [
        (INSTALL, STORE, False, True),
        (REMOVE, STORE, True, True),
        (REMOVE, STORE, False, False),
        (KEEP, STORE, True, False),
        (INSTALL, API, True, False),
        (INSTALL, CLI, True, False),
    ],
)
def test_only_who_writes_into_a_store_takes_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str, method: str, is_there: bool, takes: bool
) -> None:
    if is_there:
        (tmp_path / "store").mkdir()
    monkeypatch.setattr(models_online.Planner, "plan", plan_of(("phi3", action), method=method))
    monkeypatch.setattr(models_apply.Applier, "apply", lambda self, *dummy: self.outcome)
    run_models(call_with_store(tmp_path, "models"), Context())
    assert (tmp_path / "store" / ".venom" / "models.lock").exists() is takes
    assert (tmp_path / "store").exists() is (is_there or takes)


def test_a_plan_is_made_anew_after_somebody_with_other_records_was_at_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store").mkdir()
    planned: list[int] = []
    plan = plan_of(("phi3", INSTALL), method=STORE)

    def counted(*arguments: t.Any) -> tuple[list[Step], Budget]:
        planned.append(1)
        if len(planned) == 2:
            # Between the look and the lock of the call below.
            with monkeypatch.context() as inner:
                inner.setattr(models_online.Planner, "plan", plan)
                run_models(call_with_store(tmp_path, "second"), Context())
        return plan(*arguments)

    monkeypatch.setattr(models_apply.Applier, "apply", lambda self, *dummy: self.outcome)
    monkeypatch.setattr(models_online.Planner, "plan", counted)
    run_models(call_with_store(tmp_path, "first"), Context())
    assert len(planned) == 1
    run_models(call_with_store(tmp_path, "first"), Context())
    assert len(planned) == 3


def test_a_lock_that_is_held_names_its_holder(tmp_path: Path) -> None:
    save(tmp_path, snapshot(tmp_path / "models", OLD))
    with Lock(lock_path(str(tmp_path / "models"), "vllm"), 0.0, {"what": "another play"}), pytest.raises(VenomError) as caught:
        run_models(module_params(tmp_path, name="a/b", alias="x"), Context())
    assert caught.value.reason_code == "locked" and "another play" in caught.value.found
    assert run_models(module_params(tmp_path, name="a/b"), Context())["changed"] is False, "a look needs no lock"


def test_a_plan_is_made_anew_on_what_others_did_before_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, snapshot(tmp_path / "models", OLD))

    class Late(Lock):
        def __enter__(self) -> Lock:
            (entry,) = stored(tmp_path)
            save(tmp_path, entry.replace(alias="x"))
            return super().__enter__()

    monkeypatch.setattr(models, "Lock", Late)
    result = run_models(module_params(tmp_path, name="a/b", alias="x"), Context())
    assert (result["changed"], result["operations"]) == (False, []), "somebody else gave it that alias meanwhile"


def test_one_revision_is_not_kept_and_removed_in_one_call(tmp_path: Path) -> None:
    save(tmp_path, snapshot(tmp_path / "models", OLD, "v1"))
    items = [{"name": "a/b", "revision": "v1", "state": "absent"}, {"name": "a/b", "revision": OLD}]
    assert reason(lambda: run_models(module_params(tmp_path, models=items), Context())) == "invalid_option"
    assert [entry.revision for entry in stored(tmp_path)] == [OLD]


def test_a_mixed_list_does_what_changes_and_shows_everything(tmp_path: Path, ollama: FakeOllamaHost) -> None:
    save(tmp_path, snapshot(tmp_path / "models", OLD), snapshot(tmp_path / "models", NEW, name="c/d"))
    items = [{"name": "a/b", "alias": "x"}, {"name": "c/d", "state": "absent"}, {"name": "phi3:mini"}]
    params = module_params(tmp_path, models=items, ollama_method="store")
    checked, real = run_models(params, Context(check_mode=True)), run_models(params, Context())
    assert [step["action"] for step in real["plan"]] == ["record", "remove", "keep"]
    for key in ("changed", "diff", "plan", "bytes_total", "bytes_to_fetch", "bytes_kept"):
        assert checked[key] == real[key]
    assert [(entry.name, entry.alias) for entry in stored(tmp_path)] == [("a/b", "x"), ("phi3:mini", None)]
    assert run_models(params, Context())["changed"] is False
