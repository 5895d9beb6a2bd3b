# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The link ``current`` beside the installed versions of a runtime: which version runs, and how another one takes its place."""
from __future__ import annotations

import os
import re
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils import files
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError

LINK_NAME = "current"
_VERSION = re.compile(r"\A[0-9A-Za-z][0-9A-Za-z._+-]*\Z")


@dataclass(frozen=True)
class ProgramLink:
    """``folder`` holds a folder for each version and the link; ``tail`` is the program's path below any of them."""

    folder: str
    tail: str

    @classmethod
    def from_program(cls, program: str) -> ProgramLink:
        """From the path of the program in the settings, ``.../current/bin/ollama``. Raises ``invalid_option`` for one without the link."""
        folder, mark, tail = program.partition(f"/{LINK_NAME}/")
        if not mark or not folder or not tail:
            raise VenomError(
                "invalid_option",
                wanted="a version of the runtime chosen by the link 'current'",
                found=f"the settings name {program}, which does not lead through such a link",
                todo="leave version out, or let the role of the runtime install it",
                path=program,
            )
        return cls(folder, tail)

    @property
    def path(self) -> str:
        """The link."""
        return os.path.join(self.folder, LINK_NAME)

    def version(self) -> str:
        """The version that the link names, empty without a link. Raises ``invalid_option`` when something else has its place."""
        try:
            return os.path.basename(os.readlink(self.path).rstrip("/"))
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise VenomError(
                "invalid_option",
                wanted=f"a link to a version in {self.path}",
                found=f"it is no link ({error.strerror})",
                todo="remove it, or leave version out",
                path=self.path,
            ) from error

    def installed(self) -> list[str]:
        """The versions that could run."""
        try:
            names = sorted(os.listdir(self.folder))
        except OSError:
            return []
        return [name for name in names if name != LINK_NAME and _VERSION.match(name) and self._runs(name)]

    def check(self, version: str) -> None:
        """Raises ``invalid_option`` for what is no version, ``not_installed`` for one that is not there."""
        if not _VERSION.match(version) or version == LINK_NAME:
            raise VenomError("invalid_option", wanted="the version of a runtime", found=ascii(version), todo="use a name like 0.16.2")
        if not self._runs(version):
            raise VenomError(
                "not_installed",
                wanted=f"version {version} in {self.folder}",
                found=f"installed there: {', '.join(self.installed()) or 'nothing'}",
                todo="install it beside the others: the role of the runtime with this version",
                path=os.path.join(self.folder, version, self.tail),
            )

    def point(self, version: str) -> None:
        """Lead to a version from now on, in one step; an empty one removes the link. Raises ``OSError``."""
        if not version:
            if files.remove_if_there(self.path):
                files.fsync_folder(self.folder)
            return
        temporary = os.path.join(self.folder, files.temporary_name())
        try:
            os.symlink(version, temporary)
            os.replace(temporary, self.path)
        except OSError:
            files.remove_if_there(temporary)
            raise
        files.fsync_folder(self.folder)

    def _runs(self, version: str) -> bool:
        return os.access(os.path.join(self.folder, version, self.tail), os.X_OK)
