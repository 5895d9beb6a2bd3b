# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which release of Ollama the role bundle takes from a bundle."""
from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.venom.llm.tests.unit.consistency import templating

VARIABLES = yaml.safe_load((Path(__file__).resolve().parents[3] / "roles/bundle/vars/main.yml").read_text(encoding="utf-8"))
ONE, TWO, OWN = "1" * 64, "2" * 64, "3" * 64
RELEASE = {"path": "/b/archives/ollama-linux-amd64.tar.zst", "sha256": ONE}
OLDER = {"path": "/b/archives/ollama-0.16.2.tgz", "sha256": TWO}
TOOL = {"path": "/b/archives/tool.tgz", "sha256": TWO}


@pytest.mark.parametrize(
    ("archives", "own", "path", "sha256"),
    [
        ([], {}, "", ""),
        ([RELEASE, TOOL], {}, RELEASE["path"], ONE),
        ([TOOL], {}, "", ""),
        ([RELEASE, OLDER], {}, "", ""),
        ([RELEASE], {"venom_ollama_archive": "/srv/own.tgz", "venom_ollama_archive_sha256": OWN}, "/srv/own.tgz", OWN),
        ([RELEASE], {"venom_ollama_archive": "", "venom_ollama_archive_sha256": OWN}, RELEASE["path"], OWN),
        ([RELEASE], {"venom_ollama_archive": "", "venom_ollama_archive_sha256": ""}, RELEASE["path"], ONE),
    ],
)
def test_the_release_of_ollama(archives: list[dict[str, str]], own: dict[str, str], path: str, sha256: str) -> None:
    variables: dict[str, t.Any] = {**templating.trusted(VARIABLES), "__venom_bundle": {"archives": archives}, **own}
    assert templating.render(VARIABLES["_venom_bundle_archive"], variables) == {"path": path, "sha256": sha256}
