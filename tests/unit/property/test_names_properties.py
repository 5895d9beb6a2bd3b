# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever text comes in, what passes the gate stays in its folder."""
from __future__ import annotations

import os
import re
from pathlib import PurePosixPath, PureWindowsPath

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import (
    TEMPORARY_PREFIX,
    Alias,
    Digest,
    ModelRef,
    check_paths,
    parse_revision,
    safe_relative_path,
)

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

#: No clock: what takes long on a busy machine is right all the same.
PROFILE = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
#: Pieces that hostile names are made of, more often than chance would give them.
PIECES = st.sampled_from(
    ["..", ".", "/", "\\", ":", "~", "\n", "\0", "a", "B", "-", "--", "_", " ", "@", "%2e", "con", "NUL.txt", "C:", "é", "\u202e", "\ud800", "٣"]
)
NAMES = st.one_of(st.text(max_size=300), st.lists(PIECES, max_size=8).map("".join))
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@PROFILE
@hypothesis.given(NAMES, st.sampled_from(["auto", "huggingface", "ollama"]))
def test_a_model_name_is_refused_or_harmless(text: str, provider: str) -> None:
    try:
        ref = ModelRef.parse(text, provider)
    except VenomError as error:
        assert error.reason_code == "invalid_name"
        return
    assert re.fullmatch(r"[A-Za-z0-9_.:/\-]{1,255}", text)
    assert not text.startswith(("/", "-"))
    assert not {"", ".", ".."} & set(text.split("/"))
    assert ModelRef.parse(str(ref), ref.provider) == ref
    if ref.provider == "huggingface":
        folder = ref.folder(COMMIT)
        assert "/" not in folder
        assert len(folder) < 255
        assert not folder.startswith(".")
        assert ModelRef.from_folder(folder) == (ref, COMMIT)


@PROFILE
@hypothesis.given(st.tuples(NAMES, NAMES))
def test_two_models_never_share_a_folder(pair: tuple[str, str]) -> None:
    folders: dict[str, ModelRef] = {}
    for text in pair:
        try:
            ref = ModelRef.parse(text, "huggingface")
        except VenomError:
            continue
        assert folders.setdefault(ref.folder(COMMIT), ref) == ref


@PROFILE
@hypothesis.given(NAMES)
def test_a_file_name_is_refused_or_stays_in_its_folder(text: str) -> None:
    try:
        path = safe_relative_path(text)
    except VenomError as error:
        assert error.reason_code == "invalid_name"
        return
    assert os.path.normpath(os.path.join("/root/folder", path)) == os.path.join("/root/folder", path)
    for flavour in (PurePosixPath, PureWindowsPath):
        pure = flavour(path)
        assert not pure.is_absolute()
        assert not pure.drive
        assert ".." not in pure.parts
    assert all(len(os.fsencode(segment)) <= 255 for segment in path.split("/"))
    assert not any(segment.casefold().startswith(TEMPORARY_PREFIX) for segment in path.split("/"))


@PROFILE
@hypothesis.given(st.lists(NAMES, max_size=6))
def test_a_file_list_is_refused_or_free_of_collisions(paths: list[str]) -> None:
    try:
        checked = check_paths(paths)
    except VenomError as error:
        assert error.reason_code == "invalid_name"
        return
    folded = [path.casefold() for path in checked]
    assert len(set(folded)) == len(folded)
    assert not any(other.startswith(path + "/") for path in folded for other in folded)


@PROFILE
@hypothesis.given(NAMES)
def test_aliases_revisions_and_digests_are_refused_or_plain_ascii(text: str) -> None:
    for parse in (Alias.parse, parse_revision, Digest.parse):
        try:
            value = str(parse(text))
        except VenomError as error:
            assert error.reason_code == "invalid_name"
            continue
        assert value.isascii()
        assert value.isprintable()
        assert not value.startswith(("-", "/", "."))
        assert " " not in value
        assert ".." not in value.split("/")
