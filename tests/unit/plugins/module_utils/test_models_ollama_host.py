# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which method a host gets, and what its server is asked for when the operator has a registry of his own."""
from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import models_ollama_host
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef
from ansible_collections.venom.llm.plugins.module_utils.store.ollama import OllamaStore
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.models_samples import FakeOllamaHost, Server


@pytest.mark.parametrize(
    ("writable", "up", "command", "check", "method"),
    [
        (True, True, True, False, "store"),
        (False, True, True, False, "api"),
        (False, False, True, False, "cli"),
        (None, True, False, False, "api"),
        (None, False, True, True, "cli"),
        (None, False, False, True, "store"),
        (None, False, False, False, None),
    ],
)
def test_auto_takes_the_first_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writable: bool | None, up: bool, command: bool, check: bool, method: str | None
) -> None:
    if writable is not None:
        (tmp_path / "store").mkdir()
    monkeypatch.setattr(OllamaStore, "is_writable", lambda self: writable)
    monkeypatch.setattr(models_ollama_host, "_find_command", lambda: "/usr/bin/ollama" if command else None)
    host = FakeOllamaHost(tmp_path, "auto", Server(up=up), check)
    if method is not None:
        assert host.method == method
        return
    with pytest.raises(VenomError) as caught:
        assert host.method
    assert caught.value.reason_code == "server_unreachable"


def test_the_operators_choice_is_not_questioned_and_the_method_is_chosen_once(tmp_path: Path) -> None:
    assert FakeOllamaHost(tmp_path, "api", Server(up=False)).method == "api"
    server = Server()
    host = FakeOllamaHost(tmp_path, "auto", server)
    assert host.method == "api"
    server.up = False
    assert host.method == "api", "a server that goes away in the middle must not change the plan"


@pytest.mark.parametrize("wanted", ["auto", "store", "api", "cli"])
def test_models_of_a_bundle_go_into_the_store(tmp_path: Path, wanted: str) -> None:
    host = models_ollama_host.OllamaHost(dict(FakeOllamaHost(tmp_path).params, ollama_method=wanted, bundle="/srv/bundle"))
    if wanted in ("auto", "store"):
        assert host.method == "store"
        return
    with pytest.raises(VenomError) as caught:
        assert host.method
    assert (caught.value.reason_code, caught.value.details["option"]) == ("invalid_option", "ollama_method")


def test_a_command_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models_ollama_host, "_find_command", lambda: None)
    with pytest.raises(VenomError) as caught:
        models_ollama_host.OllamaHost(FakeOllamaHost(tmp_path).params).cli()
    assert caught.value.reason_code == "not_installed"


PUBLIC, OWN, PLAIN = "https://registry.ollama.ai", "https://own.example:5000", "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("registry", "name", "url", "pull_name", "insecure"),
    [
        (PUBLIC, "phi3:mini", PUBLIC, "phi3:mini", False),
        (PUBLIC, "user/m:1b", PUBLIC, "user/m:1b", False),
        (PUBLIC, "hf.co/u/m:Q4", "https://hf.co", "hf.co/u/m:Q4", False),
        (OWN, "phi3:mini", OWN, "own.example:5000/library/phi3:mini", False),
        (OWN, "user/m:1b", OWN, "own.example:5000/user/m:1b", False),
        (OWN, "registry.ollama.ai/library/phi3:mini", OWN, "own.example:5000/library/phi3:mini", False),
        (OWN, "hf.co/u/m:Q4", "https://hf.co", "hf.co/u/m:Q4", False),
        (PLAIN, "phi3:mini", PLAIN, "127.0.0.1:5000/library/phi3:mini", True),
        (PLAIN, "hf.co/u/m:Q4", "https://hf.co", "hf.co/u/m:Q4", False),
        ("own.example", "Own.Example/u/m:Q4", "https://own.example", "Own.Example/u/m:Q4", False),
        ("http://own.example", "own.example/u/m:Q4", "http://own.example", "own.example/u/m:Q4", True),
    ],
)
def test_which_registry_has_a_model(tmp_path: Path, registry: str, name: str, url: str, pull_name: str, insecure: bool) -> None:
    host = FakeOllamaHost(tmp_path, registry=registry)
    ref = ModelRef.parse(name, "ollama")
    assert host.registry_of(ref) == url
    assert host.pull_name(ref) == (pull_name, insecure)
